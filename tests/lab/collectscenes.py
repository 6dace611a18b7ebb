"""Scenes for collections and what goes on beside them: pushes, mounts, deletes, retags, collections."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from cfmiddleware.digest import Digest
from cfmiddleware.registry.collect.collector import Collector
from cfmiddleware.registry.collect.condemned import Condemned
from cfmiddleware.registry.collect.verdict import Rules
from cfmiddleware.storage.driver import Driver
from cfmiddleware.storage.memory import MemoryDriver
from lab.actors import STEP, Actor, World, one_thread
from lab.pagedstorage import PagedStorage
from lab.pushing import Ledger, Pusher, image
from lab.registry_client import OCI_MANIFEST, RegistryClient, descriptor
from lab.simplecollector import Holdings

X, Y, CONFIG = b"layer x", b"layer y", b"{}"
IMAGE = image([X, Y], CONFIG)
Plan = Sequence[tuple[int, int]]


class Scene:
    """A registry's storage before something happens, and what happens then.

    :param patch: undoes what the scene changes.
    :param plan: whose turn it is.
    :param page: how many keys a page of a listing has.
    :param untagged: whether manifests stay that no tag leads to.
    :param one_machine: whether the actors see which of the others have ended.
    :param pace: returns how many seconds an actor's next step takes.
    :param inner: where everything is; memory by default.
    """

    def __init__(
        self,
        patch: pytest.MonkeyPatch,
        plan: Plan = (),
        page: int = 1000,
        *,
        untagged: bool = False,
        one_machine: bool = True,
        pace: Callable[[Actor], float] = lambda _: STEP,
        inner: Driver | None = None,
    ) -> None:
        self.world = World(plan, pace, one_machine=one_machine)
        self.world.use(patch)
        one_thread(patch)
        self.inner = inner or MemoryDriver("root")
        self.storage = PagedStorage(self.inner, self.world, page, single=page < 1000)
        self.ledger = Ledger()
        self.untagged = untagged

    def condemned(self) -> Condemned:
        return Condemned(self.storage, self.world.clock, self.world.sleep)

    def pusher(self) -> Pusher:
        """Return a client of a new process of the registry."""
        return Pusher(RegistryClient(self.storage, condemned=self.condemned()), self.ledger)

    def collect(self, grace: float = 0.0) -> str:
        """Collect in a new process, and return what became of it."""
        rules = Rules(grace=grace, deleteuntagged=not self.untagged, olderthan=grace)
        collector = Collector(self.storage, rules, 4, self.condemned())
        try:
            collector.collect()
        except Exception as error:
            return type(error).__name__
        return "collected"

    def check(self) -> None:
        """See that everything that was promised is whole, now and after further collections, and that then
        nothing else is left.
        """
        assert not self.ledger.broken(Holdings(self.inner), untagged=self.untagged)
        for _ in range(4):
            self.world.now += 10_000
            assert self.collect() == "collected"
            assert not self.ledger.broken(Holdings(self.inner), untagged=self.untagged)
        assert not Holdings(self.inner).garbage(untagged=self.untagged)


#: Makes what is there before.
Prepare = Callable[[Scene], None]
#: Is done beside a collection.
Other = Callable[[Scene, Pusher], object]


def _base(scene: Scene) -> None:
    """An image that stays, with a layer that others share."""
    assert scene.pusher().image("base", "stays", [X], CONFIG) == 201


def _blobs(scene: Scene) -> None:
    pusher = scene.pusher()
    for content in (X, Y, CONFIG):
        assert pusher.blob("app", content, "upload")


def _blobs_without_links(scene: Scene) -> None:
    _blobs(scene)
    scene.world.now += 10
    assert scene.collect() == "collected"
    scene.world.now += 10


def _untagged(scene: Scene) -> None:
    assert scene.pusher().image("app", "", [X, Y], CONFIG) == 201


def _tagged(scene: Scene) -> None:
    assert scene.pusher().image("app", "old", [X, Y], CONFIG) == 201


def _set_aside_but_its_blobs(scene: Scene) -> None:
    """A manifest that is set aside, whose blobs others have pushed again."""
    _untagged(scene)
    scene.world.now += 10
    assert scene.collect() == "collected"
    _blobs(scene)


def _push(way: str) -> Other:
    return lambda scene, pusher: pusher.image("app", "v1", [X, Y], CONFIG, way)


def _retag_and_delete(scene: Scene, pusher: Pusher) -> object:
    return [pusher.retag("app", "old", "new"), pusher.delete("app", "old")]


def _delete_and_push(scene: Scene, pusher: Pusher) -> object:
    return [pusher.delete("app", "old", IMAGE), pusher.image("app", "new", [X, Y], CONFIG)]


def _sign(scene: Scene, pusher: Pusher) -> object:
    subject = descriptor(Digest.of(IMAGE), OCI_MANIFEST)
    return [
        pusher.image("app", "", [Y], b"{}signature", subject=subject),
        pusher.retag("app", "old", "new"),
    ]


#: What is there, and what is done beside a collection.
SCENES: dict[str, tuple[Prepare, Other]] = {
    "push of a manifest alone": (_blobs, lambda scene, pusher: pusher.manifest("app", "v1", IMAGE)),
    "the same, links gone": (_blobs_without_links, lambda scene, pusher: pusher.manifest("app", "v1", IMAGE)),
    "push after looks": (_blobs, _push("head")),
    "push of everything": (_blobs_without_links, _push("upload")),
    "push in chunks": (_blobs_without_links, _push("chunks")),
    "mount": (_blobs_without_links, _push("mount")),
    "tag of an untagged manifest": (_untagged, lambda scene, pusher: pusher.manifest("app", "v1", IMAGE)),
    "index of an untagged manifest": (_untagged, lambda scene, pusher: pusher.index("app", "v1", [IMAGE])),
    "index of one that is set aside": (
        _set_aside_but_its_blobs,
        lambda scene, pusher: pusher.index("app", "v1", [IMAGE]),
    ),
    "retag and delete of a tag": (_tagged, _retag_and_delete),
    "delete of a manifest and push": (_tagged, _delete_and_push),
    "signature and retag": (_tagged, _sign),
    "another collection": (_untagged, lambda scene, pusher: scene.collect()),
}


def prepare(scene: Scene, name: str) -> None:
    """Make what is there before."""
    _base(scene)
    SCENES[name][0](scene)
    scene.world.now += 10
