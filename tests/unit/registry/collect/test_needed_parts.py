"""Parts of the agreement between collections and pushes that few orders of steps need, one test for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from lab.actors import FOREVER
from lab.collecting import VirtualClock, collect, collector, digests_stored
from lab.collectscenes import IMAGE, Scene, prepare
from lab.purging import DAY, make_older
from lab.registry_client import RegistryClient
from lab.simplecollector import Holdings

from cfmiddleware.digest import Digest
from cfmiddleware.errors import NotDeleted
from cfmiddleware.registry.collect.condemned import Condemned, of_data, of_repository
from cfmiddleware.registry.store import paths
from cfmiddleware.storage.driver import Stat
from cfmiddleware.storage.memory import MemoryDriver

LAYER = Digest.of(b"layer")


class Hooked(MemoryDriver):
    """A storage that does something else after it was asked for certain bytes."""

    after_look: Callable[[], None] | None = None

    def stat(self, path: str) -> Stat:
        found = super().stat(path)
        if path == paths.blob_data(LAYER) and self.after_look is not None:
            self.after_look()
        return found


def test_what_a_request_mends_is_looked_at_once_more() -> None:
    """Another collection deletes the bytes after the request that waited for the first one has seen them."""
    driver, clock = Hooked(), VirtualClock()
    ours, theirs = Condemned(driver, clock, clock.sleep), Condemned(driver, clock, clock.sleep)
    client = RegistryClient(driver, condemned=ours)
    announced = theirs.announce([of_repository("app", LAYER)])

    def another_collection() -> None:
        driver.after_look = None
        ended = theirs.announce([of_data(LAYER)])
        driver.delete([paths.blob_data(LAYER)])
        theirs.withdraw(ended)

    def end_the_first(seconds: float) -> None:
        clock.sleep(seconds)
        ours.sleep = clock.sleep
        theirs.withdraw(announced)
        driver.after_look = another_collection

    ours.sleep = end_the_first
    answer = client.post(f"/v2/app/blobs/uploads/?digest={LAYER}", data=b"layer")

    assert driver.after_look is None
    assert (answer.status_code == 201) == (LAYER in digests_stored(driver)), answer.text


def test_what_the_dead_have_asked_a_storage_to_delete_is_waited_for() -> None:
    """A collection is killed in the middle of a request that deletes key by key, and the storage goes on."""
    went_on = [killed_while_deleting(life) for life in range(20, 36)]
    assert any(went_on)


def killed_while_deleting(life: int) -> bool:
    """Push when a collection was killed after so many steps; return whether it left keys to be deleted."""
    with pytest.MonkeyPatch.context() as patch:
        scene = Scene(patch, [(0, FOREVER)], page=2, untagged=True)
        prepare(scene, "push of a manifest alone")
        collection = scene.world.add("a collection", scene.collect)
        collection.life = life
        push = scene.world.add("a push", lambda: scene.pusher().manifest("app", "v1", IMAGE))
        later: list[float] = []
        after = scene.world.after

        def note(seconds: float, what: Callable[[], None]) -> Callable[[], None]:
            def noted() -> None:
                later.append(seconds)
                what()

            return after(seconds, noted)

        patch.setattr(scene.world, "after", note)
        scene.world.run()
        assert push.result == 201
        assert not scene.ledger.broken(Holdings(scene.inner), untagged=True), life
        return bool(later)


class Refusing(MemoryDriver):
    """A storage that does not delete manifests."""

    def delete(self, paths: Iterable[str]) -> None:
        paths = list(paths)
        refused = {path: "AccessDenied" for path in paths if "/revisions/" in path}
        super().delete(path for path in paths if path not in refused)
        if refused:
            raise NotDeleted("memory", refused, lasting=True)


def test_bytes_stay_whose_links_stay_after_all() -> None:
    client = RegistryClient(Refusing())
    client.push_image("app", "v1")
    client.delete("/v2/app/manifests/v1")
    before = digests_stored(client.driver)

    outcome = collect(client.driver, deleteuntagged=True)

    assert outcome.refused
    assert digests_stored(client.driver) == before


def test_the_grace_period_begins_anew_with_what_another_collection_has_set_aside() -> None:
    client = RegistryClient(MemoryDriver())
    client.push_blob("app", b"layer")
    make_older(client.driver, DAY)
    collect(client.driver, grace=3600.0)
    make_older(client.driver, DAY)
    clock = VirtualClock()

    def meanwhile(seconds: float) -> None:
        """Link the bytes, and have another collection set that link aside."""
        ours.sleep = clock.sleep
        client.driver.write(paths.layer_link("other", LAYER), str(LAYER).encode())
        client.driver.delete([paths.LEASE])
        assert collect(client.driver).layers == 1

    ours = Condemned(client.driver, clock, meanwhile)
    outcome = collector(client.driver, ours, grace=3600.0).collect()

    assert [*outcome.survey.data] == [LAYER]
    assert digests_stored(client.driver) == {LAYER}
