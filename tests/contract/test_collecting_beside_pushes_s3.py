"""A collection beside a push, step by step, over an S3 server: where each request goes, but few orders."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.collectscenes import SCENES, Plan, Scene, prepare
from lab.servers import S3Server

from cfmiddleware.storage.s3.s3driver import S3Driver

#: Those in which the most is at stake; with the mark `long` all.
FEW = ("the same, links gone", "push in chunks", "index of one that is set aside", "another collection")


def play(server: S3Server, name: str, plan: Plan) -> None:
    """Play a scene over a bucket of its own."""
    options = server.driver_options(server.new_bucket())
    driver = S3Driver.from_options(options, "storage.s3", Path())
    with pytest.MonkeyPatch.context() as patch:
        scene = Scene(patch, plan, inner=driver)
        prepare(scene, name)
        scene.world.add("collection", scene.collect)
        beside = scene.world.add("beside", lambda: SCENES[name][1](scene, scene.pusher()))
        scene.world.run()
        assert not isinstance(beside.result, BaseException), beside.result
        scene.check()


def plans(name: str, number: int) -> Iterator[Plan]:
    """Yield some orders, picked at random."""
    chance = random.Random(name)
    for _ in range(number):
        yield [(0, chance.randint(20, 60)), (1, chance.randint(0, 12)), (0, chance.randint(1, 40))]


@pytest.mark.parametrize("name", FEW)
def test_what_was_acknowledged_is_whole(name: str, s3_server: S3Server) -> None:
    for plan in plans(name, 2):
        play(s3_server, name, plan)


@pytest.mark.orders
@pytest.mark.parametrize("name", SCENES)
def test_what_was_acknowledged_is_whole_in_more_orders(name: str, any_s3: S3Server) -> None:
    for plan in plans(name, 6):
        play(any_s3, name, plan)
