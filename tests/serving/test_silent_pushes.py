"""Hundreds of clients that begin a push and are silent, at a real server whose requests are greenlets."""

from __future__ import annotations

import http.client
import socket
import sys

import pytest
from lab.registry_client import OCI_INDEX
from lab.servers import eventually, free_port, running

from cfmiddleware.digest import Digest

APP = """
from cfmiddleware.registry.app import Registry
from cfmiddleware.storage.memory import MemoryDriver

app = Registry(MemoryDriver(), max_uploads=2, uploadwait=1)
"""

LONG = b"x" * 100_000


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    directory, port = tmp_path_factory.mktemp("gevent"), free_port()
    (directory / "silent_app.py").write_text(APP)
    command = [sys.executable, "-m", "gunicorn", "silent_app:app", "--bind", f"127.0.0.1:{port}"]
    with running([*command, "--worker-class", "gevent", "--graceful-timeout", "1"], directory, ports=[port]):
        yield port


def ask(port, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers
    finally:
        connection.close()


def start(port):
    return ask(port, "POST", "/v2/app/blobs/uploads/")[2]["Location"].partition(str(port))[2]


def begun(port, path, body, length=1 << 20):
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    method = "PUT" if "manifests" in path else "PATCH"
    connection.sendall(b"%s %s HTTP/1.1\r\nHost: x\r\n" % (method.encode(), path.encode()))
    connection.sendall(b"Content-Length: %d\r\n\r\n" % length + body)
    return connection


def push(port, content):
    path, digest = start(port), Digest.of(content)
    status, _, headers = ask(port, "PATCH", path, content)
    assert status == 202
    path = headers["Location"].partition(str(port))[2]
    assert ask(port, "PUT", f"{path}?digest={digest}")[0] == 201
    manifest = b'{"schemaVersion": 2, "mediaType": "%s", "manifests": []}' % OCI_INDEX.encode()
    return ask(port, "PUT", "/v2/app/manifests/latest", manifest, {"Content-Type": OCI_INDEX})[0]


def test_clients_that_send_a_byte_and_are_silent_keep_nobody_from_pushing(port):
    path = start(port)
    silent = [begun(port, path, b"x") for _ in range(100)]
    silent += [begun(port, "/v2/app/manifests/m", b"{") for _ in range(100)]
    try:
        assert push(port, LONG) == 201
    finally:
        for connection in silent:
            connection.close()


def test_what_finds_no_place_is_told_so_and_reads_it(port):
    path, other = start(port), start(port)
    slow = [begun(port, path, LONG) for _ in range(2)]
    try:
        # Both must have been taken in.
        assert eventually(lambda: ask(port, "PATCH", other, LONG * 3)[0] == 429)
        status, body, headers = ask(port, "PATCH", start(port), LONG * 3)
        assert (status, int(headers["Retry-After"]) > 0) == (429, True)
        assert b"TOOMANYREQUESTS" in body
        assert push(port, b"short") == 201
    finally:
        for connection in slow:
            connection.close()
    assert eventually(lambda: ask(port, "PATCH", start(port), LONG)[0] == 202)
