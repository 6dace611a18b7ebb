"""Tickets: what a client carries of its upload, and nobody else can write."""

from __future__ import annotations

import re
import string
import time
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfmiddleware.digest import Digest
from cfmiddleware.registry.store import paths
from cfmiddleware.registry.store.uploadticket import VALID, Ticket, Tickets
from cfmiddleware.storage.memory import MemoryDriver

UUID = str(uuid4())
DIGEST = Digest.of(b"bytes")


@pytest.fixture
def driver():
    return MemoryDriver()


def full(**more):
    return Ticket(**{"started": int(time.time()), "digest": DIGEST, "size": 5, **more})


@given(
    algorithm=st.sampled_from(["sha256", "sha512"]),
    content=st.none() | st.binary(max_size=20),
    size=st.integers(0, 2**40),
)
def test_a_ticket_is_read_as_it_was_written(algorithm, content, size):
    tickets = Tickets(MemoryDriver())
    digest = None if content is None else Digest.of(content, algorithm)
    ticket = Ticket(int(time.time()), algorithm, digest, size)
    name = tickets.seal("team/app", UUID, ticket)
    assert tickets.read("team/app", name) == (UUID, ticket)
    # What Distribution's routes take as the id of an upload, and proxies that know them.
    assert re.fullmatch(r"[a-zA-Z0-9\-_.=]+", name)


def test_a_ticket_of_another_repository_or_upload_counts_for_nothing(driver):
    tickets = Tickets(driver)
    name = tickets.seal("app", UUID, full())
    other = str(uuid4())
    assert tickets.read("other", name) == (UUID, None)
    assert tickets.read("app", name.replace(UUID, other)) == (other, None)


def test_a_ticket_with_any_other_letter_counts_for_nothing(driver):
    tickets = Tickets(driver)
    name = tickets.seal("app", UUID, full())
    for place in range(len(UUID), len(name)):
        for letter in string.hexdigits + "-_.g":
            # The last letter of base64 has bits that say nothing.
            if letter != name[place]:
                forged = name[:place] + letter + name[place + 1 :]
                assert tickets.read("app", forged)[1] is None, forged
    for forged in (name[:-1], name + "A", name.rpartition(".")[0], f"{UUID}.", "", "."):
        assert tickets.read("app", forged)[1] is None


def test_a_ticket_is_valid_for_some_days(driver):
    now = [1_800_000_000.0]
    tickets = Tickets(driver, lambda: now[0])
    name = tickets.seal("app", UUID, tickets.begin("sha256"))
    for later, valid in ((0, True), (VALID, True), (VALID + 1, False), (-60, True), (-3600, False)):
        now[0] = 1_800_000_000.0 + later
        assert (tickets.read("app", name)[1] is not None) == valid


def test_every_process_that_uses_the_storage_reads_it(driver):
    name = Tickets(driver).seal("app", UUID, full())
    assert Tickets(driver).read("app", name)[1] == full()
    assert len(driver.read(paths.UPLOAD_SECRET)) == 32
    assert Tickets(MemoryDriver()).read("app", name)[1] is None


class Asked(MemoryDriver):
    def __init__(self):
        super().__init__()
        self.reads = 0

    def read(self, path):
        self.reads += 1
        return super().read(path)


def test_the_storage_is_asked_for_the_secret_once_and_seldom_again_for_tickets_that_are_none():
    driver = Asked()
    tickets = Tickets(driver)
    name = tickets.seal("app", UUID, full())
    for _ in range(5):
        assert tickets.read("app", name)[1] is not None
    assert driver.reads == 1
    for _ in range(50):
        assert tickets.read("other", name)[1] is None
    assert driver.reads == 2


def test_a_process_whose_secret_is_no_longer_that_of_the_storage_takes_the_new_one(driver):
    """Two may have made one at the same time where nothing is created atomically; or it was deleted."""
    first = Tickets(driver)
    old = first.seal("app", UUID, full())
    driver.delete([paths.UPLOAD_SECRET])
    second = Tickets(driver)
    new = second.seal("app", UUID, full())
    assert second.read("app", old)[1] is None
    assert first.read("app", new)[1] is not None
    assert second.read("app", first.seal("app", UUID, full()))[1] is not None


def test_of_processes_that_make_the_secret_at_the_same_time_one_wins(driver):
    read, made = driver.read, []

    def late(path):
        driver.read = read
        made.append(Tickets(driver).seal("app", UUID, full()))
        return b"" if path is None else read("/nothing")

    driver.read = late
    slower = Tickets(driver)
    assert slower.read("app", slower.seal("app", UUID, full()))[1] is not None
    assert slower.read("app", made[0])[1] is not None


def test_what_is_no_secret_signs_nothing(driver):
    driver.write(paths.UPLOAD_SECRET, b"")
    name = Tickets(driver).seal("app", UUID, full())
    assert len(driver.read(paths.UPLOAD_SECRET)) == 32
    assert Tickets(driver).read("app", name)[1] is not None
