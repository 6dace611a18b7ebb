"""Each metric before and after the action that it counts, over several workers and across their deaths."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

import pytest
import yaml
from lab.docker_registry import PROGRAM, require_docker_registry
from lab.event_receiver import receiving
from lab.gunicorn_command import OWN
from lab.redis_server import running_redis
from lab.s3_proxy import refuse, unheard
from lab.servers import CFMIDDLEWARE, eventually, free_port, running
from lab.serving import Service, ask, children, wait_for_greeting
from lab.watched_s3 import WatchedS3
from lab.wrapped_registry import of_s3, wrapped_registry
from lab.wsgi_server import running_app

from cfmiddleware.digest import Digest
from cfmiddleware.metrics.cells import directory_of
from cfmiddleware.signing.keys import generate
from cfmiddleware.version import __version__

parser: Any = pytest.importorskip("prometheus_client.parser")

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Counted(NamedTuple):
    """A registry with metrics."""

    service: Service
    debug: int

    @property
    def url(self) -> str:
        return self.service.url

    def scrape(self) -> Samples:
        answer = ask("GET", f"http://127.0.0.1:{self.debug}/metrics")
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain")
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in parser.text_string_to_metric_families(answer.body.decode())
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        return self.scrape().get((name, tuple(sorted(labels.items()))), 0.0)

    @contextlib.contextmanager
    def growing(self, amount: float, name: str, **labels: str) -> Iterator[None]:
        """Check that a metric grows by *amount* in the block; some are counted a moment later."""
        before = self.value(name, **labels)
        yield
        assert eventually(lambda: self.value(name, **labels) - before == amount), (
            before,
            self.value(name, **labels),
        )

    def pull(self, digest: Digest, **headers: str) -> int:
        return ask("GET", f"{self.url}/v2/app/blobs/{digest}", headers=headers).status

    def master(self) -> int:
        return children(self.service.server.process.pid)[0]


@contextlib.contextmanager
def counted(directory: Path, wrapper: dict[str, Any] | None = None, **sections: Any) -> Iterator[Counted]:
    """Run a wrapped registry with metrics, of two workers."""
    port, debug = free_port(), free_port()
    http = {"debug": {"prometheus": {"enabled": True}}}
    with wrapped_registry(directory, port, debug, options=wrapper, http=http, **sections) as server:
        registry = Counted(Service(server, port, 0), debug)
        assert eventually(lambda: bool(registry.scrape()))
        yield registry


CONTENT = b"content of a blob"


def test_pulls_by_where_they_were_sent_and_the_bytes_that_left_there(tmp_path: Path):
    cache = {"filesystem": {"rootdirectory": "objects"}, "cache": {"blobdescriptor": "inmemory"}}
    with counted(tmp_path, storage=cache, metrics={"repositories": ["a*"]}) as registry:
        digest = registry.service.push("app", CONTENT)
        with (
            registry.growing(20, "cfmiddleware_pulls_total", sent="edge"),
            registry.growing(20 * len(CONTENT), "cfmiddleware_pull_bytes_total", sent="edge"),
            registry.growing(20, "cfmiddleware_repository_pulls_total", repository="app", sent="edge"),
            registry.growing(20, "registry_http_requests_total", handler="blob", method="get", code="307"),
            registry.growing(
                20, "registry_http_request_duration_seconds_count", handler="blob", method="get"
            ),
            registry.growing(20, "registry_storage_cache_total", type="Request"),
            registry.growing(20, "cfmiddleware_probe_seconds_count"),
        ):
            before = registry.scrape()
            assert {registry.pull(digest) for _ in range(20)} == {307}
        after = registry.scrape()

        def grown(name: str, label: str, *values: str) -> float:
            return sum(after[name, ((label, v),)] - before.get((name, ((label, v),)), 0) for v in values)

        assert grown("cfmiddleware_signatures_total", "outcome", "made", "reused") == 20
        assert 1 <= grown("cfmiddleware_signatures_total", "outcome", "made") <= 2
        assert grown("registry_storage_cache_total", "type", "Hit", "Miss") == 20
        with registry.growing(1, "cfmiddleware_pulls_of_unknown_size_total", sent="edge"):
            registry.pull(digest, Range="bytes=1-2")
        with registry.growing(0, "cfmiddleware_pulls_total", sent="app"):
            assert registry.pull(Digest.of(b"nothing")) == 404
        assert after["registry_http_in_flight_requests", (("handler", "blob"),)] == 0


def test_pulls_that_the_app_serves_and_why(tmp_path: Path):
    with counted(tmp_path, {"minimumsize": 1000}, metrics={"repositories": ["a*"]}) as registry:
        digest = registry.service.push("app", CONTENT)
        with (
            registry.growing(3, "cfmiddleware_pulls_total", sent="app"),
            registry.growing(3, "cfmiddleware_repository_pulls_total", repository="app", sent="app"),
            registry.growing(3 * len(CONTENT), "cfmiddleware_pull_bytes_total", sent="app"),
            registry.growing(3, "cfmiddleware_pulls_not_redirected_total", reason="small"),
        ):
            assert {registry.pull(digest) for _ in range(3)} == {200}


def test_pulls_that_are_sent_to_s3(tmp_path: Path, s3: WatchedS3):
    with counted(tmp_path, {"ipfilteredby": "all"}, storage=of_s3(s3, 2)) as registry:
        digest = registry.service.push("app", CONTENT)
        with (
            registry.growing(3, "cfmiddleware_pulls_total", sent="s3"),
            registry.growing(3 * len(CONTENT), "cfmiddleware_pull_bytes_total", sent="s3"),
        ):
            assert {registry.pull(digest) for _ in range(3)} == {307}


def test_the_app_is_not_asked_again(tmp_path: Path):
    with counted(tmp_path, {"probecache": "1m"}, server={"workers": 1}) as registry:
        digest = registry.service.push("app", CONTENT)
        with (
            registry.growing(4, "cfmiddleware_probecache_total", outcome="hit"),
            registry.growing(1, "cfmiddleware_probecache_total", outcome="miss"),
            registry.growing(1, "cfmiddleware_probe_seconds_count"),
            registry.growing(5, "cfmiddleware_pulls_total", sent="edge"),
        ):
            assert {registry.pull(digest) for _ in range(5)} == {307}


def test_keys_that_are_taken_and_refused(tmp_path: Path):
    def keys(registry: Counted) -> dict[str, float]:
        name = "cfmiddleware_signing_key_timestamp_seconds"
        return {dict(labels)["id"]: value for (n, labels), value in registry.scrape().items() if n == name}

    with counted(tmp_path, server={"workers": 1}) as registry:
        digest = registry.service.push("app", CONTENT)
        first = tmp_path / "keys" / "pk-KFIRST.pem"
        assert keys(registry) == {"KFIRST": pytest.approx(first.stat().st_mtime, abs=1)}
        time.sleep(1.1)
        with registry.growing(1, "cfmiddleware_key_rotations_total", outcome="taken"):
            aside = tmp_path / "aside"
            aside.write_text(generate("ecdsa").private_pem)
            aside.rename(tmp_path / "keys" / "pk-KSECOND.pem")
            assert eventually(lambda: "KSECOND" in registry.service.redirect("app", digest))
        assert keys(registry)["KFIRST"] == 0
        assert keys(registry)["KSECOND"] > first.stat().st_mtime
        with registry.growing(1, "cfmiddleware_key_rotations_total", outcome="refused"):
            (tmp_path / "keys" / "pk-KTHIRD.pem").write_text("this is not a key")
            assert eventually(
                lambda: (
                    registry.pull(digest) == 307
                    and registry.value("cfmiddleware_key_rotations_total", outcome="refused") == 1
                )
            )


def test_a_key_of_an_earlier_configuration_signs_no_more(tmp_path: Path):
    name = "cfmiddleware_signing_key_timestamp_seconds"
    with counted(tmp_path) as registry:
        assert eventually(lambda: registry.value(name, id="KFIRST") > 0)
        (tmp_path / "pk-KNEXT.pem").write_text(generate("ecdsa").private_pem)
        file = tmp_path / "config.yml"
        before = file.read_text()
        for text, signs, stays in (
            ("this is no configuration", "KFIRST", "KNEXT"),
            (before.replace("privatekey: keys", "privatekey: pk-KNEXT.pem"), "KNEXT", "KFIRST"),
            (before, "KFIRST", "KNEXT"),
        ):
            file.write_text(text)
            os.kill(registry.master(), signal.SIGHUP)
            assert eventually(lambda id=signs: registry.value(name, id=id) > 0)  # type: ignore[misc]
            assert eventually(lambda id=stays: registry.value(name, id=id) == 0)  # type: ignore[misc]


def test_requests_to_s3_by_operation_and_outcome_with_retries(tmp_path: Path, s3: WatchedS3):
    name = "cfmiddleware_s3_requests_total"
    with counted(tmp_path, storage=of_s3(s3, 2)) as registry:
        with (
            registry.growing(1, name, operation="GetObject", outcome="not_found"),
            registry.growing(0, "cfmiddleware_s3_retries_total", operation="GetObject"),
        ):
            assert registry.pull(Digest.of(b"nothing")) == 404
        with (
            registry.growing(2, name, operation="PutObject", outcome="ok"),
            registry.growing(1, "registry_storage_action_seconds_count", driver="s3", action="PutContent"),
        ):
            registry.service.push("app", CONTENT)
        with (
            s3.failing(refuse("503 Slow Down", "SlowDown")),
            registry.growing(1, name, operation="GetObject", outcome="failed"),
            registry.growing(1, "cfmiddleware_s3_retries_total", operation="GetObject"),
        ):
            assert registry.pull(Digest.of(b"nothing")) == 503
        with (
            s3.failing(refuse("403 Forbidden", "AccessDenied")),
            registry.growing(1, name, operation="GetObject", outcome="refused"),
        ):
            assert registry.pull(Digest.of(b"nothing")) == 500
        with (
            s3.failing(refuse("412 Precondition Failed", "PreconditionFailed")),
            registry.growing(1, name, operation="GetObject", outcome="exists"),
        ):
            assert registry.pull(Digest.of(b"nothing")) == 500
        with (
            s3.failing(unheard),
            registry.growing(1, name, operation="GetObject", outcome="unanswered"),
            registry.growing(1, "cfmiddleware_s3_retries_total", operation="GetObject"),
        ):
            assert registry.pull(Digest.of(b"nothing")) == 503


def test_uploads_in_flight_parts_in_memory_and_those_that_are_refused(tmp_path: Path, s3: WatchedS3):
    server = {"workers": 1, "uploads": 1, "uploadwait": 0}
    with counted(tmp_path, storage=of_s3(s3, 2), server=server) as registry:
        assert registry.value("cfmiddleware_uploads_in_flight") == 0
        with (
            registry.growing(1, "cfmiddleware_uploads_refused_total"),
            registry.service.slow_upload("app") as upload,
        ):
            assert eventually(lambda: registry.value("cfmiddleware_uploads_in_flight") == 1)
            assert registry.value("registry_http_in_flight_requests", handler="blob_upload_chunk") == 1
            location = ask("POST", f"{registry.url}/v2/app/blobs/uploads/").headers["Location"]
            answer = ask("PATCH", location, b"x" * 100_000)
            assert answer.status == 429
            upload.sendall(b"x" * 79_999)
            assert b" 202 " in upload.recv(1 << 16)
        assert eventually(lambda: registry.value("cfmiddleware_uploads_in_flight") == 0)
        assert registry.value("registry_http_in_flight_requests", handler="blob_upload_chunk") == 0
        assert registry.value("cfmiddleware_parts_in_memory") == 0


def test_parts_that_are_held_in_memory(tmp_path: Path, s3: WatchedS3):
    with counted(tmp_path, storage=of_s3(s3, 2)) as registry:
        location = ask("POST", f"{registry.url}/v2/app/blobs/uploads/").headers["Location"]
        with socket.create_connection(("127.0.0.1", registry.service.port)) as upload:
            path = urlsplit(location).path
            head = f"PATCH {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20000000\r\n\r\n"
            upload.sendall(head.encode() + b"x" * 8_000_000)
            assert eventually(lambda: registry.value("cfmiddleware_parts_in_memory") == 1)
        assert eventually(lambda: registry.value("cfmiddleware_parts_in_memory") == 0)


def test_the_age_of_address_ranges(tmp_path: Path, s3: WatchedS3):
    entry = {"region": "eu-west-1", "service": "AMAZON", "network_border_group": "eu-west-1"}
    ranges = {
        "syncToken": "1700000000",
        "prefixes": [{"ip_prefix": "3.5.0.0/16", **entry}],
        "ipv6_prefixes": [{"ipv6_prefix": "2600:1f00::/24", **entry}],
    }
    served = json.dumps(ranges).encode()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", str(len(served)))])
        return [served]

    with running_app(app) as port:
        wrapper = {"ipfilteredby": "aws", "iprangesurl": f"http://127.0.0.1:{port}/"}
        with counted(tmp_path, wrapper, storage=of_s3(s3, 2), server={"workers": 1}) as registry:
            with registry.growing(1, "cfmiddleware_address_ranges_fetches_total", outcome="ok"):
                registry.pull(Digest.of(b"nothing"))
            age = "cfmiddleware_address_ranges_timestamp_seconds"
            assert registry.value(age) == 1_700_000_000
            file = tmp_path / "config.yml"
            file.write_text(file.read_text().replace("ipfilteredby: aws", "ipfilteredby: none"))
            os.kill(registry.master(), signal.SIGHUP)
            assert eventually(lambda: registry.value(age) == 0)


def test_what_became_of_credentials(tmp_path: Path):
    bcrypt = pytest.importorskip("bcrypt")
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    (tmp_path / "htpasswd").write_text(f"alice:{hashed}\n")
    auth = {"htpasswd": {"realm": "registry", "path": "htpasswd"}}
    name = "cfmiddleware_authentications_total"
    with counted(tmp_path, auth=auth) as registry:
        for outcome, password, status in (
            ("challenged", None, 401),
            ("granted", b"alice:secret", 200),
            ("refused", b"alice:wrong", 401),
        ):
            headers = (
                {} if password is None else {"Authorization": "Basic " + base64.b64encode(password).decode()}
            )
            with registry.growing(1, name, outcome=outcome):
                assert ask("GET", f"{registry.url}/v2/", headers=headers).status == status


def test_connections_that_a_deadline_ended(tmp_path: Path):
    with counted(tmp_path, server={"headtimeout": "500ms"}) as registry:
        address = ("127.0.0.1", registry.service.port)
        with (
            registry.growing(1, "cfmiddleware_connections_ended_total", wait="head"),
            socket.create_connection(address) as slow,
        ):
            slow.sendall(b"GET /v2/ HT")
            assert b" 408 " in slow.recv(1 << 16)


@pytest.mark.servers
def test_redis_failures(tmp_path: Path):
    (tmp_path / "redis").mkdir()
    with running_redis(tmp_path / "redis") as redis:
        storage = {"filesystem": {"rootdirectory": "objects"}, "cache": {"blobdescriptor": "redis"}}
        sections = {"storage": storage, "redis": {"addr": f"127.0.0.1:{redis.port}"}}
        with counted(tmp_path, server={"workers": 1}, **sections) as registry:
            digest = registry.service.push("app", CONTENT)
            with registry.growing(1, "registry_storage_cache_total", type="Miss"):
                registry.pull(digest)
            with registry.growing(1, "registry_storage_cache_total", type="Hit"):
                registry.pull(digest)
            redis.kill()
            with registry.growing(1, "cfmiddleware_redis_failures_total"):
                assert registry.pull(digest) == 307


def test_checks_that_fail(tmp_path: Path):
    down = tmp_path / "down"
    health = {"file": [{"file": str(down), "interval": "200ms"}]}
    with counted(tmp_path, health=health) as registry:

        def failing() -> float:
            return registry.value("cfmiddleware_health_check_failing", check=str(down))

        down.touch()
        assert eventually(lambda: failing() == 1)
        down.unlink()
        assert eventually(lambda: failing() == 0)


def test_counters_never_go_back_when_workers_are_killed_under_load(tmp_path: Path):
    with counted(tmp_path, server={"workers": 3}) as registry:
        digest = registry.service.push("app", CONTENT)
        answers: list[int] = []
        ended = threading.Event()

        def pull() -> None:
            while not ended.is_set():
                with contextlib.suppress(OSError):
                    answers.append(registry.pull(digest))

        pullers = [threading.Thread(target=pull) for _ in range(3)]
        for puller in pullers:
            puller.start()
        seen = registry.scrape()
        backwards = []
        for _ in range(6):
            for pid in children(registry.master())[:2]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for _ in range(5):
                time.sleep(0.1)
                now = registry.scrape()
                backwards += [
                    key
                    for key, value in seen.items()
                    if key[0].endswith(("_total", "_count", "_sum", "_bucket")) and now.get(key, 0) < value
                ]
                seen = now
        ended.set()
        for puller in pullers:
            puller.join()
        # One whose connection was cut may have been counted all the same, and no other.
        counts = registry.value("cfmiddleware_pulls_total", sent="edge")

    assert backwards == []
    assert set(answers) == {307}
    assert 0 <= counts - len(answers) <= 6 * 2 * 3


def test_gauges_of_killed_workers_are_gone(tmp_path: Path):
    with counted(tmp_path, server={"workers": 1}) as registry, registry.service.slow_upload("app"):
        assert eventually(lambda: registry.value("cfmiddleware_uploads_in_flight") == 1)
        (worker,) = children(registry.master())
        assert registry.value("cfmiddleware_info", version=__version__) == 1
        os.kill(worker, signal.SIGKILL)
        assert eventually(lambda: registry.value("cfmiddleware_uploads_in_flight") == 0)


def test_without_metrics_nothing_is_served_and_nothing_is_written(tmp_path: Path):
    port, debug = free_port(), free_port()
    tree = {
        "storage": {"filesystem": {"rootdirectory": "objects"}},
        "http": {"addr": f"127.0.0.1:{port}", "debug": {"addr": f"127.0.0.1:{debug}"}},
    }
    (tmp_path / "config.yml").write_text(yaml.safe_dump(tree))
    with running([CFMIDDLEWARE, "serve", "config.yml"], tmp_path, ports=[port, debug]) as server:
        wait_for_greeting(server)
        assert ask("GET", f"http://127.0.0.1:{debug}/metrics").status == 404
        for master in children(server.process.pid):
            for pid in (master, *children(master)):
                assert "cfmiddleware-metrics" not in Path(f"/proc/{pid}/maps").read_text()


def test_the_directory_of_counts_is_removed_in_the_end(tmp_path: Path):
    with counted(tmp_path) as registry:
        maps = Path(f"/proc/{children(registry.master())[0]}/maps").read_text()
        (directory,) = {
            str(Path(line.split()[-1]).parent) for line in maps.splitlines() if "cfmiddleware-metrics" in line
        }
        assert Path(directory).is_dir()
        registry.service.server.process.send_signal(signal.SIGTERM)
        registry.service.server.process.wait(15)
        assert eventually(lambda: not Path(directory).exists())


def test_another_server_and_one_for_the_metrics(tmp_path: Path):
    """Two gunicorns that know nothing of each other but the configuration's path."""
    port, debug = free_port(), free_port()
    (tmp_path / "pk-K1.pem").write_text(generate("ecdsa").private_pem)
    options = {"baseurl": "https://d111111abcdef8.cloudfront.net", "privatekey": "pk-K1.pem"}
    tree = {
        "storage": {"filesystem": {"rootdirectory": "objects"}},
        "http": {"debug": {"prometheus": {"enabled": True, "path": "/numbers"}}},
        "middleware": {"storage": [{"name": "cloudfront", "options": options}]},
    }
    (tmp_path / "config.yml").write_text(yaml.safe_dump(tree))
    gunicorn = str(Path(CFMIDDLEWARE).parent / "gunicorn")

    def command(what: str, port: int, workers: int) -> list[str]:
        bind = ["--bind", f"127.0.0.1:{port}", "--workers", str(workers), "--no-control-socket"]
        return [gunicorn, *bind, "--worker-class", "gevent", f'cfmiddleware.server:{what}("config.yml")']

    (tmp_path / "objects").mkdir()
    (tmp_path / "b").mkdir()
    with (
        running(command("app", port, 2), tmp_path, ports=[port]) as server,
        running(
            [word.replace("config.yml", "../config.yml") for word in command("debug", debug, 1)],
            tmp_path / "b",
            ports=[debug],
        ),
    ):
        service = Service(server, port, 0)
        digest = service.push("app", CONTENT)
        for _ in range(10):
            assert ask("GET", f"{service.url}/v2/app/blobs/{digest}").status == 307

        def text() -> str:
            return ask("GET", f"http://127.0.0.1:{debug}/numbers").body.decode()

        assert eventually(lambda: 'cfmiddleware_pulls_total{sent="edge"} 10.0' in text()), text()
        assert eventually(lambda: 'cfmiddleware_pull_bytes_total{sent="edge"} 170.0' in text())
        assert ask("GET", f"http://127.0.0.1:{debug}/debug/ready").status == 200
    # These servers leave it, so that their counters go on.
    shutil.rmtree(directory_of(str(tmp_path / "config.yml")))


