"""Where requests go and what they are signed with, as far as that can be known without boto3.

boto3 takes half a second of the processor to read its models, its rules of endpoints, its files and its
variables. Where the options say all that these could say, and neither a file nor a variable says anything
else, none of it is needed for simple requests. In every other case boto3 is asked.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from typing import NamedTuple, Self

from .options import S3Options

# What boto3 reads and what changes nothing here. Files are looked at by themselves.
_WITHOUT_EFFECT = frozenset(
    (
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_EC2_METADATA_DISABLED"),
        *("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"),
        "AWS_CA_BUNDLE",
    )
)
_PROXIES = frozenset(("http_proxy", "https_proxy", "all_proxy"))

# Names that mean nothing but a bucket, and with which a host's name can begin.
_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9]|-(?!-)){1,61}[a-z0-9]")
_ENDPOINT = re.compile(r"(https?)://[a-z0-9][a-z0-9.-]*(:[0-9]+)?")
_KEY = re.compile("[!-~]+")
# Regions whose servers have names of the usual form.
_REGION = re.compile(r"(?:af|ap|ca|eu|il|me|mx|sa|us)-[a-z]{4,}-[0-9]")
_NOT_USUAL = re.compile(r"us-(?:gov|iso)|us-east-1$")


class Keys(NamedTuple):
    """What requests are signed with, with botocore's names."""

    access_key: str
    secret_key: str
    token: str | None

    def get_frozen_credentials(self) -> Self:
        """Return these: they do not change."""
        return self


class Simple(NamedTuple):
    """What boto3 would say of the options.

    :param base: the URL of the bucket, with a slash at its end.
    :param authorities: the file of the certificates that are trusted; empty for those that botocore brings.
    """

    base: str
    keys: Keys
    authorities: str


def without_boto3(options: S3Options, environ: Mapping[str, str] = os.environ) -> Simple | None:
    """Return what is known without boto3, or None where it has to be asked."""
    asked_for_more = (
        not options.v4auth
        or options.retrymode == "adaptive"
        or options.log_requests
        or options.accelerate
        or options.usedualstack
        or options.usefipsendpoint
    )
    if asked_for_more or _is_told_otherwise(environ):
        return None
    base, keys = _base(options), _keys(options, environ)
    return None if base is None or keys is None else Simple(base, keys, _authorities(environ))


def _base(options: S3Options) -> str | None:
    if not _BUCKET.fullmatch(options.bucket) or options.bucket.endswith("-s3alias"):
        return None
    if options.endpoint is None:
        region = options.region
        usual = _REGION.fullmatch(region) and not _NOT_USUAL.match(region)
        if not usual or options.path_style or not options.secure:
            return None
        return f"https://{options.bucket}.s3.{region}.amazonaws.com/"
    named = _ENDPOINT.fullmatch(options.endpoint)
    if named is None or not options.path_style or options.on_aws:
        return None
    if named[2] in (":80", ":443"):  # which stands in some places and in others not
        return None
    return f"{options.endpoint}/{options.bucket}/"


def _keys(options: S3Options, environ: Mapping[str, str]) -> Keys | None:
    if options.accesskey:
        keys = Keys(options.accesskey, options.secretkey, options.sessiontoken or None)
    else:
        access, secret = environ.get("AWS_ACCESS_KEY_ID", ""), environ.get("AWS_SECRET_ACCESS_KEY", "")
        keys = Keys(access, secret, environ.get("AWS_SESSION_TOKEN") or None)
    # A line's end would end a header.
    sent = (keys.access_key, keys.secret_key, keys.token or "none")
    return keys if all(map(_KEY.fullmatch, sent)) else None


def _authorities(environ: Mapping[str, str]) -> str:
    return environ.get("AWS_CA_BUNDLE") or environ.get("REQUESTS_CA_BUNDLE", "")


def _is_told_otherwise(environ: Mapping[str, str]) -> bool:
    """Return whether anything beside the options may have a say: a variable, a file, or a proxy."""
    if sys.platform in ("darwin", "win32"):  # which have proxies in their settings
        return True
    for name, value in environ.items():
        if name.startswith(("AWS_", "BOTO")) and name not in _WITHOUT_EFFECT:
            return True
        if value and name.lower() in _PROXIES:
            return True
    home = os.path.expanduser("~/.aws")
    files = (
        environ.get("AWS_CONFIG_FILE", f"{home}/config"),
        environ.get("AWS_SHARED_CREDENTIALS_FILE", f"{home}/credentials"),
    )
    return os.path.isdir(f"{home}/models") or any(_says_something(file) for file in files)


def _says_something(file: str) -> bool:
    try:
        return os.stat(os.path.expanduser(os.path.expandvars(file))).st_size > 0
    except (OSError, ValueError):
        return False
