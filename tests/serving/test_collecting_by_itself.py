"""Collections that begin by themselves, in processes beside real servers."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab.collecting import digests_stored
from lab.event_receiver import receiving
from lab.registry_client import RegistryClient
from lab.s3_proxy import S3Proxy
from lab.servers import S3Server, eventually, free_port, running
from lab.serving import ask, children, serving

from cfmiddleware.config import Config
from cfmiddleware.digest import Digest
from cfmiddleware.registry.collect.byitself import CollectionByItself, Schedule
from cfmiddleware.registry.store import paths
from cfmiddleware.storage.driver import Driver
from cfmiddleware.storage.memory import MemoryDriver

# A machine that is busy takes its time.
LONG = 90.0


def write_config(here: Path, storage: dict[str, Any], collect: dict[str, Any], **more: Any) -> Driver:
    """Write a configuration with collections, and return its storage."""
    here.mkdir(parents=True, exist_ok=True)
    maintenance = {"garbagecollect": {"enabled": True, "interval": "1s", "grace": "0s", **collect}}
    tree = {
        **{"version": 0.1, "log": {"level": "info"}, "http": {}},
        "storage": {**storage, "delete": {"enabled": True}, "maintenance": maintenance},
        "server": {"workers": 2},
        **more,
    }
    (here / "config.yml").write_text(yaml.safe_dump(tree))
    return Config.load(here / "config.yml").driver()


def on_disk(here: Path) -> dict[str, Any]:
    return {"filesystem": {"rootdirectory": str(here / "data")}}


def push(url: str, content: bytes) -> Digest:
    digest = Digest.of(content)
    answer = ask("POST", f"{url}/v2/app/blobs/uploads/?digest={digest}", content)
    assert answer.status == 201, answer
    return digest


def collectors(server: int) -> list[int]:
    """Return the processes that collect, below a server's."""
    found = []
    for pid in children(server):
        with contextlib.suppress(OSError):
            if b"collectchild" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
        found += collectors(pid)
    return found


def record(driver: Driver) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(driver.read(paths.LAST_COLLECTION))
    return found


@pytest.fixture
def slow_s3(s3_server: S3Server) -> Iterator[S3Proxy]:
    """An S3 that takes long for lists of links, so that a collection lasts."""
    with S3Proxy(s3_server.endpoint) as proxy:

        def wait(environ: Any, start_response: Any, app: Any) -> None:
            if "_layers" in environ["QUERY_STRING"]:
                time.sleep(3)

        proxy.fault = wait
        yield proxy


def slow_storage(s3_server: S3Server, proxy: S3Proxy) -> dict[str, Any]:
    options = s3_server.driver_options(s3_server.new_bucket(), forcepathstyle=True)
    return {"s3": {**options, "regionendpoint": proxy.endpoint}}


def test_what_nobody_refers_to_goes_by_itself_and_what_is_referred_to_stays(tmp_path: Path) -> None:
    with receiving() as receiver:
        endpoint = {"name": "audit", "url": receiver.url, "ignore": {"actions": ["push", "pull"]}}
        notifications = {"endpoints": [endpoint], "spool": {"directory": str(tmp_path / "spool")}}
        driver = write_config(tmp_path, on_disk(tmp_path), {}, notifications=notifications)
        with serving(tmp_path, "config.yml", edge=False) as service:
            nobodys = service.push("app", b"nobody's")
            config, layer = service.push("app", b"{}"), service.push("app", b"layer")
            manifest = {
                "schemaVersion": 2,
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": str(config)},
                "layers": [{"mediaType": "application/octet-stream", "digest": str(layer)}],
            }
            # The blobs may be collected before the manifest refers to them, as in any push: then it says so.
            kind = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
            url = f"{service.url}/v2/app/manifests/v1"
            while ask("PUT", url, json.dumps(manifest).encode(), kind).status != 201:
                service.push("app", b"{}")
                service.push("app", b"layer")

            assert eventually(lambda: nobodys not in digests_stored(driver), LONG)
            assert eventually(lambda: bool(receiver.taken), LONG)
            assert {config, layer} < digests_stored(driver)
            said = service.server.stderr
    assert "garbage collection: begins in process" in said
    assert "garbage collection: done after" in said
    gone = [event["target"] for event in receiver.events()]
    assert {"digest": str(nobodys), "repository": "app"} in gone
    assert {event["action"] for event in receiver.events()} == {"delete"}
    assert receiver.events()[0]["request"]["useragent"].startswith("cfmiddleware gc/")


