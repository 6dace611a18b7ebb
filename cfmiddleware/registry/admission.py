"""Which requests wait for a place before they are handled, and for which one.

What is limited is work and memory, never clients: a request takes a place when its client has shown that it
sends. Before that the first bytes of its body are read, and most bodies end with them. So those who send a
byte and are silent, however many they are, keep nobody from pushing. Those who go on slowly keep their place
while nobody else wants it; then the server ends their wait (``cfmiddleware.hurry`` in the environ).

Under a server with a thread for each request, waiting is what must be limited: a request takes its place
before its body is read, and is refused at once where there is none. So slow pushes leave the other threads to
pulls.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from cfmiddleware.metrics.names import UPLOADS, UPLOADS_REFUSED
from cfmiddleware.process.places import Places
from cfmiddleware.process.waiting import waiting_is_free

from . import errors
from .bodies import BodyBroken, begin_body, has_body
from .requests import Request

#: The methods whose requests may have to wait.
ADMITTED = frozenset(("POST", "PATCH", "PUT"))

#: How many bytes of a body are read before its request takes a place. Most manifests and configs have fewer,
#: and those of thousands of clients fit into memory.
AHEAD = 1 << 14

_UPLOADS = UPLOADS.of()


class Admission:
    """The places of a registry.

    :param most: how many uploads are taken in at a time, and as many whose body is short or empty. Manifests
        of more than a few KiB, which are held in memory whole, get a quarter of that for themselves.
    :param seconds: how long a request waits for a place before it is refused.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._seconds = seconds
        self._uploads = Places(most)
        # Of the steps of an upload whose body is here; they may still read the upload's state, and wait for a
        # storage, but never for a client.
        self._steps = Places(most)
        self._manifests = Places(max(1, most // 4))

    @contextlib.contextmanager
    def admit(self, request: Request) -> Iterator[Request]:
        """Hold a place, if the request needs one, and yield the request as it is to be handled.

        :raises RegistryError: ``TOOMANYREQUESTS`` (429), if there is no place in time.
        """
        if waiting_is_free():
            request, places, seconds = self._after_beginning(request)
        else:
            places, seconds = self._before_reading(request), 0.0
        held = next((place for place in places if place.enter(seconds)), None)
        if places and held is None:
            UPLOADS_REFUSED.inc()
            raise errors.too_many_uploads()
        hurry = request.environ.get("cfmiddleware.hurry") if held is not None else None
        is_upload = held is self._uploads
        if is_upload:
            _UPLOADS.inc()
        try:
            if held is not None and hurry is not None:
                hurry(lambda: held.waiting > 0)
            yield request
        finally:
            if is_upload:
                _UPLOADS.add(-1.0)
            if hurry is not None:
                hurry(None)
            if held is not None:
                held.leave()

    def _after_beginning(self, request: Request) -> _Needed:
        """Read the first bytes of the body, and return which place the rest needs."""
        complete = True
        if _has_body(request):
            try:
                environ, complete = begin_body(request.environ, AHEAD)
            except BodyBroken as broken:
                invalid = (
                    errors.manifest_invalid if request.route.resource == "manifest" else errors.upload_invalid
                )
                raise invalid(str(broken)) from None
            request = replace(request, environ=environ)
        return _Needed(request, self._places(request, complete), self._seconds)

    def _places(self, request: Request, complete: bool) -> tuple[Places, ...]:
        if request.route.resource == "manifest":
            return () if complete else (self._manifests,)
        if not complete or _searches(request):
            return (self._uploads,)
        # A POST without a body begins an upload, which asks nothing of the storage.
        return (self._steps,) if request.method != "POST" or _has_body(request) else ()

    def _before_reading(self, request: Request) -> tuple[Places, ...]:
        """Return the places, any of which will do, of a request that holds a thread while it waits."""
        if request.route.resource == "manifest":
            return (self._uploads, self._manifests)
        needed = request.method != "POST" or _has_body(request) or _searches(request)
        return (self._uploads,) if needed else ()


class _Needed(NamedTuple):
    request: Request
    places: tuple[Places, ...]
    seconds: float


def _has_body(request: Request) -> bool:
    """Return whether the request has a body. One of which that cannot be told is refused by its resource."""
    try:
        return has_body(request.environ)
    except BodyBroken as broken:
        if request.method == "POST":
            raise errors.upload_invalid(str(broken)) from None
        return False


def _searches(request: Request) -> bool:
    """Return whether the request mounts a blob without naming its source, which may take a hundred requests
    to the storage.
    """
    if request.method != "POST" or "mount" not in request.query:
        return False
    return request.query.keys().isdisjoint(("from", "digest"))
