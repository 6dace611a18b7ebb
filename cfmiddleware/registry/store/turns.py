"""Parsing what clients made large: one at a time in each process, and where it keeps no request waiting.

A manifest of 4 MiB may take half a second and more than a hundred megabytes to parse. Sixteen of them at once
would take sixteen times as much of both; most manifests have a few kilobytes and take microseconds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import Concatenate, ParamSpec, TypeVar

from cfmiddleware.process.cache import PerProcess
from cfmiddleware.process.childcall import ChildFailed, call_in_child
from cfmiddleware.process.offload import offload
from cfmiddleware.process.throttle import Throttle

P = ParamSpec("P")
R = TypeVar("R")

_log = logging.getLogger(__name__)

#: Up to this many bytes are few: they are parsed in about a millisecond, and may be in memory once for each
#: client that is slow to take them.
FEW = 1 << 16

# More than this many bytes keep the interpreter's lock for longer than other requests should wait. The lock
# belongs to a process, so they are parsed in one of their own.
_MANY = 1 << 18

# What is parsed in half a second on an idle machine may have to wait for the processor.
_PATIENCE = 60.0


class ParseTurns:
    """Runs parsers: on few bytes at once, on many bytes when it is their turn."""

    def __init__(self) -> None:
        self._turn: PerProcess[Lock] = PerProcess(Lock)
        self._complains = Throttle()

    def __call__(
        self,
        parse: Callable[Concatenate[bytes, P], R],
        content: bytes,
        *arguments: P.args,
        **keywords: P.kwargs,
    ) -> R:
        """Return what *parse* makes of *content*; it must not touch locks, sockets or the storage. It is a
        function of a module, and pickle takes what it is given, returns and raises.

        :raises Exception: what *parse* raises.
        """
        if len(content) <= FEW:
            return parse(content, *arguments, **keywords)
        with self._turn():
            if len(content) > _MANY:
                try:
                    return offload(partial(call_in_child, _PATIENCE, parse, content, *arguments, **keywords))
                except ChildFailed as failed:
                    if self._complains.allows():
                        _log.warning("a large manifest is parsed where it keeps others waiting: %s", failed)
            return offload(parse, content, *arguments, **keywords)
