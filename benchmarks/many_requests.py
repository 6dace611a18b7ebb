"""Many requests at once, or again and again, from a process of their own (see beside.py)."""

from __future__ import annotations

import asyncio
import collections
import time
from collections.abc import Sequence
from multiprocessing.synchronize import Event
from typing import NamedTuple

from hostile_victims import Link
from lab.slow_clients import raise_descriptor_limit


class Wish(NamedTuple):
    """A request.

    :param kind: the type of its body.
    :param user: ``name:password``, where there is one.
    """

    method: str
    path: str
    body: bytes = b""
    kind: str = ""
    user: str = ""


class Outcome(NamedTuple):
    """What became of requests.

    :param statuses: how many had each status; an error's name stands for what was not answered.
    :param slowest: the seconds that the slowest took.
    """

    statuses: dict[str, int]
    slowest: float


def at_once(
    port: int, wishes: Sequence[Wish], patience: float, ready: Event | None = None, done: Event | None = None
) -> Outcome:
    """Send all the wishes at once, each on its own connection.

    :param patience: the seconds after which a client gives up.
    """
    raise_descriptor_limit()
    return asyncio.run(_at_once(port, wishes, patience, ready))


async def _at_once(port: int, wishes: Sequence[Wish], patience: float, ready: Event | None) -> Outcome:
    connected = asyncio.Barrier(len(wishes))
    statuses: collections.Counter[str] = collections.Counter()
    took: list[float] = []

    async def send(wish: Wish) -> None:
        link = await Link.to(port, user=wish.user)
        await connected.wait()
        began = time.monotonic()
        statuses[await _answered(link, wish, patience)] += 1
        took.append(time.monotonic() - began)
        link.close()

    async def say() -> None:
        await asyncio.sleep(1)
        if ready is not None:
            ready.set()

    async with asyncio.TaskGroup() as group:
        for wish in wishes:
            group.create_task(send(wish))
        group.create_task(say())
    return Outcome(dict(statuses), max(took, default=0))


def again_and_again(port: int, wishes: Sequence[Wish], ready: Event, done: Event) -> Outcome:
    """Let a client for each wish ask for it again and again, until *done* is set."""
    raise_descriptor_limit()
    return asyncio.run(_again_and_again(port, wishes, ready, done))


async def _again_and_again(port: int, wishes: Sequence[Wish], ready: Event, done: Event) -> Outcome:
    statuses: collections.Counter[str] = collections.Counter()
    slowest = 0.0

    async def loop(wish: Wish) -> None:
        nonlocal slowest
        link: Link | None = None
        while True:
            began = time.monotonic()
            try:
                link = link or await Link.to(port, user=wish.user)
                status = await _answered(link, wish, 60)
            except OSError as error:
                status = type(error).__name__
            statuses[status] += 1
            slowest = max(slowest, time.monotonic() - began)
            if not status.isdigit():
                if link is not None:
                    link.close()
                link = None
                await asyncio.sleep(0.1)

    loops = [asyncio.create_task(loop(wish)) for wish in wishes]
    ready.set()
    await asyncio.to_thread(done.wait)
    for each in loops:
        each.cancel()
    await asyncio.gather(*loops, return_exceptions=True)
    return Outcome(dict(statuses), slowest)


async def _answered(link: Link, wish: Wish, patience: float) -> str:
    """Return the status of the answer, or the name of what came instead."""
    try:
        async with asyncio.timeout(patience):
            answer = await link.ask(wish.method, wish.path, wish.body, wish.kind)
    except (OSError, asyncio.IncompleteReadError, ValueError, IndexError) as error:
        return type(error).__name__
    return str(answer.status)
