"""The good clients: they ask at a steady rate, and note how long each answer took while others attack.

A request begins when its time has come, whether or not the one before it was answered: a server that stands
still is not asked less. Each comes on a connection of its own, as that of a new client does.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"


class Good(NamedTuple):
    """What the good clients ask for.

    :param port: the server's port on 127.0.0.1.
    :param certificate: the server's certificate where it speaks TLS.
    :param repository: where small images are pushed.
    :param blob: the path of a blob that was asked for before.
    :param pings: requests for ``/v2/`` in a second.
    :param pulls: requests for the blob in a second.
    :param pushes: small images pushed in a second.
    :param user: ``name:password``, for a server that wants them.
    :param patience: seconds after which a client gives up.
    """

    port: int
    certificate: Path | None = None
    repository: str = ""
    blob: str = ""
    pings: float = 20
    pulls: float = 20
    pushes: float = 2
    user: str = ""
    patience: float = 10


class Visit(NamedTuple):
    """What became of one wish.

    :param at: when it came up, by the machine's monotonic clock.
    :param what: ``ping``, ``pull`` or ``push``.
    :param seconds: how long it took.
    :param failure: why it failed, or nothing.
    """

    at: float
    what: str
    seconds: float
    failure: str


class Answer(NamedTuple):
    """An HTTP response."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Refused(Exception):
    """An answer that a good client did not expect; the message is one line."""


def visit(good: Good, ready: Event, done: Event) -> list[Visit]:
    """Ask until *done* is set, and return what became of each wish."""
    return asyncio.run(_Visitors(good).run(ready, done))


class Link:
    """A connection on which requests are sent one after the other.

    :ivar more: further lines of the requests' heads, each with its end.
    """

    more = ""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, user: str = "") -> None:
        self._reader = reader
        self._writer = writer
        basic = base64.b64encode(user.encode()).decode()
        self._login = f"Authorization: Basic {basic}\r\n" if user else ""

    @classmethod
    async def to(cls, port: int, context: ssl.SSLContext | None = None, user: str = "") -> Link:
        """Connect."""
        return cls(*await asyncio.open_connection("127.0.0.1", port, ssl=context), user)

    async def ask(self, method: str, target: str, body: bytes = b"", kind: str = "") -> Answer:
        """Send a request and read its answer.

        :param target: a path, or a URL whose host is this server.
        """
        self.begin(method, target, len(body) if method in ("POST", "PUT", "PATCH") else None, body, kind)
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines[1:] if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        length = 0 if method == "HEAD" else int(headers.get("content-length", 0))
        return Answer(int(lines[0].split()[1]), headers, await self._reader.readexactly(length))

    def begin(self, method: str, target: str, length: int | None, body: bytes, kind: str = "") -> None:
        """Send a request, or as much of it as *body* is of *length* bytes."""
        parts = urlsplit(target)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{self._login}{self.more}"
        if kind:
            head += f"Content-Type: {kind}\r\n"
        if length is not None:
            head += f"Content-Length: {length}\r\n"
        self._writer.write(f"{head}\r\n".encode() + body)

    def close(self) -> None:
        """End the connection."""
        self._writer.close()


class _Visitors:
    def __init__(self, good: Good) -> None:
        self._good = good
        self._context: ssl.SSLContext | None = None
        if good.certificate is not None:
            self._context = ssl.create_default_context(cafile=good.certificate)
        self._visits: list[Visit] = []
        self._pushed = 0

    async def run(self, ready: Event, done: Event) -> list[Visit]:
        rates = {"ping": self._good.pings, "pull": self._good.pulls, "push": self._good.pushes}
        wishes = {"ping": self._ping, "pull": self._pull, "push": self._push}
        keepers = [
            asyncio.create_task(self._again(what, wishes[what], rate))
            for what, rate in rates.items()
            if rate > 0
        ]
        ready.set()
        await asyncio.to_thread(done.wait)
        for keeper in keepers:
            keeper.cancel()
        # Those under way come to their end, good or bad.
        await asyncio.gather(*keepers, return_exceptions=True)
        rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        await asyncio.gather(*rest, return_exceptions=True)
        return sorted(self._visits)

    async def _again(self, what: str, wish: Callable[[Link], Awaitable[None]], rate: float) -> None:
        at = time.monotonic()
        under_way = set()
        while True:
            task = asyncio.create_task(self._once(what, wish, at))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            at += 1 / rate
            await asyncio.sleep(at - time.monotonic())

    async def _once(self, what: str, wish: Callable[[Link], Awaitable[None]], at: float) -> None:
        failure = ""
        try:
            async with asyncio.timeout(self._good.patience):
                link = await Link.to(self._good.port, self._context, self._good.user)
                try:
                    await wish(link)
                finally:
                    link.close()
        except (Refused, OSError, asyncio.IncompleteReadError, ValueError, IndexError) as error:
            failure = str(error) if isinstance(error, Refused) else type(error).__name__
        self._visits.append(Visit(at, what, time.monotonic() - at, failure))

    async def _ping(self, link: Link) -> None:
        _expect(await link.ask("GET", "/v2/"), 200)

    async def _pull(self, link: Link) -> None:
        _expect(await link.ask("GET", self._good.blob), 307, 200)

    async def _push(self, link: Link) -> None:
        self._pushed += 1
        name = self._good.repository
        content = json.dumps({"push": self._pushed, "at": time.time()}).encode()
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        begun = _expect(await link.ask("POST", f"/v2/{name}/blobs/uploads/"), 202)
        to = begun.headers["location"]
        _expect(await link.ask("PUT", f"{to}{'&' if '?' in to else '?'}digest={digest}", content), 201)
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": {"mediaType": _CONFIG, "digest": digest, "size": len(content)},
            "layers": [{"mediaType": _LAYER, "digest": digest, "size": len(content)}],
        }
        to = f"/v2/{name}/manifests/tag-{self._pushed % 10}"
        _expect(await link.ask("PUT", to, json.dumps(manifest).encode(), _MANIFEST), 201)


def _expect(answer: Answer, *statuses: int) -> Answer:
    if answer.status not in statuses:
        raise Refused(str(answer.status))
    return answer
