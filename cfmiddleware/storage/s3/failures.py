"""From boto3's exceptions to ours, and to what an operator can do about them.

Messages name the operation and S3's code. They do not repeat S3's own text, the request or its signature.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    SSLError,
    TokenRetrievalError,
)

from cfmiddleware.errors import ConfigError, ObjectNotFound, StorageError, StorageUnavailable

from .options import S3Options

# A HEAD has no body and so no code but its status. A key that is too long for S3 is no object's.
_ABSENT = frozenset(("NoSuchKey", "404", "KeyTooLongError"))


def code_of(error: ClientError) -> str:
    """Return S3's code of *error*, such as ``NoSuchKey``, or its status as text."""
    return str(error.response.get("Error", {}).get("Code", "")) or str(status_of(error))


def status_of(error: ClientError) -> int:
    """Return the HTTP status of *error*."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def was_retried(error: ClientError) -> bool:
    """Whether the request that got *error* had been sent before, and may have succeeded then."""
    return int(error.response.get("ResponseMetadata", {}).get("RetryAttempts", 0)) > 0


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
        return StorageUnavailable(f"S3 refused {error.operation_name} of {path}: {code} ({status_of(error)})")
    return StorageUnavailable(f"S3 did not answer for {path}: {type(error).__name__}")


def config_error(error: Exception, options: S3Options, where: str) -> ConfigError:
    """Return what an operator can do about *error*, with which the first request failed."""
    option, problem = _advice(error, options)
    return ConfigError(f"{where}.{option}: {problem}")


def _advice(error: Exception, options: S3Options) -> tuple[str, str]:
    bucket = repr(options.bucket)
    address = "regionendpoint" if options.regionendpoint else "region"
    server = options.endpoint or f"S3 in {options.region}"
    if isinstance(error, ClientError):
        code = code_of(error)
        by_code = {
            "NoSuchBucket": ("bucket", f"there is no bucket {bucket} at {server}"),
            "404": ("bucket", f"there is no bucket {bucket} at {server}"),
            "InvalidBucketName": ("bucket", f"{bucket} is no name of a bucket"),
            "AccessDenied": ("accesskey", f"this key may not list the bucket {bucket} (s3:ListBucket)"),
            "AllAccessDisabled": ("bucket", f"all access to {bucket} is disabled"),
            "InvalidAccessKeyId": ("accesskey", f"{server} does not know this key"),
            "SignatureDoesNotMatch": ("secretkey", "is not the secret that belongs to the accesskey"),
            "InvalidToken": ("sessiontoken", "is not valid"),
            "ExpiredToken": ("sessiontoken", "has expired"),
            "RequestTimeTooSkewed": ("region", "this machine's clock differs too much from S3's; set it"),
            "AuthorizationHeaderMalformed": ("region", f"the bucket {bucket} is in another region"),
            "PermanentRedirect": (address, f"the bucket {bucket} is in another region"),
            "301": (address, f"the bucket {bucket} is in another region"),
        }
        return by_code.get(code, (address, f"{server} answered the first request with {code}"))
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return "accesskey", "is missing, and boto3 found no credentials in the environment or elsewhere"
    if isinstance(error, CredentialRetrievalError | TokenRetrievalError):
        return "accesskey", f"is missing, and boto3 could not get credentials ({type(error).__name__})"
    if isinstance(error, ParamValidationError):
        return "bucket", f"{bucket} is no name of a bucket"
    if isinstance(error, SSLError):
        return address, f"{server} has no certificate that this machine trusts (AWS_CA_BUNDLE, skipverify)"
    if isinstance(error, EndpointConnectionError):
        return address, f"{server} cannot be reached"
    if isinstance(error, ConnectionError | HTTPClientError | OSError):
        return address, f"{server} did not answer ({type(error).__name__})"
    return address, f"the first request to {server} failed ({type(error).__name__})"
