"""The lab's Ceph gateway, as large as a benchmark needs it, with what the benchmarks ask of it."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import lab_path  # noqa: F401

# isort: split
from lab import ceph
from lab.ceph import ACCESS_KEY, SECRET_KEY
from lab.servers import S3Server
from programs import MissingProgram

__all__ = ["ACCESS_KEY", "REGION", "SECRET_KEY", "Gateway", "check", "running"]

REGION = "us-east-1"


class Gateway:
    """A gateway that runs.

    :param home: where everything of it lies.
    :param server: the server.
    """

    def __init__(self, home: Path, server: S3Server) -> None:
        self.home = home
        self.endpoint = server.endpoint
        self.client = server.client()

    def new_bucket(self, name: str) -> str:
        """Make an empty bucket and return its name."""
        self.client.create_bucket(Bucket=name)
        return name

    def empty(self, bucket: str) -> None:
        """Delete all that a bucket holds, and have the store take back the room."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        for page in pages:
            if items := page.get("Contents"):
                keys = [{"Key": item["Key"]} for item in items]
                self.client.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
        for item in self.client.list_multipart_uploads(Bucket=bucket).get("Uploads", ()):
            self.client.abort_multipart_upload(Bucket=bucket, Key=item["Key"], UploadId=item["UploadId"])
        time.sleep(1)  # what the collector waits at the least before it takes an object
        ceph.collect_garbage(self.home)

    def version(self) -> str:
        """Return Ceph's version."""
        answer = subprocess.run(["ceph", "--version"], capture_output=True, text=True, check=True).stdout
        return answer.split()[2]


def check() -> None:
    """See that every program is there.

    :raises MissingProgram: when one is not.
    """
    if missing := ceph.missing_programs():
        install = f"apt-get install {ceph.PACKAGES}"
        raise MissingProgram(f"{missing[0]} is not installed; Debian has it: {install}")


@contextlib.contextmanager
def running(home: Path, *, kind: str = "bluestore", size: int = 48 << 30) -> Iterator[Gateway]:
    """Run a gateway until the block is left; it takes about 15 seconds to start.

    :param home: a directory that is made for it.
    :param kind: Ceph's name of the store: ``bluestore`` is a sparse file, ``memstore`` memory.
    :param size: what the store holds at the most, in bytes.
    """
    home.mkdir(parents=True)
    # Parts as small as Amazon takes them, and groups enough for eight clients at once.
    with ceph.running_ceph(home, ceph.Store(kind, size, 5 << 20, 4)) as server:
        yield Gateway(home, server)
