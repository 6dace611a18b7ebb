"""What a verification finds and what it leaves alone, over each driver; nothing happens beside it here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lab.collecting import VirtualClock, collect
from lab.registry_client import DRIVERS, OCI_INDEX, OCI_MANIFEST, RegistryClient, descriptor
from lab.verifying import CASES, push, sized, verify, whole_image

from cfmiddleware.digest import Digest
from cfmiddleware.errors import StorageFailed, StorageUnavailable
from cfmiddleware.registry.store import paths
from cfmiddleware.registry.verify import repositorycheck
from cfmiddleware.registry.verify.faults import Fault, Kind
from cfmiddleware.registry.verify.secondlook import SecondLooks
from cfmiddleware.registry.verify.sizes import Sizes

WRITES = ("write", "create", "compose", "writer", "delete", "delete_prefix", "check", "check_writes")


@pytest.fixture(params=DRIVERS)
def client(request: pytest.FixtureRequest, tmp_path: Path) -> RegistryClient:
    return RegistryClient(DRIVERS[request.param](tmp_path))


@pytest.fixture
def memory(tmp_path: Path) -> RegistryClient:
    return RegistryClient(DRIVERS["inmemory"](tmp_path))


class ReadOnly:
    """A driver that cannot write, and fails to read what it is told to."""

    def __init__(self, inner: Any, *failing: str) -> None:
        self._inner = inner
        self._failing = failing

    def __getattr__(self, name: str) -> Any:
        if name in WRITES:
            raise AssertionError(f"a verification asked for {name}")
        attribute = getattr(self._inner, name)
        if name not in ("open", "read"):
            return attribute

        def operation(path: str, *given: Any, **named: Any) -> Any:
            if any(path.startswith(failing) for failing in self._failing):
                raise StorageFailed("the disk has a bad\nblock")
            return attribute(path, *given, **named)

        return operation


@pytest.mark.parametrize("name", CASES)
def test_each_fault_is_one_line_with_its_remedy(client: RegistryClient, name: str) -> None:
    case = CASES[name]
    whole_image(client, "whole", "v1")
    texts = case.make(client)

    found = verify(ReadOnly(client.driver), every=case.every, sample=0, later=case.later).faults

    says, remedy = case.says.format(**texts), case.remedy.format(**texts)
    assert found == [Fault(case.kind, case.repository, says, remedy)]


def test_a_whole_storage_has_no_fault(client: RegistryClient) -> None:
    child, _ = whole_image(client, "team/app")
    entry = descriptor(child, OCI_MANIFEST, len(client.driver.read(paths.blob_data(child))))
    push(client, "team/app", "all", {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]})
    about = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": sized(client.push_blob("team/app", b"{}"), b"{}"),
        "layers": [],
        "subject": descriptor(Digest.of(b"never pushed"), OCI_MANIFEST),
    }
    push(client, "team/app", "about", about)
    collect(client.driver)  # keeps things of its own
    client.push_blob("team/app/nested", b"long", "sha512")
    client.patch(client.start("team/app"), data=b"under way")
    client.push_blob("garbage", b"nobody's")
    for rules in ({}, {"every": True}, {"sample": 2}):
        result = verify(ReadOnly(client.driver), **rules)
        assert (result.faults, result.notes) == ([], [])
    found = result.verifier.found
    assert (found.repositories, found.counts.manifests, found.counts.tags) == (3, 3, 3)


def test_a_foreign_layer_need_not_be_there(client: RegistryClient) -> None:
    foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": sized(client.push_blob("app", b"{}"), b"{}"),
        "layers": [descriptor(Digest.of(b"elsewhere"), foreign, 9, urls=["https://example.com/x"])],
    }
    push(client, "app", "v1", manifest)

    assert verify(client.driver).faults == []


def test_a_sparse_index_is_told_and_not_broken(tmp_path: Path) -> None:
    client = RegistryClient(DRIVERS["filesystem"](tmp_path))
    child, _ = whole_image(client)
    entries = [descriptor(digest, OCI_MANIFEST, 9) for digest in (Digest.of(b"arm"), Digest.of(b"s390x"))]
    size = len(client.driver.read(paths.blob_data(child)))
    index = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [descriptor(child, OCI_MANIFEST, size), *entries],
    }
    content = json.dumps(index).encode()
    digest = Digest.of(content)
    client.driver.write(paths.blob_data(digest), content)
    client.driver.write(paths.revision_link("app", digest), str(digest).encode())

    result = verify(client.driver)

    assert result.faults == []
    assert [note.says for note in result.notes] == [
        f"index {digest} is sparse: 2 of its 3 entries are not here"
    ]


def test_what_an_unknown_field_names_is_told_and_not_broken(client: RegistryClient) -> None:
    other = Digest.of(b"of another registry")
    manifest = {"mediaType": "application/vnd.new", "base": descriptor(other)}
    digest = push(client, "app", "v1", manifest)

    result = verify(client.driver)

    assert result.faults == []
    assert [note.says for note in result.notes] == [
        f"manifest {digest} names {other} in an unknown field; it is not here"
    ]


def test_where_images_may_be_without_layers_a_missing_one_is_no_fault(client: RegistryClient) -> None:
    manifest, layer = whole_image(client)
    client.driver.delete([paths.layer_link("app", layer), paths.blob_data(layer)])

    result = verify(client.driver, layers=False)

    assert result.faults == []
    assert [note.says for note in result.notes] == [
        f"image {manifest} is sparse: {layer} of its layers is not here"
    ]


def test_a_wrong_blob_in_the_sample_is_found(client: RegistryClient) -> None:
    for number in range(5):
        digest = client.push_blob("app", b"%d" % number)
    client.driver.write(paths.blob_data(digest), b"x")

    result = verify(client.driver, sample=5)

    assert [fault.kind for fault in result.faults] == [Kind.DATA]


def test_every_blob_has_the_same_chance_to_be_in_the_sample(memory: RegistryClient) -> None:
    blobs = {memory.push_blob("app", b"%d" % number) for number in range(6)}
    seen = set()
    for _ in range(100):
        result = verify(memory.driver, sample=2)
        assert result.verifier.found.read == 2
        seen |= set(result.verifier._sample)
    assert seen == blobs


def test_blobs_are_read_at_the_rate_that_is_asked_for(memory: RegistryClient) -> None:
    for number in range(10):
        memory.push_blob("app", bytes([number]) * 100_000)
    clock = VirtualClock()

    verify(memory.driver, clock, every=True, rate=10_000)

    assert 100 <= clock.now < 110
    assert verify(memory.driver, every=True).verifier.found.read_size == 1_000_000


def test_only_the_repositories_of_a_pattern_are_looked_at(client: RegistryClient) -> None:
    for name in ("team/a", "team/b", "other", "teammate/c"):
        _, layer = whole_image(client, name)
        client.driver.delete([paths.blob_data(layer)])
        client.driver.write(paths.repository(name) + "stray", b"")
    client.driver.write(paths.BLOBS + "stray", b"")

    result = verify(client.driver, wanted=lambda name: name.startswith("team/"), below="team", every=True)

    assert sorted((fault.kind.value, fault.repository) for fault in result.faults) == [
        (kind.value, name) for kind in (Kind.PART, Kind.KEY) for name in ("team/a", "team/b")
    ]
    assert result.verifier.found.repositories == 2


def test_of_a_pattern_the_blobs_of_its_repositories_are_read_once(client: RegistryClient) -> None:
    for name in ("team/a", "team/b", "other"):
        client.push_blob(name, b"shared")
        client.push_blob(name, name.encode())
    client.driver.write(paths.blob_data(Digest.of(b"shared")), b"broken")
    client.driver.write(paths.blob_data(Digest.of(b"other")), b"wrong")

    for rules in ({"every": True}, {"sample": 3}):
        result = verify(client.driver, wanted=lambda name: name.startswith("team/"), below="team", **rules)
        assert [fault.says.split()[1] for fault in result.faults] == [f"{Digest.of(b'shared')}:"]
        assert result.verifier.found.read == 3


def test_control_characters_in_a_name_are_shown_escaped(tmp_path: Path) -> None:
    client = RegistryClient(DRIVERS["filesystem"](tmp_path))
    whole_image(client)
    odd = tmp_path / "docker/registry/v2/repositories/app/_layers/a\n\x1b[31mb\udcff"
    odd.write_bytes(b"")

    (fault,) = verify(client.driver).faults

    assert fault.says.startswith("docker/registry/v2/repositories/app/_layers/a\\n\\x1b[31mb\\udcff:")


def test_an_object_that_cannot_be_read_is_a_fault(memory: RegistryClient) -> None:
    manifest, layer = whole_image(memory)

    driver = ReadOnly(memory.driver, paths.blob_data(layer), paths.blob_data(manifest))
    faults = verify(driver).faults

    why = "cannot be read: the disk has a bad\\nblock"
    assert sorted(fault.says for fault in faults) == sorted(
        [f"blob {layer} {why}", f"blob {manifest} {why}", f"manifest {manifest} {why}"]
    )
    assert {fault.kind for fault in faults} == {Kind.UNREADABLE}


def test_a_manifest_that_is_larger_than_any_is_not_read(
    memory: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, _ = whole_image(memory)
    size = len(memory.driver.read(paths.blob_data(manifest)))
    monkeypatch.setattr(repositorycheck, "_LARGEST", size - 1)

    (fault,) = verify(ReadOnly(memory.driver, paths.blob_data(manifest)), sample=0).faults

    assert fault.kind is Kind.MANIFEST
    assert fault.says == f"manifest {manifest} has {size} bytes, more than any manifest"


def test_where_nothing_can_be_read_any_more_the_verification_ends(memory: RegistryClient) -> None:
    whole_image(memory)

    class Gone(ReadOnly):
        lists = 0

        def __getattr__(self, name: str) -> Any:
            if name == "list":
                Gone.lists += 1
                if Gone.lists > 5:
                    raise StorageFailed("S3 is away")
            return super().__getattr__(name)

    with pytest.raises(StorageUnavailable):
        verify(Gone(memory.driver, "/docker/registry/v2/blobs/"))


def test_what_is_mended_before_the_second_look_is_not_reported(memory: RegistryClient) -> None:
    _, layer = whole_image(memory)
    client, clock = memory, VirtualClock()
    content = client.driver.read(paths.blob_data(layer))
    client.driver.delete([paths.blob_data(layer)])

    def sleep(seconds: float) -> None:
        VirtualClock.sleep(clock, seconds)
        client.driver.write(paths.blob_data(layer), content)

    clock.sleep = sleep  # type: ignore[method-assign]
    assert verify(client.driver, clock, sample=0).faults == []
    assert clock.now >= 4


def test_faults_beyond_a_number_are_looked_at_again_at_once() -> None:
    told: list[Fault] = []
    clock = VirtualClock()
    seconds = SecondLooks(told.append, clock, clock.sleep, most=3)
    for number in range(10):
        fault = Fault(Kind.LINK, "app", str(number), "")
        assert seconds.suspect(lambda fault=fault: fault)
        assert len(seconds._waiting) <= 3
    assert len(told) == 7


def test_sizes_are_found_whatever_their_order() -> None:
    sizes = Sizes()
    digests = [Digest.of(b"%d" % number, ("sha256", "sha512")[number % 2]) for number in range(2000)]
    for number, digest in enumerate(digests):
        sizes.add(digest, number)
    sizes.freeze()

    assert [sizes.get(digest) for digest in digests] == list(range(2000))
    assert sizes.get(Digest.of(b"none")) is None
    assert len(sizes) == 2000


def test_sizes_of_a_million_blobs_take_less_than_forty_megabytes() -> None:
    import tracemalloc

    digests = [Digest("sha256", f"{number * 0x9E3779B97F4A7C15 % (1 << 64):016x}".ljust(64, "0"))
               for number in range(100_000)]  # fmt: skip
    tracemalloc.start()
    try:
        sizes = Sizes()
        for digest in digests:
            sizes.add(digest, 1 << 33)
        sizes.freeze()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 40 * len(digests)
