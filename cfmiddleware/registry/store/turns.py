"""Parsing what clients made large: one at a time in each process, and where it keeps no request waiting.

A manifest of 4 MiB may take half a second and more than a hundred megabytes to parse. Sixteen of them at once
would take sixteen times as much of both; most manifests have a few kilobytes and take microseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Concatenate, ParamSpec, TypeVar

from cfmiddleware.process.cache import PerProcess
from cfmiddleware.process.offload import offload

P = ParamSpec("P")
R = TypeVar("R")

#: Up to this many bytes are few: they are parsed in about a millisecond, and may be in memory once for each
#: client that is slow to take them.
FEW = 1 << 16


class ParseTurns:
    """Runs parsers: on few bytes at once, on many bytes when it is their turn."""

    def __init__(self) -> None:
        self._turn: PerProcess[Lock] = PerProcess(Lock)

    def __call__(
        self,
        parse: Callable[Concatenate[bytes, P], R],
        content: bytes,
        *arguments: P.args,
        **keywords: P.kwargs,
    ) -> R:
        """Return what *parse* makes of *content*; it must not touch locks, sockets or the storage.

        :raises Exception: what *parse* raises.
        """
        if len(content) <= FEW:
            return parse(content, *arguments, **keywords)
        with self._turn():
            return offload(parse, content, *arguments, **keywords)
