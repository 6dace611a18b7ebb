"""From the failure of the first request to what an operator can do about it.

Messages name the option at fault and S3's code. They do not repeat S3's own text, the request or its
signature.
"""

from __future__ import annotations

import re

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    CredentialRetrievalError,
    EndpointConnectionError,
    EndpointProviderError,
    HTTPClientError,
    InvalidRegionError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProxyConnectionError,
    SSLError,
    TokenRetrievalError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)

from cfmiddleware.errors import ConfigError, StorageNotReached

from .errors import code_of, is_full, is_skewed, minutes_ahead, region_of, status_of
from .options import S3Options

# What is wrong with the bucket or the keys, whatever was asked for.
_WHENEVER = frozenset(
    (
        "NoSuchBucket",
        "AllAccessDisabled",
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "InvalidToken",
        "ExpiredToken",
    )
)


def config_error(error: Exception, options: S3Options, where: str) -> ConfigError:
    """Return what an operator can do about *error*, with which the first request failed.

    :param where: the place of the options in the configuration.
    """
    if isinstance(error, ClientError):
        option, problem = _refused(error, options)
    else:
        option, problem = _unanswered(error, options)
    kind = StorageNotReached if _may_pass(error, options) else ConfigError
    return kind(f"{where}.{option}: {problem}" if option else f"{where}: {problem}")


def advice(error: Exception, options: S3Options, where: str) -> str:
    """Return what :func:`config_error` says of *error*, if it holds for any request and not only for the
    first; else an empty string.
    """
    if isinstance(error, ClientError) and not (
        code_of(error) in _WHENEVER or region_of(error) or is_skewed(error) or is_full(error)
    ):
        return ""
    return str(config_error(error, options, where))


def _may_pass(error: Exception, options: S3Options) -> bool:
    """Return whether the same request may succeed later, with the same options: nobody was there, or who was
    there failed.
    """
    if isinstance(error, ClientError):
        return status_of(error) >= 500 or code_of(error) == "SlowDown"
    if isinstance(error, SSLError):
        return False
    if isinstance(error, ConnectionClosedError) and _server(options).startswith("http:"):
        return False  # it may speak TLS only
    return isinstance(error, BotoConnectionError | HTTPClientError | OSError)


def _server(options: S3Options) -> str:
    return options.endpoint or f"S3 in {options.region}"


def _address(options: S3Options) -> str:
    """Return the option that says where requests go."""
    if options.regionendpoint:
        return "regionendpoint"
    special = ("accelerate", "usefipsendpoint", "usedualstack")
    return next((option for option in special if getattr(options, option)), "region")


def _refused(error: ClientError, options: S3Options) -> tuple[str, str]:
    """Return the option at fault, if it is one, and the problem, where S3 answered."""
    bucket, server, code = repr(options.bucket), _server(options), code_of(error)
    found = "the key that boto3 found in the environment or elsewhere"
    key = "this key" if options.accesskey else found
    if region := region_of(error):
        return _elsewhere(region, code, options)
    if is_skewed(error):
        return "", f"this machine's clock {_deviation(error)} that of {server}; set the clock"
    if is_full(error):
        return (
            "bucket",
            f"there is no room left in {bucket} at {server} ({code}); make room, or raise the quota",
        )
    if code == "400" and not (options.endpoint or "https:").startswith("https:"):
        return _no_tls(options)
    whose = "the accesskey" if options.accesskey else found
    by_code = {
        "NoSuchBucket": ("bucket", f"there is no bucket {bucket} at {server}"),
        "404": ("bucket", f"there is no bucket {bucket} at {server}"),
        "InvalidBucketName": ("bucket", f"{bucket} is not the name of a bucket"),
        "AllAccessDisabled": ("bucket", f"all access to {bucket} is disabled"),
        "AccessDenied": ("accesskey", f"{key} may not list the bucket {bucket} (s3:ListBucket)"),
        "InvalidAccessKeyId": ("accesskey", f"{server} does not know {key}"),
        "SignatureDoesNotMatch": ("secretkey", f"is not the secret that belongs to {whose}"),
        "InvalidToken": ("sessiontoken", "is not valid"),
        "ExpiredToken": ("sessiontoken", "has expired"),
    }
    return by_code.get(code, (_address(options), f"{server} answered the first request with {code}"))


def _elsewhere(region: str, code: str, options: S3Options) -> tuple[str, str]:
    # A server of one's own that goes by another region's name is at the right address.
    address = (
        "regionendpoint" if options.regionendpoint and code != "AuthorizationHeaderMalformed" else "region"
    )
    used = options.endpoint if address == "regionendpoint" else options.region or "us-east-1"
    what = f"the bucket {options.bucket!r} is in {region}, not in {used}"
    return address, what if region == "another region" else f"{what}; set region: {region}"


def _deviation(error: ClientError) -> str:
    """Return by how much the clock is wrong, as far as the answer's date says it."""
    minutes = minutes_ahead(error)
    # An answer can be on its way for long, or come from something in between.
    if abs(minutes) < 2:
        return "differs by more than 15 minutes from"
    return f"is {abs(minutes)} minutes {'ahead of' if minutes > 0 else 'behind'}"


def _unanswered(error: Exception, options: S3Options) -> tuple[str, str]:
    """Return the option at fault and the problem, where S3 did not answer or was not asked."""
    server, address = _server(options), _address(options)
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return "accesskey", "is missing, and boto3 found no credentials in the environment or elsewhere"
    if isinstance(error, CredentialRetrievalError | TokenRetrievalError):
        return "accesskey", f"is missing, and boto3 could not get credentials ({type(error).__name__})"
    if isinstance(error, ParamValidationError):
        return "bucket", f"{options.bucket!r} is not the name of a bucket"
    if isinstance(error, InvalidRegionError):
        return "region", f"{options.region!r} is not the name of a region"
    if isinstance(error, EndpointProviderError):
        return address, f"does not work for the bucket {options.bucket!r} in {options.region}: {error}"
    if isinstance(error, SSLError):
        return _tls(error, options)
    if isinstance(error, EndpointConnectionError):
        return address, f"{server} cannot be reached"
    if isinstance(error, ProxyConnectionError):
        return address, f"the proxy on the way to {server} (HTTPS_PROXY, HTTP_PROXY) cannot be reached"
    if isinstance(error, ConnectionClosedError) and server.startswith("http:"):
        return _no_tls(options)
    if isinstance(error, BotoCoreError | OSError):
        return address, f"{server} did not answer ({type(error).__name__})"
    return address, f"the first request to {server} failed ({type(error).__name__})"


def _tls(error: SSLError, options: S3Options) -> tuple[str, str]:
    server = _server(options)
    verification = re.search(r"certificate verify failed: ([^(\n]{1,200})", str(error))
    if verification:
        return "skipverify", (
            f"the certificate of {server} is not trusted here ({verification[1].strip()}); name its CA's "
            "file in AWS_CA_BUNDLE, or set skipverify: true to trust any"
        )
    if "://" in options.regionendpoint:
        return "regionendpoint", f"{server} does not speak TLS; write http:// (secure has no say beside it)"
    return "secure", f"{server} does not speak TLS; set secure: false"


def _no_tls(options: S3Options) -> tuple[str, str]:
    server = _server(options)
    if "://" in options.regionendpoint:
        return "regionendpoint", f"{server} takes no plain HTTP; write https:// if it speaks TLS"
    return "secure", f"{server} takes no plain HTTP; set secure: true if it speaks TLS"
