"""Where blobs are, remembered in a Redis that workers share: a real one, also when it fails."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from lab.apps import ask, request, wrap
from lab.clock import Clock
from lab.pageblocks import literals
from lab.redis_server import RedisServer, running_redis
from lab.registry_client import ROOT, RegistryClient, image_manifest
from lab.servers import CFMIDDLEWARE, eventually, free_port, running
from lab.serving import Service, workers
from lab.serving import ask as ask_http
from lab.stepping import Stepped, Turns, orders
from lab.tls import write_certificate
from werkzeug.test import Client

from cfmiddleware.config import Config
from cfmiddleware.digest import Digest
from cfmiddleware.registry.cache import redisdescriptors
from cfmiddleware.registry.cache.descriptors import Located
from cfmiddleware.registry.cache.redisdescriptors import RedisDescriptorCache
from cfmiddleware.storage.memory import MemoryDriver

redis = pytest.importorskip("redis")

from redis.backoff import NoBackoff  # noqa: E402
from redis.retry import Retry  # noqa: E402

CONTENT = b"0123456789" * 100
DIGEST = Digest.of(CONTENT)
OTHER = Digest.of(b"another blob")
BLOB = f"/v2/team/app/blobs/{DIGEST}"
LINK = f"{ROOT}repositories/team/app/_layers/sha256/{DIGEST.hex}/link"
HERE = Located.of(DIGEST, len(CONTENT))
KEY = f"cfmiddleware:here:team/app@{DIGEST}"
VALUE = f"{KEY} {DIGEST} {len(CONTENT)}".encode()
ERRORS = (redis.RedisError, OSError, ValueError)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def server(shared: RedisServer) -> RedisServer:
    """A Redis with nothing in it, as it was configured."""
    with shared.client() as client:
        client.flushall()
    return shared


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that a test may kill."""
    with running_redis(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def storage() -> MemoryDriver:
    return MemoryDriver("/images")


@pytest.fixture
def clock() -> Clock:
    return Clock()


def remembering(server: RedisServer, clock: Callable[[], float] = time.monotonic, **more: Any) -> Any:
    """Return the descriptors of one worker, with a client as the configuration makes it."""
    once = Retry(NoBackoff(), 1, (redis.ConnectionError,))
    client = server.client(socket_timeout=0.2, socket_connect_timeout=0.2, protocol=2, retry=once)
    return RedisDescriptorCache(client, ERRORS, "here", clock=clock, **more)


def worker(server: RedisServer, storage: Any, clock: Callable[[], float] = time.monotonic) -> RegistryClient:
    """Return one worker of several that share a Redis and a storage."""
    return RegistryClient(storage, descriptors=remembering(server, clock))


def configured(tmp_path: Path, section: Any, **cache: Any) -> RegistryClient:
    """Return a registry as a file describes it, over a directory."""
    tree = {
        "version": 0.1,
        "storage": {
            "filesystem": {"rootdirectory": "objects"},
            "delete": {"enabled": True},
            "cache": {"blobdescriptor": "redis", **cache},
        },
        "redis": section,
    }
    (tmp_path / "config.yml").write_text(yaml.safe_dump(tree))
    config = Config.load(tmp_path / "config.yml", {})
    client = RegistryClient.__new__(RegistryClient)
    client.driver, client.registry = config.driver(), config.registry()
    Client.__init__(client, client.registry)
    return client


def status(client: Client, method: str = "HEAD", url: str = BLOB) -> int:
    return client.open(url, method=method).status_code


def is_warm(client: RegistryClient) -> bool:
    """Whether a blob is remembered: its link is taken away behind the registry's back, and put back again."""
    content = client.driver.read(LINK)
    client.driver.delete([LINK])
    try:
        return status(client) == 200
    finally:
        client.driver.write(LINK, content)


def works_as_without(client: RegistryClient) -> None:
    """See that a pull, a push and a delete are answered as they are without a cache."""
    client.push_blob("team/app", CONTENT)
    assert client.get(BLOB).data == CONTENT
    assert client.get(BLOB, headers={"Range": "bytes=5-9"}).data == CONTENT[5:10]
    assert status(client) == 200
    assert status(client, "DELETE") == 202
    assert status(client) == status(client, "GET") == 404
    assert status(client, "DELETE") == 404
    client.push_blob("team/app", CONTENT)
    assert client.get(BLOB).data == CONTENT


# What is remembered


def test_what_one_worker_has_asked_every_worker_knows(server: RedisServer, storage: MemoryDriver):
    one, other = worker(server, storage), worker(server, storage)
    one.push_blob("team/app", CONTENT)
    assert status(one) == 200
    assert is_warm(other)
    with server.client() as client:
        assert client.keys() == [KEY.encode()]
        assert client.get(KEY) == VALUE
        assert 55 <= client.ttl(KEY) <= 60
    assert other.get(BLOB).data == CONTENT
    wrapped = wrap(other.registry, rootdirectory="/images")
    assert ask(wrapped, request(BLOB)).code == 307


def test_a_descriptor_without_a_size_is_replaced_when_the_size_is_needed(server: RedisServer):
    one, other, bare = remembering(server), remembering(server), Located.of(DIGEST, None)
    assert one.find("team/app", DIGEST, lambda: bare, sized=False) == bare
    assert other.find("team/app", DIGEST, not_asked, sized=False) == bare
    assert other.find("team/app", DIGEST, lambda: HERE) == HERE
    assert one.find("team/app", DIGEST, not_asked) == HERE


def test_a_delete_while_the_size_is_asked_for_is_not_undone(server: RedisServer):
    one, other, bare = remembering(server), remembering(server), Located.of(DIGEST, None)
    one.find("team/app", DIGEST, lambda: bare, sized=False)

    def overtaken() -> Located:
        other.forget("team/app", DIGEST)
        return HERE

    assert one.find("team/app", DIGEST, overtaken) == HERE
    assert other.find("team/app", DIGEST, lambda: None) is None


def not_asked() -> Located:
    raise AssertionError("the storage was asked")


def test_what_is_not_there_is_never_remembered(server: RedisServer, storage: MemoryDriver):
    one, other = worker(server, storage), worker(server, storage)
    assert status(one) == status(other, "GET") == 404
    with server.client() as client:
        assert client.keys() == []
    other.push_blob("team/app", CONTENT)
    assert status(one) == 200
    assert is_warm(other)


def test_a_descriptor_is_forgotten_by_redis_when_its_time_is_over(server: RedisServer, storage: MemoryDriver):
    descriptors = remembering(server, seconds=1)
    client = RegistryClient(storage, descriptors=descriptors)
    client.push_blob("team/app", CONTENT)
    assert status(client) == 200
    storage.delete([LINK])
    assert eventually(lambda: status(client) == 404, 3)


def test_registries_in_one_redis_do_not_know_of_each_other(server: RedisServer, storage: MemoryDriver):
    """A yes of one is none of the other; a delete of one is none of the other either."""
    one = worker(server, storage)
    client = server.client(protocol=2)
    other = RegistryClient(MemoryDriver(), descriptors=RedisDescriptorCache(client, ERRORS, "there"))
    one.push_blob("team/app", CONTENT)
    assert (status(one), status(other)) == (200, 404)
    other.push_blob("team/app", CONTENT)
    assert (status(other), status(other, "DELETE")) == (200, 202)
    assert is_warm(one)


def test_the_name_of_a_registry_in_redis_is_that_of_its_place(server: RedisServer, tmp_path: Path):
    def names(bucket: str, root: str, storage: str = "s3", here: Path = tmp_path) -> set[bytes]:
        where = {"bucket": bucket, "region": "eu-west-1", "rootdirectory": root}
        if storage == "filesystem":
            where = {"rootdirectory": root}
        tree = {"storage": {storage: where, "cache": {"blobdescriptor": "redis"}}}
        registry = Config({**tree, "redis": {"addr": server.address}}, "config.yml", here).descriptors()
        assert registry is not None
        with server.client() as client:
            client.flushall()
            registry.find("team/app", DIGEST, lambda: HERE)
            return set(client.keys())

    assert names("one", "/team/prod") == names("one", "team/prod/")
    assert len(names("one", "/team/prod")) == 1
    everyone = [
        names("one", "/team/prod"),
        names("two", "/team/prod"),
        names("one", "/team/dev"),
        names("one", ""),
        names("", "/team/prod", "filesystem"),
        names("", "objects", "filesystem"),
    ]
    assert len({name for found in everyone for name in found}) == len(everyone)
    assert names("", str(tmp_path / "objects"), "filesystem") == everyone[-1]
    assert names("", "objects", "filesystem", tmp_path / "elsewhere") != everyone[-1]


# Deletes


def test_what_one_worker_deletes_is_gone_for_all_at_once(server: RedisServer, storage: MemoryDriver):
    one, other = worker(server, storage), worker(server, storage)
    one.push_blob("team/app", CONTENT)
    one.push_blob("other/app", CONTENT)
    elsewhere = f"/v2/other/app/blobs/{DIGEST}"
    for client in (one, other):
        assert status(client) == status(client, url=elsewhere) == 200
    assert status(one, "DELETE") == 202
    assert status(one) == status(other) == status(other, "GET") == 404
    assert ask(wrap(other.registry, rootdirectory="/images"), request(BLOB)).code == 404
    assert status(other, url=elsewhere) == 200
    other.push_blob("team/app", CONTENT)
    assert status(one) == status(other) == 200
    assert is_warm(one)


def test_nothing_new_is_made_of_a_blob_that_is_remembered_and_gone(
    server: RedisServer, storage: MemoryDriver
):
    client = worker(server, storage)
    client.push_blob("team/app", CONTENT)
    config = client.push_blob("team/app", b"{}")
    assert status(client) == 200
    storage.delete([LINK])
    assert status(client) == 200
    assert client.push_manifest("team/app", "v1", image_manifest(config, [DIGEST])).status_code == 404
    mount = client.post(f"/v2/other/app/blobs/uploads/?mount={DIGEST}&from=team/app")
    assert mount.status_code == 202


REDIS_STEPS = ("get", "set", "eval", "delete")


@pytest.mark.parametrize("state", ["cold", "warm"])
def test_no_order_of_a_pull_and_a_delete_of_two_workers_leaves_a_yes(server: RedisServer, state: str):
    answers, sizes = set(), set()
    # A pull: get, lease, read the link, look at the data, replace; or get alone. A delete: look at the link,
    # tell Redis, delete the link, tell Redis.
    for order in orders(5, 4):
        storage = Stepped(MemoryDriver(), ("read", "stat", "delete"), after=False)
        clients = [Stepped(server.client(protocol=2), REDIS_STEPS, after=False) for _ in range(2)]
        one, other = (
            RegistryClient(storage, descriptors=RedisDescriptorCache(client, ERRORS, "here"))
            for client in clients
        )
        one.push_blob("team/app", CONTENT)
        if state == "warm":
            assert status(one) == 200
        turns = Turns(order)
        for stepped in (storage, *clients):
            stepped.turns = turns
        pulled, deleted = turns.run([partial(status, one), partial(status, other, "DELETE")])
        for stepped in (storage, *clients):
            stepped.turns = None
        assert deleted == 202
        assert status(one) == status(other) == 404, turns.taken
        answers.add(pulled)
        sizes.add(len(turns.taken))
        for client in clients:
            client.close()
    assert answers == {200, 404}
    # All the steps there are, and fewer where the pull finds nothing.
    assert max(sizes) == 9


class Held:
    """A pull that has asked the storage and waits before it goes on."""

    def __init__(self, client: RegistryClient, url: str = BLOB) -> None:
        self.asked, self._go_on = threading.Event(), threading.Event()
        self._answer = 0
        self._thread = threading.Thread(target=self._pull, args=(client, url))
        self._driver = client.driver
        self._driver.held = self
        self._thread.start()
        # Where it is remembered nobody asks the storage, and the pull is over.
        assert eventually(lambda: self.asked.is_set() or not self._thread.is_alive())
        self._driver.held = None

    def _pull(self, client: RegistryClient, url: str) -> None:
        self._driver.me.held = self
        self._answer = status(client, url=url)

    def wait(self) -> None:
        self.asked.set()
        assert self._go_on.wait(20)

    def finish(self) -> int:
        """Let it go on to its end, and return its answer."""
        self._go_on.set()
        self._thread.join(20)
        return self._answer


class Holding(MemoryDriver):
    """A storage that holds a pull after it has answered."""

    def __init__(self) -> None:
        super().__init__("/images")
        self.me = threading.local()
        self.held: Held | None = None

    def _hold(self) -> None:
        held = getattr(self.me, "held", None)
        if held is not None:
            self.me.held = None
            held.wait()

    def stat(self, path: str) -> Any:
        found = super().stat(path)
        if path.endswith("/data"):
            self._hold()
        return found


@pytest.mark.parametrize("between", ["nothing", "evicted", "restarted", "late", "pulled again"])
def test_a_pull_that_saw_the_link_before_the_delete_is_not_believed_after_it(
    own: RedisServer, between: str, clock: Clock
):
    storage = Holding()
    one, other = worker(own, storage, clock), worker(own, storage, clock)
    one.push_blob("team/app", CONTENT)
    held = Held(one)
    assert held.asked.is_set()
    assert status(other, "DELETE") == 202
    if between == "pulled again":
        assert status(other) == 404
    elif between == "evicted":
        with own.client() as client:
            client.flushall()
    elif between == "restarted":
        own.kill()
        own.start()
    elif between == "late":
        own.pause()
    assert held.finish() == 200
    if between == "late":  # Redis does now what it was asked by one who has given up
        own.resume()
    clock.now += 2
    with own.client() as client:
        client.ping()
        assert client.keys() == []
    assert status(one) == status(other) == 404


def test_a_descriptor_does_not_take_the_place_of_another_ones_lease(server: RedisServer):
    """The first has asked before a delete, the second after a push of something else with the same name."""
    storage = Holding()
    one, other = worker(server, storage), worker(server, storage)
    one.push_blob("team/app", CONTENT)
    first = Held(one)
    assert status(other, "DELETE") == 202
    other.push_blob("team/app", CONTENT)
    second = Held(other)
    assert first.finish() == 200
    with server.client() as client:
        assert client.get(KEY) != VALUE
    assert second.finish() == 200
    with server.client() as client:
        assert client.get(KEY) == VALUE


def test_of_two_pulls_at_the_same_time_the_answer_of_the_first_is_remembered(server: RedisServer):
    storage = Holding()
    one, other = worker(server, storage), worker(server, storage)
    one.push_blob("team/app", CONTENT)
    first, second = Held(one), Held(other)
    with server.client() as client:
        assert first.finish() == 200
        assert client.get(KEY) == VALUE
        assert second.finish() == 200
        assert client.get(KEY) == VALUE


class Sharing(RuleBasedStateMachine):
    """Two workers and a model of what is linked: a set of repositories."""

    server: RedisServer

    @initialize()
    def begin(self) -> None:
        self.storage = Holding()
        self.redis = self.server.client()
        self.redis.flushall()
        self.workers = [worker(self.server, self.storage) for _ in range(2)]
        self.linked: set[str] = set()
        self.held: list[Held] = []

    @staticmethod
    def url(name: str) -> str:
        return f"/v2/{name}/blobs/{DIGEST}"

    names = st.sampled_from(["team/app", "other/app"])
    numbers = st.integers(0, 1)

    @rule(name=names, number=numbers)
    def push(self, name: str, number: int) -> None:
        self.workers[number].push_blob(name, CONTENT)
        self.linked.add(name)

    @rule(name=names, number=numbers)
    def delete(self, name: str, number: int) -> None:
        expected = 202 if name in self.linked else 404
        assert status(self.workers[number], "DELETE", self.url(name)) == expected
        self.linked.discard(name)

    @rule(name=names, number=numbers)
    def pull(self, name: str, number: int) -> None:
        expected = 200 if name in self.linked else 404
        assert status(self.workers[number], url=self.url(name)) == expected

    @precondition(lambda self: len(self.held) < 4)
    @rule(name=names, number=numbers)
    def begin_a_pull(self, name: str, number: int) -> None:
        self.held.append(Held(self.workers[number], self.url(name)))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def end_a_pull(self, data: st.DataObject) -> None:
        held = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        assert held.finish() in (200, 404)

    @rule()
    def evict(self) -> None:
        self.redis.flushall()

    @invariant()
    def every_worker_says_what_is(self) -> None:
        if not hasattr(self, "linked"):
            return
        names = {
            key.split(b":")[2].split(b"@")[0].decode()
            for key in self.redis.scan_iter()
            if (self.redis.get(key) or b"").startswith(key + b" ")
        }
        assert names <= self.linked

    def teardown(self) -> None:
        for held in getattr(self, "held", []):
            held.finish()


def test_after_a_delete_no_worker_says_yes_unless_it_was_pushed_again(server: RedisServer):
    class Here(Sharing):
        pass

    Here.server = server
    Here.TestCase.settings = settings(
        max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
    )
    Here.TestCase("runTest").runTest()


# A Redis that fails


class Away:
    """What makes a Redis unusable, and usable again."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server

    def killed(self) -> Callable[[], None]:
        self._server.kill()
        return self._server.start

    def stopped(self) -> Callable[[], None]:
        self._server.pause()
        return self._server.resume


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_redis_that_goes_and_comes_back_costs_speed_only(
    own: RedisServer, storage: MemoryDriver, clock: Clock, how: str, caplog: pytest.LogCaptureFixture
):
    one, other = worker(own, storage, clock), worker(own, storage, clock)
    works_as_without(one)
    assert is_warm(one)
    come_back = getattr(Away(own), how)()
    works_as_without(one)
    works_as_without(other)
    assert not is_warm(one)
    come_back()
    clock.now += 1.1
    works_as_without(one)
    assert is_warm(one)
    clock.now += 60
    works_as_without(other)
    assert is_warm(other)
    messages = logged(caplog)
    assert len(messages) == 2  # one of each worker
    for message in messages:
        assert message.startswith("redis: the descriptor cache is not used, the storage is asked: ")


def test_a_redis_that_is_not_there_at_the_start_is_used_when_it_comes(
    own: RedisServer, storage: MemoryDriver, clock: Clock
):
    own.kill()
    client = worker(own, storage, clock)
    works_as_without(client)
    own.start()
    clock.now += 1.1
    assert status(client) == 200
    assert is_warm(client)


def test_the_failure_is_logged_once_a_minute(
    own: RedisServer, storage: MemoryDriver, clock: Clock, caplog: pytest.LogCaptureFixture
):
    client = worker(own, storage, clock)
    client.push_blob("team/app", CONTENT)
    own.kill()
    for second in range(121):
        assert status(client) == 200
        clock.now += 1
        assert len(logged(caplog)) == 1 + second // 60


def test_for_a_second_after_a_failure_redis_is_not_asked(own: RedisServer, clock: Clock):
    descriptors = remembering(own, clock)
    own.kill()
    assert descriptors.find("team/app", DIGEST, lambda: None) is None
    own.start()
    with own.client() as behind:
        behind.set(KEY, VALUE)
    clock.now += 0.99
    assert descriptors.find("team/app", DIGEST, lambda: None) is None
    clock.now += 0.02
    assert descriptors.find("team/app", DIGEST, lambda: None) == HERE


def test_a_delete_while_redis_is_down_is_told_before_it_is_believed_again(
    own: RedisServer, storage: MemoryDriver, clock: Clock
):
    client = worker(own, storage, clock)
    client.push_blob("team/app", CONTENT)
    own.kill()
    assert status(client, "DELETE") == 202
    own.start()
    with own.client() as behind:  # as it would be with one that keeps its data
        behind.set(KEY, VALUE)
    assert status(client) == 404
    clock.now += 1.1
    assert status(client) == 404
    with own.client() as behind:
        assert behind.get(KEY) is None


def test_a_delete_tries_to_tell_redis_also_within_the_pause(
    own: RedisServer, storage: MemoryDriver, clock: Clock
):
    client, other = worker(own, storage, clock), worker(own, storage, clock)
    client.push_blob("team/app", CONTENT)
    own.kill()
    assert status(client) == 200
    own.start()
    assert status(other) == 200
    assert status(client, "DELETE") == 202
    assert status(other) == 404


def test_a_delete_while_redis_is_down_is_told_also_by_a_worker_that_nobody_asks(
    own: RedisServer, storage: MemoryDriver
):
    one, other = worker(own, storage), worker(own, storage)
    one.push_blob("team/app", CONTENT)
    assert status(other) == 200
    own.pause()
    try:
        assert status(one) == 200  # times out, and has no connection any more
        assert status(one, "DELETE") == 202
    finally:
        own.resume()
    assert eventually(lambda: status(other) == 404)


@pytest.mark.parametrize(
    "said", ["unknown command 'AUTH', with args beginning with: 'TOPSECRET'", "no: TOPSECRET"]
)
def test_what_a_server_repeats_of_a_secret_is_not_logged(caplog: pytest.LogCaptureFixture, said: str):
    class Repeating:
        def __getattr__(self, name: str) -> Any:
            raise redis.ResponseError(said)

    descriptors = RedisDescriptorCache(Repeating(), ERRORS, "here", secrets=["TOPSECRET"])
    assert descriptors.find("team/app", DIGEST, lambda: None) is None
    assert "TOPSE" not in caplog.text
    assert said[:3] in caplog.text


def test_a_configured_secret_is_not_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def repeat() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        said = connection.recv(4096).replace(b"\r\n", b" ")
                        connection.sendall(b"-ERR what is " + said + b"\r\n")

        threading.Thread(target=repeat, daemon=True).start()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        client = configured(tmp_path, {"addr": address, "username": "whoami", "password": "TOPSECRET"})
        works_as_without(client)
    assert "descriptor cache is not used" in caplog.text
    assert "TOPSECRET" not in caplog.text
    assert "whoami" not in caplog.text


@pytest.mark.parametrize("name", ["pool", "poolsize"])
def test_a_thread_waits_for_one_of_few_connections(
    own: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
):
    few = {"pool": {"maxactive": 1}} if name == "pool" else {"poolsize": 1}
    client = configured(tmp_path, {"addr": own.address, **few, "readtimeout": "5s"})
    client.push_blob("team/app", CONTENT)
    start = threading.Barrier(8)

    def pull() -> set[int]:
        start.wait(10)
        return {status(client) for _ in range(30)}

    with ThreadPoolExecutor(8) as pool:
        pulls = [pool.submit(pull) for _ in range(8)]
        assert {code for future in pulls for code in future.result()} == {200}
        assert is_warm(client)
    assert "descriptor cache is not used" not in caplog.text
    with own.client() as watcher:
        assert len(watcher.client_list()) == 2


def test_of_too_many_deletes_that_redis_was_not_told_it_is_not_believed_until_all_is_expired(
    own: RedisServer, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(redisdescriptors, "_MAX_UNTOLD", 3)
    descriptors = remembering(own, clock, seconds=60)
    own.kill()
    for number in range(5):
        descriptors.forget(f"team/app{number}", DIGEST)
    own.start()
    with own.client() as behind:
        behind.set(f"cfmiddleware:here:team/app0@{DIGEST}", "?")
        key = f"cfmiddleware:here:team/app0@{DIGEST}"
        behind.set(key, f"{key} {DIGEST} 1000")
    for later in (1.1, 60, 25):
        clock.now += later
        assert descriptors.find("team/app0", DIGEST, lambda: None) is None
    clock.now += 30  # longer than what others had asked before could have lived
    assert descriptors.find("team/app0", DIGEST, lambda: None) == HERE


@pytest.mark.parametrize("first", [1, 499, 500, 501, 1234])
def test_however_many_deletes_there_are_redis_is_told_all(own: RedisServer, clock: Clock, first: int):
    descriptors = remembering(own, clock)
    paused = [f"team/app{number}" for number in range(first)]
    # Redis is told each by itself, but for those it could not be told.
    descriptors._untold = {(descriptors._name(name, DIGEST), object()): None for name in paused}
    with own.client() as behind:
        for name in paused:
            behind.set(descriptors._name(name, DIGEST), "x")
        assert descriptors.find("other/app", DIGEST, lambda: None) is None
        assert behind.keys() == []
    assert not descriptors._untold


# What others have written


GARBAGE = [
    b"",
    b"-",
    b"x",
    b"\xff\xfe",
    b"{}",
    str(DIGEST).encode(),
    f"{DIGEST} 1000".encode(),
    f"{KEY} {DIGEST}".encode(),
    f"{KEY} {DIGEST} -5".encode(),
    f"{KEY} {DIGEST} 5 5".encode(),
    f"{KEY} {DIGEST} \u0661".encode(),
    f"{KEY} {DIGEST} {'9' * 5000}".encode(),
    f"{KEY} sha256:../../../../etc/passwd 5".encode(),
    f"{KEY} sha256:{'0' * 63}/ 5".encode(),
    f"{KEY} {str(DIGEST).upper()} 5".encode(),
    # Of another blob, and of the same in another repository and another registry.
    f"cfmiddleware:here:team/app@{OTHER} {OTHER} 12".encode(),
    f"cfmiddleware:here:other/app@{DIGEST} {DIGEST} 1000".encode(),
    f"cfmiddleware:there:team/app@{DIGEST} {DIGEST} 1000".encode(),
    # The right name, and other bytes: of the same algorithm and of another one.
    f"{KEY} {OTHER} 12".encode(),
    f"{KEY} {Digest.of(b'secret', 'sha512')} 6".encode(),
]


def test_who_writes_to_redis_leads_no_pull_to_the_bytes_of_another_repository(
    server: RedisServer, storage: MemoryDriver
):
    client = worker(server, storage)
    secret = client.push_blob("priv/app", b"secret")
    client.push_blob("team/app", CONTENT)
    wrapped = wrap(client.registry, rootdirectory="/images")
    for name, mine in (("sha256", DIGEST), ("sha512", Digest.of(CONTENT, "sha512"))):
        with server.client() as behind:
            key = f"cfmiddleware:here:team/app@{mine}"
            behind.set(key, f"{key} {secret} 6".encode())
        url = f"/v2/team/app/blobs/{mine}"
        assert client.get(url).data != b"secret", name
        assert secret.hex not in str(ask(wrapped, request(url)).location), name


def test_data_of_another_algorithm_is_asked_for_each_time(server: RedisServer, storage: MemoryDriver):
    client = worker(server, storage)
    client.push_blob("team/app", CONTENT)
    other = Digest.of(CONTENT, "sha512")
    link = f"{ROOT}repositories/team/app/_layers/sha512/{other.hex}/link"
    storage.write(link, str(DIGEST).encode())
    for _ in range(2):
        assert client.get(f"/v2/team/app/blobs/{other}").data == CONTENT
    with server.client() as behind:
        assert behind.get(f"cfmiddleware:here:team/app@{other}") is None


@pytest.mark.parametrize("value", GARBAGE)
def test_what_is_no_descriptor_of_this_blob_is_not_believed(
    server: RedisServer, storage: MemoryDriver, value: bytes
):
    client = worker(server, storage)
    with server.client() as behind:
        behind.set(KEY, value)
        assert status(client) == 404
        client.push_blob("team/app", CONTENT)
        assert client.get(BLOB).data == CONTENT
        assert behind.get(KEY) == value
        wrapped = wrap(client.registry, rootdirectory="/images")
        assert f"/{DIGEST.hex}/data?" in str(ask(wrapped, request(BLOB)).location)


def test_a_value_of_another_kind_costs_speed_only(
    server: RedisServer, storage: MemoryDriver, clock: Clock, caplog: pytest.LogCaptureFixture
):
    client = worker(server, storage, clock)
    client.push_blob("team/app", CONTENT)
    with server.client() as behind:
        behind.rpush(KEY, "a", "b")
        assert client.get(BLOB).data == CONTENT
        assert behind.llen(KEY) == 2
        assert "WRONGTYPE" in logged(caplog)[0]
        assert status(client, "DELETE") == 202
        assert behind.keys() == []


def test_a_redis_that_is_full_still_forgets(
    own: RedisServer, storage: MemoryDriver, clock: Clock, caplog: pytest.LogCaptureFixture
):
    one, other = worker(own, storage, clock), worker(own, storage, clock)
    one.push_blob("team/app", CONTENT)
    assert status(one) == 200
    with own.client() as behind:
        behind.config_set("maxmemory", 1)
        assert is_warm(other)
        assert status(one, "DELETE") == 202
        assert status(other) == 404
        works_as_without(other)
        assert not is_warm(other)
        assert "OOM" in logged(caplog)[0] or "maxmemory" in logged(caplog)[0]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"$abc\r\n",
        b":x\r\n",
        b"*1\r\n$-1\r\n",
        b"-\xff\r\n",
        b"\r\n",
        b"",
    ],
)
def test_a_server_that_is_no_redis_costs_speed_only(
    tmp_path: Path, answer: bytes, caplog: pytest.LogCaptureFixture
):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    if connection.recv(1 << 16):
                        connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            works_as_without(configured(tmp_path, {"addr": f"127.0.0.1:{listener.getsockname()[1]}"}))
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)
    assert len(logged(caplog)) <= 1


# As a file configures it


def test_a_password_and_a_database(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with running_redis(tmp_path / "redis", password="open-sesame") as server:
        section = {"addr": server.address, "password": "open-sesame", "db": 3}
        client = configured(tmp_path, section, blobdescriptorttl="10m")
        works_as_without(client)
        assert is_warm(client)
        with server.client(db=3) as behind, server.client() as first:
            (key,) = behind.keys()
            assert 590 <= behind.ttl(key) <= 600
            assert first.keys() == []
        assert logged(caplog) == []

        for wrong in ({"password": "open-barley"}, {}, {"username": "bob", "password": "open-barley"}):
            caplog.clear()
            client = configured(tmp_path, {"addr": server.address, **wrong})
            works_as_without(client)
            assert not is_warm(client)
            (message,) = logged(caplog)
            assert "open-" not in caplog.text
            assert "open-" not in repr(vars(client.registry))
            assert message.startswith("redis: the descriptor cache is not used")


def test_a_user_of_redis(server: RedisServer, tmp_path: Path):
    with server.client() as behind:
        (made,) = [each.text for each in literals("caching") if each.text.startswith("ACL SETUSER registry")]
        assert behind.execute_command(*made.split())
        section = {"addr": server.address, "username": "registry", "password": "secret"}
        client = configured(tmp_path, section)
        works_as_without(client)
        assert is_warm(client)
        behind.acl_deluser("registry")


def test_redis_over_tls(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    certificate, stranger = tmp_path / "own.pem", tmp_path / "other.pem"
    for file in (certificate, stranger):
        write_certificate(file)
    with running_redis(tmp_path / "redis", certificate=certificate) as server:
        both = {"certificate": "own.pem", "key": "own.pem"}
        right = {"addr": server.address, "tls": {"enabled": True, "clientcas": ["own.pem"], **both}}
        client = configured(tmp_path, right)
        works_as_without(client)
        assert is_warm(client)
        assert logged(caplog) == []
        wrong = {
            "an authority that we do not trust": {**right, "tls": {"clientcas": ["other.pem"], **both}},
            "no authority": {**right, "tls": {"enabled": True, **both}},
            "another name": {**right, "addr": f"localhost:{server.port}"},
            "no certificate of ours": {**right, "tls": {"clientcas": ["own.pem"]}},
            "no TLS": {"addr": server.address},
        }
        for how, section in wrong.items():
            caplog.clear()
            client = configured(tmp_path, section)
            works_as_without(client)
            assert not is_warm(client), how
            assert len(logged(caplog)) == 1, how


def test_a_redis_that_was_restarted_between_two_requests_is_used_at_once(
    own: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    client = configured(tmp_path, {"addr": own.address})
    works_as_without(client)
    own.kill()
    own.start()
    assert status(client) == 200
    assert is_warm(client)
    assert logged(caplog) == []


def test_a_redis_that_is_down_is_no_reason_not_to_start(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    client = configured(tmp_path, {"addr": f"127.0.0.1:{free_port()}"})
    works_as_without(client)
    assert len(logged(caplog)) == 1


# Under gunicorn, with two workers


def tree(port: int, cache: dict[str, Any], redis: dict[str, Any]) -> dict[str, Any]:
    return {
        "version": 0.1,
        "storage": {
            "filesystem": {"rootdirectory": "objects"},
            "delete": {"enabled": True},
            "cache": cache,
        },
        "server": {"workers": 2, "uploads": 4, "gracefultimeout": 1},
        "http": {"addr": f"127.0.0.1:{port}"},
        "redis": redis,
    }


class TwoWorkers:
    """A registry of two processes, of which one at a time answers when the other is stopped."""

    def __init__(self, service: Service, directory: Path) -> None:
        self.service = service
        self.link = directory / f"objects{LINK}"
        (master,) = service.masters()
        self.pids = list(workers(master, 2))

    def ask(self, number: int, method: str = "HEAD") -> int:
        """Have worker *number* answer."""
        other = self.pids[1 - number]
        os.kill(other, signal.SIGSTOP)
        try:
            return ask_http(method, self.service.url + BLOB).status
        finally:
            os.kill(other, signal.SIGCONT)


@pytest.fixture
def two_workers(tmp_path: Path) -> Callable[..., Any]:
    @contextlib.contextmanager
    def start(cache: dict[str, Any], section: dict[str, Any]) -> Iterator[TwoWorkers]:
        port = free_port()
        (tmp_path / "config.yml").write_text(yaml.safe_dump(tree(port, cache, section)))
        with running([CFMIDDLEWARE, "serve", "config.yml"], tmp_path, ports=[port]) as process:
            # Where nothing listens, so that it counts as a service without an edge.
            service = Service(process, port, free_port())
            service.push("team/app", CONTENT)
            yield TwoWorkers(service, tmp_path)

    return start


def test_two_workers_of_gunicorn_that_remember_by_themselves(two_workers: Callable[..., Any]):
    cache = {"blobdescriptor": "inmemory", "blobdescriptorttl": "5s"}
    with two_workers(cache, {}) as both:
        began = time.monotonic()
        assert both.ask(0) == both.ask(1) == 200
        assert both.ask(0, "DELETE") == 202
        assert both.ask(0) == 404
        stale = both.ask(1)
        if time.monotonic() - began < 5:  # a machine may be slow
            assert stale == 200
        assert eventually(lambda: both.ask(1) == 404)
        both.service.push("team/app", CONTENT)
        assert both.ask(0) == both.ask(1) == 200


def test_two_workers_of_gunicorn_that_share_a_redis(two_workers: Callable[..., Any], own: RedisServer):
    with two_workers({"blobdescriptor": "redis"}, {"addr": own.address}) as both:
        assert both.ask(0) == both.ask(1) == 200
        content = both.link.read_bytes()
        both.link.unlink()
        assert both.ask(0) == both.ask(1) == 200  # remembered
        both.link.write_bytes(content)
        assert both.ask(0, "DELETE") == 202
        assert both.ask(0) == both.ask(1) == 404
        both.service.push("team/app", CONTENT)
        assert both.ask(0) == both.ask(1) == 200
        own.kill()
        assert both.ask(0, "GET") == both.ask(1, "GET") == 200
        assert both.ask(1, "DELETE") == 202
        assert both.ask(0) == both.ask(1) == 404
        assert both.service.server.stderr.count("redis: the descriptor cache is not used") == 2
        assert "Traceback" not in both.service.server.stderr
