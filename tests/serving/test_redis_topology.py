"""A Redis Cluster, and a master that Sentinels name: real ones, also when a node fails."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab.redis_server import RedisServer, running_several
from lab.servers import eventually, free_port

from cfmiddleware.config import Config
from cfmiddleware.digest import Digest
from cfmiddleware.registry.cache.descriptors import Located
from cfmiddleware.registry.cache.redisdescriptors import RedisDescriptorCache

pytest.importorskip("redis")

pytestmark = pytest.mark.servers

PASSWORD = "sesame"
BLOBS = [Digest.of(str(number).encode()) for number in range(40)]
SLOTS = 16384


def cache(**redis: Any) -> RedisDescriptorCache:
    tree = {
        "storage": {"inmemory": None, "cache": {"blobdescriptor": "redis"}},
        "redis": {"readtimeout": "2s", "dialtimeout": "2s", **redis},
    }
    found = Config(tree, "config.yml", Path()).descriptors()
    assert isinstance(found, RedisDescriptorCache)
    found._namespace = "shared"  # two registries in memory have a name each
    return found


def must_not_ask() -> Located | None:
    raise AssertionError("the storage was asked")


def is_known(found: RedisDescriptorCache, digest: Digest) -> bool:
    """Return whether Redis knows the blob. It tells nobody that it is not there."""
    asked = []
    found.find("app", digest, lambda: asked.append(digest))  # type: ignore[arg-type,func-returns-value]
    return not asked


def fill(found: RedisDescriptorCache) -> None:
    for digest in BLOBS:
        found.find("app", digest, lambda digest=digest: Located.of(digest, 7))  # type: ignore[misc]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    """A cluster of three masters."""
    directory = tmp_path_factory.mktemp("cluster")
    servers = []
    for number in range(3):
        more = ["cluster-enabled yes", f"cluster-port {free_port()}", "cluster-require-full-coverage no"]
        servers.append(RedisServer(directory / str(number), PASSWORD, more=[*more, f"masterauth {PASSWORD}"]))
    with running_several(servers):
        clients = [server.client() for server in servers]
        for number, client in enumerate(clients):
            first, last = SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
            bus = servers[0]._more[1].split()[1]
            if number:
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", servers[0].port, bus)
        assert eventually(
            lambda: all(b"state:ok" in raw(each) and b"known_nodes:3" in raw(each) for each in clients), 30
        )
        yield servers


def raw(client: Any) -> bytes:
    """Return `CLUSTER INFO` as Redis sends it."""
    found = client.execute_command("CLUSTER", "INFO")
    if isinstance(found, dict):
        return "\n".join(f"{name}:{value}" for name, value in found.items()).encode()
    return found if isinstance(found, bytes) else str(found).encode()


@pytest.mark.parametrize("connections", [None, 2])
def test_several_addresses_are_a_cluster(nodes: list[RedisServer], connections: int | None):
    more = {} if connections is None else {"poolsize": connections}
    found = cache(addrs=[server.address for server in nodes], password=PASSWORD, **more)

    fill(found)

    assert all(found.find("app", digest, must_not_ask) == Located.of(digest, 7) for digest in BLOBS)
    assert all(server.client().dbsize() > 0 for server in nodes)
    # Those that could not be told go into one command, though they lie on several nodes.
    found._untold.update({(found._name("app", digest), object()): None for digest in BLOBS[1:]})
    found.forget("app", BLOBS[0])
    assert not any(is_known(found, digest) for digest in BLOBS)


def test_one_node_that_answers_is_enough_to_find_the_cluster(nodes: list[RedisServer]):
    found = cache(addrs=[f"127.0.0.1:{free_port()}", nodes[2].address], password=PASSWORD)

    fill(found)

    assert is_known(found, BLOBS[0])


def in_another_process(found: RedisDescriptorCache, results: Any) -> None:
    results.put([is_known(found, digest) for digest in BLOBS])


def test_the_cluster_is_asked_for_its_nodes_in_each_process(nodes: list[RedisServer]):
    found = cache(addrs=[server.address for server in nodes], password=PASSWORD)
    fill(found)
    context = multiprocessing.get_context("fork")
    results = context.Queue()

    process = context.Process(target=in_another_process, args=(found, results))
    process.start()

    assert all(results.get(timeout=30))
    process.join()


def test_a_request_waits_for_a_free_connection_for_as_long_as_is_said(nodes: list[RedisServer]):
    addresses = [server.address for server in nodes]
    found = cache(addrs=addresses, password=PASSWORD, poolsize=1, pooltimeout="10ms")
    client: Any = found._client
    with client.taken(), pytest.raises(TimeoutError, match="no connection of the pool is free"):
        client.get("a")
    assert client.get("a") is None


def test_nothing_is_connected_to_before_it_is_used_and_no_cluster_costs_speed_alone(
    caplog: pytest.LogCaptureFixture,
):
    found = cache(addrs=[f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"], password=PASSWORD)

    assert found.find("app", BLOBS[0], lambda: Located.of(BLOBS[0], 7)) == Located.of(BLOBS[0], 7)
    assert "redis: the descriptor cache is not used, the storage is asked" in caplog.text
    assert PASSWORD not in caplog.text


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[tuple[list[RedisServer], RedisServer]]:
    """A master, its replica, and the Sentinel that watches them."""
    auth = [f"masterauth {PASSWORD}"]
    master = RedisServer(tmp_path / "master", PASSWORD, more=auth)
    replica = RedisServer(tmp_path / "replica", PASSWORD, more=[*auth, f"replicaof 127.0.0.1 {master.port}"])
    watch = [
        f"sentinel monitor registry 127.0.0.1 {master.port} 1",
        f"sentinel auth-pass registry {PASSWORD}",
    ]
    sentinel = RedisServer(tmp_path / "sentinel", "watchword", more=watch, arguments=["--sentinel"])
    with running_several([master, replica, sentinel]):
        client = sentinel.client()
        assert eventually(lambda: len(client.execute_command("SENTINEL", "REPLICAS", "registry")) == 1, 30)
        yield [master, replica], sentinel


@pytest.mark.parametrize("connections", [None, 2])
def test_the_sentinels_name_the_master_also_after_a_failover(
    watched: tuple[list[RedisServer], RedisServer], connections: int | None
):
    (master, replica), sentinel = watched
    more = {} if connections is None else {"pool": {"maxactive": connections}}
    found = cache(
        addrs=[f"127.0.0.1:{free_port()}", sentinel.address],
        mastername="registry",
        sentinelpassword="watchword",
        password=PASSWORD,
        **more,
    )
    fill(found)
    assert is_known(found, BLOBS[0])
    assert master.client().dbsize() == len(BLOBS)

    assert eventually(lambda: replica.client().dbsize() == len(BLOBS))
    sentinel.client().execute_command("SENTINEL", "FAILOVER", "registry")

    assert eventually(lambda: replica.client().info("replication")["role"] == "master", 30)
    # Not before the Sentinel says so, and a second after a failure.
    assert eventually(lambda: is_known(found, BLOBS[1]) or fill(found), 30)  # type: ignore[func-returns-value]
    assert eventually(lambda: replica.client().client_list() and is_known(found, BLOBS[1]))


def test_a_name_that_no_sentinel_knows_costs_speed_alone(
    watched: tuple[list[RedisServer], RedisServer], caplog: pytest.LogCaptureFixture
):
    _, sentinel = watched
    found = cache(addrs=[sentinel.address], mastername="other", sentinelpassword="watchword")

    assert found.find("app", BLOBS[0], lambda: Located.of(BLOBS[0], 7)) == Located.of(BLOBS[0], 7)
    assert "No master found for 'other'" in caplog.text
