"""The apps under a gunicorn that the operator starts: they serve, and a mistake ends it with one line."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from lab.gunicorn_command import OWN
from lab.servers import eventually, free_port, running
from lab.serving import Service, ask

from cfmiddleware import server
from cfmiddleware.signing.keys import generate

GUNICORN = [sys.executable, "-m", "gunicorn", "--worker-class", "gthread", "--threads", "4"]
GUNICORN += ["--graceful-timeout", "1", *OWN]

CONFIG = """
storage: {{filesystem: {{rootdirectory: objects}}}}
middleware:
  storage:
    - name: cloudfront
      options: {{baseurl: "http://127.0.0.1:{edge_port}", privatekey: pk-KGUNICORN.pem}}
"""

INI = """
[app:main]
use = egg:cfmiddleware#registry
config = config.yml
filter-with = cloudfront

[filter:cloudfront]
use = egg:cfmiddleware
config = config.yml

[app:edge]
use = egg:cfmiddleware#edge
config = config.yml
"""

FORMS = {
    "paste": ["--paste", "registry.ini"],
    "factory": ['cfmiddleware.server:app("config.yml")'],
}


def write_files(directory: Path, edge_port: int) -> None:
    directory.mkdir(exist_ok=True)
    (directory / "pk-KGUNICORN.pem").write_text(generate("ecdsa").private_pem)
    (directory / "config.yml").write_text(CONFIG.format(edge_port=edge_port))
    (directory / "registry.ini").write_text(INI)


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int, object]]:
    """A directory with configurations, and an edge of them with gunicorn's own access log."""
    directory, port = tmp_path_factory.mktemp("gunicorn"), free_port()
    write_files(directory, port)
    command = [*GUNICORN, "--bind", f"127.0.0.1:{port}", "--access-logfile", "-"]
    command += ["--paste", f"{directory}/registry.ini#edge"]
    with running(command, directory / "edge", ports=[port]) as server:
        yield directory, port, server


@contextlib.contextmanager
def under_gunicorn(directory: Path, process: Path, edge_port: int, *arguments: str) -> Iterator[Service]:
    port = free_port()
    command = [*GUNICORN, "--bind", f"127.0.0.1:{port}", "--access-logfile", "-", "--chdir", str(directory)]
    with running([*command, *arguments], process, ports=[port]) as server:
        yield Service(server, port, edge_port)


@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["", "preload"])
@pytest.mark.parametrize("form", FORMS)
def test_a_pull_is_redirected_and_no_signature_is_logged(edge, tmp_path: Path, form: str, preload: list[str]):
    directory, edge_port, edge_server = edge
    content = f"{form}{preload}".encode()

    # An ini file is looked for where gunicorn was started, not where --chdir leads.
    app = [word.replace("registry.ini", f"{directory}/registry.ini") for word in FORMS[form]]

    with under_gunicorn(directory, tmp_path, edge_port, *preload, *app) as service:
        digest = service.push("app", content)
        url = service.redirect("app", digest)

        assert ask("GET", url).body == content
        assert eventually(lambda: f"GET /v2/app/blobs/{digest} HTTP" in service.server.stdout)
        logs = [service.server.stdout, service.server.stderr]

    assert eventually(lambda: f"/{digest.hex}/data HTTP/1.1" in edge_server.stdout)
    logs += [edge_server.stdout, edge_server.stderr]
    signature = parse_qs(urlsplit(url).query)["Signature"][0]
    assert not any("Signature" in log or signature in log for log in logs)


def test_the_registry_and_the_edge_have_factories_of_their_own(edge, tmp_path: Path):
    directory, edge_port, _ = edge
    with under_gunicorn(directory, tmp_path / "r", edge_port, "cfmiddleware.server:registry()") as service:
        digest = service.push("plain", b"not redirected")
        assert ask("GET", f"{service.url}/v2/plain/blobs/{digest}").body == b"not redirected"
    with under_gunicorn(directory, tmp_path / "e", edge_port, "cfmiddleware.server:edge()") as service:
        assert b"<Code>MissingKey</Code>" in ask("GET", f"{service.url}/").body


@pytest.mark.parametrize("how", [[], ["--preload"], ["--check-config"]], ids=lambda how: "".join(how))
@pytest.mark.parametrize("form", FORMS)
def test_a_mistake_ends_the_master_with_one_line(tmp_path: Path, form: str, how: list[str]):
    write_files(tmp_path, 1)
    config = tmp_path / "config.yml"
    config.write_text(config.read_text().replace("privatekey", "privatkey"))
    command = [*GUNICORN, "--bind", f"127.0.0.1:{free_port()}", "--log-level", "critical", *how, *FORMS[form]]

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=20)

    assert done.returncode not in (0, None)
    assert done.stdout == ""
    assert done.stderr.removeprefix(f"{tmp_path}/") == (
        "config.yml: middleware.storage[0].options.privatkey: there is no such option "
        "(did you mean 'privatekey'?)\n"
    )


def test_a_debug_listener_that_this_server_does_not_start_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    file = tmp_path / "config.yml"
    file.write_text("storage: {inmemory: }\nhttp: {debug: {addr: 127.0.0.1:5001}}")

    server.app(file)

    assert [record.getMessage() for record in caplog.records] == [
        f"{file}: http.debug.addr: is for 'cfmiddleware serve'; under this server nothing listens there. "
        "Serve cfmiddleware.server:debug at that address"
    ]


def test_the_debug_app_stands_alone(tmp_path: Path):
    file = tmp_path / "config.yml"
    file.write_text(
        f"storage: {{inmemory: }}\nhealth: {{file: [{{file: {tmp_path}/down, interval: 100ms}}]}}"
    )
    app = server.debug(file)

    def status() -> str:
        started: list[str] = []
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/debug/ready"}
        b"".join(app(environ, lambda status, headers: started.append(status) or _write))
        return started[0]

    assert eventually(lambda: status() == "200 OK")
    (tmp_path / "down").touch()
    assert eventually(lambda: status() == "503 Service Unavailable")


def _write(data: bytes) -> None:
    """Be the `write` of a server."""
