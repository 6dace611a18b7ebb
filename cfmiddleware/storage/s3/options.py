"""The options of the S3 driver, named as Distribution names them."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from cfmiddleware.errors import ConfigError, nearest
from cfmiddleware.storage.options import Parser, count, flag, size, text
from cfmiddleware.storage.paths import clean_root

_log = logging.getLogger(__name__)

_MIB = 1 << 20

#: S3's limits (Amazon S3 User Guide, "Multipart upload limits"): a part, but for the last, and a single copy.
SMALLEST_PART = 5 * _MIB
LARGEST_PART = 5 << 30
MOST_PARTS = 10_000

_STORAGE_CLASSES = (
    "NONE",
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "OUTPOSTS",
    "GLACIER_IR",
)
_OBJECT_ACLS = (
    "private",
    "public-read",
    "public-read-write",
    "authenticated-read",
    "aws-exec-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
)


@dataclass(frozen=True, kw_only=True)
class S3Options:
    """What the S3 driver can be told.

    :param bucket: the bucket's name.
    :param region: the bucket's region; may be left out where *regionendpoint* is given.
    :param regionendpoint: the URL, or the host, of a server that is not Amazon's.
    :param accesskey: the id of the access key; without it, boto3 looks where it always does (environment,
        shared files, container and instance roles).
    :param secretkey: its secret.
    :param sessiontoken: the token that temporary keys come with.
    :param secure: whether to use TLS, where *regionendpoint* does not say it itself.
    :param skipverify: whether to accept any certificate.
    :param forcepathstyle: whether the bucket stands in the path instead of the host name; by default only
        with a *regionendpoint*.
    :param rootdirectory: what stands in front of every key.
    :param encrypt: whether the server encrypts objects; with its own key, or with *keyid*.
    :param keyid: the KMS key to encrypt with.
    :param chunksize: the size of an upload's parts, in bytes, and what one upload holds in memory several
        times over; 5 MiB to 5 GiB.
    :param storageclass: the storage class of new objects; ``NONE`` sends none.
    :param objectacl: the canned ACL of new objects; none is sent without it.
    :param multipartcopychunksize: the size of the parts that large objects are copied in, in bytes.
    :param multipartcopymaxconcurrency: how many of these parts are copied at a time.
    :param multipartcopythresholdsize: the largest object that is copied in one request, in bytes.
    :param maxconnections: how many idle connections a process keeps.
    :param smallest_part: the server's smallest part but for the last, in bytes; not for configuration files.
    :raises ConfigError: for what cannot work; the message begins with the option's name.
    """

    bucket: str = ""
    region: str = ""
    regionendpoint: str = ""
    accesskey: str = ""
    secretkey: str = field(default="", repr=False)
    sessiontoken: str = field(default="", repr=False)
    secure: bool = True
    skipverify: bool = False
    forcepathstyle: bool | None = None
    rootdirectory: str = ""
    encrypt: bool = False
    keyid: str = ""
    chunksize: int = 10 * _MIB
    storageclass: str = ""
    objectacl: str = ""
    multipartcopychunksize: int = 32 * _MIB
    multipartcopymaxconcurrency: int = 16
    multipartcopythresholdsize: int = 32 * _MIB
    maxconnections: int = 64
    smallest_part: int = SMALLEST_PART

    #: How each option is read from a configuration.
    PARSERS: ClassVar[Mapping[str, Parser]] = {
        "bucket": text,
        "region": text,
        "regionendpoint": text,
        "accesskey": text,
        "secretkey": text,
        "sessiontoken": text,
        "secure": flag,
        "skipverify": flag,
        "forcepathstyle": flag,
        "rootdirectory": text,
        "encrypt": flag,
        "keyid": text,
        "chunksize": size,
        "storageclass": text,
        "objectacl": text,
        "multipartcopychunksize": size,
        "multipartcopymaxconcurrency": count,
        "multipartcopythresholdsize": size,
        "maxconnections": count,
    }

    def __post_init__(self) -> None:
        if not self.bucket:
            raise ConfigError("bucket: is missing; it is the name of the bucket that holds the registry")
        if "/" in self.bucket:
            raise ConfigError("bucket: is a name without slashes; what is below it goes into rootdirectory")
        if not self.region and not self.regionendpoint:
            raise ConfigError("region: is missing; it is the bucket's region, such as eu-central-1")
        if not re.fullmatch(r"[A-Za-z0-9-]*", self.region):
            raise ConfigError("region: is a name such as eu-central-1")
        if not re.fullmatch(r"((https?://)?[^/\s@?#]+/?)?", self.regionendpoint):
            raise ConfigError("regionendpoint: is a URL such as https://s3.example.com, without a path")
        if self.secretkey and not self.accesskey:
            raise ConfigError("accesskey: is missing, but there is a secretkey; give both or neither")
        if self.accesskey and not self.secretkey:
            raise ConfigError("secretkey: is missing, but there is an accesskey; give both or neither")
        if self.sessiontoken and not self.accesskey:
            raise ConfigError("sessiontoken: needs the accesskey and secretkey that it came with")
        self._check_choice("storageclass", self.storageclass, _STORAGE_CLASSES)
        self._check_choice("objectacl", self.objectacl, _OBJECT_ACLS)
        self._check_part("chunksize", self.chunksize)
        self._check_part("multipartcopychunksize", self.multipartcopychunksize)
        if self.multipartcopythresholdsize > LARGEST_PART:
            raise ConfigError(
                "multipartcopythresholdsize: is more than 5GiB, the most that S3 copies at once"
            )
        for option in ("multipartcopymaxconcurrency", "maxconnections"):
            if getattr(self, option) < 1:
                raise ConfigError(f"{option}: must be at least 1")
        try:
            clean_root(self.rootdirectory)
        except ValueError as error:
            raise ConfigError(f"rootdirectory: {error}") from None
        if self.keyid and not self.encrypt:
            _log.warning("the S3 storage's keyid has no effect without encrypt: true")

    @staticmethod
    def _check_choice(option: str, value: str, known: tuple[str, ...]) -> None:
        if value and value not in known:
            raise ConfigError(f"{option}: must be one of {', '.join(known)}{nearest(value, known)}")

    def _check_part(self, option: str, value: int) -> None:
        if not self.smallest_part <= value <= LARGEST_PART:
            raise ConfigError(f"{option}: must be 5MiB to 5GiB, which are S3's limits for a part")

    @property
    def endpoint(self) -> str | None:
        """The URL of *regionendpoint*, or None for Amazon's own."""
        if not self.regionendpoint or "://" in self.regionendpoint:
            return self.regionendpoint or None
        return f"{'https' if self.secure else 'http'}://{self.regionendpoint}"

    @property
    def path_style(self) -> bool:
        """Whether the bucket stands in the path of a request."""
        return bool(self.regionendpoint) if self.forcepathstyle is None else self.forcepathstyle

    @property
    def parallel_copies(self) -> int:
        """How many parts one copy has in flight; more than there are connections would only wait."""
        return min(self.multipartcopymaxconcurrency, self.maxconnections)

    def new_object(self) -> dict[str, Any]:
        """Return the arguments that every request which makes an object carries."""
        arguments = {}
        if self.encrypt:
            arguments["ServerSideEncryption"] = "aws:kms" if self.keyid else "AES256"
            if self.keyid:
                arguments["SSEKMSKeyId"] = self.keyid
        if self.storageclass not in ("", "NONE"):
            arguments["StorageClass"] = self.storageclass
        if self.objectacl:
            arguments["ACL"] = self.objectacl
        return arguments
