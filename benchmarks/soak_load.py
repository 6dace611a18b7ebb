"""A mixed load: clients that do all that clients do, at random, and note every answer."""

from __future__ import annotations

import asyncio
import collections
import hashlib
import json
import random
from collections.abc import Awaitable, Callable
from multiprocessing.synchronize import Event
from typing import NamedTuple
from urllib.parse import urlsplit

from hostile_victims import Answer, Link

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_BYTES = "application/octet-stream"

#: Images that a client keeps; the oldest is deleted when it pushes another.
_KEPT = 5

#: Statuses that a request may have; whatever else comes is a wrong answer.
_GOOD = (200, 201, 202, 204, 206, 307)


class Load(NamedTuple):
    """What came back.

    :param statuses: how many answers each step had of each status; an error's name stands for what was not
        answered.
    :param wrong: the first answers that were not as they should be, a line each.
    :param requests: how many requests there were.
    """

    statuses: dict[str, dict[str, int]]
    wrong: list[str]
    requests: int


class _Image(NamedTuple):
    tag: str
    blob: str
    content: bytes
    manifest: str


def work(port: int, clients: int, ready: Event, done: Event) -> Load:
    """Work until *done* is set, and return what came back."""
    return asyncio.run(_work(port, clients, ready, done))


async def _work(port: int, clients: int, ready: Event, done: Event) -> Load:
    tally = _Tally()
    tasks = [asyncio.create_task(_Client(port, number, tally).run()) for number in range(clients)]
    ready.set()
    await asyncio.to_thread(done.wait)
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception) and not isinstance(result, asyncio.CancelledError):
            tally.wrong.append(f"a client ended: {type(result).__name__}: {result}")
    statuses = {step: dict(counts) for step, counts in sorted(tally.statuses.items())}
    return Load(statuses, tally.wrong[:20], sum(map(sum, (of.values() for of in statuses.values()))))


class _Tally:
    def __init__(self) -> None:
        self.statuses: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        self.wrong: list[str] = []

    def add(self, step: str, status: str, good: bool) -> None:
        self.statuses[step][status] += 1
        if not good and len(self.wrong) < 20:
            self.wrong.append(f"{step}: {status}")


