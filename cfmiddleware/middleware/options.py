"""The wrapper's options: each one once, with its type, its default, its reason and what reads it.

A new option is a field, its ``:param:`` text, its parser and its keyword here, and the code where it acts.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, TypedDict
from urllib.parse import unquote, urlsplit

from cfmiddleware import parse
from cfmiddleware.errors import ConfigError
from cfmiddleware.ipfilter.networks import AddressRange, parse_network
from cfmiddleware.ipfilter.trustedurl import check_url
from cfmiddleware.signing.keyfiles import contradicted_id
from cfmiddleware.signing.originpath import directory
from cfmiddleware.signing.windows import ExpiryWindow

from . import keptheaders
from .bucket import Bucket
from .layout import Layout

_log = logging.getLogger("cfmiddleware")

_PROBES = ("get", "head", "none")
_HASHES = ("sha1", "sha256")
_FILTERS = ("none", "aws", "awsregion", "all")

_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+")
_BASE_PATH = re.compile(r"(?:/(?:[A-Za-z0-9._~-]|%[0-9A-F]{2})*)*")
_REGION = re.compile(r"[a-z0-9-]{1,50}")

# Under this many seconds, a lifetime is probably one of minutes that was written without a unit.
_SHORT = 5 * 60

_HOUR = 3600
_DAY = 24 * _HOUR


def _host(url: str) -> str:
    try:
        return urlsplit(url if "://" in url else "https://" + url).hostname or ""
    except ValueError:
        return ""


def _is_s3(host: str) -> bool:
    """Return whether a host's name is one of AWS's S3, websites and access points included."""
    is_aws = host.endswith((".amazonaws.com", ".amazonaws.com.cn"))
    return is_aws and any(label == "s3" or label.startswith("s3-") for label in host.split("."))


def _optional_directory(value: object, name: str) -> str:
    return directory(parse.optional_text(value, name), name)


def _origin_path(value: object, name: str) -> str | None:
    return None if value is None else _optional_directory(value, name)


def _base_url(value: object, name: str) -> str:
    """Return a distribution's URL as browsers and clients will repeat it, without a slash at its end."""
    text = parse.optional_text(value, name)
    if not text:
        return ""
    url = text if "://" in text else "https://" + text
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    wrong = (
        parts.scheme not in ("http", "https")
        or not host
        or not _HOST.fullmatch(host)
        or "@" in parts.netloc
        or not url.isprintable()
        or "?" in url
        or "#" in url
        # A `*` would be a wildcard in a policy, and what is not literal in a key is not literal here.
        or not _BASE_PATH.fullmatch(parts.path)
        or "//" in parts.path
        or any(segment in (".", "..") for segment in unquote(parts.path).split("/"))
    )
    if wrong or host is None:
        raise ConfigError(
            f"{name}: {parse.quoted(text)} is not the URL of a distribution; "
            "write it like https://d111111abcdef8.cloudfront.net"
        )
    if ":" in host:
        host = f"[{host}]"
    if port is not None and port != {"http": 80, "https": 443}[parts.scheme]:
        host = f"{host}:{port}"
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}"


def _private_key(value: object, name: str) -> str:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ConfigError(f"{name}: must be a path, or the key as PEM text")
    return value


def _file(value: object, name: str) -> str:
    return parse.optional_text(os.fspath(value) if isinstance(value, os.PathLike) else value, name)


def _key_pair_id(value: object, name: str) -> str | None:
    return parse.optional_text(value, name) or None


def _duration(value: object, name: str) -> int:
    return parse.seconds(value, name, minimum=2)


def _window(value: object, name: str) -> int | None:
    return None if value in (None, "") else parse.seconds(value, name)


def _hash(value: object, name: str) -> str:
    return parse.choice(value, name, _HASHES)


def _proxies(value: object, name: str) -> int:
    return parse.integer(value, name, maximum=100)


def _probe(value: object, name: str) -> str:
    return parse.choice(value, name, _PROBES)