def test_only_one_process_of_a_machine_collects_and_at_the_lowest_priority(
    tmp_path: Path, s3_server: S3Server, slow_s3: S3Proxy
) -> None:
    write_config(tmp_path, slow_storage(s3_server, slow_s3), {})
    with serving(tmp_path, "config.yml", edge=False) as service:
        service.push("app", b"nobody's")
        server = service.server.process.pid
        assert eventually(lambda: bool(collectors(server)), LONG)
        for _ in range(20):
            assert len(collectors(server)) <= 1
            time.sleep(0.05)
        assert eventually(lambda: bool(collectors(server)), LONG)
        nice = [
            Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[16]
            for pid in collectors(server)
        ]
        assert set(nice) <= {"19", "0"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_server_that_ends_ends_the_collection_and_the_next_one_goes_on(
    tmp_path: Path, s3_server: S3Server, slow_s3: S3Proxy, number: signal.Signals
) -> None:
    driver = write_config(tmp_path, slow_storage(s3_server, slow_s3), {})
    with serving(tmp_path, "config.yml", edge=False) as service:
        service.push("app", b"nobody's")
        server = service.server.process
        assert eventually(lambda: bool(collectors(server.pid)), LONG)
        (collector,) = collectors(server.pid)
        time.sleep(1)
        server.send_signal(number)
        began = time.monotonic()
        server.wait(LONG)
        # It does not wait for the collection.
        assert number == signal.SIGKILL or time.monotonic() - began < 30
        assert eventually(lambda: not Path(f"/proc/{collector}").exists(), LONG)
    assert not [path for path, _ in driver.walk(paths.CONDEMNED) if "withdrawn" not in path]
    slow_s3.fault = None
    with serving(tmp_path, "config.yml", edge=False):
        assert eventually(lambda: not digests_stored(driver), LONG)


class Closing:
    """A window that closes soon.

    :param closes: when, in Unix seconds.
    """

    def __init__(self, closes: float) -> None:
        self._closes = closes

    def seconds_left(self, now: float) -> float:
        return max(0.0, self._closes - now)


def chore_of(here: Path) -> CollectionByItself:
    chores = Config.load(here / "config.yml").chores
    assert chores is not None
    (chore,) = (each for each in chores._chores if isinstance(each, CollectionByItself))
    return chore


def test_one_that_is_not_done_when_the_window_closes_is_ended_and_goes_on_in_the_next(
    tmp_path: Path, s3_server: S3Server, slow_s3: S3Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    driver = write_config(tmp_path, slow_storage(s3_server, slow_s3), {})
    client = RegistryClient(driver)
    digest = client.push_blob("app", b"nobody's")
    let_go = threading.Event()

    def wait(environ: Any, start_response: Any, app: Any) -> None:
        if "_layers" in environ["QUERY_STRING"]:
            let_go.wait(LONG)

    slow_s3.fault = wait
    chore = chore_of(tmp_path)
    chore._schedule = Schedule(1.0, Closing(time.time() + 5))  # type: ignore[arg-type]
    chore.look(threading.Event())
    let_go.set()
    assert "garbage collection: stopped (the window is over) after" in caplog.text
    assert record(driver)["outcome"] == "stopped"
    time.sleep(0.2)
    chore.look(threading.Event())
    assert record(driver)["outcome"] == "stopped"
    assert digests_stored(driver) == {digest}

    chore._schedule = Schedule(1.0, Closing(time.time() + 1000))  # type: ignore[arg-type]
    assert eventually(lambda: chore.look(threading.Event()) or not digests_stored(driver), LONG)


def test_a_process_that_cannot_begin_is_a_failure_on_record(caplog: pytest.LogCaptureFixture) -> None:
    driver = MemoryDriver()
    # Not even pickled: the process ends without a word.
    chore = CollectionByItself(driver, Schedule(86400), lambda: b"nonsense", lambda: 1000.0)

    chore.look(threading.Event())

    assert record(driver)["outcome"] == "failed"
    assert "ended without a word" in caplog.text
    chore.look(threading.Event())
    assert caplog.text.count("ended without a word") == 1


def test_a_window_that_is_closed_lets_none_begin(tmp_path: Path) -> None:
    later = datetime.now(UTC) + timedelta(hours=3)
    window = f"{later:%H:%M}-{later + timedelta(hours=1):%H:%M}"
    driver = write_config(tmp_path, on_disk(tmp_path), {"window": window})
    with serving(tmp_path, "config.yml", edge=False) as service:
        digest = service.push("app", b"nobody's")
        assert eventually(lambda: (tmp_path / "data").exists(), LONG)
        time.sleep(3)
        assert digests_stored(driver) == {digest}
        assert "begins" not in service.server.stderr


def test_without_the_option_none_begins(tmp_path: Path) -> None:
    write_config(tmp_path, on_disk(tmp_path), {"enabled": False})
    chores = Config.load(tmp_path / "config.yml").chores
    assert "garbage collection" not in [chore.name for chore in (chores._chores if chores else ())]


def test_it_is_done_under_another_server(tmp_path: Path) -> None:
    driver = write_config(tmp_path, on_disk(tmp_path), {})
    port = free_port()
    gunicorn = Path(sys.executable).parent / "gunicorn"
    command = [
        *(str(gunicorn), "--worker-class", "gthread", "--workers", "2", "--threads", "4"),
        *("--bind", f"127.0.0.1:{port}", 'cfmiddleware.server:app("config.yml")'),
    ]
    with running(command, tmp_path, ports=[port]) as server:
        push(f"http://127.0.0.1:{port}", b"nobody's")
        assert eventually(lambda: not digests_stored(driver), LONG), server.stderr
        assert "garbage collection: done after" in server.stderr


def test_a_storage_that_fails_is_a_line_in_the_log_and_the_next_collection_is_done(
    tmp_path: Path, s3_server: S3Server, slow_s3: S3Proxy
) -> None:
    failing = [True]

    def refuse_lists(environ: Any, start_response: Any, app: Any) -> Any:
        if not failing[0] or "_layers" not in environ["QUERY_STRING"]:
            return None
        body = b"<Error><Code>AccessDenied</Code></Error>"
        start_response("403 Forbidden", [("Content-Length", str(len(body)))])
        return [body]

    slow_s3.fault = refuse_lists
    driver = write_config(tmp_path, slow_storage(s3_server, slow_s3), {})
    with serving(tmp_path, "config.yml", edge=False) as service:
        push(service.url, b"nobody's")
        server = service.server
        assert eventually(lambda: "garbage collection: failed (S3 refused" in server.stderr, LONG)
        failing[0] = False
        assert eventually(lambda: not digests_stored(driver), LONG), server.stderr


def test_what_it_has_done_is_counted_for_prometheus(tmp_path: Path) -> None:
    pytest.importorskip("prometheus_client")
    port = free_port()
    http = {"debug": {"addr": f"127.0.0.1:{port}", "prometheus": {"enabled": True}}}
    driver = write_config(tmp_path, on_disk(tmp_path), {}, http=http)

    def value(name: str) -> float:
        page = ask("GET", f"http://127.0.0.1:{port}/metrics").body.decode()
        values = [line.rpartition(" ")[2] for line in page.splitlines() if line.startswith(name)]
        return float(values[0]) if values else 0.0

    with serving(tmp_path, "config.yml", edge=False) as service:
        service.push("app", b"nobody's")
        assert eventually(lambda: not digests_stored(driver), LONG)
        done = "cfmiddleware_collections_total" + '{outcome="done"}'
        assert eventually(lambda: value('cfmiddleware_collected_total{kind="blob"}') == 1, LONG)
        assert value(done) >= 2
        assert value('cfmiddleware_collected_total{kind="link"}') == 1
        assert value("cfmiddleware_collected_bytes_total") == 8
        assert value("cfmiddleware_collection_requests_total") == 0  # a directory is asked by none
        assert 0 < value("cfmiddleware_collection_duration_seconds") < LONG
        assert value("cfmiddleware_collection_interval_seconds") == 1
        assert abs(value("cfmiddleware_collection_success_timestamp_seconds") - time.time()) < LONG
        assert abs(value("cfmiddleware_collection_ended_timestamp_seconds") - time.time()) < LONG
