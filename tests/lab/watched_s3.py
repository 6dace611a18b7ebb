"""An S3 with a bucket in it, behind a proxy that notes its requests and lets them fail."""

from __future__ import annotations

from pathlib import Path

from cfmiddleware.storage.s3 import S3Driver, S3Options
from lab.s3_proxy import S3Proxy
from lab.servers import SMALLEST_PART, S3Server

#: The fixtures that each give a `WatchedS3`.
WATCHED = ("watched_moto", "watched_ceph")
#: With the one for tests that TLS could make a difference to: of long bodies, and of connections that break.
WATCHED_ALSO_OVER_TLS = (*WATCHED, "watched_ceph_over_tls")


class WatchedS3(S3Proxy):
    """A proxy in front of an S3 server.

    :param server: the server behind it.
    :param certificate: a file with a key and a certificate, for a port that takes TLS.
    :ivar bucket: a bucket of its own.
    """

    def __init__(self, server: S3Server, certificate: Path | None = None) -> None:
        super().__init__(server.endpoint, certificate=certificate)
        self.server = server
        self.bucket = server.new_bucket()
        self.client = self.driver("").client()

    def driver(self, root: str, *, shared: bool = False, page_size: int = 1000, **options) -> TestedS3Driver:
        """Return a driver with small parts, below *root* of the bucket.

        :param shared: whether it uses the server's own client, because to make one takes longer than most
            tests do; not where requests are to fail, of which a client tries only so many again.
        """
        given = {
            "bucket": self.bucket,
            "regionendpoint": self.endpoint,
            "accesskey": self.server.access_key,
            "secretkey": self.server.secret_key,
            "rootdirectory": root,
            "smallest_part": SMALLEST_PART,
            "chunksize": 2 * SMALLEST_PART,
            "multipartcopychunksize": 3 * SMALLEST_PART,
            "multipartcopythresholdsize": 3 * SMALLEST_PART,
        }
        driver = TestedS3Driver(S3Options(**given | options), page_size=page_size)
        if shared:
            driver.use(self.client)
        return driver

    def unfinished_uploads(self) -> int:
        """Return how many multipart uploads were neither completed nor aborted."""
        return len(self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", ()))


class TestedS3Driver(S3Driver):
    """The driver, with its client for looking behind it."""

    __test__ = False

    def client(self):
        return self._client()

    def head(self, path, **more):
        """Return what S3 says of an object."""
        client = self.client()
        return getattr(client, "whole", client).head_object(Bucket=self._bucket, Key=self.key(path), **more)

    def use(self, client):
        self._client = lambda: client
