"""Health: the storage stopped, started and slow, Redis down, a server that is about to stop."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from lab.docker_registry import PROGRAM, require_docker_registry
from lab.redis_server import running_redis
from lab.s3_proxy import unheard
from lab.servers import CFMIDDLEWARE, eventually, free_port, running
from lab.serving import Service, ask, children, wait_for_greeting
from lab.watched_s3 import WatchedS3
from lab.wrapped_registry import of_s3, wrapped_registry

from cfmiddleware.digest import Digest

OFTEN = "200ms"


class Checked(NamedTuple):
    """A registry with a debug listener."""

    service: Service
    debug: int

    @property
    def url(self) -> str:
        return self.service.url

    def ask(self, what: str) -> tuple[int, Any]:
        """Return what the debug listener says of `health` or `ready`."""
        answer = ask("GET", f"http://127.0.0.1:{self.debug}/debug/{what}")
        return answer.status, json.loads(answer.body)

    def is_ready(self) -> bool:
        with contextlib.suppress(OSError):
            return self.ask("ready")[0] == 200
        return False

    def pull(self, digest: Digest) -> int:
        return ask("GET", f"{self.url}/v2/app/blobs/{digest}").status


@contextlib.contextmanager
def checked(directory: Path, **sections: Any) -> Iterator[Checked]:
    """Run a wrapped registry with a debug listener."""
    port, debug = free_port(), free_port()
    with wrapped_registry(directory, port, debug, **sections) as server:
        yield Checked(Service(server, port, 0), debug)


def push(checked: Checked) -> Digest:
    return checked.service.push("app", b"content of a blob")


def test_the_storage_stops_and_starts(tmp_path: Path, s3: WatchedS3):
    health = {"storagedriver": {"enabled": True, "interval": OFTEN, "threshold": 2}}
    with checked(tmp_path, storage=of_s3(s3, 1), health=health) as registry:
        assert eventually(registry.is_ready)
        digest = push(registry)
        assert registry.pull(digest) == 307

        with s3.failing(unheard):
            assert eventually(lambda: registry.ask("health")[0] == 503)
            reasons = registry.ask("health")[1]
            assert list(reasons) == ["storagedriver_s3"]
            for path in ("/", "/v2/", "/v2/_catalog", f"/v2/app/blobs/{digest}"):
                answer = ask("GET", registry.url + path)
                assert answer.status == 503
                error = json.loads(answer.body)["errors"][0]
                assert error["code"] == "UNAVAILABLE"
                assert error["detail"] == "health check failed: please see /debug/health"

        assert eventually(lambda: registry.ask("health") == (200, {}))
        assert registry.pull(digest) == 307
        errors = registry.service.server.stderr
    assert errors.count("health: storagedriver_s3 fails: ") == 1
    assert errors.count("health: storagedriver_s3 is well again") == 1
    assert "Traceback" not in errors


def test_a_check_of_the_storage_is_one_request_by_one_process(tmp_path: Path, s3: WatchedS3):
    health = {"storagedriver": {"enabled": True, "interval": "1s"}}
    with checked(tmp_path, storage=of_s3(s3, 1), health=health, server={"workers": 4}) as registry:
        assert eventually(registry.is_ready)
        with s3.noting() as requests:
            time.sleep(3)
            for _ in range(100):
                assert ask("GET", f"{registry.url}/v2/").status == 200
            seen = list(requests)
    assert {request.operation for request in seen} == {"GetObject"}
    assert 2 <= len(seen) <= 6


def test_a_slow_storage_fails_and_keeps_no_request_waiting(tmp_path: Path, s3: WatchedS3):
    slow = threading.Event()

    def wait(environ: Any, start_response: Any, app: Any) -> None:
        slow.wait(20)

    health = {"storagedriver": {"enabled": True, "interval": OFTEN, "timeout": "300ms"}}
    with checked(tmp_path, storage=of_s3(s3, 1), health=health) as registry:
        assert eventually(registry.is_ready)
        with s3.failing(wait):
            assert eventually(lambda: registry.ask("health")[0] == 503)
            assert registry.ask("health")[1] == {"storagedriver_s3": "no answer within 0.3 s"}
            assert ask("GET", f"{registry.url}/v2/", timeout=3).status == 503
            slow.set()
        assert eventually(lambda: registry.ask("health")[0] == 200)


@pytest.mark.parametrize("redirects", [True, False])
def test_redirects_whose_descriptor_is_remembered_go_on(tmp_path: Path, s3: WatchedS3, redirects: bool):
    health = {"storagedriver": {"enabled": True, "interval": OFTEN}, "redirects": redirects}
    storage = of_s3(s3, 1, cache={"blobdescriptor": "inmemory"})
    with checked(tmp_path, storage=storage, health=health, server={"workers": 1}) as registry:
        assert eventually(registry.is_ready)
        digest, unknown = push(registry), registry.service.push("app", b"another one")
        assert registry.pull(digest) == 307

        with s3.failing(unheard):
            assert eventually(lambda: registry.ask("health")[0] == 503)
            # A balancer goes on to it all the same where it is told so.
            assert registry.ask("ready")[0] == 503
            assert registry.ask("ready?exclude=storagedriver_s3") == (200, {})
            assert registry.pull(digest) == (307 if redirects else 503)
            assert registry.pull(unknown) == 503
            ranged = ask("GET", f"{registry.url}/v2/app/blobs/{digest}", headers={"Range": "bytes=1-2"})
            assert ranged.status == (307 if redirects else 503)
            assert ask("HEAD", f"{registry.url}/v2/app/blobs/{digest}").status == 503
        assert "Traceback" not in registry.service.server.stderr


@pytest.mark.servers
@pytest.mark.parametrize("is_checked", [True, False])
def test_redis_is_down(tmp_path: Path, s3: WatchedS3, is_checked: bool):
    (tmp_path / "redis").mkdir()
    with running_redis(tmp_path / "redis") as redis:
        storage = of_s3(s3, 1, cache={"blobdescriptor": "redis"})
        address = f"127.0.0.1:{redis.port}"
        health: dict[str, Any] = {"storagedriver": {"enabled": True, "interval": OFTEN}}
        if is_checked:
            health["tcp"] = [{"addr": address, "interval": OFTEN}]
        sections = {"storage": storage, "health": health, "redis": {"addr": address}}
        with checked(tmp_path, **sections) as registry:
            assert eventually(registry.is_ready)
            digest = push(registry)
            assert registry.pull(digest) == 307
            redis.kill()
            if is_checked:
                assert eventually(lambda: registry.ask("health")[0] == 503)
                assert registry.ask("health")[1] == {address: "connection failed: Connection refused"}
                assert registry.pull(digest) == 503
                redis.start()
                assert eventually(registry.is_ready)
            time.sleep(0.5)
            assert registry.ask("health") == (200, {})
            assert registry.pull(digest) == 307


def test_it_is_not_ready_before_the_storage_was_reached_once(tmp_path: Path):
    """A check that has not failed often enough does not make it unhealthy, but nothing makes it ready."""
    address = f"127.0.0.1:{free_port()}"
    health = {"tcp": [{"addr": address, "interval": OFTEN, "threshold": 10_000}]}
    with checked(tmp_path, health=health) as registry:
        assert eventually(lambda: registry.ask("ready") == (503, {address: "has not succeeded yet"}))
        assert registry.ask("health") == (200, {})
        assert ask("GET", f"{registry.url}/v2/").status == 200


def test_a_worker_that_is_killed_leaves_the_checks_to_another(tmp_path: Path):
    health = {"file": [{"file": "down", "interval": OFTEN}]}
    with checked(tmp_path, health=health) as registry:
        assert eventually(registry.is_ready)
        registry_master, _ = children(registry.service.server.process.pid)
        assert eventually(lambda: len(children(registry_master)) == 2)
        for pid in children(registry_master):
            os.kill(pid, signal.SIGKILL)
            time.sleep(0.3)
        (tmp_path / "down").touch()
        assert eventually(lambda: registry.ask("health")[0] == 503)
        (tmp_path / "down").unlink()
        assert eventually(registry.is_ready)


def test_a_new_configuration_has_other_checks(tmp_path: Path):
    (tmp_path / "down").touch()
    with checked(tmp_path, health={"file": [{"file": "down", "interval": OFTEN}]}) as registry:
        assert eventually(lambda: registry.ask("health")[0] == 503)
        tree = yaml.safe_load((tmp_path / "config.yml").read_text())
        del tree["health"]
        (tmp_path / "config.yml").write_text(yaml.safe_dump(tree))
        registry.service.server.process.send_signal(signal.SIGHUP)

        assert eventually(registry.is_ready)
        assert eventually(lambda: ask("GET", f"{registry.url}/v2/").status == 200)


class Puller:
    """A client that pulls through a balancer: it uses a registry for as long as that one is ready."""

    def __init__(self, pull: Callable[[], int]) -> None:
        self.answers: list[int | str] = []
        self._pull = pull
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(0.005):
            try:
                self.answers.append(self._pull())
            except OSError as error:
                self.answers.append(repr(error))

    def end(self) -> set[int | str]:
        self._ended.set()
        self._thread.join()
        return set(self.answers)


def test_a_server_that_is_to_stop_is_unready_first_and_loses_nothing(tmp_path: Path):
    """Two registries behind a balancer that asks each every 100 ms; one of them is stopped under load."""
    with contextlib.ExitStack() as stack:
        both = []
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            (tmp_path / "objects").mkdir(exist_ok=True)
            sections: dict[str, Any] = {
                "storage": {"filesystem": {"rootdirectory": str(tmp_path / "objects")}},
                "http": {"draintimeout": "2s"},
            }
            both.append(stack.enter_context(checked(tmp_path / name, **sections)))
        assert all(eventually(each.is_ready) for each in both)
        digest = push(both[0])
        upstream = list(both)
        ended = threading.Event()

        def balance() -> None:
            while not ended.wait(0.1):
                upstream[:] = [each for each in both if each.is_ready()] or upstream

        balancer = threading.Thread(target=balance)
        balancer.start()
        pullers = [Puller(lambda: upstream[0].pull(digest)) for _ in range(4)]
        time.sleep(0.5)
        process = both[0].service.server.process
        process.send_signal(signal.SIGTERM)
        assert eventually(lambda: both[0].ask("ready")[1] == {"draining": "the server is about to stop"})
        assert both[0].ask("health") == (200, {})
        assert both[0].pull(digest) == 307
        assert process.wait(15) == 0
        time.sleep(0.3)
        answers = set().union(*(puller.end() for puller in pullers))
        ended.set()
        balancer.join()

    assert answers == {307}
    assert sum(len(puller.answers) for puller in pullers) > 100


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_waits_no_longer_and_ctrl_c_does_not_wait_at_all(tmp_path: Path, number: int):
    with checked(tmp_path, http={"draintimeout": "1h"}) as registry:
        process = registry.service.server.process
        if number == signal.SIGTERM:
            process.send_signal(signal.SIGTERM)
            assert eventually(lambda: registry.ask("ready")[0] == 503)
        process.send_signal(number)
        assert process.wait(15) == 0


@pytest.mark.servers
def test_distribution_answers_503_at_the_same_paths(tmp_path: Path):
    require_docker_registry()
    down = tmp_path / "down"
    health = {"file": [{"file": str(down), "interval": OFTEN}]}
    port, debug = free_port(), free_port()
    theirs = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "theirs")}},
        "http": {"addr": f"127.0.0.1:{port}", "debug": {"addr": f"127.0.0.1:{debug}"}},
        "health": health,
    }
    (tmp_path / "theirs.yml").write_text(yaml.safe_dump(theirs))
    command = [PROGRAM, "serve", str(tmp_path / "theirs.yml")]
    digest = Digest.of(b"")
    paths = ["/", "/v2/", "/v2/_catalog", "/v2/app/tags/list", f"/v2/app/blobs/{digest}", "/nothing"]
    with (
        running(command, tmp_path / "distribution", ports=[port, debug]),
        checked(tmp_path, health=health) as registry,
    ):

        def both() -> list[tuple[Any, Any]]:
            return [
                (ask("GET", f"http://127.0.0.1:{port}{path}").status, ask("GET", registry.url + path).status)
                for path in paths
            ] + [
                (
                    ask("GET", f"http://127.0.0.1:{debug}/debug/health").body.strip(),
                    ask("GET", f"http://127.0.0.1:{registry.debug}/debug/health").body.strip(),
                )
            ]

        assert eventually(registry.is_ready)
        before = both()
        down.touch()
        assert eventually(lambda: both()[0] == (503, 503))
        during = both()
    assert all(theirs == ours for theirs, ours in before)
    for theirs, ours in during[:-1]:
        assert (theirs, ours) == (503, 503)
    assert json.loads(during[-1][0]) == json.loads(during[-1][1]) == {str(down): "file exists"}


def test_without_a_debug_listener_a_check_refuses_requests_all_the_same(tmp_path: Path):
    port, down = free_port(), tmp_path / "down"
    tree = {
        "storage": {"filesystem": {"rootdirectory": "objects"}},
        "http": {"addr": f"127.0.0.1:{port}"},
        "health": {"file": [{"file": str(down), "interval": OFTEN}]},
    }
    (tmp_path / "config.yml").write_text(yaml.safe_dump(tree))
    with running([CFMIDDLEWARE, "serve", "config.yml"], tmp_path, ports=[port]) as server:
        wait_for_greeting(server)

        def statuses() -> set[int]:
            return {ask("GET", f"http://127.0.0.1:{port}/v2/").status for _ in range(8)}

        assert statuses() == {200}
        down.touch()
        assert eventually(lambda: statuses() == {503})
        server.process.send_signal(signal.SIGHUP)
        time.sleep(1)
        assert eventually(lambda: statuses() == {503})
        down.unlink()
        assert eventually(lambda: statuses() == {200})
