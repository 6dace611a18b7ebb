"""Uploads that leave nothing of their own in the storage: their URL says where they stand."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from lab.registry_client import DRIVERS, RegistryClient, error_code
from werkzeug.test import TestResponse

from cfmiddleware.digest import Digest
from cfmiddleware.registry.store import paths
from cfmiddleware.storage.memory import MemoryDriver

CONTENT = b"a layer of some bytes"
DIGEST = Digest.of(CONTENT)
DATA = f"registry/v2/blobs/sha256/{DIGEST.hex[:2]}/{DIGEST.hex}/data"
LINK = f"registry/v2/repositories/app/_layers/sha256/{DIGEST.hex}/link"


@pytest.fixture(params=DRIVERS)
def client(request: pytest.FixtureRequest, tmp_path: Path) -> RegistryClient:
    return RegistryClient(DRIVERS[request.param](tmp_path), inline_limit=100)


def send(client: RegistryClient, url: str, data: bytes, **headers: str) -> str:
    answer = client.patch(url, data=data, headers=headers)
    assert answer.status_code == 202, answer.text
    assert answer.headers["Range"] == f"0-{max(len(data) - 1, 0)}"
    return str(answer.headers["Location"])


def finish(client: RegistryClient, url: str, content: bytes = CONTENT, body: bytes = b"") -> TestResponse:
    return client.put(f"{url}?digest={Digest.of(content)}", data=body)


def test_a_short_push_writes_the_bytes_and_then_the_link(client):
    url = client.start("app")
    assert client.objects() == set()
    url = send(client, url, CONTENT)
    assert client.objects() == {DATA}
    assert client.get(f"/v2/app/blobs/{DIGEST}").status_code == 404
    assert finish(client, url).status_code == 201
    assert client.objects() == {DATA, LINK}
    assert client.get(f"/v2/app/blobs/{DIGEST}").data == CONTENT


def test_bytes_in_the_put_write_no_more(client):
    assert finish(client, client.start("app"), body=CONTENT).status_code == 201
    assert client.objects() == {DATA, LINK}


def test_an_upload_begins_while_the_storage_answers_nothing(client, monkeypatch):
    client.start("app")
    for operation in ("stat", "read", "open", "write", "create", "writer", "list", "walk", "delete"):
        monkeypatch.setattr(client.driver, operation, None)
    assert client.post("/v2/app/blobs/uploads/").status_code == 202


def test_it_goes_on_through_another_process(client):
    other = RegistryClient(client.driver, inline_limit=100)
    url = send(other, client.start("app"), CONTENT)
    assert client.get(url).headers["Range"] == f"0-{len(CONTENT) - 1}"
    assert client.get(url).headers["Location"] == url
    assert finish(client, url).status_code == 201


def test_a_first_chunk_that_is_sent_again_has_the_same_effect(client):
    """Its answer was lost. The status at the URL that the client knows is that it brought nothing."""
    first = client.start("app")
    lost = send(client, first, CONTENT)
    assert client.get(first).headers["Range"] == "0-0"
    url = send(client, first, CONTENT)
    assert client.objects() == {DATA}
    for known in (url, lost, url):
        assert finish(client, known).status_code == 201
    assert client.objects() == {DATA, LINK}


def test_of_two_first_chunks_at_once_each_has_its_own_bytes_and_url(client):
    first = client.start("app")
    contents = [bytes([65 + number]) * (20 + number) for number in range(6)]
    together = threading.Barrier(len(contents))
    urls: dict[bytes, str] = {}

    def push(content: bytes) -> None:
        together.wait(10)
        urls[content] = send(client, first, content)

    threads = [threading.Thread(target=push, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(set(urls.values())) == len(contents)
    for content, url in urls.items():
        assert client.get(url).headers["Range"] == f"0-{len(content) - 1}"
        assert finish(client, url, content).status_code == 201
    # Whichever has another digest ends the upload for all of them.
    assert finish(client, url, b"another").status_code == 400
    assert {client.get(url).status_code for url in urls.values()} == {404}


def test_of_two_chunks_with_a_range_at_once_one_wins(client):
    first = client.start("app")
    assert client.patch(first, data=b"one", headers={"Content-Range": "0-2"}).status_code == 202
    again = client.patch(first, data=b"two", headers={"Content-Range": "0-2"})
    assert (again.status_code, again.headers["Range"]) == (416, "0-2")
    assert finish(client, again.headers["Location"], b"one").status_code == 201


@pytest.mark.parametrize("ranged", [False, True])
@pytest.mark.parametrize("more", [30, 300])
def test_more_bytes_follow_those_of_the_first_chunk(client, ranged, more):
    url = send(client, client.start("app"), CONTENT)
    content = CONTENT + b"x" * more
    headers = {"Content-Range": f"{len(CONTENT)}-{len(content) - 1}"} if ranged else {}
    answer = client.patch(url, data=content[len(CONTENT) :], headers=headers)
    assert (answer.status_code, answer.headers["Range"]) == (202, f"0-{len(content) - 1}")
    # The URL of the shorter upload is behind, and nothing is added to the longer one through it.
    late = client.patch(url, data=b"late")
    assert (late.status_code, late.headers["Range"]) == (416, f"0-{len(content) - 1}")
    assert late.headers["Location"] == answer.headers["Location"]
    assert client.get(url).headers["Range"] == f"0-{len(content) - 1}"
    assert finish(client, answer.headers["Location"], content).status_code == 201
    assert not [path for path in client.objects() if "/_uploads/" in path]


@pytest.mark.parametrize("size", [20, 300])
def test_a_first_chunk_to_an_upload_that_has_bytes_in_the_storage_is_out_of_order(client, size):
    first = client.start("app")
    url = client.patch(first, data=b"x" * 200).headers["Location"]
    late = client.patch(first, data=b"y" * size)
    assert (late.status_code, late.headers["Range"], late.headers["Location"]) == (416, "0-199", url)
    assert finish(client, url, b"x" * 200).status_code == 201


def test_a_put_to_the_first_url_after_a_chunk_is_refused_and_ends_nothing(client):
    first = client.start("app")
    url = send(client, first, CONTENT)
    answer = finish(client, first)
    assert (answer.status_code, error_code(answer)) == (400, "DIGEST_INVALID")
    assert finish(client, url).status_code == 201


def test_a_digest_in_another_algorithm_is_checked_and_stored_under_it(client):
    url = send(client, client.start("app"), CONTENT)
    digest = Digest.of(CONTENT, "sha512")
    assert client.put(f"{url}?digest={Digest.of(b'?', 'sha512')}").status_code == 400
    url = send(client, client.start("app"), CONTENT)
    assert client.put(f"{url}?digest={digest}").status_code == 201
    assert client.get(f"/v2/app/blobs/{digest}").data == CONTENT


def test_no_client_writes_itself_a_url_that_says_that_it_has_anothers_bytes(client):
    client.push_blob("private", CONTENT)
    begun = client.start("app")
    sent = send(client, client.start("app"), b"mine")
    mine = Digest.of(b"mine").hex
    private = send(client, client.start("private"), CONTENT)
    forged = [
        sent.replace(mine, DIGEST.hex),
        begun.replace(".-.", f".{DIGEST.hex}."),
        private.replace("/private/", "/app/"),
    ]
    for url in forged:
        assert client.get(url).status_code == 404
        assert finish(client, url).status_code == 404
        assert client.patch(url, data=b"x").status_code == 404
    assert client.get(f"/v2/app/blobs/{DIGEST}").status_code == 404


def test_bytes_that_a_garbage_collector_took_are_not_linked(client):
    url = send(client, client.start("app"), CONTENT)
    client.driver.delete([paths.blob_data(DIGEST)])
    assert finish(client, url).status_code == 404
    assert client.patch(url, data=b"more").status_code == 404
    assert client.objects() == set()
    assert finish(client, send(client, client.start("app"), CONTENT)).status_code == 201


class Killed(BaseException):
    """The end of the process."""


class Stepped(MemoryDriver):
    """A driver that calls a hook before each operation of requests of one thread."""

    remote = True

    def __init__(self) -> None:
        super().__init__()
        self.before: Callable[[], None] | None = None

    def __getattribute__(self, name: str):
        attribute = super().__getattribute__(name)
        if name in ("stat", "read", "open", "write", "create", "writer", "compose", "list", "delete"):
            hook = super().__getattribute__("__dict__").get("before")
            if hook is not None:
                hook()
        return attribute


def steps(driver: Stepped, act: Callable[[], None]) -> Callable[[], None]:
    """Return a hook that calls *act* at its first call, and is then no more."""

    def hook() -> None:
        driver.before = None
        act()

    return hook


REQUESTS: dict[str, Callable[[RegistryClient, str], object]] = {
    "one chunk": lambda client, url: finish(client, client.patch(url, data=CONTENT).headers["Location"]),
    "in the put": lambda client, url: finish(client, url, body=CONTENT),
    "a range": lambda client, url: finish(
        client, client.patch(url, data=CONTENT, headers={"Content-Range": "0-20"}).headers["Location"]
    ),
    "two chunks": lambda client, url: finish(
        client,
        client.patch(client.patch(url, data=CONTENT[:5]).headers["Location"], data=CONTENT[5:]).headers[
            "Location"
        ],
    ),
}


@pytest.mark.parametrize("way", REQUESTS)
def test_a_kill_before_any_step_leaves_what_is_found_and_the_push_can_be_repeated(monkeypatch, way):
    monkeypatch.setattr(
        "cfmiddleware.process.sidebyside.SideBySide.all", lambda self, *parts: [part() for part in parts]
    )
    for dies_at in count():
        client = RegistryClient(Stepped(), inline_limit=100)
        url, left = client.start("app"), [dies_at]

        def step(left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Killed

        client.driver.before = step
        try:
            REQUESTS[way](client, url)
        except Killed:
            done = False
        else:
            done = True
        client.driver.before = None
        for path in client.objects():
            # What Distribution's purge, or its collector, finds.
            if "/_uploads/" in path:
                assert path.rpartition("/")[0] + "/startedat" in client.objects()
            if path.endswith("/link"):
                assert client.get(f"/v2/app/blobs/{DIGEST}").data == CONTENT
        assert REQUESTS[way](client, client.start("app")).status_code == 201
        if done:
            break
    assert dies_at > 3


@pytest.mark.parametrize("way", REQUESTS)
def test_a_cancel_before_any_step_of_a_push_ends_it_or_comes_too_late(way):
    for number in count():
        client = RegistryClient(Stepped(), inline_limit=100)
        url, left, cancelled = client.start("app"), [number], []

        def cancel(client=client, url=url, left=left, cancelled=cancelled) -> None:
            left[0] -= 1
            if left[0] < 0:
                client.driver.before = None
                cancelled.append(client.delete(url).status_code)

        client.driver.before = cancel
        try:
            answer = REQUESTS[way](client, url)
        except KeyError:  # a chunk was refused, so there was no URL to go on at
            answer = None
        client.driver.before = None
        if answer is not None and answer.status_code == 201:
            assert client.get(f"/v2/app/blobs/{DIGEST}").data == CONTENT
        else:
            assert client.get(f"/v2/app/blobs/{DIGEST}").status_code == 404
        if cancelled == [204] and (answer is None or answer.status_code != 201):
            assert client.get(url).status_code == 404
            assert client.patch(url, data=b"x").status_code == 404
            assert finish(client, url, b"y", b"y").status_code == 404
        if not cancelled:
            assert answer.status_code == 201
            break
