"""`gunicorn -c python:cfmiddleware.gunicorn`: any app is wrapped, without a line of its code."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from lab import TESTS
from lab.event_receiver import receiving
from lab.gunicorn_command import OWN
from lab.servers import eventually, free_port, running
from lab.serving import Answer, Service, ask, children

from cfmiddleware.digest import Digest
from cfmiddleware.signing.keys import generate

GUNICORN = [sys.executable, "-m", "gunicorn", "--graceful-timeout", "1", *OWN]
MODULE = ["-c", "python:cfmiddleware.gunicorn"]
WORKERS = ["sync", "gthread", "gevent", "gevent_pywsgi"]

CONFIG = """
middleware:
  storage:
    - name: cloudfront
      options: {baseurl: "https://one.cloudfront.net", privatekey: pk-KMODULE.pem}
"""

APP = """
from importlib.util import find_spec
from pathlib import Path
from lab.flask_registry import flask_registry
app = flask_registry(Path("blobs"))
async def asgi(scope, receive, send): ...
"""

#: Our own registry, wrapped by its own configuration.
OWN = 'cfmiddleware.server:app("own.yml")'

#: An app with an entry point of its own, as Pulp's, which takes gunicorn's options from the environment only.
ENTRY_POINT = """
import sys
from gunicorn.app.base import Application

class Own(Application):
    def init(self, parser, options, arguments):
        pass
    def load_config(self):
        super().load_config()
        self.cfg.set("bind", [sys.argv.pop()])
    def load(self):
        from app import app
        return app

address = sys.argv.pop()
del sys.argv[1:]
sys.argv.append(address)
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "config.yml").write_text(CONFIG)
    (tmp_path / "own.yml").write_text("storage: {filesystem: {rootdirectory: objects}}" + CONFIG)
    (tmp_path / "pk-KMODULE.pem").write_text(generate("ecdsa").private_pem)
    return tmp_path


def environment(**variables: str) -> dict[str, str]:
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    return {"CFMIDDLEWARE_CONFIG": "config.yml", "PYTHONPATH": path, **variables}


@contextlib.contextmanager
def under_gunicorn(
    place: Path, *arguments: str, app: str = "app:app", env: Mapping[str, str] | None = None
) -> Iterator[Service]:
    port = free_port()
    command = [*GUNICORN, "--bind", f"127.0.0.1:{port}", *arguments, app]
    with running(command, place, ports=[port], env=env or environment()) as server:
        yield Service(server, port, 0)


def push(service: Service, content: bytes) -> Digest:
    """Push a blob as the app takes it."""
    digest = Digest.of(content)
    location = ask("POST", f"{service.url}/v2/app/blobs/uploads/").headers["Location"]
    path = urlsplit(location).path
    answer = ask("PATCH", service.url + path, content)
    assert answer.status == 202
    path = urlsplit(answer.headers.get("Location", path)).path
    assert ask("PUT", f"{service.url}{path}?digest={digest}").status == 201
    return digest


def pull(service: Service, digest: Digest) -> Answer:
    return ask("GET", f"{service.url}/v2/app/blobs/{digest}")


def host(answer: Answer) -> str | None:
    return urlsplit(answer.headers.get("Location", "")).hostname


def until(service: Service, digest: Digest, wanted: str) -> bool:
    def is_there() -> bool:
        # Older versions of gunicorn cut connections while they read their configuration anew.
        with contextlib.suppress(OSError, http.client.HTTPException):
            return host(pull(service, digest)) == wanted
        return False

    return eventually(is_there)


@pytest.mark.parametrize(
    ("worker", "preload"), [*((worker, []) for worker in WORKERS), ("gthread", ["--preload"])], ids=str
)
def test_an_app_that_knows_nothing_of_it_is_wrapped(place: Path, worker: str, preload: list[str]):
    with under_gunicorn(place, *MODULE, "-k", worker, "--workers", "2", *preload) as service:
        digest = push(service, b"content")
        answer = pull(service, digest)

        assert (answer.status, host(answer)) == (307, "one.cloudfront.net")
        assert "Signature=" in answer.headers["Location"]
        assert ask("HEAD", f"{service.url}/v2/app/blobs/{digest}").status == 200
        assert pull(service, Digest.of(b"another")).status == 404
    assert "Traceback" not in service.server.stderr
    assert "Monkey" not in service.server.stderr


@pytest.mark.parametrize("worker", ["sync", "gthread", "gevent"])
def test_events_that_wait_when_all_is_killed_are_delivered_without_a_request(place: Path, worker: str):
    with receiving() as receiver:
        receiver.otherwise = "500"
        endpoint = f'{{name: a, url: "{receiver.url}", backoff: 100ms}}'
        notifications = f"notifications: {{endpoints: [{endpoint}], spool: {{directory: spool}}}}"
        (place / "config.yml").write_text(CONFIG + notifications)
        with under_gunicorn(place, *MODULE, "-k", worker, "--workers", "2") as service:
            digest = push(service, b"content")
            for process in (service.server.process.pid, *children(service.server.process.pid)):
                os.kill(process, signal.SIGKILL)
        receiver.otherwise = "ok"
        with under_gunicorn(place, *MODULE, "-k", worker, "--workers", "2") as service:
            assert eventually(
                lambda: [each["target"]["digest"] for each in receiver.events()] == [str(digest)]
            )


