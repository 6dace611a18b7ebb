"""A push is killed beside a collection, at each of its steps. What others push afterwards is whole.

The push stops before one of its steps until the collection has looked for the second time, takes the step,
and is killed. So it may have left a link whose bytes are gone, or a manifest whose blobs are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pytest
from lab.actors import FOREVER, Actor
from lab.collectscenes import CONFIG, IMAGE, SCENES, Plan, Scene, X, Y, prepare
from lab.pushing import Pusher
from lab.simplecollector import Holdings

from cfmiddleware.digest import Digest
from cfmiddleware.registry.collect.condemned import Announced, Condemned

PUSHES = (
    "push of a manifest alone",
    "the same, links gone",
    "push of everything",
    "push in chunks",
    "mount",
)


def trusts_links(scene: Scene) -> None:
    """Push the manifest, and when it is refused the blobs that the registry says it does not have."""
    blobs = {str(Digest.of(content)): content for content in (X, Y, CONFIG)}
    pusher = scene.pusher()
    for _ in range(3):
        if pusher.manifest("app", "v1", IMAGE) == 201:
            return
        assert pusher.missed
        assert all(pusher.blob("app", blobs[digest], "upload") for digest in pusher.missed)
    raise AssertionError("it is refused again and again")


def trusts_manifests(scene: Scene) -> None:
    """Push an index, and of its manifest what a HEAD does not find; once more when that is refused."""
    assert 201 in (index_of_what_is_there(scene.pusher()), index_of_what_is_there(scene.pusher()))


def index_of_what_is_there(pusher: Pusher) -> int:
    if pusher.finds("app", IMAGE) or pusher.image("app", "", [X, Y], CONFIG) == 201:
        return pusher.index("app", "v2", [IMAGE])
    return 0


LATER: dict[str, Callable[[Scene], None]] = {
    "a manifest whose links are there": trusts_links,
    "an index whose manifest is there": trusts_manifests,
}


def play(name: str, later: str, grace: float, plan: Plan, life: int = FOREVER) -> list[Actor]:
    """Run a collection (0) and a push that is killed (1), and then what comes later."""
    with pytest.MonkeyPatch.context() as patch:
        scene, collection = begin(patch, name, grace, plan)
        push = scene.world.add("a push", lambda: SCENES[name][1](scene, scene.pusher()))
        push.life = life
        scene.world.run()
        assert collection.result == "collected"
        try:
            LATER[later](scene)
            assert not scene.ledger.broken(Holdings(scene.inner), untagged=True)
            assert scene.pusher().finds("app", IMAGE)
        except AssertionError as error:
            raise AssertionError(f"{name}, {later}, {grace}, {plan}, {life}: {error}") from None
        return [collection, push]


def begin(patch: pytest.MonkeyPatch, name: str, grace: float, plan: Plan = ()) -> tuple[Scene, Actor]:
    scene = Scene(patch, plan, untagged=True)
    prepare(scene, name)
    scene.world.now += 1000
    return scene, scene.world.add("a collection", lambda: scene.collect(grace))


def window(name: str, grace: float) -> range:
    """Return after which steps of a collection a request's write comes too late for it."""
    found: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        scene, collection = begin(patch, name, grace)
        announce, withdraw = Condemned.announce, Condemned.withdraw

        def announced(self: Condemned, lines: Iterable[str]) -> Announced:
            made = announce(self, lines)
            found.append(collection.steps)
            return made

        def withdrawn(self: Condemned, announced: Announced, *, late: bool = False) -> None:
            found.append(collection.steps)
            withdraw(self, announced, late=late)

        patch.setattr(Condemned, "announce", announced)
        patch.setattr(Condemned, "withdraw", withdrawn)
        scene.world.run()
    begins, ends = found
    return range(begins, ends + 1)


def plans(name: str, late: bool = False) -> Iterator[tuple[float, Plan, int]]:
    """Yield the grace period, where the push stops and goes on, and how many steps it lives.

    :param late: whether it goes on only just before the deletes.
    """
    for grace in (0.0, 600.0):
        of_push = play(name, next(iter(LATER)), grace, [(1, FOREVER)])[1].steps
        for stops in range(of_push):
            for pause in window(name, grace)[-3:-2] if late else window(name, grace):
                yield grace, [(1, stops), (0, pause), (1, 1)], stops + 1


@pytest.mark.parametrize(
    ("name", "later"),
    [
        ("push of everything", "a manifest whose links are there"),
        ("push of a manifest alone", "an index whose manifest is there"),
    ],
)
def test_what_is_pushed_after_a_push_that_was_killed_is_whole(name: str, later: str) -> None:
    for plan in plans(name, late=True):
        play(name, later, *plan)


@pytest.mark.orders
@pytest.mark.parametrize("later", LATER)
@pytest.mark.parametrize("name", PUSHES)
def test_what_is_pushed_after_a_push_that_was_killed_at_any_moment_is_whole(name: str, later: str) -> None:
    for plan in plans(name):
        play(name, later, *plan)
