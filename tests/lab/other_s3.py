"""Servers that speak S3's protocol and do not have all that Amazon's has, each as a gate in front of one that
has: a fault for `S3Proxy`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lab.s3_proxy import Environ, Fault, Request, always, refuse
from lab.watched_s3 import WatchedS3


def is_operation(*operations: str) -> Callable[[Environ], bool]:
    return lambda environ: Request.of(environ).operation in operations


def header(environ: Environ, name: str) -> str:
    named = {key.lower(): value for key, value in environ["lab.headers"].items()}
    return str(named.get(name.lower(), ""))


def wants_md5(environ: Environ) -> bool:
    return is_operation("DeleteObjects")(environ) and not header(environ, "Content-MD5")


def is_conditional(environ: Environ) -> bool:
    return bool(header(environ, "If-None-Match")) and is_operation("PutObject")(environ)


def passes_over_conditions(server: WatchedS3) -> Fault:
    """Return a gate that overwrites what a conditional write finds, as a server does that does not know it.

    The object is deleted first: the condition is part of what is signed.
    """

    def gate(environ: Environ, start_response: Any, app: Any) -> Iterable[bytes] | None:
        if is_conditional(environ):
            key = Request.of(environ).path.lstrip("/").partition("/")[2]
            server.server.client().delete_object(Bucket=server.bucket, Key=key)
        return None

    return gate


def wants_equal_parts(server: WatchedS3) -> Fault:
    """Return a gate that completes only uploads whose parts have one length but the last, as R2 does."""
    refused = refuse("400 Bad Request", "InvalidPart")

    def gate(environ: Environ, start_response: Any, app: Any) -> Iterable[bytes] | None:
        request = Request.of(environ)
        if request.operation != "CompleteMultipartUpload":
            return None
        key = request.path.lstrip("/").partition("/")[2]
        upload = request.query.partition("uploadId=")[2].partition("&")[0]
        listed = server.server.client().list_parts(Bucket=server.bucket, Key=key, UploadId=upload)
        sizes = [part["Size"] for part in listed["Parts"]]
        equal = len(set(sizes[:-1])) < 2 and sizes[-1] <= sizes[0]
        return None if equal else refused(environ, start_response, app)

    return gate


#: By what they lack.
OTHERS: Mapping[str, Callable[[WatchedS3], Fault]] = {
    "Content-MD5 is wanted": lambda server: always(refuse("400 Bad Request", "MissingContentMD5"), wants_md5),
    "no DeleteObjects": lambda server: always(
        refuse("501 Not Implemented", "NotImplemented"), is_operation("DeleteObjects")
    ),
    "DeleteObjects is an invalid argument": lambda server: always(
        refuse("400 Bad Request", "InvalidArgument"), is_operation("DeleteObjects")
    ),
    "equal parts": wants_equal_parts,
    "conditional writes are refused": lambda server: always(
        refuse("501 Not Implemented", "NotImplemented"), is_conditional
    ),
    "conditional writes are passed over": passes_over_conditions,
    "no ListMultipartUploads": lambda server: always(
        refuse("403 Forbidden", "AccessDenied"), is_operation("ListMultipartUploads")
    ),
    "no ListParts": lambda server: always(
        refuse("501 Not Implemented", "NotImplemented"), is_operation("ListParts")
    ),
    "nothing is deleted": lambda server: always(
        refuse("403 Forbidden", "AccessDenied"), is_operation("DeleteObjects", "DeleteObject")
    ),
}
