"""The command's servers as tests see them: started, asked over HTTP, looked at from outside."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from cfmiddleware.digest import Digest
from lab.servers import CFMIDDLEWARE, Server, eventually, free_port, running


class Answer(NamedTuple):
    """An HTTP response."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


def ask(
    method: str,
    url: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 20,
    certificate: Path | None = None,
) -> Answer:
    """Send one request over a connection of its own, and follow no redirect.

    :param timeout: the seconds that one step of it may take.
    :param certificate: the server's, where the URL begins with `https`.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if certificate is None:
        connection = http.client.HTTPConnection(host, parts.port, timeout=timeout)
    else:
        context = ssl.create_default_context(cafile=certificate)
        connection = http.client.HTTPSConnection(host, parts.port, timeout=timeout, context=context)
    try:
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        connection.request(method, target, body, dict(headers or {}))
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


class Service(NamedTuple):
    """A registry and perhaps its edge, running."""

    server: Server
    port: int
    edge_port: int

    @property
    def url(self) -> str:
        """The registry's address."""
        return f"http://127.0.0.1:{self.port}"

    def push(self, name: str, content: bytes) -> Digest:
        """Push a blob in one request."""
        digest = Digest.of(content)
        answer = ask("POST", f"{self.url}/v2/{name}/blobs/uploads/?digest={digest}", content)
        assert answer.status == 201, answer
        return digest

    def redirect(self, name: str, digest: Digest) -> str:
        """Return where a pull of a blob is sent to."""
        answer = ask("GET", f"{self.url}/v2/{name}/blobs/{digest}")
        assert answer.status == 307, answer
        return answer.headers["Location"]

    def pull(self, name: str, digest: Digest) -> bytes:
        """Pull a blob through its redirect."""
        answer = ask("GET", self.redirect(name, digest))
        assert answer.status == 200, answer
        return answer.body

    def slow_upload(self, name: str, path: str = "") -> socket.socket:
        """Send enough of an upload to take a place: of the one at *path*, or of a new one."""
        if not path:
            location = ask("POST", f"{self.url}/v2/{name}/blobs/uploads/").headers["Location"]
            path = urlsplit(location).path
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        head = f"PATCH {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n"
        raw.sendall(head.encode() + b"x" * 20_000)
        return raw

    def masters(self) -> list[int]:
        """Return the process of each gunicorn master: the registry's, then the edge's."""
        # The ports answer before the masters are forked.
        number = 2 if bound(self.edge_port) else 1
        assert eventually(lambda: len(children(self.server.process.pid)) == number)
        return children(self.server.process.pid)

    def is_gone(self) -> bool:
        """Whether no process of the command is left and nothing listens on its ports."""
        return not session(self.server.process.pid) and not (bound(self.port) or bound(self.edge_port))


@contextlib.contextmanager
def serving(
    directory: Path, *arguments: str, edge: bool = True, env: Mapping[str, str] | None = None
) -> Iterator[Service]:
    """Run `cfmiddleware serve` on free ports until the block is left.

    :param directory: the command's working directory, where its output is kept.
    :param edge: whether it is to have an edge.
    """
    port, edge_port = free_port(), free_port()
    command = [CFMIDDLEWARE, "serve", *arguments, "--addr", f"127.0.0.1:{port}"]
    command += ["--edge-addr", f"127.0.0.1:{edge_port}"] if edge else []
    with running(command, directory, ports=[port, edge_port] if edge else [port], env=env) as server:
        wait_for_greeting(server)
        yield Service(server, port, edge_port)


def wait_for_greeting(server: Server) -> None:
    """Return when the command has said all that it has to say, and has its gunicorns, which come last."""

    def has_begun() -> bool:
        said = "\n  look  " in server.stdout or '"message": "cfmiddleware ' in server.stderr
        return said and bool(children(server.process.pid))

    assert eventually(has_begun), server.stderr


def children(pid: int) -> list[int]:
    """Return a process's children, oldest first (Linux)."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def session(leader: int) -> list[int]:
    """Return the processes of a session that are alive (Linux)."""
    found = []
    for directory in Path("/proc").iterdir():
        if directory.name.isdecimal():
            with contextlib.suppress(OSError):
                state, _, _, sid = (directory / "stat").read_text().rpartition(") ")[2].split()[:4]
                if sid == str(leader) and state != "Z":
                    found.append(int(directory.name))
    return found


def bound(port: int) -> bool:
    """Whether a port of 127.0.0.1 is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def workers(master: int, number: int) -> Sequence[int]:
    """Return a gunicorn master's workers, once there are as many as there should be."""
    assert eventually(lambda: len(children(master)) == number), children(master)
    return children(master)


def is_linux() -> bool:
    """Whether processes can be looked at here."""
    return os.path.exists("/proc/self/stat")
