"""A purge beside a request that goes on with an old upload, in every order of their steps.

The request begins after each step of the purge, stops after each of its own steps, and goes on after each
later step of the purge. Whatever the order: no chunk goes that was acknowledged, a blob that was acknowledged
is whole, an upload that was cancelled stays so, and nothing of the upload is left for ever.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from lab.examples import tried
from lab.purging import DAY, HOUR, make_older, of_uploads
from lab.registry_client import RegistryClient
from lab.relay import FOREVER, Relay, SteppedStorage
from werkzeug.test import TestResponse

from cfmiddleware.digest import Digest
from cfmiddleware.process.sidebyside import SideBySide, in_turn
from cfmiddleware.registry.purging.purger import Purger
from cfmiddleware.storage.memory import MemoryDriver

pytestmark = pytest.mark.interleaved

FIRST, MORE = b"0123456789" * 3, b"abcdefghij" * 2


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run what may be done side by side in the thread that asks, whose turn it is."""
    monkeypatch.setattr(SideBySide, "all", lambda self, *parts: in_turn(*parts))


def in_a_piece(client: RegistryClient) -> str:
    return client.patch(client.start("app"), data=FIRST).headers["Location"]


def in_a_state(client: RegistryClient) -> str:
    """Two short chunks: the second one needs a state in the storage."""
    url = client.patch(client.start("app"), data=FIRST[:3]).headers["Location"]
    return client.patch(url, data=FIRST[3:8]).headers["Location"]


def only_begun(client: RegistryClient) -> str:
    """An upload whose first request was broken off after it had written when it began."""
    url = client.start("app")
    uuid = url.rpartition("/")[2].partition(".")[0]
    client.driver.write(f"/docker/registry/v2/repositories/app/_uploads/{uuid}/startedat", b"")
    return url


def chunk(client: RegistryClient, url: str) -> TestResponse:
    return client.patch(url, data=MORE)


def short_chunk(client: RegistryClient, url: str) -> TestResponse:
    return client.patch(url, data=MORE[:4])


def finish(client: RegistryClient, url: str) -> TestResponse:
    return client.put(f"{url}?digest={Digest.of(FIRST)}")


def finish_with_more(client: RegistryClient, url: str) -> TestResponse:
    return client.put(f"{url}?digest={Digest.of(FIRST + MORE)}", data=MORE)


def finish_small(client: RegistryClient, url: str) -> TestResponse:
    return client.put(f"{url}?digest={Digest.of(FIRST[:8])}")


def cancel(client: RegistryClient, url: str) -> TestResponse:
    return client.delete(url)


Request = Callable[[RegistryClient, str], TestResponse]

SCENARIOS: dict[str, tuple[Callable[[RegistryClient], str], Request, bytes]] = {
    "chunk after a piece": (in_a_piece, chunk, FIRST + MORE),
    "short chunk after a piece": (in_a_piece, short_chunk, FIRST + MORE[:4]),
    "chunk after a state": (in_a_state, chunk, FIRST[:8] + MORE),
    "short chunk after a state": (in_a_state, short_chunk, FIRST[:8] + MORE[:4]),
    "first chunk": (only_begun, chunk, MORE),
    "first short chunk": (only_begun, short_chunk, MORE[:4]),
    "end": (in_a_piece, finish, FIRST),
    "end with a chunk": (in_a_piece, finish_with_more, FIRST + MORE),
    "end of a small one": (in_a_state, finish_small, FIRST[:8]),
    "cancel": (in_a_piece, cancel, b""),
    "cancel of one that was only begun": (only_begun, cancel, b""),
}


def play(scenario: str, plan: list[tuple[int, int]]) -> tuple[Relay, str, Any, MemoryDriver]:
    begin, request, _ = SCENARIOS[scenario]
    driver = MemoryDriver()
    url = begin(RegistryClient(driver, inline_limit=10))
    make_older(driver, 2 * HOUR)
    relay = Relay(plan)
    storage: Any = SteppedStorage(driver, relay)
    client = RegistryClient(storage, inline_limit=10)
    done, answer = relay.run([Purger(storage, HOUR).purge, lambda: request(client, url)])
    assert not isinstance(done, BaseException), done
    assert not isinstance(answer, BaseException), answer
    return relay, url, answer, driver


def plans(scenario: str) -> Iterator[list[tuple[int, int]]]:
    """Yield where the request begins, where it stops, and where it goes on; all of them in the long run."""
    relay, _, _, _ = play(scenario, [(0, FOREVER)])
    of_purge = relay.steps[0]
    relay, _, _, _ = play(scenario, [(1, FOREVER)])
    of_request = relay.steps[1]
    every = [
        [(0, begins), (1, stops), (0, pause), (1, FOREVER)]
        for begins in range(of_purge + 1)
        for stops in range(of_request + 1)
        for pause in range(1, of_purge - begins + 1)
    ]
    return iter(random.Random(scenario).sample(every, min(len(every), max(100, tried(len(every) // 3)))))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_what_was_acknowledged_is_there_in_every_order(scenario: str) -> None:
    _, _, content = SCENARIOS[scenario]
    statuses = set()
    for plan in plans(scenario):
        _, url, answer, driver = play(scenario, plan)
        statuses.add(answer.status_code)
        client = RegistryClient(driver, inline_limit=10)
        digest = Digest.of(content)
        if answer.status_code == 202:
            now = answer.headers["Location"]
            assert client.get(now).headers["Range"] == f"0-{len(content) - 1}", plan
            assert client.put(f"{now}?digest={digest}").status_code == 201, plan
        if answer.status_code in (201, 202):
            assert client.get(f"/v2/app/blobs/{digest}").data == content, plan
        if answer.status_code == 204:
            assert client.patch(url, data=b"x").status_code == 404, plan
            assert client.get(url).status_code == 404, plan
        assert answer.status_code in (201, 202, 204, 404), (answer.text, plan)
        for _ in range(2):
            make_older(driver, 8 * DAY)
            Purger(driver, HOUR).purge()
        assert not of_uploads(driver), plan
    assert len(statuses) == 2, statuses