class _Client:
    """One client, with a connection that it keeps, a repository of its own and the images in it."""

    def __init__(self, port: int, number: int, tally: _Tally) -> None:
        self._port = port
        self._name = f"soak/client-{number}"
        self._random = random.Random(number)
        self._tally = tally
        self._images: list[_Image] = []
        self._pushed = 0
        self._link: Link | None = None

    async def run(self) -> None:
        steps: list[tuple[Callable[[], Awaitable[None]], int]] = [
            (self._push, 4), (self._pull, 6), (self._redirect, 10), (self._head, 8), (self._range, 4),
            (self._list, 2), (self._abort, 2), (self._idle, 1), (self._ping, 4),
        ]  # fmt: skip
        actions, weights = zip(*steps, strict=True)
        await self._push()
        while True:
            (action,) = self._random.choices(actions, weights)
            # Without an image, because a push failed, there is nothing else to do.
            await (action() if self._images else self._push())

    async def _ask(
        self,
        step: str,
        method: str,
        target: str,
        body: bytes = b"",
        kind: str = "",
        wanted: tuple[int, ...] = _GOOD,
    ) -> Answer | None:
        try:
            async with asyncio.timeout(60):
                if self._link is None:
                    self._link = await Link.to(self._port)
                answer = await self._link.ask(method, target, body, kind)
        except (OSError, asyncio.IncompleteReadError, ValueError, IndexError) as error:
            self._hang_up()
            self._tally.add(step, type(error).__name__, False)
            return None
        good = answer.status in wanted
        self._tally.add(step, str(answer.status), good)
        if answer.headers.get("connection", "").lower() == "close":
            self._hang_up()
        return answer if good else None

    def _hang_up(self) -> None:
        if self._link is not None:
            self._link.close()
        self._link = None

    async def _push(self) -> None:
        self._pushed += 1
        size = self._random.choice((200, 5_000, 70_000, 600_000))
        content = self._random.randbytes(size)
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        begun = await self._ask("POST", "POST", f"/v2/{self._name}/blobs/uploads/", wanted=(202,))
        if begun is None:
            return
        patched = await self._ask("PATCH", "PATCH", begun.headers["location"], content, _BYTES, (202,))
        if patched is None:
            return
        put = _with_digest(patched.headers["location"], digest)
        if await self._ask("PUT blob", "PUT", put, wanted=(201,)) is None:
            return
        tag = f"tag-{self._pushed}"
        layer = {"mediaType": _BYTES, "digest": digest, "size": size}
        image = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": layer, "layers": [layer]}
        manifest = json.dumps(image).encode()
        to = f"/v2/{self._name}/manifests/{tag}"
        if await self._ask("PUT manifest", "PUT", to, manifest, _MANIFEST, (201,)) is None:
            return
        named = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
        self._images.append(_Image(tag, digest, content, named))
        if len(self._images) > _KEPT:
            await self._delete(self._images.pop(0))

    async def _delete(self, image: _Image) -> None:
        root = f"/v2/{self._name}"
        await self._ask("DELETE manifest", "DELETE", f"{root}/manifests/{image.manifest}", wanted=(202,))
        await self._ask("DELETE blob", "DELETE", f"{root}/blobs/{image.blob}", wanted=(202,))
        await self._ask("GET what was deleted", "GET", f"{root}/manifests/{image.tag}", wanted=(404,))

    async def _pull(self) -> None:
        image = self._one()
        answer = await self._ask(
            "GET manifest", "GET", f"/v2/{self._name}/manifests/{image.tag}", wanted=(200,)
        )
        if answer is not None and image.blob.encode() not in answer.body:
            self._tally.add("GET manifest", "another manifest", False)

    async def _redirect(self) -> None:
        image = self._one()
        answer = await self._ask("GET blob", "GET", f"/v2/{self._name}/blobs/{image.blob}", wanted=(200, 307))
        if answer is None:
            return
        right = (
            answer.body == image.content
            if answer.status == 200
            else image.blob.rpartition(":")[2] in urlsplit(answer.headers["location"]).path
        )
        if not right:
            self._tally.add("GET blob", "another blob", False)

    async def _head(self) -> None:
        image = self._one()
        # The wrapper leaves HEAD alone.
        await self._ask("HEAD blob", "HEAD", f"/v2/{self._name}/blobs/{image.blob}", wanted=(200, 307))
        await self._ask("HEAD manifest", "HEAD", f"/v2/{self._name}/manifests/{image.tag}", wanted=(200,))

    async def _range(self) -> None:
        image = self._one()
        link = self._link
        if link is None:
            return
        link.more = "Range: bytes=10-99\r\n"
        try:
            to = f"/v2/{self._name}/blobs/{image.blob}"
            answer = await self._ask("GET range", "GET", to, wanted=(206, 307))
        finally:
            link.more = ""
        if answer is not None and answer.status == 206 and answer.body != image.content[10:100]:
            self._tally.add("GET range", "other bytes", False)

    async def _list(self) -> None:
        await self._ask("GET tags", "GET", f"/v2/{self._name}/tags/list", wanted=(200,))
        await self._ask("GET catalog", "GET", "/v2/_catalog?n=5", wanted=(200,))

    async def _ping(self) -> None:
        await self._ask("GET /v2/", "GET", "/v2/", wanted=(200,))

    async def _abort(self) -> None:
        """Break off an upload, one time of two by hanging up in the middle of its body."""
        begun = await self._ask("POST", "POST", f"/v2/{self._name}/blobs/uploads/", wanted=(202,))
        if begun is None:
            return
        to = begun.headers["location"]
        if self._random.random() < 0.5 and self._link is not None:
            self._link.begin("PATCH", to, 100_000, b"x" * 40_000)
            await asyncio.sleep(0.05)
            self._hang_up()
        else:
            await self._ask("PATCH", "PATCH", to, b"x" * 20_000, _BYTES, (202,))
        # What was cut off may still be under way, and the client begins anew.
        await self._ask("DELETE upload", "DELETE", to, wanted=(204, 404, 409, 416))

    async def _idle(self) -> None:
        """Keep a connection without asking anything."""
        await asyncio.sleep(self._random.uniform(0.5, 3))

    def _one(self) -> _Image:
        return self._random.choice(self._images)


def _with_digest(location: str, digest: str) -> str:
    return f"{location}{'&' if '?' in location else '?'}digest={digest}"
