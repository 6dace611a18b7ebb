"""The section ``server`` of a configuration: how gunicorn serves the apps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from cfmiddleware import parse

# From a millisecond to an hour: none at all would end every connection, and a longer one none that matters.
_deadline = parse.short_seconds
_size = partial(parse.integer, minimum=1024, maximum=1 << 20)


@dataclass(frozen=True)
class ServerOptions:
    """How one of the apps is served. Deadlines are in seconds, sizes in bytes.

    :param workers: the processes, up to 256. A storage in memory has one by default, because another process
        would not find its blobs.
    :param connections: how many connections a worker has at a time; 0 for half as many as it may have files
        open (``ulimit -n``, whose soft limit is raised to the hard one). Beyond it idle ones are ended, and
        new ones wait.
    :param uploads: how many uploads one worker takes in at the same time.
    :param uploadwait: how long an upload beyond *uploads* waits for its turn before it gets 429; 0 refuses it
        at once.
    :param headtimeout: how long a client gets for the head of a request, from its first byte.
    :param handshaketimeout: how long a client gets for the TLS handshake.
    :param bodytimeout: how long a client may send nothing of a request's body. An upload that ends so can be
        resumed.
    :param bodyrate: how many bytes of a body a second a client sends at least while it holds the place of an
        upload that others wait for; 0 lets it take its time.
    :param answertimeout: how long a client may read nothing of an answer.
    :param idletimeout: how long a connection stays without a request. A proxy in front keeps its own for a
        shorter time.
    :param headersize: the longest value of a header field. Tokens with many scopes and certificates are long.
    :param requestline: the longest request line.
    :param waitforstorage: how long ``cfmiddleware serve`` waits at its start for a storage that cannot be
        reached; 0 does not wait.
    :param gracefultimeout: how long requests under way get when the server stops; ``http.draintimeout`` by
        default, if that is given.
    """

    workers: int = 2
    connections: int = 0
    uploads: int = 32
    uploadwait: int = 30
    headtimeout: float = 20
    handshaketimeout: float = 20
    bodytimeout: float = 60
    bodyrate: int = 1 << 14
    answertimeout: float = 60
    idletimeout: float = 75
    headersize: int = 1 << 16
    requestline: int = 1 << 14
    waitforstorage: int = 60
    gracefultimeout: int = 30

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {
        "workers": partial(parse.integer, minimum=1, maximum=256),
        "connections": partial(parse.integer, minimum=0, maximum=1 << 16),
        "uploads": parse.positive,
        "uploadwait": partial(parse.seconds, minimum=0),
        "headtimeout": _deadline,
        "handshaketimeout": _deadline,
        "bodytimeout": _deadline,
        "bodyrate": partial(parse.size, maximum=1 << 30),
        "answertimeout": _deadline,
        "idletimeout": _deadline,
        "headersize": _size,
        "requestline": _size,
        "waitforstorage": partial(parse.seconds, minimum=0),
        "gracefultimeout": parse.seconds,
    }


def read_server(section: Mapping[str, Any], *, shared: bool, draintimeout: int) -> ServerOptions:
    """Return the options of the section.

    :param shared: whether one process sees what another stores.
    :param draintimeout: ``http.draintimeout``, in seconds; 0 where it is not given.
    :raises ConfigError: for an unknown option, or a value that cannot work.
    """
    defaults = {
        "workers": ServerOptions.workers if shared else 1,
        "gracefultimeout": draintimeout or ServerOptions.gracefultimeout,
    }
    given = {name: value for name, value in section.items() if value not in (None, "")}
    return parse.options(ServerOptions, {**defaults, **given}, "server")
