"""A whole repository goes, beside pushes in every order of their steps."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lab.collecting import VirtualClock, broken_images, collect_all, digests_stored
from lab.examples import tried
from lab.purging import DAY, make_older
from lab.registry_client import DRIVERS, RegistryClient, image_manifest
from lab.relay import FOREVER, Relay, SteppedStorage

from cfmiddleware.digest import Digest
from cfmiddleware.process.sidebyside import SideBySide, in_turn
from cfmiddleware.registry.collect.condemned import Condemned
from cfmiddleware.registry.repositorydelete import RepositoryDelete
from cfmiddleware.storage.memory import MemoryDriver

pytestmark = pytest.mark.interleaved

LAYER, CONFIG = b"layer", b"{}"


def delete_of(driver: Any, **more: Any) -> RepositoryDelete:
    clock = VirtualClock()
    return RepositoryDelete(driver, Condemned(driver, clock, clock.sleep), **more)


@pytest.fixture(params=DRIVERS)
def client(request: pytest.FixtureRequest, tmp_path: Path) -> RegistryClient:
    client = RegistryClient(DRIVERS[request.param](tmp_path))
    for name in ("app", "app/nested", "other"):
        for tag in ("v1", "v2"):
            client.push_image(name, tag, tag.encode())
    subject = client.push_image("app", "v3")
    config = client.push_blob("app", b"signature")
    about = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": str(subject), "size": 1}
    assert client.push_manifest("app", "sig", image_manifest(config, [], subject=about)).status_code == 201
    make_older(client.driver, DAY)
    return client


def test_all_of_a_repository_is_gone_and_nothing_of_others(client: RegistryClient) -> None:
    others = {path for path in client.objects() if "/app/_" not in path}

    done = delete_of(client.driver).delete("app")

    assert sorted(done.tags) == ["sig", "v1", "v2", "v3"]
    assert (len(done.manifests), len(done.blobs), done.kept) == (4, 7, 0)
    assert client.get("/v2/_catalog").json["repositories"] == ["app/nested", "other"]
    assert client.get("/v2/app/tags/list").status_code == 404
    assert client.get("/v2/app/manifests/v1").status_code == 404
    assert client.get(f"/v2/app/blobs/{Digest.of(b'signature')}").status_code == 404
    assert {path for path in client.objects() if "/_cfmiddleware/collect/" not in path} == others
    assert client.get("/v2/app/nested/manifests/v1").status_code == 200
    assert client.push_image("app", "v1")
    assert client.get("/v2/app/tags/list").json["tags"] == ["v1"]


def test_its_bytes_go_with_the_next_collections() -> None:
    client = RegistryClient(MemoryDriver())
    client.push_image("app", "v1")
    make_older(client.driver, DAY)
    delete_of(client.driver).delete("app")
    collect_all(client.driver)
    assert not digests_stored(client.driver)


def test_what_is_gone_is_told_as_it_goes(client: RegistryClient) -> None:
    told: list[Any] = []
    done = delete_of(client.driver, tell=lambda name, gone: told.append((name, gone))).delete("app")
    assert {name for name, _ in told} == {"app"}
    assert [tag for _, gone in told for tag in gone.tags] == done.tags
    assert [digest for _, gone in told for digest in gone.blobs] == done.blobs


def test_a_delete_that_was_killed_goes_on(client: RegistryClient) -> None:
    class Killed(BaseException):
        pass

    for last in itertools.count():
        client.push_image("app", "v1", b"%d" % last)
        make_older(client.driver, DAY)
        steps = iter(range(last))

        class Dying:
            def __getattr__(self, name: str, steps: Any = steps) -> Any:
                if name in ("write", "delete") and next(steps, None) is None:
                    raise Killed
                return getattr(client.driver, name)

        try:
            delete_of(Dying()).delete("app")
        except Killed:
            pass
        else:
            break
        delete_of(client.driver).delete("app")
        assert not {path for path in client.objects() if "/app/_" in path}, last
    assert last > 2


def test_its_requests_are_lists_and_batches() -> None:
    driver = MemoryDriver()
    client = RegistryClient(driver)
    for number in range(30):
        client.push_image("app", f"v{number}", b"%d" % number)
    make_older(driver, DAY)
    counts: Counter[str] = Counter()

    class Counting:
        def __getattr__(self, name: str) -> Any:
            if name in ("walk", "list", "stat", "read", "write", "create", "delete"):
                counts[name] += 1
            return getattr(driver, name)

    delete_of(Counting()).delete("app")
    assert sum(counts.values()) < 25, counts
    assert not [path for path in client.objects() if "/app/" in path]


# Beside pushes


def put(client: RegistryClient, tag: str) -> int:
    content = json.dumps(image_manifest(Digest.of(CONFIG), [Digest.of(LAYER)])).encode()
    return client.push_manifest("app", tag, content).status_code


def same_tag(client: RegistryClient) -> int:
    return put(client, "v1")


def new_tag(client: RegistryClient) -> int:
    return put(client, "v2")


def all_anew(client: RegistryClient) -> int:
    for content in (LAYER, CONFIG):
        answer = client.post(f"/v2/app/blobs/uploads/?digest={Digest.of(content)}", data=content)
        assert answer.status_code == 201, answer.text
    return put(client, "v2")


def new_manifest_of_old_blobs(client: RegistryClient) -> int:
    manifest = image_manifest(Digest.of(CONFIG), [Digest.of(LAYER)], annotations={"a": "b"})
    return client.push_manifest("app", "v2", manifest).status_code


PUSHES: dict[str, Callable[[RegistryClient], int]] = {
    "same tag": same_tag,
    "new tag": new_tag,
    "all anew": all_anew,
    "new manifest of old blobs": new_manifest_of_old_blobs,
}


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SideBySide, "all", lambda self, *parts: in_turn(*parts))
    monkeypatch.setattr(SideBySide, "map", lambda self, function, values: (function(v) for v in [*values]))


def play(push: str, plan: list[tuple[int, int]]) -> tuple[Relay, Any, MemoryDriver]:
    driver = MemoryDriver()
    before = RegistryClient(driver)
    assert all_anew(before) == 201
    assert put(before, "v1") == 201
    make_older(driver, DAY)
    relay = Relay(plan)
    storage: Any = SteppedStorage(driver, relay)
    delete, request = (Condemned(storage, relay.clock, relay.sleep) for _ in range(2))
    client = RegistryClient(storage, condemned=request)
    done, status = relay.run(
        [lambda: RepositoryDelete(storage, delete).delete("app"), lambda: PUSHES[push](client)]
    )
    assert not isinstance(done, BaseException), done
    assert not isinstance(status, BaseException), status
    return relay, status, driver


@pytest.mark.parametrize("push", PUSHES)
@pytest.mark.usefixtures("one_thread")
def test_a_push_that_is_acknowledged_meanwhile_is_whole_in_every_order(push: str) -> None:
    relay, _, _ = play(push, [(0, FOREVER)])
    of_delete = relay.steps[0]
    relay, _, _ = play(push, [(1, FOREVER)])
    of_push = relay.steps[1]
    every = [
        [(0, begins), (1, stops), (0, pause), (1, FOREVER)]
        for begins in range(of_delete + 1)
        for stops in range(of_push + 1)
        for pause in range(1, of_delete - begins + 1)
    ]
    tag = "v1" if push == "same tag" else "v2"
    statuses = Counter[int]()
    sample = random.Random(push).sample(every, min(len(every), max(120, tried(len(every) // 3))))
    # Where the push comes whole between the look and the announcement, the delete must see it.
    for plan in [[(0, 6), (1, FOREVER)], *sample]:
        _, status, driver = play(push, plan)
        statuses[status] += 1
        assert status in (201, 404, 503), (status, plan)
        assert not broken_images(driver), plan
        began_before = plan[0][1] < 6  # the delete had not yet looked: it asks for the time, and lists
        found = RegistryClient(driver).get(f"/v2/app/manifests/{tag}").status_code
        if status == 201 and not began_before:
            assert found == 200, plan
    assert statuses[201] > 10, statuses
