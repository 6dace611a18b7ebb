"""`http.net: unix`: the registry at a socket in the file system, as behind a proxy on the same machine."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from lab.servers import CFMIDDLEWARE, Server, eventually, running

from cfmiddleware.digest import Digest


class Connection(http.client.HTTPConnection):
    """A connection to a socket in the file system."""

    def __init__(self, path: Path) -> None:
        super().__init__("registry.example.com")
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self.path))


def asked(path: Path, method: str, url: str, body: bytes = b"", **headers: str) -> http.client.HTTPResponse:
    connection = Connection(path)
    connection.request(method, url, body, headers)
    return connection.getresponse()


def configuration(directory: Path) -> Path:
    tree = {
        "storage": {"filesystem": {"rootdirectory": "objects"}},
        "http": {"net": "unix", "addr": "registry.sock"},
    }
    file = directory / "config.yml"
    file.write_text(yaml.safe_dump(tree))
    return file


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    path = tmp_path / "registry.sock"
    with running([CFMIDDLEWARE, "serve", str(configuration(tmp_path))], tmp_path / "p", ports=[]) as server:
        assert eventually(lambda: path.exists() and f"registry  unix:{path}\n" in server.stdout)
        yield server


def test_the_registry_answers_at_the_path(server: Server, tmp_path: Path):
    path = tmp_path / "registry.sock"
    digest = Digest.of(b"layer")

    pushed = asked(path, "POST", f"/v2/app/blobs/uploads/?digest={digest}", b"layer")

    assert pushed.status == 201
    assert pushed.headers["Location"] == f"http://registry.example.com/v2/app/blobs/{digest}"
    assert asked(path, "GET", f"/v2/app/blobs/{digest}").read() == b"layer"
    # One that only gunicorn's parser reads.
    assert asked(path, "GET", "/v2/", **{"X-Long": "a" * 20_000}).status == 200
    assert eventually(lambda: f"GET /v2/app/blobs/{digest} 200 5 - " in server.stderr)


def test_the_socket_is_gone_when_the_command_has_stopped(server: Server, tmp_path: Path):
    assert server.stop(signal.SIGTERM) == 0
    assert not (tmp_path / "registry.sock").exists()


def test_what_a_killed_server_left_is_replaced(server: Server, tmp_path: Path):
    server.stop(signal.SIGKILL)
    path = tmp_path / "registry.sock"
    assert path.exists()

    with running([CFMIDDLEWARE, "serve", str(tmp_path / "config.yml")], tmp_path / "again", ports=[]):
        assert eventually(lambda: answers(path))


def answers(path: Path) -> bool:
    try:
        return asked(path, "GET", "/v2/").status == 200
    except OSError:
        return False


def refused(file: Path) -> str:
    found = subprocess.run([CFMIDDLEWARE, "serve", str(file)], capture_output=True, text=True, timeout=30)
    assert (found.returncode, found.stderr.count("\n")) == (2, 1)
    return found.stderr


def test_a_path_where_another_listens_is_taken(server: Server, tmp_path: Path):
    path = tmp_path / "registry.sock"

    assert f"{path} is taken: stop what listens there, or choose another path" in refused(
        tmp_path / "config.yml"
    )
    assert answers(path)


def test_a_file_at_the_path_is_kept(tmp_path: Path):
    (tmp_path / "registry.sock").write_text("mine")

    assert "registry.sock is taken" in refused(configuration(tmp_path))
    assert (tmp_path / "registry.sock").read_text() == "mine"


def test_a_path_that_cannot_be_is_told(tmp_path: Path):
    file = configuration(tmp_path)
    file.write_text(file.read_text().replace("registry.sock", "none/registry.sock"))

    assert "cannot listen at" in refused(file)
    file.write_text(file.read_text().replace("none/", "a" * 200))
    assert "http.addr: " in refused(file)
    assert os.listdir(tmp_path).count("registry.sock") == 0


@pytest.mark.parametrize("name", [b"client.sock", b"\0client", b"\0\xff\xfe"])
@pytest.mark.parametrize("fields", [b"", b"Connection: close\r\n"], ids=["plain", "parsed"])
def test_a_clients_own_path_is_not_its_address(server: Server, tmp_path: Path, name: bytes, fields: bytes):
    with socket.socket(socket.AF_UNIX) as client:
        client.bind(name if name.startswith(b"\0") else os.fsencode(tmp_path) + b"/" + name)
        client.settimeout(20)
        client.connect(str(tmp_path / "registry.sock"))
        client.sendall(b"GET /v2/ HTTP/1.1\r\nHost: a:b:c\r\n%s\r\n" % fields)

        assert client.recv(1000).startswith(b"HTTP/1.1 200 ")

    assert eventually(lambda: " GET /v2/ 200 2 - " in server.stderr)
    assert "Traceback" not in server.stderr