_FLASK = """
from pathlib import Path

from lab.flask_registry import flask_registry

from cfmiddleware import CloudFrontMiddleware, metrics

metrics.turn_on("counts", repositories=["team/*"])
app = CloudFrontMiddleware(
    flask_registry(Path("blobs")),
    baseurl="https://d111111abcdef8.cloudfront.net",
    privatekey="pk-K1.pem",
    minimumsize=10,
)
app = metrics.Counted(app)
"""


@pytest.mark.parametrize("preload", [False, True])
def test_any_app_that_is_wrapped_in_several_workers_and_a_server_for_the_metrics(
    tmp_path: Path, preload: bool
):
    pytest.importorskip("flask")
    (tmp_path / "pk-K1.pem").write_text(generate("ecdsa").private_pem)
    (tmp_path / "wrapped.py").write_text(_FLASK)
    port, debug = free_port(), free_port()
    gunicorn = [str(Path(CFMIDDLEWARE).parent / "gunicorn"), *OWN]
    own = ["--workers", "3", "--bind", f"127.0.0.1:{port}", *(["--preload"] if preload else [])]
    counts = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "counts")}
    paths = {"PYTHONPATH": str(Path(__file__).parents[1])}
    with (
        running([*gunicorn, *own, "wrapped:app"], tmp_path, ports=[port], env=paths) as server,
        running(
            [*gunicorn, "--bind", f"127.0.0.1:{debug}", "cfmiddleware.metrics:app"],
            tmp_path / "metrics",
            ports=[debug],
            env=counts,
        ),
    ):
        registry, by_name = Counted(Service(server, port, 0), debug), "cfmiddleware_repository_pulls_total"
        digests = []
        for content in (CONTENT, b"small"):
            location = ask("POST", f"{registry.url}/v2/team/app/blobs/uploads/").headers["Location"]
            digest = Digest.of(content)
            digests.append(digest)
            url = f"{urljoin(registry.url, location)}?digest={digest}"
            assert ask("PUT", url, content).status == 201
        for _ in range(2):
            with (
                registry.growing(12, "cfmiddleware_pulls_total", sent="edge"),
                registry.growing(12 * len(CONTENT), "cfmiddleware_pull_bytes_total", sent="edge"),
                registry.growing(
                    12, "cfmiddleware_repository_pulls_total", repository="team/app", sent="edge"
                ),
                registry.growing(8, "cfmiddleware_pulls_total", sent="app"),
                registry.growing(8 * 5, "cfmiddleware_pull_bytes_total", sent="app"),
                registry.growing(8, by_name, repository="team/app", sent="app"),
                registry.growing(8, "cfmiddleware_pulls_not_redirected_total", reason="small"),
                registry.growing(20, "cfmiddleware_probe_seconds_count"),
            ):
                blobs = [digests[0]] * 12 + [digests[1]] * 8
                statuses = [
                    ask("GET", f"{registry.url}/v2/team/app/blobs/{digest}").status for digest in blobs
                ]
                assert statuses == [307] * 12 + [200] * 8
            assert 1 <= registry.value("cfmiddleware_signatures_total", outcome="made") <= 6
            os.kill(children(server.process.pid)[0], signal.SIGKILL)