@pytest.mark.parametrize("worker", ["gthread", "gevent"])
def test_a_hangup_reads_the_configuration_anew_and_keeps_the_one_before_if_it_does_not_work(
    place: Path, worker: str
):
    config = place / "config.yml"
    with under_gunicorn(place, *MODULE, "-k", worker, "--preload") as service:
        digest = push(service, b"content")
        assert host(pull(service, digest)) == "one.cloudfront.net"

        config.write_text(CONFIG.replace("one.", "two."))
        os.kill(service.server.process.pid, signal.SIGHUP)
        assert until(service, digest, "two.cloudfront.net")

        config.write_text(CONFIG.replace("baseurl", "baseurI"))
        before = children(service.server.process.pid)
        os.kill(service.server.process.pid, signal.SIGHUP)
        told = "config.yml: middleware.storage[0].options.baseurI: "
        assert eventually(lambda: told in service.server.stderr), service.server.stderr
        assert eventually(lambda: not {*before} & {*children(service.server.process.pid)})
        assert until(service, digest, "two.cloudfront.net")
        (line,) = [line for line in service.server.stderr.splitlines() if told in line]
        assert line.endswith("the configuration before it stays in force")


MISTAKES = {
    "unset": ({"CFMIDDLEWARE_CONFIG": ""}, "CFMIDDLEWARE_CONFIG: is not set; it must name the config.yml "),
    "missing": ({"CFMIDDLEWARE_CONFIG": "no.yml"}, "no.yml: the configuration "),
    "no entry": ({"CFMIDDLEWARE_CONFIG": "none.yml"}, "none.yml: middleware.storage: there is no entry "),
    "option": ({"CFMIDDLEWARE_CONFIG": "wrong.yml"}, "wrong.yml: middleware.storage[0].options.keypairId: "),
    "key": ({"CFMIDDLEWARE_CONFIG": "lost.yml"}, "lost.yml: middleware.storage[0].options.privatekey: "),
}


def refused(place: Path, *arguments: str, app: str = "app:app", **variables: str) -> list[str]:
    """Return the lines of a gunicorn that ends by itself."""
    command = [*GUNICORN, "--bind", f"127.0.0.1:{free_port()}", "--log-level", "critical"]
    command += ["--workers", "3", "--pid", "pid", *arguments, app]
    done = subprocess.run(
        command,
        cwd=place,
        env={**os.environ, **environment(**variables)},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert (done.returncode, done.stdout) == (4, "")
    assert not (place / "pid").exists()
    return done.stderr.splitlines()


@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["", "preload"])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_gunicorn_with_one_line_before_any_worker(
    place: Path, mistake: str, preload: list[str]
):
    (place / "none.yml").write_text("version: 0.1\n")
    (place / "wrong.yml").write_text(CONFIG.replace("privatekey", "keypairId"))
    (place / "lost.yml").write_text(CONFIG.replace("pk-K", "pk-L"))
    variables, told = MISTAKES[mistake]
    (line,) = refused(place, *MODULE, *preload, **variables)
    assert line.startswith(told)


@pytest.mark.parametrize("worker", ["asgi", "sync"])
def test_an_app_that_is_not_wsgi_ends_gunicorn_with_one_line(place: Path, worker: str):
    if worker == "asgi" and find_spec("gunicorn.workers.gasgi") is None:
        pytest.skip("this gunicorn has no such worker")
    (line,) = refused(place, *MODULE, "-k", worker, "--workers", "1", app="app:asgi")
    name = {"asgi": "ASGIWorker", "sync": "SyncWorker"}[worker]
    assert line == f"cfmiddleware.gunicorn: wraps WSGI apps, and the worker {name} serves none"


def test_an_app_that_is_wrapped_already_is_not_wrapped_again(place: Path):
    own = place / "own.yml"  # whose headers are added by one more app around the wrapper
    own.write_text("http: {headers: {X-Own: [here]}}\n" + own.read_text().replace("one.", "own."))
    with under_gunicorn(place, *MODULE, "-k", "gthread", app=OWN) as service:
        digest = service.push("app", b"content")
        assert host(pull(service, digest)) == "own.cloudfront.net"
        assert "the app is wrapped already, and is not wrapped again" in service.server.stderr


def test_our_registry_without_a_wrapper_of_its_own_is_wrapped(place: Path):
    app = 'cfmiddleware.server:registry("own.yml")'
    with under_gunicorn(place, *MODULE, "-k", "gthread", app=app) as service:
        digest = service.push("app", b"content")
        assert host(pull(service, digest)) == "one.cloudfront.net"
        assert "wrapped already" not in service.server.stderr


