"""The section ``server`` of a configuration: how gunicorn serves the apps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from cfmiddleware import parse

# Threads that uploads never hold.
_FREE_THREADS = 8


_threads = partial(parse.integer, minimum=32, maximum=1000)


@dataclass(frozen=True)
class ServerOptions:
    """How gunicorn serves one of the apps.

    :param workers: the processes, up to 256. A storage in memory has one by default, because another process
        would not find its blobs.
    :param threads: the threads of each process, from 32 to 1000. One thread serves one request at a time.
    :param uploads: how many uploads one worker takes in at the same time, half of its threads by default. It
        is at least eight fewer than them, so that a redirect or ``/v2/`` always finds a thread.
    :param uploadwait: how long an upload beyond *uploads* waits for its turn before it gets 429; 0 refuses it
        at once.
    :param gracefultimeout: how long requests under way get when the server stops; ``http.draintimeout`` by
        default, if that is given.
    """

    workers: int = 2
    threads: int = 64
    uploads: int = 32
    uploadwait: int = 30
    gracefultimeout: int = 30

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {
        "workers": partial(parse.integer, minimum=1, maximum=256),
        "threads": _threads,
        "uploads": parse.positive,
        "uploadwait": partial(parse.seconds, minimum=0),
        "gracefultimeout": parse.seconds,
    }

    def __post_init__(self) -> None:
        parse.integer(self.uploads, "uploads", minimum=1, maximum=self.threads - _FREE_THREADS)


def read_server(section: Mapping[str, Any], *, shared: bool, draintimeout: int) -> ServerOptions:
    """Return the options of the section.

    :param shared: whether one process sees what another stores.
    :param draintimeout: ``http.draintimeout``, in seconds; 0 where it is not given.
    :raises ConfigError: for an unknown option, or a value that cannot work.
    """
    threads = _threads(section.get("threads") or ServerOptions.threads, "server.threads")
    defaults = {
        "workers": ServerOptions.workers if shared else 1,
        "uploads": threads // 2,
        "gracefultimeout": draintimeout or ServerOptions.gracefultimeout,
    }
    given = {name: value for name, value in section.items() if value not in (None, "")}
    return parse.options(ServerOptions, {**defaults, **given}, "server")
