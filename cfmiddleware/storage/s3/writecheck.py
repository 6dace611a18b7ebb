"""Whether S3 takes writes as the registry makes them: tried once, before anything is served.

An upload's states are written with ``If-None-Match: *``, so that of two requests one wins. Amazon has that
since 2024. Other servers may refuse it, or pass over it and write.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from cfmiddleware.errors import ConfigError, StorageFull

from .connection import connect
from .diagnosis import config_error
from .errors import code_of, is_lasting, is_unknown_here, status_of, storage_error
from .options import S3Options

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_PROMISE = "two chunks sent to one upload at the same moment may both be taken"


def check_writes(options: S3Options, where: str, key: str, new_object: Mapping[str, Any]) -> list[str]:
    """Write an object to *key* only if nothing is there, twice, and delete it. Return what cannot be done and
    is not needed.

    :param where: the place of the options in the configuration.
    :param key: nothing is there.
    :param new_object: the arguments that every new object gets.
    :raises ConfigError: when S3 does not answer, and for what ``conditionalwrites: required`` forbids.
    """
    try:
        client = connect(options.for_check()).client
        found = _attempt(client, options, key, new_object)
    except (ClientError, BotoCoreError, OSError, ValueError) as error:
        raise config_error(error, options, where) from error
    if found.startswith("conditionalwrites") and options.conditionalwrites == "required":
        raise ConfigError(f"{where}.{found}")
    return [f"{where}.{found}"] if found else []


def _attempt(client: S3Client, options: S3Options, key: str, new_object: Mapping[str, Any]) -> str:
    """Return what is wrong, beginning with an option, or an empty string.

    :raises ClientError: for a refusal that may pass.
    """
    conditional = options.conditionalwrites != "off"
    try:
        _put(client, options, key, new_object, conditional=conditional)
    except ClientError as error:
        if conditional and is_unknown_here(error):
            return (
                f"conditionalwrites: the server refuses If-None-Match ({code_of(error)}); {_PROMISE} "
                "(auto goes on so, required does not)"
            )
        return _refused(error, "write", "s3:PutObject", "no push can work")
    try:
        if conditional:
            _put(client, options, key, new_object, conditional=True)
            return (
                f"conditionalwrites: the server passes over If-None-Match and overwrites; {_PROMISE} "
                "(off makes that unlikely, required does not start)"
            )
    except ClientError as error:
        if status_of(error) not in (409, 412):
            return _refused(error, "write", "s3:PutObject", "pushes may fail")
    finally:
        refusal = _delete(client, options, key)
    return refusal


def _put(
    client: S3Client, options: S3Options, key: str, new_object: Mapping[str, Any], *, conditional: bool
) -> None:
    condition: dict[str, Any] = {"IfNoneMatch": "*"} if conditional else {}
    client.put_object(Bucket=options.bucket, Key=key, Body=b"", **new_object, **condition)


def _delete(client: S3Client, options: S3Options, key: str) -> str:
    with contextlib.suppress(BotoCoreError, OSError):
        try:
            client.delete_object(Bucket=options.bucket, Key=key)
        except ClientError as error:
            left = "what uploads leave behind stays"
            if is_lasting(error):
                return _refused(error, "delete", "s3:DeleteObject", left)
            # Pushes do without it, so the registry need not wait.
            return f"bucket: S3 does not delete at present ({code_of(error)}); {left}"
    return ""


def _refused(error: ClientError, verb: str, action: str, result: str) -> str:
    if isinstance(storage_error(error, ""), StorageFull):
        return f"bucket: has no room left ({code_of(error)}); {result}"
    if not is_lasting(error):
        raise error
    return f"accesskey: S3 does not let the registry {verb} ({action}: {code_of(error)}); {result}"
