"""The section ``storage.maintenance.garbagecollect`` of a configuration, which Distribution does not have::

storage:
  maintenance:
    garbagecollect:
      enabled: true
      interval: 24h
      window: "02:00-05:00"
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

from cfmiddleware import parse
from cfmiddleware.errors import ConfigError
from cfmiddleware.registry.collect.verdict import Rules
from cfmiddleware.registry.collect.window import Window

_DURATION: dict[str, str] = {"form": "duration"}


def _window(value: object, name: str) -> Window:
    text = parse.text(value, name)
    try:
        return Window.parse(text)
    except ValueError as error:
        raise ConfigError(f"{name}: {text!r} {error}") from None


def _interval(value: object, name: str) -> float:
    found = parse.period(value, name)
    if found < 1:
        raise ConfigError(f"{name}: {value!r} is too short; it must be at least 1s")
    return found


@dataclass(frozen=True)
class CollectionOptions:
    """Garbage collections that begin by themselves.

    :param enabled: whether there are any.
    :param interval: how long after the begin of one that was done the next one begins. One that was not done
        is followed by another after a twenty-fourth of it.
    :param window: the hours of the day in which they run: ``"02:00-05:00"``, which is UTC, or ``"22:00-04:30
        Europe/Berlin"``. One that is not done when they are over is ended, and the next one goes on. Within a
        window, the next one may begin up to a tenth of *interval* earlier. Without it, they run at any time.
    :param grace: nothing younger is touched, and so much time passes between the two steps.
    :param deleteuntagged: whether manifests go that no tag leads to.
    :param olderthan: with *deleteuntagged*: younger manifests stay.
    :param besidedistribution: whether they delete although Distribution may push into the storage.
    :param parallel: how many requests to the storage are made at a time, at the most.
    :param requestspersecond: how many requests to S3 begin in a second, at the most; 0 for any number.
    """

    enabled: bool = False
    interval: float = field(default=24 * 3600.0, metadata=_DURATION)
    window: Window | None = field(default=None, metadata={"form": "text"})
    grace: float = field(default=24 * 3600.0, metadata=_DURATION)
    deleteuntagged: bool = False
    olderthan: float = field(default=7 * 24 * 3600.0, metadata=_DURATION)
    besidedistribution: bool = False
    parallel: int = 8
    requestspersecond: int = 100

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {
        "enabled": parse.boolean,
        "interval": _interval,
        "window": _window,
        "grace": parse.period,
        "deleteuntagged": parse.boolean,
        "olderthan": parse.period,
        "besidedistribution": parse.boolean,
        "parallel": partial(parse.integer, minimum=1, maximum=256),
        "requestspersecond": parse.integer,
    }

    def rules(self) -> Rules:
        """Return what they take."""
        return Rules(
            grace=self.grace,
            deleteuntagged=self.deleteuntagged,
            olderthan=self.olderthan,
            besidedistribution=self.besidedistribution,
        )
