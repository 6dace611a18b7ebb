"""What collections remember of manifests: in few objects, and nothing is lost when they are joined."""

from __future__ import annotations

import zlib

import pytest

from cfmiddleware.digest import Digest
from cfmiddleware.process.sidebyside import SideBySide
from cfmiddleware.registry.collect import remembered
from cfmiddleware.registry.collect.references import References
from cfmiddleware.registry.collect.remembered import Known, Remembered
from cfmiddleware.registry.store import paths
from cfmiddleware.storage.memory import MemoryDriver


def digest(number: int) -> Digest:
    return Digest.of(b"%d" % number, "sha512" if number % 7 == 0 else "sha256")


def known(number: int) -> Known:
    about = digest(number + 2) if number % 3 == 0 else None
    return Known.of(References(frozenset([digest(number + 1), digest(number + 2)]), about))


def loaded(driver: MemoryDriver) -> Remembered:
    ours = Remembered(driver, SideBySide(2))
    ours.load()
    return ours


def objects(driver: MemoryDriver) -> list[str]:
    return [path for path, _ in driver.walk(paths.REMEMBERED)]


def test_what_was_put_is_there_for_the_next_one() -> None:
    driver = MemoryDriver()
    ours = loaded(driver)
    for number in range(50):
        ours.put(digest(number), known(number))
    assert ours.get(digest(3)) == known(3)
    ours.save()

    theirs = loaded(driver)
    assert [theirs.get(digest(number)) for number in range(50)] == [known(number) for number in range(50)]
    assert ours.get(digest(3)) == known(3)
    assert theirs.get(digest(50)) is None
    assert theirs.get(Digest("sha256", digest(3).hex[:16] + "0" * 48)) is None


def test_a_collection_that_is_stopped_has_not_read_manifests_for_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remembered, "_OFTEN", 10)
    driver = MemoryDriver()
    ours = loaded(driver)
    for number in range(25):
        ours.put(digest(number), known(number))

    assert sum(loaded(driver).get(digest(number)) is not None for number in range(25)) == 20


def test_small_objects_are_joined_and_large_ones_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("_OFTEN", 4), ("_SMALL", 8), ("_LARGE", 32)):
        monkeypatch.setattr(remembered, name, value)
    driver = MemoryDriver()
    ours = loaded(driver)
    for number in range(500):
        ours.put(digest(number), known(number))
    ours.save()

    assert 500 / 32 <= len(objects(driver)) <= 500 / 32 + 4
    theirs = loaded(driver)
    assert all(theirs.get(digest(number)) == known(number) for number in range(500))
    before = set(objects(driver))
    theirs.put(digest(1000), known(1000))
    theirs.save()
    assert len(before - set(objects(driver))) <= 1


def test_an_object_of_an_earlier_version_is_read() -> None:
    """Its entries stand in any order."""
    driver = MemoryDriver()
    entries = []
    for number in range(30):
        name, (subject, packed) = bytes.fromhex(digest(number).hex), known(number)
        entries.append(remembered._HEAD.pack(len(name), len(packed), subject) + name + packed)
    body = zlib.compress(b"".join(entries))
    content = b"cfmiddleware references 1\n" + str(Digest.of(body)).encode() + b"\n" + body
    driver.write(f"{paths.REMEMBERED}old", content)

    ours = loaded(driver)
    assert [ours.get(digest(number)) for number in range(30)] == [known(number) for number in range(30)]
    ours.put(digest(99), known(99))
    ours.save()
    assert len(objects(driver)) == 1
    assert loaded(driver).get(digest(7)) == known(7)


@pytest.mark.parametrize("cut", [1, 30, 90, 200])
def test_a_damaged_object_counts_for_nothing_and_goes_with_the_next_save(cut: int) -> None:
    driver = MemoryDriver()
    ours = loaded(driver)
    for number in range(9):
        ours.put(digest(number), known(number))
    ours.save()
    (path,) = objects(driver)
    driver.write(path, driver.read(path)[:-cut])

    theirs = loaded(driver)
    assert theirs.get(digest(1)) is None
    theirs.put(digest(1), known(1))
    theirs.save()
    assert objects(driver) != [path]
    assert len(objects(driver)) == 1
