"""The section ``health`` of a configuration (Distribution, "health")::

health:
  storagedriver: {enabled: true, interval: 10s, threshold: 3}
  file: [{file: /etc/registry/down, interval: 1s}]
  http: [{uri: http://server/alive, statuscode: 200, timeout: 3s}]
  tcp: [{addr: redis:6379, timeout: 3s}]
  redirects: true
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from cfmiddleware import parse
from cfmiddleware.errors import ConfigError
from cfmiddleware.wsgi import headers

_DURATION: dict[str, str] = {"form": "duration"}
_INTERVAL = 10.0
_TIMEOUT = 5.0


def _seconds(default: float, value: object, name: str) -> float:
    """Read a duration; nothing at all is the default, as in Distribution."""
    return default if value in (0, "0", "0s") else parse.short_seconds(value, name, hours=24)


_interval = partial(_seconds, _INTERVAL)
_timeout = partial(_seconds, _TIMEOUT)


def _uri(value: object, name: str) -> str:
    """Read a URL. No message repeats it, because it may have a password or a token in it."""
    text = parse.text(value, name)
    if not parse.is_http_url(text):
        raise ConfigError(f"{name}: is not a URL; write it like http://server.example.com/alive")
    return text


def _headers(value: object, name: str) -> tuple[tuple[str, str], ...]:
    return tuple(headers.read(value or {}, name))


def _port(value: object, name: str) -> str:
    text = parse.text(value, name)
    if parse.host_and_port(text) is None:
        raise ConfigError(f"{name}: {text!r} is not an address; write it like redis.example.com:6379")
    return text


@dataclass(frozen=True)
class StorageCheckOptions:
    """The check of the storage: one cheap request for an object that is not there.

    :param enabled: whether the storage is checked.
    :param interval: how long after a check the next one begins.
    :param threshold: how many checks in a row must fail.
    :param timeout: after how long without an answer a check has failed. Distribution has none.
    """

    enabled: bool = False
    interval: float = field(default=_INTERVAL, metadata=_DURATION)
    threshold: int = 1
    timeout: float = field(default=_TIMEOUT, metadata=_DURATION)

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {
        "enabled": parse.boolean,
        "interval": _interval,
        "threshold": parse.integer,
        "timeout": _timeout,
    }


@dataclass(frozen=True)
class FileCheckOptions:
    """A file that must not be there.

    :param file: its path. Who makes it takes the registry out of service.
    :param interval: how long after a check the next one begins.
    :param threshold: how many checks in a row must fail.
    :param timeout: after how long a file system that does not answer makes a check fail. Distribution does
        not have this option.
    """

    file: Path
    interval: float = field(default=_INTERVAL, metadata=_DURATION)
    threshold: int = 1
    timeout: float = field(default=_TIMEOUT, metadata=_DURATION)

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {
        "file": parse.text,
        "interval": _interval,
        "threshold": parse.integer,
        "timeout": _timeout,
    }


@dataclass(frozen=True)
class HTTPCheckOptions:
    """A URL that must answer to HEAD.

    :param uri: the URL, which may have a user and a password. Redirects are followed. The check is named
        after it, without them and without the query's values.
    :param headers: headers of the request: their names, each with a value or a list of values. Another
        server that the URL redirects to does not get them.
    :param statuscode: the status that it must answer with.
    :param timeout: after how long without an answer a check has failed.
    :param interval: how long after a check the next one begins.
    :param threshold: how many checks in a row must fail.
    """

    uri: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False, metadata={"form": "section"})
    statuscode: int = 200
    timeout: float = field(default=_TIMEOUT, metadata=_DURATION)
    interval: float = field(default=_INTERVAL, metadata=_DURATION)
    threshold: int = 1

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {
        "uri": _uri,
        "headers": _headers,
        "statuscode": partial(parse.integer, minimum=100, maximum=599),
        "timeout": _timeout,
        "interval": _interval,
        "threshold": parse.integer,
    }


@dataclass(frozen=True)
class TCPCheckOptions:
    """A port that must take connections.

    :param addr: the host and the port.
    :param timeout: after how long without a connection a check has failed.
    :param interval: how long after a check the next one begins.
    :param threshold: how many checks in a row must fail.
    """

    addr: str
    timeout: float = field(default=_TIMEOUT, metadata=_DURATION)
    interval: float = field(default=_INTERVAL, metadata=_DURATION)
    threshold: int = 1

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {
        "addr": _port,
        "timeout": _timeout,
        "interval": _interval,
        "threshold": parse.integer,
    }


_LIST: dict[str, str] = {"form": "list of sections"}


@dataclass(frozen=True)
class HealthOptions:
    """What the registry's health depends on. Where a check fails, the registry answers 503.

    :param storagedriver: the check of the storage.
    :param file: files that must not be there.
    :param http: URLs that must answer.
    :param tcp: ports that must take connections.
    :param redirects: whether pulls whose descriptor is remembered (``storage.cache``) are redirected all the
        same. CloudFront can serve what the registry cannot look up. Distribution does not have this option.
    """

    storagedriver: StorageCheckOptions = field(
        default_factory=StorageCheckOptions, metadata={"form": "section"}
    )
    file: tuple[FileCheckOptions, ...] = field(default=(), metadata=_LIST)
    http: tuple[HTTPCheckOptions, ...] = field(default=(), metadata=_LIST)
    tcp: tuple[TCPCheckOptions, ...] = field(default=(), metadata=_LIST)
    redirects: bool = True

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {
        "storagedriver": parse.section,
        "file": parse.anything,
        "http": parse.anything,
        "tcp": parse.anything,
        "redirects": parse.boolean,
    }

    @property
    def has_checks(self) -> bool:
        """Whether anything is checked."""
        return bool(self.storagedriver.enabled or self.file or self.http or self.tcp)


_KINDS: Mapping[str, tuple[type, str]] = {
    "file": (FileCheckOptions, "file"),
    "http": (HTTPCheckOptions, "uri"),
    "tcp": (TCPCheckOptions, "addr"),
}


def read_health(section: Mapping[str, Any], here: Path) -> HealthOptions:
    """Return the options of the section.

    :param here: the directory that relative paths are relative to.
    :raises ConfigError: for an unknown option, or a value that cannot work.
    """
    given = dict(section)
    storage = parse.section(given.pop("storagedriver", None), "health.storagedriver")
    further: dict[str, Any] = {
        "storagedriver": parse.options(StorageCheckOptions, storage, "health.storagedriver")
    }
    seen: set[str] = set()
    for name, (kind, key) in _KINDS.items():
        place = f"health.{name}"
        entries = given.pop(name, None) or []
        if not isinstance(entries, list):
            raise ConfigError(f"{place}: must be a list of sections with {key!r}")
        found = []
        for index, entry in enumerate(entries):
            at = f"{place}[{index}]"
            values = parse.section(entry, at)
            if values.get(key) in (None, ""):
                raise ConfigError(f"{at}.{key}: is required")
            options: Any = parse.options(kind, values, at)
            if isinstance(options, FileCheckOptions):
                options = replace(options, file=here / options.file)
            if str(values[key]) in seen:
                shown = "the URL" if key == "uri" else repr(values[key])
                raise ConfigError(f"{at}.{key}: {shown} is checked already")
            seen.add(str(values[key]))
            found.append(options)
        further[name] = tuple(found)
    return parse.options(HealthOptions, given, "health", **further)