@pytest.mark.servers
def test_distribution_counts_the_same_requests_under_the_same_names(tmp_path: Path):
    require_docker_registry()
    port, debug = free_port(), free_port()
    theirs = {
        "version": 0.1,
        "storage": {
            "filesystem": {"rootdirectory": str(tmp_path / "theirs")},
            "cache": {"blobdescriptor": "inmemory"},
        },
        "http": {
            "addr": f"127.0.0.1:{port}",
            "debug": {"addr": f"127.0.0.1:{debug}", "prometheus": {"enabled": True}},
        },
    }
    (tmp_path / "theirs.yml").write_text(yaml.safe_dump(theirs))
    command = [PROGRAM, "serve", str(tmp_path / "theirs.yml")]
    storage = {"filesystem": {"rootdirectory": "objects"}, "cache": {"blobdescriptor": "inmemory"}}
    with (
        running(command, tmp_path / "distribution", ports=[port, debug]) as server,
        counted(tmp_path, storage=storage) as ours,
    ):
        both = (Counted(Service(server, port, 0), debug), ours)
        digest = Digest.of(CONTENT)
        for registry in both:
            location = ask("POST", f"{registry.url}/v2/app/blobs/uploads/").headers["Location"]
            location = urljoin(registry.url, location)
            joint = "&" if "?" in location else "?"
            assert ask("PUT", f"{location}{joint}digest={digest}", CONTENT).status == 201
            for path in ("", "_catalog", "app/manifests/latest"):
                ask("GET", f"{registry.url}/v2/{path}")
            ask("HEAD", f"{registry.url}/v2/app/blobs/{digest}")
            ask("GET", f"{registry.url}/v2/app/blobs/{Digest.of(b'nothing')}")

        def requests(registry: Counted) -> dict[Any, float]:
            samples = registry.scrape().items()
            return {
                key: value
                for key, value in samples
                if key[0] in ("registry_http_requests_total", "registry_http_request_duration_seconds_count")
                and value
                and ("handler", "other") not in key[1]
            }

        def differences() -> set[Any]:
            return set(requests(both[0]).items()) ^ set(requests(both[1]).items())

        assert eventually(lambda: not differences()), differences()
        distribution, own = (registry.scrape() for registry in both)

        def labels(samples: Samples, name: str) -> set[Any]:
            return {tuple(label for label, _ in key[1]) for key in samples if key[0] == name}

        names = {key[0] for key in distribution if key[0].startswith("registry_")}
        # They tell how long bodies are, of which the access log tells more.
        names = {name for name in names if "_size_bytes" not in name}
        assert names <= {key[0] for key in own}
        assert all(labels(distribution, name) == labels(own, name) for name in names)


