"""Which of an app's redirects lead into the bucket behind CloudFront, and to which key.

Only a redirect that certainly leads into the bucket counts. Every other one is handed on as it is.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote_to_bytes, urlsplit

from cfmiddleware.errors import ConfigError
from cfmiddleware.parse import quoted
from cfmiddleware.reference import has_whole_segments

# Every name that AWS gives to an S3 endpoint: global, regional with a dot or a dash, dual-stack, FIPS,
# accelerated, in the standard and the Chinese partition.
_AWS = re.compile(
    r"s3(?:-accelerate(?:\.dualstack)?|(?:-fips)?(?:\.dualstack)?[.-][a-z]{2}(?:-[a-z]+)+-[0-9]+)?"
    r"\.amazonaws\.com(?:\.cn)?"
)
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,253}[A-Za-z0-9])?")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")

# A presigned GET's own parameters. Any other may ask for something else than the object as it is now
# (`versionId`, `partNumber`), which the redirect to CloudFront would lose.
_PRESIGNED = re.compile(
    r"x-amz-[a-z-]+|awsaccesskeyid|signature|expires|x-id|response-[a-z-]+", re.IGNORECASE
)

#: The ports that need not stand in a URL.
PORTS = {"http": 80, "https": 443}


def aws_label(host: str) -> str | None:
    """Return what stands in front of an endpoint of AWS's S3 in a host's name: a bucket's name, or nothing.

    :returns: None for a host that is not S3 of AWS.
    """
    for start in (0, *(match.end() for match in re.finditer(r"\.", host))):
        if _AWS.fullmatch(host, start):
            return host[: max(0, start - 1)]
    return None


class Bucket:
    """A bucket, known by its name and, off AWS, by its endpoint.

    :param name: the bucket's name.
    :param endpoint: the URL of an S3-compatible server (``https://host:port``, a path is allowed); None for
        AWS's own endpoints.
    :raises ConfigError: for a name that no bucket can have, or an endpoint that is not a URL.
    """

    def __init__(self, name: str, endpoint: str | None = None) -> None:
        if not _NAME.fullmatch(name):
            raise ConfigError(f"bucket: {name!r} is not the name of a bucket")
        self.name = name
        #: Host and port of the server; None for AWS's.
        self.endpoint: tuple[str, int] | None = None
        #: The path of the endpoint, without a slash at its end.
        self.base = ""
        if endpoint:
            try:
                url = urlsplit(endpoint if "://" in endpoint else "https://" + endpoint)
                host, port = url.hostname, url.port or PORTS[url.scheme]
            except (ValueError, KeyError):
                host, port = None, 0
            if not host:
                raise ConfigError(
                    f"regionendpoint: {quoted(endpoint)} is not a URL like https://s3.example.com"
                )
            self.endpoint = (host, port)
            self.base = url.path.rstrip("/")

    def key(self, location: str) -> str | None:
        """Return the key of the object that the URL *location* names in this bucket, or None."""
        if not location.isascii() or not location.isprintable() or "\\" in location:
            return None
        try:
            url = urlsplit(location)
            port = url.port or PORTS[url.scheme]
        except (ValueError, KeyError):
            return None
        host = url.hostname
        if not host or "@" in url.netloc or url.fragment or _BAD_ESCAPE.search(url.path):
            return None
        if not all(_PRESIGNED.fullmatch(name) for name, _ in parse_qsl(url.query, keep_blank_values=True)):
            return None
        path = self._path_in_bucket(host, port, url.scheme, url.path)
        if path is None:
            return None
        try:
            key = unquote_to_bytes(path).decode("utf-8")
        except UnicodeDecodeError:
            return None
        if "+" in path:
            return None  # S3 reads it as a space, others as a plus; a URL that means a plus has %2B
        # The key would not be the one that was meant.
        if not key.isprintable() or not has_whole_segments(key):
            return None
        return key

    def _path_in_bucket(self, host: str, port: int, scheme: str, path: str) -> str | None:
        """Return the part of *path* below the bucket, still encoded, or None for a URL outside the bucket."""
        if self.endpoint is not None:
            at_endpoint = (host, port) == self.endpoint
            as_host = (host, port) == (f"{self.name.lower()}.{self.endpoint[0]}", self.endpoint[1])
            base = self.base
        else:
            if port != PORTS[scheme]:
                return None
            at_endpoint = _AWS.fullmatch(host) is not None
            label = self.name.lower() + "."
            as_host = host.startswith(label) and _AWS.fullmatch(host, len(label)) is not None
            base = ""
        if as_host:
            start = base + "/"
        elif at_endpoint:
            start = f"{base}/{self.name}/"
        else:
            return None
        return path[len(start) :] if path.startswith(start) else None
