"""An app that gunicorn loads before it forks: every worker does its own work, and the master none of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from lab import TESTS
from lab.apps import CONTENT, DIGEST, EDGE, key
from lab.gunicorn_command import OWN
from lab.range_server import Reply, Web, document
from lab.redirects import of_each_worker
from lab.servers import S3Server, Server, eventually, free_port, running
from lab.serving import ask, children, is_linux, workers

from cfmiddleware.signing.keys import load_public_key
from cfmiddleware.signing.verify import Verifier

NEAR, FAR = "35.180.1.1", "192.0.2.7"
WORKERS = 2
RANGES_THREAD = "cfmiddleware-ranges"

pytestmark = pytest.mark.skipif(not is_linux(), reason="looks at processes through /proc")


class Preloaded(NamedTuple):
    """A gunicorn that has loaded the app and forked its workers; nobody has asked it for anything yet."""

    server: Server
    url: str
    directory: Path
    bucket_url: str
    web: Web

    @property
    def master(self) -> int:
        return self.server.process.pid

    def locations(self, client: str) -> dict[int, str]:
        """Return where each worker sends that client, by the workers' processes."""
        found: dict[int, str] = {}
        deadline = time.monotonic() + 20
        while len(found) < WORKERS and time.monotonic() < deadline:
            answer = ask("GET", f"{self.url}/v2/team/app/blobs/{DIGEST}", headers={"X-Forwarded-For": client})
            assert answer.status == 307, answer
            found[int(answer.headers["X-Process"])] = answer.headers["Location"]
        assert sorted(found) == sorted(children(self.master))
        return found

    def put_key(self, number: int, name: str, age: int) -> None:
        """Put a private key into the directory, as if it had been there for *age* seconds."""
        written = self.directory / "being-written"
        written.write_text(key(number).private_pem)
        then = time.time() - age
        os.utime(written, (then, then))
        written.rename(self.directory / "keys" / f"pk-{name}.pem")


@pytest.fixture
def preloaded(tmp_path: Path, s3_server: S3Server) -> Iterator[Preloaded]:
    bucket = s3_server.new_bucket()
    with contextlib.closing(Web()) as web:
        web.replies = [Reply(body=document("35.180.0.0/16"))]
        options = {
            "baseurl": EDGE,
            "privatekey": "keys",
            "ipfilteredby": "aws",
            "iprangesurl": web.url,
            "trustedproxies": 1,
        }
        tree = {
            "version": 0.1,
            "storage": {"s3": s3_server.driver_options(bucket)},
            "middleware": {"storage": [{"name": "cloudfront", "options": options}]},
        }
        (tmp_path / "config.yml").write_text(json.dumps(tree))
        (tmp_path / "keys").mkdir()
        port = free_port()
        command = [sys.executable, "-m", "gunicorn", "lab.redirects:preloaded()", "--preload"]
        command += ["--bind", f"127.0.0.1:{port}", "--workers", str(WORKERS), "--worker-class", "gthread"]
        command += ["--threads", "4", "--graceful-timeout", "1", *OWN]
        command += ["--pythonpath", str(TESTS)]
        variables = {"TEST_CONFIG": str(tmp_path / "config.yml")}
        server = f"{s3_server.endpoint}/{bucket}/"
        made = Preloaded(None, f"http://127.0.0.1:{port}", tmp_path, server, web)  # type: ignore[arg-type]
        made.put_key(1, "KFIRST", age=1000)
        with running(command, tmp_path / "gunicorn", ports=[port], env=variables) as process:
            workers(process.process.pid, WORKERS)
            yield made._replace(server=process)


def tasks(process: int) -> int:
    """Return how many threads a process has."""
    return len(list(Path(f"/proc/{process}/task").iterdir()))


def listening() -> set[str]:
    """Return the sockets that wait for connections, by the names that they have among a process's files."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return {f"socket:[{fields[9]}]" for fields in map(str.split, lines) if fields[3] == "0A"}


def connections(process: int) -> set[str]:
    """Return the sockets of a process, but for those that wait for connections."""
    open_files = set()
    for file in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(OSError):
            open_files.add(str(file.readlink()))
    sockets = {name for name in open_files if name.startswith("socket:")}
    assert sockets & listening()  # the one that it serves on: this can tell sockets from other files
    return sockets - listening()


def test_the_master_has_no_thread_and_no_connection_and_neither_has_it_after_pulls(preloaded: Preloaded):
    assert tasks(preloaded.master) == 1
    assert connections(preloaded.master) == set()
    assert preloaded.web.requests == []
    assert ask("POST", f"{preloaded.url}/v2/team/app/blobs/uploads/?digest={DIGEST}", CONTENT).status == 201
    preloaded.locations(FAR)
    assert tasks(preloaded.master) == 1
    assert connections(preloaded.master) == set()


def test_every_worker_redirects_rightly_and_so_do_those_that_take_the_place_of_killed_ones(
    preloaded: Preloaded,
):
    assert ask("POST", f"{preloaded.url}/v2/team/app/blobs/uploads/?digest={DIGEST}", CONTENT).status == 201
    check_redirects(preloaded, "KFIRST", 1)
    first_fetches = len(preloaded.web.requests)
    assert first_fetches == WORKERS  # each for itself

    preloaded.put_key(2, "KSECOND", age=10)
    assert eventually(lambda: all("KSECOND" in url for url in preloaded.locations(FAR).values()))
    check_redirects(preloaded, "KSECOND", 2)

    killed = children(preloaded.master)
    for process in killed:
        os.kill(process, signal.SIGKILL)
    assert eventually(lambda: set(killed).isdisjoint(workers(preloaded.master, WORKERS)), 20)
    # The master has never seen another key than the first one.
    check_redirects(preloaded, "KSECOND", 2)
    assert len(preloaded.web.requests) == first_fetches + WORKERS
    assert tasks(preloaded.master) == 1
    assert connections(preloaded.master) == set()


def check_redirects(preloaded: Preloaded, id: str, number: int) -> None:
    """Fail unless each worker sends far clients to CloudFront by that key, and near ones to S3's bytes."""
    verifier = Verifier({id: load_public_key(key(number).public_pem, "key of the test")})
    far = preloaded.locations(FAR)
    for url in far.values():
        assert url.startswith(f"{EDGE}/docker/registry/v2/blobs/sha256/{DIGEST.hex[:2]}/{DIGEST.hex}/data?")
        verifier.check(url, time.time(), None)
    # A worker fetches AWS's ranges when it is first asked for a blob, and whoever asks meanwhile is far.
    assert eventually(
        lambda: all(url.startswith(preloaded.bucket_url) for url in preloaded.locations(NEAR).values())
    )
    for url in preloaded.locations(NEAR).values():
        assert ask("GET", url).body == CONTENT
        assert "X-Amz-Signature=" in urlsplit(url).query
    assert preloaded.locations(FAR).keys() == far.keys()
    threads = of_each_worker(f"{preloaded.url}/threads", WORKERS)
    assert sorted(threads) == sorted(far)
    assert all(names.count(RANGES_THREAD) == 1 for names in threads.values())
