"""Notifications of a registry that is served: whatever fails, and whoever is killed, every event arrives."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab.event_receiver import Behaviour, Receiver, receiving
from lab.servers import eventually, free_port
from lab.serving import CFMIDDLEWARE, Service, ask, bound, children, serving, session

from cfmiddleware.digest import Digest
from cfmiddleware.notifications.spool import LOCK


def configuration(
    directory: Path,
    receiver: Receiver,
    workers: int = 2,
    s3: dict[str, Any] | None = None,
    **endpoint: Any,
) -> Path:
    """Write a configuration; with *s3*, events are kept in that bucket."""
    settings = {"timeout": "300ms", "threshold": 3, "backoff": "100ms", **endpoint}
    tree = {
        "version": 0.1,
        "log": {"accesslog": {"disabled": True}},
        "storage": {"s3": s3} if s3 else {"filesystem": {"rootdirectory": str(directory / "data")}},
        "server": {"workers": workers},
        "notifications": {
            "endpoints": [{"name": "listener", "url": receiver.url, **settings}],
            "spool": {"bucket": True} if s3 else {"directory": "spool"},
        },
    }
    file = directory / "config.yml"
    file.write_text(yaml.safe_dump(tree))
    return file


@contextlib.contextmanager
def registry(directory: Path, receiver: Receiver, **options: Any) -> Iterator[Service]:
    file = configuration(directory, receiver, **options)
    with serving(directory / "process", str(file), edge=False) as service:
        yield service


def holder(directory: Path) -> int:
    """Return the process that delivers, as the system's table of locks has it."""
    file = directory / "spool" / LOCK
    inode = file.stat().st_ino if file.exists() else 0
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if fields[1] == "FLOCK" and fields[5].endswith(f":{inode}"):
            return int(fields[4])
    return 0


def test_a_dead_endpoint_slows_no_push_and_gets_everything_when_it_lives(tmp_path: Path):
    port = free_port()
    with receiving() as gone:
        gone.port = port
        with registry(tmp_path, gone) as service:
            for number in range(5):
                service.push("app", f"{number}".encode())
            with receiving(port=port) as receiver:
                assert eventually(lambda: len(receiver.taken) == 5)
    assert [each["target"]["size"] for each in receiver.events()] == [1] * 5


def test_a_redirect_is_not_followed_and_no_secret_is_logged(tmp_path: Path):
    secret = {"Authorization": ["Bearer hunter2"]}
    with (
        receiving("redirect", "400", "500", "close") as receiver,
        registry(tmp_path, receiver, headers=secret) as service,
    ):
        service.push("app", b"1")
        assert eventually(lambda: len(receiver.taken) == 1)
        assert receiver.requests == 5
        said = service.server.stderr
    assert "it answered 307, and redirects are not followed" in said
    assert "s3cr3t" not in said
    assert "hunter2" not in said
    assert "/event" not in said


def test_another_worker_goes_on_when_the_one_that_delivers_is_killed(tmp_path: Path):
    with receiving() as receiver, registry(tmp_path, receiver) as service:
        assert eventually(lambda: holder(tmp_path) != 0)
        first = holder(tmp_path)
        (master,) = service.masters()
        assert first in children(master)
        os.kill(first, signal.SIGKILL)
        service.push("app", b"1")
        assert eventually(lambda: len(receiver.taken) == 1)
        assert holder(tmp_path) not in (0, first)


def kill(service: Service) -> None:
    """Kill all processes of a server at once."""
    for pid in session(service.server.process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    service.server.process.wait(10)
    assert eventually(lambda: not bound(service.port))


def check_that_nothing_is_lost(directory: Path, total: int, **options: Any) -> int:
    """Push and pull *total* times while the endpoint fails in all ways and everything is killed twice.

    Return how many events came again without need.
    """
    chance = random.Random(total)
    ways: list[Behaviour] = ["ok", "ok", "ok", "ok", "500", "close", "lost answer", "hang"]
    expected: dict[str, list[tuple[str, str]]] = {}
    blobs: dict[str, list[Digest]] = {}
    lost_answers = 0
    with receiving() as receiver:
        receiver.plan = [chance.choice(ways[: 7 + (number % 10 == 0)]) for number in range(total)]
        lost_answers = receiver.plan.count("lost answer")
        done = 0
        for run in range(3):
            with registry(directory, receiver, **options) as service:
                while done < total * (run + 1) // 3:
                    name = f"app{chance.randrange(5)}"
                    if blobs.get(name) and chance.random() < 0.5:
                        digest, action = chance.choice(blobs[name]), "pull"
                        assert ask("GET", f"{service.url}/v2/{name}/blobs/{digest}").status == 200
                    else:
                        digest, action = service.push(name, f"{name} {done}".encode()), "push"
                        blobs.setdefault(name, []).append(digest)
                    expected.setdefault(name, []).append((action, str(digest)))
                    done += 1
                if run < 2:
                    kill(service)
                    continue
                receiver.let_go.set()
                assert eventually(lambda: len({e["id"] for e in receiver.events()}) == total, 60 + total / 5)
                time.sleep(0.5)  # whatever comes twice has come
    seen: Counter[str] = Counter()
    order: dict[str, list[tuple[str, str]]] = {}
    for event in receiver.events():
        seen[event["id"]] += 1
        if seen[event["id"]] == 1:
            target = event["target"]
            order.setdefault(target["repository"], []).append((event["action"], target["digest"]))
    assert order == expected
    return sum(seen.values()) - total - lost_answers  # whose events come again


def test_nothing_is_lost_while_the_endpoint_fails_and_everything_is_killed(tmp_path: Path):
    # At most one for each time that everything was killed.
    assert check_that_nothing_is_lost(tmp_path, 60) <= 2


def test_nor_is_it_where_events_are_kept_in_the_bucket(any_s3, tmp_path: Path):
    options = any_s3.driver_options(any_s3.new_bucket())
    # Those of a second for each time that everything was killed.
    assert check_that_nothing_is_lost(tmp_path, 45, s3=options) <= 30
    waits = CFMIDDLEWARE, "notifications", str(tmp_path / "config.yml")
    said = subprocess.run(waits, check=True, capture_output=True, text=True).stdout
    assert said.strip() == "no events are waiting, and there are no dead letters"


@pytest.mark.long
def test_a_thousand_pushes_and_pulls_lose_nothing(tmp_path: Path):
    assert check_that_nothing_is_lost(tmp_path, 1000) <= 2
