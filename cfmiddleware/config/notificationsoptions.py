"""The section ``notifications`` of a configuration. Its ``spool`` and ``retryfor`` are not Distribution's::

notifications:
  events: {includereferences: true}
  endpoints:
    - name: listener
      url: https://listener.example.com/event
      headers: {Authorization: [Bearer token]}
      ignore: {mediatypes: [application/octet-stream], actions: [pull]}
  spool: {directory: /var/lib/registry/events}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from cfmiddleware import parse
from cfmiddleware.errors import ConfigError
from cfmiddleware.notifications.envelope import ACTIONS
from cfmiddleware.wsgi import headers

_DURATION: dict[str, str] = {"form": "duration"}
_SECTION: dict[str, str] = {"form": "section"}
_THRESHOLD = 10
_SECOND = 1.0

# Less would hold hardly an event.
_LEAST = 1 << 20


def _second(value: object, name: str) -> float:
    """Read a duration; nothing at all is the default, as in Distribution."""
    return _SECOND if value in (0, "0", "0s") else parse.short_seconds(value, name, hours=24)


def _threshold(value: object, name: str) -> int:
    return parse.integer(value, name) or _THRESHOLD


def _url(value: object, name: str) -> str:
    """Read a URL. No message repeats it, because it may have a password or a token in it."""
    text = value.strip() if isinstance(value, str) else ""
    if not parse.is_http_url(text):
        raise ConfigError(f"{name}: is not a URL; write it like https://listener.example.com/event")
    return text


def _headers(value: object, name: str) -> tuple[tuple[str, str], ...]:
    found = tuple(headers.read(value or {}, name))
    for header, _ in found:
        if header.lower() in ("content-type", "host"):
            raise ConfigError(f"{name}.{header}: follows from what is sent, and where to")
    return found


def _actions(value: object, name: str) -> tuple[str, ...]:
    found = parse.words(value, name)
    return tuple(parse.choice(word, f"{name}[{index}]", ACTIONS) for index, word in enumerate(found))


@dataclass(frozen=True)
class EventOptions:
    """What events say.

    :param includereferences: whether events of manifests have the descriptors of what the manifests refer to.
    """

    includereferences: bool = False

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {"includereferences": parse.boolean}


@dataclass(frozen=True)
class IgnoreOptions:
    """Which events an endpoint does not get.

    :param mediatypes: the media types of blobs and manifests; events of deletes have none.
    :param actions: ``pull``, ``push``, ``mount``, ``delete``. Distribution ignores this list unless
        *mediatypes* has an entry.
    """

    mediatypes: tuple[str, ...] = field(default=(), metadata={"form": "list"})
    actions: tuple[str, ...] = field(default=(), metadata={"form": "list"})

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {"mediatypes": parse.words, "actions": _actions}


@dataclass(frozen=True)
class EndpointOptions:
    """One endpoint.

    :param name: what it is called in the log, in metrics and in the spool. What waits for it is found under
        this name after a restart.
    :param disabled: whether it gets nothing. Events that wait for it are kept.
    :param url: where events are sent to, with a POST. It may have a user and a password.
    :param headers: further headers of each request: their names, each with a value or a list of values.
    :param timeout: how long a request may take.
    :param threshold: after how many failures in a row nothing is sent for a while.
    :param backoff: for how long at first. It doubles with each further failure, up to 5 minutes or this.
    :param retryfor: for how long an event is tried before it becomes a dead letter. Distribution tries for as
        long as its process lives.
    :param ignore: which events it does not get.
    :param ignoredmediatypes: further media types for *ignore*; the older name.
    """

    name: str
    disabled: bool = False
    url: str = field(default="", repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False, metadata=_SECTION)
    timeout: float = field(default=_SECOND, metadata=_DURATION)
    threshold: int = field(default=_THRESHOLD, metadata={"form": "number"})
    backoff: float = field(default=_SECOND, metadata=_DURATION)
    retryfor: int = 24 * 3600
    ignore: IgnoreOptions = field(default_factory=IgnoreOptions, metadata=_SECTION)
    ignoredmediatypes: tuple[str, ...] = field(default=(), metadata={"form": "list"})

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {
        "name": parse.text,
        "disabled": parse.boolean,
        "url": _url,
        "headers": _headers,
        "timeout": _second,
        "threshold": _threshold,
        "backoff": _second,
        "retryfor": parse.seconds,
        "ignore": parse.section,
        "ignoredmediatypes": parse.words,
    }


@dataclass(frozen=True)
class SpoolOptions:
    """Where events are kept until their endpoints have taken them. Distribution keeps them in memory.

    :param directory: a directory on a disk of this machine, which all workers share and no other machine
        does. Without it, one below the system's directory for temporary files, which says so at the start.
    :param bucket: whether they are kept in the registry's own storage, for machines without such a directory.
        All machines then share one spool.
    :param maxbytes: how much it holds. Pulls are no longer recorded when nine tenths are taken.
    :param whenfull: what becomes of a push or a delete whose event cannot be kept, because the spool is full
        or cannot be written: ``drop`` loses the event, ``refuse`` answers 503 before anything is changed.
    :param sync: which events are on the disk before their request is answered, so that they outlive a loss of
        power: ``changes`` (all but pulls), ``all`` or ``none``. Every event outlives all processes.
    """

    directory: Path | None = None
    bucket: bool = False
    maxbytes: int = 1 << 30
    whenfull: str = "drop"
    sync: str = "changes"

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {
        "directory": parse.text,
        "bucket": parse.boolean,
        "maxbytes": partial(parse.size, minimum=_LEAST),
        "whenfull": partial(parse.choice, choices=("drop", "refuse")),
        "sync": partial(parse.choice, choices=("changes", "all", "none")),
    }


@dataclass(frozen=True)
class NotificationsOptions:
    """Who is told of pushes, pulls and deletes.

    :param events: what events say.
    :param endpoints: who gets them.
    :param spool: where they are kept until then.
    """

    events: EventOptions = field(default_factory=EventOptions, metadata=_SECTION)
    endpoints: tuple[EndpointOptions, ...] = field(default=(), metadata={"form": "list of sections"})
    spool: SpoolOptions = field(default_factory=SpoolOptions, metadata=_SECTION)

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {
        "events": parse.section,
        "endpoints": parse.anything,
        "spool": parse.section,
    }

    @property
    def enabled(self) -> tuple[EndpointOptions, ...]:
        """The endpoints that are not disabled."""
        return tuple(each for each in self.endpoints if not each.disabled)


def read_notifications(section: Mapping[str, Any], here: Path) -> NotificationsOptions:
    """Return the options of the section.

    :param here: the directory that a relative path is relative to.
    :raises ConfigError: for an unknown option, or a value that cannot work.
    """
    given = dict(section)
    events = parse.section(given.pop("events", None), "notifications.events")
    spool = parse.section(given.pop("spool", None), "notifications.spool")
    entries = given.pop("endpoints", None) or []
    if not isinstance(entries, list):
        raise ConfigError("notifications.endpoints: must be a list of sections with 'name' and 'url'")
    found: dict[str, EndpointOptions] = {}
    for index, entry in enumerate(entries):
        place = f"notifications.endpoints[{index}]"
        endpoint = _endpoint(parse.section(entry, place, "with 'name' and 'url'"), place)
        if endpoint.name in found:
            raise ConfigError(f"{place}.name: there is an endpoint {endpoint.name!r} already")
        found[endpoint.name] = endpoint
    kept = parse.options(SpoolOptions, spool, "notifications.spool")
    if kept.directory is not None:
        if kept.bucket:
            raise ConfigError(
                "notifications.spool.bucket: is one place, and 'directory' another one; name one"
            )
        kept = replace(kept, directory=here / kept.directory)
    return parse.options(
        NotificationsOptions,
        given,
        "notifications",
        events=parse.options(EventOptions, events, "notifications.events"),
        endpoints=tuple(found.values()),
        spool=kept,
    )


def _endpoint(given: Mapping[str, Any], place: str) -> EndpointOptions:
    values = dict(given)
    ignore = parse.section(values.pop("ignore", None), f"{place}.ignore")
    for key in ("name", "url"):
        is_off = key == "url" and parse.boolean(values.get("disabled") or False, f"{place}.disabled")
        if values.get(key) in (None, "") and not is_off:
            raise ConfigError(f"{place}.{key}: is required")
    further = {"ignore": parse.options(IgnoreOptions, ignore, f"{place}.ignore")}
    return parse.options(EndpointOptions, values, place, **further)