def _probe_cache(value: object, name: str) -> int:
    if value is None or (isinstance(value, str) and value.strip().lower() in ("", "none")):
        return 0
    seconds = parse.seconds(value, name, minimum=0)
    if seconds > _HOUR:
        raise ConfigError(
            f"{name}: {seconds} seconds are too long to go on serving a client that the app would refuse; "
            f"at most {_HOUR} (1h)"
        )
    return seconds


def _address_filter(value: object, name: str) -> str:
    return parse.choice(value or "none", name, _FILTERS)


def _regions(value: object, name: str) -> tuple[str, ...]:
    regions = sorted({word.lower() for word in parse.words(value, name)})
    for region in regions:
        if not _REGION.fullmatch(region):
            raise ConfigError(f"{name}: {region!r} is not a region; write them like eu-west-3, us-east-1")
    return tuple(regions)


def _ranges_url(value: object, name: str) -> str:
    url = parse.optional_text(value, name)
    if url:
        try:
            check_url(url)
        except ValueError as error:
            raise ConfigError(f"{name}: {error}") from None
    return url


def _frequency(value: object, name: str) -> int:
    if value in (None, ""):
        return WrapperOptions.updatefrequency
    seconds = parse.seconds(value, name)
    if seconds > 30 * _DAY:
        raise ConfigError(f"{name}: AWS's ranges change every few days; at most 30 days (720h)")
    return seconds


def _networks(value: object, name: str) -> tuple[AddressRange, ...]:
    try:
        return tuple(parse_network(word) for word in parse.words(value, name))
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from None


class WrapperKeywords(TypedDict, total=False):
    """The options as keyword arguments in Python; :class:`WrapperOptions` says what each one does."""

    baseurl: str
    privatekey: str | os.PathLike[str]
    keypairid: str | None
    unsigned: bool | str
    duration: int | str
    window: int | str | None
    hash: str
    bindip: bool | str
    trustedproxies: int | str
    probe: str
    probecache: int | str | None
    requiredigest: bool | str
    minimumsize: int | str
    maximumsize: int | str
    keepheaders: str | Iterable[str] | None
    layout: str
    rootdirectory: str
    originpath: str | None
    prefix: str
    bucket: str | None
    regionendpoint: str | None
    ipfilteredby: str
    awsregion: str | Iterable[str] | None
    iprangesurl: str | None
    iprangesfile: str | os.PathLike[str] | None
    updatefrequency: int | str | None
    networks: str | Iterable[str] | None


