"""What CloudFront must be for a configuration: what ``template`` writes and ``check`` compares with."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cfmiddleware.config import build
from cfmiddleware.config.settings import is_cloudfront
from cfmiddleware.storage.s3 import S3Driver

from .wantedkeys import WantedKey, wanted_keys

if TYPE_CHECKING:
    from cfmiddleware.config import Config
    from cfmiddleware.storage.driver import Driver


@dataclass(frozen=True)
class Wanted:
    """What CloudFront and the bucket behind it must be.

    :param source: what messages call the configuration: the file's name.
    :param place: what stands in front of the name of an option of the wrapper, with a dot at its end.
    :param bucket: the bucket's name, or an access point's ARN or alias; empty where the storage is not S3.
    :param region: the bucket's region; empty where the storage is not S3.
    :param on_aws: whether the bucket is Amazon's.
    :param origin_host: the bucket's regional REST host; empty where the storage is not S3, and where it is
        an access point whose alias is not known.
    :param rootdirectory: the directory of the bucket that holds the registry: ``/`` and whole segments, or
        an empty string.
    :param originpath: the Origin Path: ``/`` and whole segments, or an empty string for a blank one.
    :param baseurl: the distribution's URL, without a slash at its end; empty where it is not known yet.
    :param host: its host, without a port.
    :param alias: whether that host is a name of the operator's own.
    :param privatekey: the option as it was resolved; never shown, because it may be the key itself.
    :param keys: the keys that sign, have signed or will; empty where none is configured.
    :param hash: ``sha1`` or ``sha256``.
    :param duration: how long a signed URL lives at the most, in seconds.
    :param bindip: whether URLs are bound to clients' IPv4 addresses.
    :param unsigned: whether nothing is signed.
    :param encrypt: whether the registry asks S3 to encrypt what it writes.
    :param keyid: the KMS key that it asks S3 to encrypt with; empty for S3's own.
    :param objectacl: the canned ACL that the registry gives its objects; empty for none.
    :param rewrites: whether entries of the section ``middleware`` change URLs on their way to clients.
    :param storage: the storage's driver.
    :param written: the wrapper's options as they were written; never shown, for the same reason.
    """

    source: str
    place: str
    bucket: str
    region: str
    on_aws: bool
    origin_host: str
    rootdirectory: str
    originpath: str
    baseurl: str
    host: str
    alias: bool
    privatekey: str = field(repr=False)
    keys: tuple[WantedKey, ...]
    hash: str
    duration: int
    bindip: bool
    unsigned: bool
    encrypt: bool
    keyid: str
    objectacl: str
    rewrites: bool
    storage: Driver
    written: Mapping[str, Any] = field(repr=False)

    @property
    def public_keys(self) -> dict[str, str]:
        """The public halves, as PEM, of the keys whose id is known."""
        return {key.id: key.public_pem for key in self.keys if key.id is not None}

    @property
    def is_access_point(self) -> bool:
        """Whether the bucket is reached through an access point, which has a policy of its own."""
        return self.bucket.startswith("arn:") or self.bucket.endswith("-s3alias")

    @property
    def signing(self) -> WantedKey | None:
        """The key that signs now; None where none does yet."""
        return next((key for key in self.keys if key.signs), None)


def wanted(config: Config) -> Wanted:
    """Return what CloudFront must be for a configuration.

    Nothing is connected to. The distribution's name and the keys' ids may not be known yet.

    :raises ConfigError: where there is no storage middleware ``cloudfront`` or no storage, and for keys that
        cannot be read.
    """
    with config.located():
        entry = build.cloudfront(config.settings)
        driver = build.storage(config.settings)
    options = entry.options
    with config.located(entry.place):
        keys = wanted_keys(options)
    s3 = driver.options if isinstance(driver, S3Driver) else None
    host = urlsplit(options.baseurl).hostname or ""
    return Wanted(
        source=config.source,
        place=entry.place,
        bucket=s3.bucket if s3 else "",
        region=s3.aws_region if s3 else "",
        on_aws=s3 is not None and s3.on_aws,
        origin_host=origin_host(s3.bucket, s3.aws_region) if s3 else "",
        rootdirectory=options.rootdirectory,
        originpath=options.cloudfront_originpath,
        baseurl=options.baseurl,
        host=host,
        alias=_is_alias(host),
        privatekey=options.privatekey,
        keys=keys,
        hash=options.hash,
        duration=options.duration,
        bindip=options.bindip,
        unsigned=options.unsigned,
        encrypt=s3 is not None and s3.encrypt,
        keyid=s3.keyid if s3 and s3.encrypt else "",
        objectacl=s3.objectacl if s3 else "",
        rewrites=bool(entry.rewrites_of_s3),
        storage=driver,
        written=entry.written,
    )


def origin_host(bucket: str, region: str) -> str:
    """Return the regional REST host of a bucket, which CloudFront must have as its origin.

    An access point's is its alias's, which its ARN does not say.
    """
    if bucket.startswith("arn:"):
        return ""
    return f"{bucket}.s3.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"


def _is_alias(host: str) -> bool:
    """Return whether a host is a name that an operator gave a distribution, and not CloudFront's own."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return "." in host and not is_cloudfront(host)
    return False
