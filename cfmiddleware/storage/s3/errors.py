"""From boto3's exceptions to ours.

Messages name the operation and S3's code. They do not repeat S3's own text, the request or its signature.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError

from cfmiddleware.errors import (
    ObjectNotFound,
    StorageClockWrong,
    StorageError,
    StorageFailed,
    StorageFull,
    StorageRefused,
    StorageUnavailable,
)

from .httpdate import http_date

# A HEAD has no body, and so no code but its status. A key that is too long for S3 cannot have an object.
_ABSENT = frozenset(("NoSuchKey", "404", "KeyTooLongError"))

# Minutes by which a clock may be wrong; S3 refuses what is signed with one that is worse.
_SKEW = 15

# Of Ceph, MinIO and others; Amazon has always room.
_FULL = frozenset(("QuotaExceeded", "XMinioStorageFull", "InsufficientCapacity", "507"))

# What S3 says of a bucket in another region; a HEAD has only its status.
_ELSEWHERE = frozenset(
    (
        "301",
        "307",
        "PermanentRedirect",
        "TemporaryRedirect",
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
    )
)


def code_of(error: ClientError) -> str:
    """Return S3's code of *error*, such as ``NoSuchKey``, or its status as text."""
    return str(error.response.get("Error", {}).get("Code", "")) or str(status_of(error))


def status_of(error: ClientError) -> int:
    """Return the HTTP status of *error*."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def was_retried(error: ClientError) -> bool:
    """Return whether the request that got *error* had been sent before, and may have succeeded then."""
    return int(error.response.get("ResponseMetadata", {}).get("RetryAttempts", 0)) > 0


def region_of(error: ClientError) -> str:
    """Return the region that the bucket is in, where S3 refused a request because it is another one than the
    request was signed for or sent to; an empty string where it refused for anything else.
    """
    if code_of(error) not in _ELSEWHERE:
        return ""
    details: Mapping[str, object] = {**error.response.get("Error", {})}
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    region = str(headers.get("x-amz-bucket-region") or details.get("Region") or "another region")
    return region if re.fullmatch("[A-Za-z0-9 -]{1,40}", region) else "another region"


def minutes_ahead(error: ClientError) -> int:
    """Return by how many minutes this machine's clock is ahead of the one that dated the answer; 0 where the
    answer has no date.
    """
    date = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        return round((time.time() - http_date(date).timestamp()) / 60)
    except (ValueError, OverflowError):
        return 0


def is_skewed(error: ClientError) -> bool:
    """Return whether S3 refused a request because of its time.

    The answer to a HEAD has no code, but a date.
    """
    code = code_of(error)
    return code == "RequestTimeTooSkewed" or (code == "403" and abs(minutes_ahead(error)) >= _SKEW)


def is_full(error: ClientError) -> bool:
    """Return whether S3 refused a request because it has no room left."""
    return code_of(error) in _FULL or status_of(error) == 507


def broken_off() -> tuple[type[BaseException], ...]:
    """Return what is raised where a body breaks off: boto3 hands on some of urllib3's exceptions."""
    urllib3 = sys.modules.get("urllib3.exceptions")
    return (BotoCoreError, OSError, *(() if urllib3 is None else (urllib3.HTTPError,)))


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Turn what boto3 raises on behalf of *path* into a :class:`StorageError`."""
    try:
        yield
    except (ClientError, BotoCoreError, OSError) as error:
        raise storage_error(error, path) from error


def storage_error(error: Exception, path: str) -> StorageError:
    """Return what *error*, raised by boto3 on behalf of *path*, means."""
    if isinstance(error, ClientError):
        code = code_of(error)
        if code in _ABSENT:
            return ObjectNotFound(path)
        elsewhere = f"; the bucket is in {region}" if (region := region_of(error)) else ""
        return _kind(error)(
            f"S3 refused {error.operation_name} of {path}: {code} ({status_of(error)}){elsewhere}"
        )
    return StorageUnavailable(f"S3 did not answer for {path}: {type(error).__name__}")


def _kind(error: ClientError) -> type[StorageUnavailable]:
    """Return which kind of failure a refusal is."""
    if is_full(error):
        return StorageFull
    if is_skewed(error):
        return StorageClockWrong
    if is_lasting(error):
        return StorageRefused
    return StorageFailed


def is_lasting(error: ClientError) -> bool:
    """Return whether S3 would refuse the same request again."""
    status = status_of(error)
    may_pass = (status >= 500 and status != 501) or status in (408, 409, 429)
    return not may_pass and code_of(error) not in ("RequestTimeout", "SlowDown")


def is_unknown_here(error: ClientError) -> bool:
    """Return whether the refusal may mean that the server does not have what was asked for, as servers other
    than Amazon's do not have all. They say so in many ways.
    """
    return status_of(error) in (400, 404, 405, 411, 501) and is_lasting(error) and not region_of(error)