@dataclass(frozen=True, kw_only=True)
class WrapperOptions:
    """What the wrapper can be told. The values are those that :meth:`read` makes of what an operator wrote.

    :param baseurl: the distribution's URL; ``https://`` unless it has a scheme. A path of its own is kept in
        front of the key's. Required.
    :param privatekey: the key that signs: the path of a PEM file (PKCS#1, PKCS#8 or SEC1; RSA of 2048 bits
        or ECDSA P-256; not encrypted), a directory of files named ``pk-<id>.pem`` of which the newest signs,
        or PEM text. Changes are noticed without a restart. Required.
    :param keypairid: the public key's id in CloudFront. It may be left out where the file is named
        ``<id>.pem`` or ``pk-<id>.pem``, and must be for a directory.
    :param unsigned: whether URLs are not signed at all, for another CDN or a public bucket: **whoever learns
        a URL can use it, for ever**. The storage middleware ``redirect`` is this one with *unsigned*.
    :param duration: how long a signed URL lives at the most: seconds, or Go's form (``1h30m``).
    :param window: how far apart expiry times lie, so that a URL is signed once in a window: seconds, or Go's
        form, from 1 s to half of *duration*; a quarter of *duration* by default. They are shifted for each
        blob. A URL lives longer than *duration* less *window*.
    :param hash: the hash that is signed, ``sha1`` or ``sha256``, which adds ``Hash-Algorithm=SHA256`` to each
        URL.
    :param bindip: whether each URL is bound to the client's IPv4 address, by a custom policy. CloudFront has
        no such policy for IPv6, so the app serves clients with IPv6, and those whose address is not known.
        Private, loopback and link-local IPv4 addresses are not bound: CloudFront sees such clients by
        another address.
    :param trustedproxies: how many proxies in front append to ``X-Forwarded-For``, or to ``Forwarded`` where
        they take the former away. The client is the value that the outermost of them wrote, less a port
        behind it. Where there are fewer values, or one that is
        not an address, the client is unknown.
    :param probe: how the app is asked. ``get``: by the client's own GET. ``head``: by a HEAD first, for apps
        that open the object before their first chunk *and* authorise HEAD as they do GET. ``none``: not at
        all, so that **everybody gets a URL for every digest**; for public registries alone.
    :param probecache: how long an app's yes counts for further requests that differ in nothing that could
        authorise: seconds, or Go's form (``30s``), up to ``1h``; 0 is off. A client that loses access keeps
        it for that much longer.
    :param requiredigest: whether an app's 200 counts only with the digest in ``Docker-Content-Digest``.
    :param minimumsize: the size in bytes (or ``64KiB``) below which the app serves a blob itself, because a
        second connection would cost more than the bytes.
    :param maximumsize: the size in bytes (or ``50GB``) above which a blob is not sent to CloudFront, which
        serves no larger ones. It is sent to S3 by a presigned URL where something here signs those and
        *bindip* is off, and is served by the app else. A size that the app does not say is no reason.
        The registry of ``config.yml`` says it only where this is less than the default, for one request to
        the storage for each blob and process. ``0`` is no limit.
    :param keepheaders: headers of the app's answer that the redirect has as well, as a list or with commas
        between them; ``Access-Control-*`` is all that begin so (``Access-Control-*, X-Request-Id``). What
        would mislead clients and caches, or may hold a credential, is refused.
    :param layout: how keys are made of digests: ``distribution``, ``quay``, ``oci``, or a template of
        ``{root}``, ``{repository}``, ``{algorithm}``, ``{hex}`` and ``{hex[:2]}``.
    :param rootdirectory: the directory of the bucket that holds the root ``docker`` key. In a ``config.yml``
        it is the storage's by default.
    :param originpath: the distribution's Origin Path where it is not ``/`` and the root directory; ``""`` for
        a blank one. Without ``bucket``, one that no key of the layout can start with is an error.
    :param prefix: the path that the registry is mounted under *inside* the wrapped app (``/registry``). A
        mount outside, by ``SCRIPT_NAME``, needs nothing. In a ``config.yml`` it is ``http.prefix`` by
        default.
    :param bucket: the bucket's name. The app's redirects into it become redirects to CloudFront. Without it,
        with a ``versionId``, or for a key that is not below the Origin Path, a redirect is handed on as it
        is.
    :param regionendpoint: the URL of the bucket's S3-compatible server, if it is not AWS.
    :param ipfilteredby: which clients get presigned URLs of S3 instead of CloudFront's, because they are in
        AWS themselves: ``none``, ``aws`` (all of them) or ``awsregion`` (those in the regions that
        *awsregion* names). ``all`` is every client, in AWS or not; *baseurl* and *privatekey* may then be
        left out.
    :param awsregion: the regions that count with ``ipfilteredby: awsregion``, as a list or with commas
        between them (``eu-west-3, us-east-1``).
    :param iprangesurl: where AWS's address ranges are fetched from, by ``https`` only; where AWS publishes
        them by default.
    :param iprangesfile: a file with a copy of them, for machines without a way out. Nothing is fetched then,
        unless *iprangesurl* is given as well; then the newer of the two counts.
    :param updatefrequency: how often they are fetched: seconds, or Go's form, up to ``720h``.
    :param networks: further networks whose clients get presigned URLs of S3, as a list or with commas
        between them (``10.0.0.0/8, 2001:db8::/32``).
    :raises ConfigError: for what cannot work; the message begins with the option's name.
    """

    baseurl: str = ""
    privatekey: str = field(default="", repr=False)  # it may be the key itself
    keypairid: str | None = None
    unsigned: bool = False
    duration: int = 20 * 60
    window: int | None = None
    hash: str = "sha1"
    bindip: bool = False
    trustedproxies: int = 0
    probe: str = "get"
    probecache: int = 0
    requiredigest: bool = True
    minimumsize: int = 0
    maximumsize: int = 50 * 10**9
    keepheaders: tuple[str, ...] = ()
    layout: str = "distribution"
    rootdirectory: str = ""
    originpath: str | None = None
    prefix: str = ""
    bucket: str = ""
    regionendpoint: str = ""
    ipfilteredby: str = "none"
    awsregion: tuple[str, ...] = ()
    iprangesurl: str = ""
    iprangesfile: str = ""
    updatefrequency: int = 12 * _HOUR
    networks: tuple[AddressRange, ...] = ()

    #: How each option is read, from YAML, from an ini file or from Python.
    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {
        "baseurl": _base_url,
        "privatekey": _private_key,
        "keypairid": _key_pair_id,
        "unsigned": parse.boolean,
        "duration": _duration,
        "window": _window,
        "hash": _hash,
        "bindip": parse.boolean,
        "trustedproxies": _proxies,
        "probe": _probe,
        "probecache": _probe_cache,
        "requiredigest": parse.boolean,
        "minimumsize": parse.size,
        "maximumsize": parse.size,
        "keepheaders": keptheaders.read,
        "layout": parse.text,
        "rootdirectory": _optional_directory,
        "originpath": _origin_path,
        "prefix": _optional_directory,
        "bucket": parse.optional_text,
        "regionendpoint": parse.optional_text,
        "ipfilteredby": _address_filter,
        "awsregion": _regions,
        "iprangesurl": _ranges_url,
        "iprangesfile": _file,
        "updatefrequency": _frequency,
        "networks": _networks,
    }

    #: Options that are paths, and so relative to the file that they stand in.
    PATHS: ClassVar[tuple[str, ...]] = ("privatekey", "iprangesfile")

    #: Other spellings that are understood, with a warning. Distribution's documentation once had this one.
    ALIASES: ClassVar[Mapping[str, str]] = {"updatefrenquency": "updatefrequency"}

    @classmethod
    def read(cls, given: Mapping[str, object], where: str = "", here: Path | None = None) -> WrapperOptions:
        """Return the options that a file gives: the values of YAML, or the strings of an ini file.

        An option without a value (YAML's null) is as good as absent; only an ``originpath`` without one is a
        blank Origin Path.

        :param given: the options by their names.
        :param where: what stands in front of an option's name in a message.
        :param here: the directory that relative paths are relative to; None for the working directory.
        :raises ConfigError: for an unknown option, suggesting the nearest, and for what cannot work.
        """
        values = {name: value for name, value in given.items() if value is not None}
        if "originpath" in given:
            values.setdefault("originpath", "")
        return cls.from_python(values if here is None else resolve_paths(values, here), where)

    @classmethod
    def from_python(cls, given: Mapping[str, object], where: str = "") -> WrapperOptions:
        """Return the options that keyword arguments give; None is what :class:`WrapperKeywords` says it is.

        :param given: the options by their names.
        :param where: what stands in front of an option's name in a message.
        :raises ConfigError: as :meth:`read` does.
        """
        try:
            return cls(**cls._values(given, where))
        except ConfigError as error:
            raise ConfigError(f"{where}{error}") from None

    def updated(self, given: Mapping[str, object]) -> WrapperOptions:
        """Return these options with those *given*, which an ini file or a command line gives, in their place.

        :raises ConfigError: as :meth:`read` does.
        """
        return replace(
            self, **self._values({name: value for name, value in given.items() if value is not None})
        )

    @classmethod
    def _values(cls, given: Mapping[str, object], where: str = "") -> dict[str, Any]:
        parse.refuse_unknown(given, OPTION_NAMES)
        values: dict[str, Any] = {}
        for written, value in given.items():
            name = cls.ALIASES.get(written, written)
            if name != written:
                _log.warning("%s%s: is taken for %s, which is how it is spelt", where, written, name)
                if given.get(name) not in (None, ""):
                    continue
            values[name] = cls.PARSERS[name](value, written)
        return values

    def __post_init__(self) -> None:
        layout = Layout(self.layout, self.rootdirectory)
        # Where the app's redirects are rewritten, they say where the objects are, and not the layout.
        has_layout = not self.bucket or self.probe == "none"
        if has_layout and not layout.reaches(self.cloudfront_originpath):
            raise ConfigError(
                f"originpath: no key can start with {self.cloudfront_originpath!r}; the keys are below "
                f"{self.rootdirectory or '/'!r} (rootdirectory)"
            )
        ExpiryWindow(self.duration, self.window)
        if self.bucket:
            Bucket(self.bucket, self.regionendpoint)
        if self.maximumsize and self.maximumsize <= self.minimumsize:
            raise ConfigError("maximumsize: must be more than minimumsize, or no blob would be redirected")
        if self.probecache and self.probe == "none":
            raise ConfigError(
                "probecache: with 'probe: none' the app is not asked, so there is no yes to remember"
            )
        if self.ipfilteredby == "awsregion" and not self.awsregion:
            raise ConfigError("awsregion: this option is required where ipfilteredby is 'awsregion'")
        if self.unsigned:
            for name in ("privatekey", "keypairid", "bindip"):
                if getattr(self, name):
                    raise ConfigError(f"{name}: goes without 'unsigned', which signs nothing")

    def check_required(self) -> None:
        """See that nothing is missing that a wrapper needs.

        :raises ConfigError: for the first option that is.
        """
        if self.ipfilteredby == "all" and not self.baseurl:
            return
        for option in ("baseurl",) if self.unsigned else ("baseurl", "privatekey"):
            if not getattr(self, option):
                raise ConfigError(f"{option}: this option is required")

    @property
    def cloudfront_originpath(self) -> str:
        """The Origin Path that CloudFront must have: ``/`` and whole segments, or an empty string."""
        return self.rootdirectory if self.originpath is None else self.originpath

    @property
    def sends_clients_to_s3(self) -> bool:
        """Whether some clients get presigned URLs of S3."""
        return self.ipfilteredby != "none" or bool(self.networks)

    def check_presigner(self, *, is_there: bool) -> None:
        """See that there is something that signs URLs of S3, if some clients are to get such URLs.

        :raises ConfigError: where there is not, naming the option that sends clients to S3.
        """
        if self.sends_clients_to_s3 and not is_there:
            raise ConfigError(
                f"{'networks' if self.networks else 'ipfilteredby'}: would send clients to S3, but nothing "
                "here signs its URLs; it needs storage.s3 in a config.yml, or presign=... in Python"
            )

    def warnings(self) -> list[str]:
        """Return what an operator should know of options that work, each beginning with the option's name."""
        found = []
        host = urlsplit(self.baseurl).hostname or ""
        is_s3 = _is_s3(host) or (self.regionendpoint and host == _host(self.regionendpoint))
        if is_s3 and not self.unsigned:
            found.append(
                f"baseurl: {host!r} is S3 itself, which refuses CloudFront's signatures; it must be the URL "
                "of the distribution, such as https://d111111abcdef8.cloudfront.net"
            )
        if self.keypairid and "-----BEGIN" not in self.privatekey:
            other = contradicted_id(self.privatekey, self.keypairid)
            if other is not None:
                found.append(
                    f"keypairid: is {self.keypairid!r}, and the name of the private key's file says "
                    f"{other!r}; CloudFront refuses every URL if that is not the id of this key"
                )
        if self.duration < _SHORT and not self.unsigned:
            found.append(
                f"duration: signed URLs live for {self.duration} seconds, which is short for slow clients "
                "and clocks that differ; a number without a unit is seconds, so write 60m for an hour"
            )
        if self.awsregion and self.ipfilteredby != "awsregion":
            found.append("awsregion: has no effect without ipfilteredby: awsregion")
        if self.probe == "none":
            found.append(
                "probe: none: everybody gets a signed URL for every blob, whatever the app would say"
            )
        return found


#: Every name that an option may be written under.
OPTION_NAMES = (*WrapperOptions.PARSERS, *WrapperOptions.ALIASES)


def resolve_paths(given: Mapping[str, object], here: Path) -> dict[str, object]:
    """Return options as they were written, with paths that do not depend on where the process was started.

    :param given: the options by their names.
    :param here: the directory that relative paths are relative to.
    """
    result = dict(given)
    for name in WrapperOptions.PATHS:
        value = result.get(name)
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if isinstance(value, str) and value and "-----BEGIN" not in value:
            result[name] = str(here / value)
    return result
