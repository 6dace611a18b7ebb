"""Random histories of a registry: clients that push, mount, retag, sign and delete, beside collections.

Each actor takes its actions one after the other; how long each step takes is drawn as well, from a hundredth
of a second to more than a collection may take. Any actor may be killed after any step.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest

from cfmiddleware.digest import Digest
from lab.actors import FOREVER, Actor
from lab.collectscenes import Scene
from lab.pushing import WAYS, Pusher, image
from lab.registry_client import OCI_MANIFEST, descriptor

NAMES = ("app", "base")
TAGS = ("v1", "v2", "v3")

_LAYERS = [b"layer %d" % number for number in range(4)]
_CONFIGS = [b"{}", b'{"number": 1}']

#: What the images of all histories are made of. They share layers.
PARTS = [
    ([_LAYERS[0], _LAYERS[1]], _CONFIGS[0]),
    ([_LAYERS[0], _LAYERS[2]], _CONFIGS[0]),
    ([_LAYERS[1], _LAYERS[2]], _CONFIGS[1]),
    ([_LAYERS[3]], _CONFIGS[1]),
]

# How many seconds a step takes, and how often.
_PACES = {0.01: 900, 0.4: 60, 1.5: 30, 3.5: 15, 9.0: 10, 40.0: 4, 100.0: 2, 700.0: 1, 2000.0: 1}


class Action(NamedTuple):
    """What an actor does.

    :param what: the name of one of the actions below, or ``collect`` or ``wait``.
    :param which: the image, or how many seconds to wait.
    """

    what: str
    name: str = "app"
    tag: str = "v1"
    which: int = 0
    way: str = "head"


def _image(pusher: Pusher, action: Action) -> None:
    layers, config = PARTS[action.which]
    pusher.image(action.name, action.tag, layers, config, action.way)


def _by_digest(pusher: Pusher, action: Action) -> None:
    layers, config = PARTS[action.which]
    pusher.image(action.name, "", layers, config, action.way)


def _manifest(pusher: Pusher, action: Action) -> None:
    pusher.manifest(action.name, action.tag, image(*PARTS[action.which]))


def _index(pusher: Pusher, action: Action) -> None:
    pusher.index(action.name, action.tag, [image(*PARTS[action.which]), image(*PARTS[0])])


def _retag(pusher: Pusher, action: Action) -> None:
    pusher.retag(action.name, TAGS[action.which % len(TAGS)], action.tag)


def _delete_tag(pusher: Pusher, action: Action) -> None:
    pusher.delete(action.name, action.tag)


def _delete_manifest(pusher: Pusher, action: Action) -> None:
    pusher.delete(action.name, "", image(*PARTS[action.which]))


def _sign(pusher: Pusher, action: Action) -> None:
    subject = descriptor(Digest.of(image(*PARTS[action.which])), OCI_MANIFEST)
    pusher.image(action.name, "", [_LAYERS[3]], b'{"signs": 1}', subject=subject)


#: What clients do.
ACTIONS: dict[str, Callable[[Pusher, Action], None]] = {
    "image": _image,
    "image by digest": _by_digest,
    "manifest": _manifest,
    "index": _index,
    "retag": _retag,
    "delete tag": _delete_tag,
    "delete manifest": _delete_manifest,
    "sign": _sign,
}


@dataclass(frozen=True)
class History:
    """A history.

    :param actors: what each does.
    :param lives: after how many steps each is killed.
    :param skews: by how many seconds the clock of each is ahead of the storage's.
    :param seed: says how long each step takes.
    """

    actors: Sequence[Sequence[Action]]
    lives: Sequence[int] = ()
    skews: Sequence[float] = ()
    seed: int = 0
    grace: float = 0.0
    untagged: bool = False
    one_machine: bool = True
    page: int = 1000
    paces: dict[float, int] = field(default_factory=lambda: dict(_PACES))


def play(history: History, patch: pytest.MonkeyPatch) -> Scene:
    """Play a history to its end, and return the scene."""
    scene = Scene(
        patch,
        page=history.page,
        untagged=history.untagged,
        one_machine=history.one_machine,
        pace=_pace(history),
    )
    scene.pusher().image("base", "stays", *PARTS[0])
    for number, actions in enumerate(history.actors):
        skew = history.skews[number] if number < len(history.skews) else 0.0
        actor = scene.world.add(f"actor {number}", _work(scene, history, actions), skew)
        actor.life = history.lives[number] if number < len(history.lives) else FOREVER
    scene.world.run()
    faults = [a.result for a in scene.world.actors if isinstance(a.result, Exception)]
    assert not faults, faults
    return scene


def _pace(history: History) -> Callable[[Actor], float]:
    chance = random.Random(history.seed)
    seconds, often = list(history.paces), list(history.paces.values())
    drawn: list[float] = []

    def pace(_: Actor) -> float:
        if not drawn:
            drawn.extend(chance.choices(seconds, often, k=200))
        return drawn.pop()

    return pace


def _work(scene: Scene, history: History, actions: Sequence[Action]) -> Callable[[], Any]:
    def work() -> list[str]:
        pusher, collected = scene.pusher(), []
        for action in actions:
            if action.what == "wait":
                scene.world.sleep(float(action.which))
            elif action.what == "collect":
                collected.append(scene.collect(history.grace))
            else:
                ACTIONS[action.what](pusher, action)
        return collected

    return work


def random_history(seed: int) -> History:
    """Return a history that a number stands for."""
    chance = random.Random(seed)

    def action() -> Action:
        what = chance.choice(["image"] * 4 + list(ACTIONS) + ["wait"])
        which = chance.choice([1, 5, 30]) if what == "wait" else chance.randrange(len(PARTS))
        return Action(what, chance.choice(NAMES), chance.choice(TAGS), which, chance.choice(WAYS))

    collecting = [Action("collect"), Action("wait", which=chance.choice([0, 1, 10]))]
    actors = [
        [action() for _ in range(chance.randint(2, 7))],
        [action() for _ in range(chance.randint(0, 7))],
        collecting * chance.randint(1, 4),
        [Action("wait", which=chance.randrange(120)), *collecting * chance.randint(0, 3)],
    ]
    return History(
        actors,
        [chance.choice([FOREVER, FOREVER, chance.randrange(200)]) for _ in actors],
        [chance.choice([0.0, 0.0, -200.0, 200.0]) for _ in actors],
        chance.randrange(1 << 30),
        chance.choice([0.0, 0.0, 5.0, 15.0, 60.0]),
        chance.random() < 0.4,
        chance.random() < 0.7,
        chance.choice([2, 3, 1000]),
    )
