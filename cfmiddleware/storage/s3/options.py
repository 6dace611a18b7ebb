"""The options of the S3 driver, with Distribution's names if Distribution has them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar
from urllib.parse import urlsplit

from cfmiddleware.errors import ConfigError
from cfmiddleware.parse import Parser, boolean, choice, exact_text, nearest, positive, seconds, size
from cfmiddleware.storage.pathcheck import clean_root

_MIB = 1 << 20

#: S3's limits (Amazon S3 User Guide, "Multipart upload limits"): a part, but for the last, and a single copy.
SMALLEST_PART = 5 * _MIB
LARGEST_PART = 5 << 30
MOST_PARTS = 10_000

# Classes whose objects can be read at once. A registry cannot use the others.
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
_ARCHIVE_CLASSES = ("GLACIER", "DEEP_ARCHIVE")

_OBJECT_ACLS = (
    "private",
    "public-read",
    "public-read-write",
    "authenticated-read",
    "aws-exec-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
)

# The regions that were there before 2014; all others take signatures of version 4 only (AWS General
# Reference, "Signature Version 2").
_REGIONS_WITH_V2 = (
    "us-east-1",
    "us-west-1",
    "us-west-2",
    "us-gov-west-1",
    "eu-west-1",
    "ap-northeast-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "sa-east-1",
)

# Distribution's. Each but the first logs the requests; none logs a body or a signature here.
_LOG_LEVELS = (
    "off",
    "debug",
    "debugwithsigning",
    "debugwithhttpbody",
    "debugwithrequestretries",
    "debugwithrequesterrors",
    "debugwitheventstreambody",
)

# Those of one region (Amazon S3 User Guide, "Referencing access points with ARNs").
_ACCESS_POINT = re.compile(
    r"arn:aws[a-z-]*:s3:(?P<region>[a-z0-9-]+):[0-9]{12}:accesspoint[/:][a-z0-9-]{3,50}"
)

_RETRY_MODES = ("standard", "adaptive")


def _log_level(value: object, name: str) -> str:
    # What YAML makes of an unquoted off.
    return "off" if value is False else choice(value, name, _LOG_LEVELS)


def _retry_mode(value: object, name: str) -> str:
    return choice(value, name, _RETRY_MODES)


def _conditional_writes(value: object, name: str) -> str:
    return "off" if value is False else choice(value, name, ("auto", "required", "off"))


@dataclass(frozen=True, kw_only=True)
class S3Options:
    """The options of the S3 driver.

    :param bucket: required: the bucket's name, or the ARN of an access point.
    :param region: the bucket's region, required unless *regionendpoint* is given. A region other than the
        bucket's is an error at the start, and is never followed silently.
    :param regionendpoint: the URL, or the host, of a server that speaks S3's protocol; Amazon's own by
        default.
    :param redirectendpoint: the URL, or the host, under which clients reach that server: presigned URLs
        lead there, the registry's own requests do not. The same as for those requests by default.
    :param accesskey: the id of the access key. Where it and *secretkey* are empty or absent, boto3 looks
        in the environment, in shared files, and asks the container or the instance. One without the other
        is an error.
    :param secretkey: the secret of the access key.
    :param sessiontoken: the token that temporary keys come with.
    :param secure: whether to use TLS, where an endpoint has no ``http://`` or ``https://`` of its own.
    :param skipverify: whether to accept any certificate; a warning says so. It is better to name the
        authority's file in the variable ``AWS_CA_BUNDLE``.
    :param forcepathstyle: whether the bucket stands in the path of a URL instead of the host name; by
        default only with a *regionendpoint*.
    :param v4auth: whether to sign with version 4, presigned URLs included. ``false`` is version 2: an
        error in Amazon's regions that opened since 2014 and with a *keyid*, a warning in the older ones.
    :param usedualstack: whether to use Amazon's endpoints that have IPv6 addresses as well. Not with
        *regionendpoint*.
    :param accelerate: whether to use S3 Transfer Acceleration. Not with *regionendpoint*,
        *forcepathstyle*, *usefipsendpoint*, or a dot in the bucket's name.
    :param usefipsendpoint: whether to use Amazon's FIPS 140 endpoints. Not with *regionendpoint*.
    :param useragent: what is appended to the ``User-Agent`` of every request.
    :param rootdirectory: what stands in front of every key.
    :param encrypt: whether the server encrypts objects; with its own key, or with *keyid*.
    :param keyid: the KMS key to encrypt with. It is ignored, with a warning, unless *encrypt* is on.
    :param chunksize: the size of an upload's parts, 5 MiB to 5 GiB.
    :param storageclass: the storage class of new objects, one whose objects can be read at once:
        ``STANDARD``, ``REDUCED_REDUNDANCY``, ``STANDARD_IA``, ``ONEZONE_IA``, ``INTELLIGENT_TIERING``,
        ``OUTPOSTS``, ``GLACIER_IR``. ``NONE`` sends none. ``GLACIER`` and ``DEEP_ARCHIVE`` are errors.
    :param objectacl: the canned ACL of new objects; none is sent without it.
    :param multipartcopychunksize: the size of the parts in which larger objects are copied, 5 MiB to 5
        GiB.
    :param multipartcopymaxconcurrency: how many parts of one copy are on their way at the same time.
    :param multipartcopythresholdsize: the largest object that S3 copies in one request; at most 5 GiB.
    :param equalparts: whether all parts of a copy have the same length, but for the last. Some servers, such
        as Cloudflare's R2, want that. It costs nothing where an upload is one ``PATCH``, or several of one
        length; otherwise parts are short, and those that hold bytes of two ``PATCH`` are read and sent. By
        default only with a *regionendpoint*.
    :param conditionalwrites: whether writes carry ``If-None-Match: *`` where one of two must win.
        ``required``: a server that refuses or ignores it is an error at the start. ``auto``: it is a
        warning, and where the server refuses it the registry does as with ``off``. ``off``: it looks first
        whether something is there, so that two chunks sent to one upload at the same moment may both be
        taken; the digest then does not match, and the push has to be repeated.
    :param maxpartsinflight: how many parts of one upload are on their way at the same time, while the
        next one fills.
    :param uploadbuffers: how many parts a process holds in memory for all its uploads. Each upload is
        sure of one, so there are more where there are more uploads.
    :param maxconnections: how many idle connections a process keeps.
    :param retrymode: boto3's way to repeat what failed with 500, 503, a timeout or a cut connection:
        ``standard``, or ``adaptive``, which also slows down when S3 asks for it.
    :param maxattempts: how often a request is sent at the most, whatever became of others: boto3's own budget
        for retries does not apply.
    :param connecttimeout: how long an attempt waits for a connection, in seconds.
    :param readtimeout: how long an attempt waits for the next bytes of the response, in seconds.
    :param checksums: whether requests carry checksums that S3 does not require, and responses are
        compared with theirs. By default boto3's own choice for Amazon, and ``false`` with a
        *regionendpoint*: other servers may not understand them over TLS.
    :param loglevel: whether every request is a line in the log: operation, key, status, attempts, time.
        ``off``, or ``debug`` and Distribution's other names. No level logs a body, a header or a
        signature.
    :param smallest_part: the server's smallest part but for the last, in bytes; not for configuration files.
    :param most_parts: how many parts an object may have at the most; not for configuration files.
    :raises ConfigError: for options that cannot work; the message begins with the option's name.
    """

    bucket: str = ""
    region: str = ""
    regionendpoint: str = ""
    redirectendpoint: str = ""
    accesskey: str = ""
    secretkey: str = field(default="", repr=False)
    sessiontoken: str = field(default="", repr=False)
    secure: bool = True
    skipverify: bool = False
    forcepathstyle: bool | None = None
    v4auth: bool = True
    usedualstack: bool = False
    accelerate: bool = False
    usefipsendpoint: bool = False
    useragent: str = ""
    rootdirectory: str = ""
    encrypt: bool = False
    keyid: str = ""
    chunksize: int = 10 * _MIB
    storageclass: str = ""
    objectacl: str = ""
    multipartcopychunksize: int = 32 * _MIB
    multipartcopymaxconcurrency: int = 16
    multipartcopythresholdsize: int = 32 * _MIB
    equalparts: bool | None = None
    conditionalwrites: str = "auto"
    maxpartsinflight: int = 4
    uploadbuffers: int = 4
    maxconnections: int = 64
    retrymode: str = "standard"
    maxattempts: int = 6
    connecttimeout: int = 10
    readtimeout: int = 60
    checksums: bool | None = None
    loglevel: str = "off"
    smallest_part: int = SMALLEST_PART
    most_parts: int = MOST_PARTS

    #: How each option is read from a configuration.
    PARSERS: ClassVar[Mapping[str, Parser]] = {
        "bucket": exact_text,
        "region": exact_text,
        "regionendpoint": exact_text,
        "redirectendpoint": exact_text,
        "accesskey": exact_text,
        "secretkey": exact_text,
        "sessiontoken": exact_text,
        "secure": boolean,
        "skipverify": boolean,
        "forcepathstyle": boolean,
        "v4auth": boolean,
        "usedualstack": boolean,
        "accelerate": boolean,
        "usefipsendpoint": boolean,
        "useragent": exact_text,
        "rootdirectory": exact_text,
        "encrypt": boolean,
        "keyid": exact_text,
        "chunksize": size,
        "storageclass": exact_text,
        "objectacl": exact_text,
        "multipartcopychunksize": size,
        "multipartcopymaxconcurrency": positive,
        "multipartcopythresholdsize": size,
        "equalparts": boolean,
        "conditionalwrites": _conditional_writes,
        "maxpartsinflight": positive,
        "uploadbuffers": positive,
        "maxconnections": positive,
        "retrymode": _retry_mode,
        "maxattempts": positive,
        "connecttimeout": seconds,
        "readtimeout": seconds,
        "checksums": boolean,
        "loglevel": _log_level,
    }

    def __post_init__(self) -> None:
        self._check_place()
        self._check_credentials()
        self._check_contradictions()
        self._check_version_2()
        self._check_objects()
        for option in (
            "multipartcopymaxconcurrency",
            "maxpartsinflight",
            "uploadbuffers",
            "maxconnections",
            "maxattempts",
        ):
            if getattr(self, option) < 1:
                raise ConfigError(f"{option}: must be at least 1")
        # Any other character could end the header.
        if not re.fullmatch(r"[ -~]*", self.useragent):
            raise ConfigError("useragent: must be printable ASCII text")

    def warnings(self) -> list[str]:
        """Return warnings about options that work, each beginning with the option's name."""
        found = []
        if self.keyid and not self.encrypt:
            found.append("keyid: has no effect without encrypt: true")
        if self.skipverify:
            found.append("skipverify: every machine on the way to S3 can read and change what passes")
        if not self.v4auth and self.on_aws:
            found.append(
                f"v4auth: Amazon gives up signatures of version 2 in {self.aws_region} too, and takes none "
                "for buckets made since June 2020; leave v4auth out"
            )
        return found

    def for_check(self) -> S3Options:
        """Return these options for the first request, for whose response the operator waits."""
        return replace(
            self,
            maxattempts=1,
            connecttimeout=min(self.connecttimeout, 5),
            readtimeout=min(self.readtimeout, 9),
        )

    def _check_place(self) -> None:
        if not self.bucket:
            raise ConfigError("bucket: is missing; it is the name of the bucket that holds the registry")
        if self.bucket.startswith("arn:"):
            self._check_access_point()
        elif "/" in self.bucket:
            raise ConfigError("bucket: is a name without slashes; what is below it goes into rootdirectory")
        if not self.region and not self.regionendpoint:
            raise ConfigError("region: is missing; it is the bucket's region, such as eu-central-1")
        if not re.fullmatch(r"[A-Za-z0-9-]*", self.region):
            raise ConfigError("region: is a name such as eu-central-1")
        for option in ("regionendpoint", "redirectendpoint"):
            if not self._is_endpoint(getattr(self, option)):
                raise ConfigError(f"{option}: is a URL such as https://s3.example.com, without a path")
        try:
            clean_root(self.rootdirectory)
        except ValueError as error:
            raise ConfigError(f"rootdirectory: {error}") from None

    def _check_access_point(self) -> None:
        arn = _ACCESS_POINT.fullmatch(self.bucket)
        if arn is None:
            raise ConfigError(
                "bucket: is not the ARN of an access point, such as "
                "arn:aws:s3:eu-central-1:111122223333:accesspoint/registry"
            )
        if self.region and self.region != arn["region"]:
            raise ConfigError(f"region: is {self.region}, but the access point is in {arn['region']}")
        for option in ("forcepathstyle", "accelerate"):
            if getattr(self, option):
                raise ConfigError(f"{option}: does not work with the ARN of an access point as bucket")
        if not self.v4auth:
            raise ConfigError("v4auth: must not be false with the ARN of an access point as bucket")

    def _check_credentials(self) -> None:
        if self.secretkey and not self.accesskey:
            raise ConfigError("accesskey: is missing, but there is a secretkey; give both or neither")
        if self.accesskey and not self.secretkey:
            raise ConfigError("secretkey: is missing, but there is an accesskey; give both or neither")
        if self.sessiontoken and not self.accesskey:
            raise ConfigError("sessiontoken: needs the accesskey and secretkey that it came with")

    def _check_contradictions(self) -> None:
        """Refuse options that boto3 would silently change."""
        for option in ("accelerate", "usedualstack", "usefipsendpoint"):
            if getattr(self, option) and self.regionendpoint:
                raise ConfigError(
                    f"{option}: chooses among Amazon's endpoints, but regionendpoint names one; "
                    "leave one of the two out"
                )
        if self.accelerate and self.forcepathstyle:
            raise ConfigError(
                "accelerate: needs the bucket in the host name, but forcepathstyle puts it into the path; "
                "leave one of the two out"
            )
        if self.accelerate and self.usefipsendpoint:
            raise ConfigError(
                "accelerate: has no FIPS endpoints, which usefipsendpoint asks for; leave one of the two out"
            )
        if self.accelerate and "." in self.bucket:
            raise ConfigError("accelerate: does not work for a bucket with a dot in its name")

    def _check_version_2(self) -> None:
        if self.v4auth:
            return
        if self.keyid:
            raise ConfigError(
                "v4auth: must not be false with a keyid; S3 takes keys of KMS with version 4 only"
            )
        if self.on_aws and self.aws_region not in _REGIONS_WITH_V2:
            raise ConfigError(
                f"v4auth: must not be false in {self.aws_region}, which takes signatures of version 4 only"
            )

    def _check_objects(self) -> None:
        if self.storageclass.upper() in _ARCHIVE_CLASSES:
            raise ConfigError(
                f"storageclass: {self.storageclass} is an archive, whose objects cannot be read until they "
                "are restored; GLACIER_IR is one that can be read at once"
            )
        self._check_choice("storageclass", self.storageclass.upper(), _STORAGE_CLASSES)
        self._check_choice("objectacl", self.objectacl, _OBJECT_ACLS)
        self._check_part("chunksize", self.chunksize)
        self._check_part("multipartcopychunksize", self.multipartcopychunksize)
        if self.multipartcopythresholdsize > LARGEST_PART:
            raise ConfigError(
                "multipartcopythresholdsize: is more than 5GiB, the most that S3 copies at once"
            )

    @staticmethod
    def _is_endpoint(text: str) -> bool:
        if not re.fullmatch(r"((https?://)?[^/\s@?#]+/?)?", text):
            return False
        try:
            # Both only look when they are asked.
            return urlsplit(text if "://" in text else f"//{text}").port != 0
        except ValueError:
            return False

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
        return self._url(self.regionendpoint)

    @property
    def redirect_endpoint(self) -> str | None:
        """The URL of *redirectendpoint*, or None if clients use the registry's own."""
        return self._url(self.redirectendpoint)

    @property
    def on_aws(self) -> bool:
        """Return whether requests go to Amazon, named as an endpoint or not."""
        host = urlsplit(self.endpoint or "").hostname or "amazonaws.com"
        return f".{host}".endswith((".amazonaws.com", ".amazonaws.com.cn"))

    @property
    def path_style(self) -> bool:
        """Return whether the bucket stands in the path of a request."""
        if self.forcepathstyle is None:
            return bool(self.regionendpoint) and not self.bucket.startswith("arn:")
        return self.forcepathstyle

    @property
    def equal_parts(self) -> bool:
        """Return whether all parts of a copy have the same length, but for the last."""
        return bool(self.regionendpoint) if self.equalparts is None else self.equalparts

    @property
    def redirect_path_style(self) -> bool:
        """Return whether the bucket stands in the path of a presigned URL."""
        if self.redirectendpoint and self.forcepathstyle is None:
            return not self.bucket.startswith("arn:")
        return self.path_style

    @property
    def signature_version(self) -> str:
        """What boto3 calls the version to sign with."""
        return "s3v4" if self.v4auth else "s3"

    @property
    def log_requests(self) -> bool:
        """Return whether every request is to be a line in the log."""
        return self.loglevel != "off"

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
        if self.storageclass.upper() not in ("", "NONE"):
            arguments["StorageClass"] = self.storageclass.upper()
        if self.objectacl:
            arguments["ACL"] = self.objectacl
        return arguments

    @property
    def aws_region(self) -> str:
        """The bucket's region: the one that *regionendpoint* names, or *region*."""
        named = re.search(r"[.-]([a-z]{2,4}(?:-[a-z]+)+-[0-9]+)\.amazonaws\.", self.regionendpoint)
        # The endpoint that names no region is the one of the first.
        return named[1] if named else self.region or "us-east-1"

    def _url(self, endpoint: str) -> str | None:
        if not endpoint or "://" in endpoint:
            return endpoint.rstrip("/") or None
        return f"{'https' if self.secure else 'http'}://{endpoint.rstrip('/')}"