def test_each_metric_is_read_before_and_after_its_action():
    """Each name of a metric stands in a test of this file, or in those about collections and maintenance."""
    from cfmiddleware.metrics.cells import STATE

    here = Path(__file__)
    files = (here, *(here.with_name(f"test_{name}.py") for name in ("collecting_by_itself", "maintenance")))
    text = "".join(file.read_text(encoding="utf-8") for file in files)
    assert {name for name in STATE.metrics if not re.search(rf"""["']{name}""", text)} == set()


def test_notifications_are_counted_under_distributions_names(tmp_path: Path):
    with receiving("close", "500", "400", "400") as receiver:
        endpoint = {"name": "a", "url": receiver.url, "threshold": 4, "backoff": "10ms"}
        off = {"name": "off", "url": "http://127.0.0.1:9/", "threshold": 1, "backoff": "1h"}
        notifications = {"endpoints": [endpoint, off], "spool": {"directory": "spool"}}
        with counted(tmp_path, notifications=notifications) as registry:

            def told(name: str, endpoint: str = "a", **labels: str) -> float:
                return registry.value(name, endpoint=endpoint, **labels)

            for kind in ("Events", "Successes", "Failures", "Errors"):
                # By the worker that delivers, which may have begun later than the one that answers.
                key = ("registry_notifications_events_total", (("endpoint", "a"), ("type", kind)))
                assert eventually(lambda key=key: key in registry.scrape())  # type: ignore[misc]
            for number in range(3):
                registry.service.push("app", f"{number}".encode())
            assert eventually(lambda: told("registry_notifications_events_total", type="Successes") == 2)
            assert told("registry_notifications_events_total", type="Events") == 3
            assert told("registry_notifications_events_total", type="Failures") == 3
            assert told("registry_notifications_events_total", type="Errors") == 1
            assert told("registry_notifications_status_total", code="200 OK") == 2
            assert told("registry_notifications_status_total", code="400 Bad Request") == 2
            assert told("registry_notifications_status_total", code="500 Internal Server Error") == 1
            assert eventually(lambda: told("registry_notifications_pending_total", "off") == 3)
            assert eventually(lambda: registry.value("cfmiddleware_notifications_dead", endpoint="a") == 1)
            assert told("registry_notifications_pending_total") == 0
            assert registry.value("cfmiddleware_notifications_lost_total", endpoint="a") == 0

            tree = yaml.safe_load((tmp_path / "config.yml").read_text())
            tree["notifications"]["endpoints"].pop()
            (tmp_path / "config.yml").write_text(yaml.safe_dump(tree))
            os.kill(registry.master(), signal.SIGHUP)

            def waiting() -> list[str]:
                return [
                    dict(labels)["endpoint"]
                    for name, labels in registry.scrape()
                    if name == "registry_notifications_pending_total"
                ]

            assert eventually(lambda: waiting() == ["a"])


def test_an_app_that_turns_metrics_on_has_all_of_them(tmp_path: Path):
    from cfmiddleware.metrics import names
    from cfmiddleware.metrics.kinds import Metric

    script = (
        "from cfmiddleware import metrics\n"
        f"metrics.turn_on({str(tmp_path)!r})\n"
        "from cfmiddleware.metrics.cells import STATE\n"
        "print('\\n'.join(STATE.metrics))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    own = {each.name for each in vars(names).values() if isinstance(each, Metric)}
    assert own <= {*done.stdout.splitlines()}