@pytest.mark.parametrize("hook", ["", "def post_worker_init(worker):\n    ours(worker)\n    print('mine')\n"])
def test_a_configuration_file_of_the_operators_has_it_by_import(place: Path, hook: str):
    (place / "gunicorn.conf.py").write_text(
        "from cfmiddleware.gunicorn import *\nfrom cfmiddleware.gunicorn import post_worker_init as ours\n"
        f"worker_class = 'gthread'\n{hook}"
    )
    with under_gunicorn(place) as service:
        assert host(pull(service, push(service, b"content"))) == "one.cloudfront.net"
        assert ("mine" in service.server.stdout) == bool(hook)


def test_a_configuration_file_may_import_the_hook_alone(place: Path):
    (place / "gunicorn.conf.py").write_text("from cfmiddleware.gunicorn import post_worker_init\n")
    with under_gunicorn(place) as service:
        assert host(pull(service, push(service, b"content"))) == "one.cloudfront.net"
    (line,) = refused(place, "--workers", "1", CFMIDDLEWARE_CONFIG="no.yml")
    assert line.startswith("no.yml: the configuration ")


def test_an_entry_point_of_the_apps_own_takes_it_from_the_environment(place: Path):
    (place / "own_gunicorn.py").write_text(f"{ENTRY_POINT}Own().run()\n")
    port = free_port()
    command = [sys.executable, "own_gunicorn.py", f"127.0.0.1:{port}"]
    env = environment(GUNICORN_CMD_ARGS=" ".join(["-c python:cfmiddleware.gunicorn", *OWN]))
    with running(command, place, ports=[port], env=env) as server:
        service = Service(server, port, 0)
        assert host(pull(service, push(service, b"content"))) == "one.cloudfront.net"


def settings(place: Path, *arguments: str) -> dict[str, str]:
    command = [*GUNICORN, *MODULE, "--print-config", *arguments, "app:app"]
    env = {**os.environ, **environment()}
    done = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, timeout=20)
    return dict(re.findall(r"^(\w+)\s+= (.*)$", done.stdout, re.MULTILINE))


def test_its_settings_are_those_that_a_registry_needs_and_the_command_line_takes_their_place(place: Path):
    found = settings(place)
    assert (found["limit_request_field_size"], found["limit_request_line"]) == ("65792", "8190")
    assert (found["keepalive"], found["forwarder_headers"], found["accesslog"]) == ("75", "[]", "None")
    other = settings(place, "--keep-alive", "5", "--limit-request-field_size", "9000")
    assert (other["keepalive"], other["limit_request_field_size"]) == ("5", "9000")


@pytest.mark.parametrize("worker", ["sync", "gthread", "gevent"])
def test_long_heads_are_taken_and_a_clients_path_headers_are_not_believed(place: Path, worker: str):
    with under_gunicorn(place, *MODULE, "-k", worker, "--access-logfile", "-") as service:
        digest = push(service, b"content")
        url = f"{service.url}/v2/app/blobs/{digest}?token=of-the-client"
        headers = {"Authorization": "Bearer " + "x" * 60_000, "SCRIPT_NAME": "/v2", "PATH_INFO": "/v2/"}
        answer = ask("GET", url, headers=headers)
        assert (answer.status, host(answer)) == (307, "one.cloudfront.net")
        assert eventually(lambda: f"GET /v2/app/blobs/{digest} HTTP/1.1" in service.server.stdout)
        assert "of-the-client" not in service.server.stdout


# gevent's pywsgi reads heads itself, and logs past gunicorn.
@pytest.mark.parametrize("started", ["sync", "gthread", "gevent", "as a factory"])
def test_gunicorns_error_lines_repeat_nothing_that_a_client_sent(place: Path, started: str):
    """Whoever forgets a colon would have a credential in the log."""
    (place / "own.yml").write_text("version: 0.1\nstorage: {inmemory: }\n")
    arguments = [] if started == "as a factory" else [*MODULE, "-k", started]
    app = OWN if started == "as a factory" else "app:app"
    heads = [
        b"GET /v2/?token=SECRET HTTP/1.1\r\nAuthorization Basic SECRET\r\n\r\n",
        b"GET /v2/?token=SECRET HTTP/9.9\r\nAuthorization: SECRET\r\n\r\n",
        b"G(T /v2/?token=SECRET HTTP/1.1\r\nAuthorization: SECRET\r\n\r\n",
        b"GET /v2/ SECRET HTTP/1.1 SECRET\r\nAuthorization: SECRET\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nAutho(rization: SECRET\r\nA: b\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nA: b\r\n SECRET\r\n\r\n",
        b"POST /v2/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: SECRET\r\n\r\n",
        b"POST /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: SECRET\r\n\r\n",
        b"POST /v2/ HTTP/1.1\r\nHost: x\r\nExpect: SECRET\r\n\r\n",
    ]
    with under_gunicorn(place, *arguments, app=app) as service:
        for head in heads:
            with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
                connection.sendall(head)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
    assert "Invalid request from ip=127.0.0.1: Invalid HTTP Header\n" in service.server.stderr
    assert "SECRET" not in service.server.stderr
