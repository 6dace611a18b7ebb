"""A collection beside another actor, step by step: a push, a mount, a delete, a retag, another collection.

The other one begins after each step of the collection, stops after each of its own steps, and goes on after
each later step of the collection; with the mark `long` these are all that there are. The storage behaves as
S3 does, and time is virtual.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from lab.actors import FOREVER, Actor
from lab.collectscenes import SCENES, Plan, Scene, prepare

pytestmark = pytest.mark.interleaved


def play(scene: Scene, name: str) -> tuple[Actor, Actor]:
    """Prepare the scene, and run a collection and what is beside it."""
    prepare(scene, name)
    collection = scene.world.add("collection", scene.collect)
    beside = scene.world.add("beside", lambda: SCENES[name][1](scene, scene.pusher()))
    scene.world.run()
    assert collection.result in ("collected", "LeaseTaken"), collection.result
    assert not isinstance(beside.result, BaseException), beside.result
    return collection, beside


def plans(first: int, second: int, most: int, seed: str) -> Iterator[Plan]:
    """Yield where the second begins, where it stops and where it goes on.

    :param most: how many of the plans there are, picked at random; 0 for all.
    """
    every = [
        [(0, begins), (1, stops), (0, pause)] for begins in range(first + 1) for stops in range(second + 1)
        for pause in range(1, first - begins + 1)
    ]  # fmt: skip
    return iter(random.Random(seed).sample(every, min(most or len(every), len(every))))


def try_all(name: str, most: int, page: int = 1000, **options: Any) -> int:
    """Play a scene in many orders, check each, and return how many there were."""

    def run(plan: Plan) -> tuple[Actor, Actor]:
        with pytest.MonkeyPatch.context() as patch:
            scene = Scene(patch, plan, page, **options)
            actors = play(scene, name)
            try:
                scene.check()
            except AssertionError as error:
                raise AssertionError(f"{name}, {plan}: {error}") from None
            return actors

    first, second = run([(0, FOREVER)])[0].steps, run([(1, FOREVER)])[1].steps
    tried = 0
    for plan in plans(first, second, most, name):
        run(plan)
        tried += 1
    return tried


@pytest.mark.parametrize("name", SCENES)
def test_what_was_acknowledged_is_whole(name: str) -> None:
    assert try_all(name, 60)


@pytest.mark.orders
@pytest.mark.parametrize("name", SCENES)
def test_what_was_acknowledged_is_whole_in_every_order(name: str) -> None:
    assert try_all(name, 0)
