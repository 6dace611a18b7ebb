"""Two collections and a push, step by step: one collection is killed, stopped for long, or has no lease."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from lab.actors import FOREVER, NOBODY, Actor
from lab.collectscenes import SCENES, Plan, Scene, prepare

from cfmiddleware.registry.collect.lease import Lease

pytestmark = pytest.mark.interleaved

# In each of them a collection has something of the push to delete.
PUSHES = (
    "push of a manifest alone",
    "the same, links gone",
    "push after looks",
    "push in chunks",
    "tag of an untagged manifest",
    "index of one that is set aside",
    "retag and delete of a tag",
)


def play(name: str, plan: Plan, life: int = FOREVER, page: int = 1000, **options: bool) -> list[Actor]:
    """Run a collection (0), a push (1) and another collection (2), and check what is left."""
    with pytest.MonkeyPatch.context() as patch:
        scene = Scene(patch, plan, page, **options)
        prepare(scene, name)
        first = scene.world.add("the first collection", scene.collect)
        push = scene.world.add("a push", lambda: SCENES[name][1](scene, scene.pusher()))
        second = scene.world.add("the second collection", scene.collect)
        first.life = life
        scene.world.run()
        assert not isinstance(push.result, BaseException), push.result
        try:
            scene.check()
        except AssertionError as error:
            raise AssertionError(f"{name}, {plan}, {life}: {error}") from None
        return [first, push, second]


def lengths(name: str) -> Sequence[int]:
    """Return how many steps a collection takes, and the push."""
    first, push, _ = play(name, [(0, FOREVER)])
    return first.steps, push.steps


@pytest.mark.parametrize("name", PUSHES)
def test_a_collection_may_be_killed_after_each_step(name: str) -> None:
    chance = random.Random(name)
    of_collection, of_push = lengths(name)
    for life in range(of_collection + 1):
        begins, stops = chance.randint(0, life), chance.randint(0, of_push)
        goes_on = chance.randint(0, of_collection)
        play(name, [(0, begins), (1, stops), (0, FOREVER), (2, goes_on)], life)


@pytest.mark.parametrize("name", PUSHES)
def test_where_nobody_sees_that_it_was_killed_pushes_are_refused_for_a_while(name: str) -> None:
    chance = random.Random(name)
    of_collection, of_push = lengths(name)
    for life in range(0, of_collection + 1, 2):
        begins, stops = chance.randint(0, life), chance.randint(0, of_push)
        plan = [(0, begins), (1, stops), (0, FOREVER), (NOBODY, chance.choice([0, 100, 2000])), (2, 20)]
        play(name, plan, life, one_machine=False)


@pytest.mark.parametrize("seconds", [100, 700, 2000])
@pytest.mark.parametrize("name", PUSHES)
def test_a_collection_may_be_stopped_after_each_step_and_lose_its_lease(name: str, seconds: int) -> None:
    chance = random.Random(name)
    of_collection, of_push = lengths(name)
    for stops in range(of_collection + 1):
        push, second = chance.randint(0, of_push), chance.randint(0, of_collection)
        play(name, [(0, stops), (NOBODY, seconds), (2, second), (1, push), (0, 3), (2, FOREVER)])
        # The push has seen the announcement end that the first collection still believes in.
        play(name, [(0, stops), (NOBODY, seconds), (2, FOREVER), (1, push), (0, chance.randint(0, 20))])


def test_a_storage_goes_on_with_a_delete_whose_collection_is_stopped() -> None:
    # After 34 steps one of three keys is deleted. Half an hour later the push sees all of them gone.
    play("index of one that is set aside", [(0, 34), (1, 14), (NOBODY, 2000), (1, FOREVER)], page=3)


@pytest.mark.parametrize("name", PUSHES)
def test_two_collections_at_once_do_no_harm(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lease, "_take", lambda self: None)
    chance = random.Random(name)
    _, of_push = lengths(name)
    for _ in range(60):
        plan = [(who, chance.randint(1, of_push // 2 + 1 if who == 1 else 12)) for who in (0, 2, 1) * 5]
        play(name, plan, page=chance.choice([1, 2, 1000]))


@pytest.mark.orders
@pytest.mark.parametrize("name", PUSHES)
def test_two_collections_and_a_push_in_many_orders(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(name)
    of_collection, _ = lengths(name)
    for number in range(1500):
        life = chance.choice([FOREVER, chance.randint(0, of_collection)])
        order = [(chance.randint(0, 2), chance.randint(1, of_collection // 2)) for _ in range(8)]
        order.insert(chance.randint(0, 8), (NOBODY, chance.choice([0, 3, 10, 100, 700, 2000])))
        with monkeypatch.context() as patch:
            if number % 2:
                patch.setattr(Lease, "_take", lambda self: None)
            play(name, order, life, chance.choice([1, 2, 3, 1000]), one_machine=chance.random() < 0.5)
