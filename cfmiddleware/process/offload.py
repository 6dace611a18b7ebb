"""Work that computes, or waits for a disk, where it keeps no other request waiting.

Under gevent all requests of a process are greenlets of one thread. A greenlet that waits for a socket lets
the others go on; one that computes, or waits for a disk, stops them all. Such work is done in a real thread
here. Under every other server a request has a thread of its own, and the work is simply done.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from .waiting import waiting_is_free

P = ParamSpec("P")
R = TypeVar("R")


def offload(function: Callable[P, R], *arguments: P.args, **keywords: P.kwargs) -> R:
    """Return what *function* returns; other greenlets go on meanwhile.

    The function runs in another thread under gevent. It must not touch what belongs to greenlets: locks,
    sockets, the storage's clients. Handing over costs some 50 µs, so that what is shorter is done in place.

    :raises Exception: what the function raises.
    """
    if not waiting_is_free():
        return function(*arguments, **keywords)
    from gevent import get_hub

    result, error = get_hub().threadpool.apply(_caught, (function, arguments, keywords))
    if error is not None:
        raise error
    return cast(R, result)


def _caught(
    function: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> tuple[Any, Exception | None]:
    """Return the result and no error, or no result and the error, of which gevent would print the trace."""
    try:
        return function(*arguments, **keywords), None
    except Exception as error:  # noqa: BLE001 (the caller raises it)
        return None, error
