"""How connections end that still send when they are answered."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

from cfmiddleware.serving.closer import Closer


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection: our end, and the client's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), timeout=10)
        ours, _ = listener.accept()
    with client:
        yield ours, client  # ours is closed by the closer


def test_a_client_that_is_done_sees_the_end_at_once(pair: tuple[socket.socket, socket.socket]):
    ours, client = pair
    ours.sendall(b"answer")
    Closer().take(ours)

    assert client.recv(100) == b"answer"
    assert client.recv(100) == b""


def test_a_client_that_still_sends_reads_its_answer(pair: tuple[socket.socket, socket.socket]):
    ours, client = pair
    closer = Closer()
    client.sendall(b"x" * 1000)
    ours.sendall(b"answer")
    closer.take(ours)
    for _ in range(5):
        client.sendall(b"x" * 1000)
        time.sleep(0.02)

    assert client.recv(100) == b"answer"
    assert client.recv(100) == b""


def test_a_client_that_never_ends_is_cut(pair: tuple[socket.socket, socket.socket]):
    ours, client = pair
    Closer().take(ours)
    client.settimeout(0.05)
    deadline = time.monotonic() + 30

    with contextlib.suppress(ConnectionError):
        while time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                client.sendall(b"x" * 65536)
        pytest.fail("the connection was never cut")


def test_taking_a_connection_waits_for_nobody(pair: tuple[socket.socket, socket.socket]):
    ours, _ = pair
    closer = Closer()
    closer.take(ours)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for _ in range(20):  # none of these clients ever says that it is done
            client = socket.create_connection(listener.getsockname(), timeout=10)
            other, _ = listener.accept()
            client.close()
            closer.take(other)

    assert ours.fileno() != -1  # still lingering: the first one holds up none of the others


def test_a_client_that_has_gone_already_is_no_error(pair: tuple[socket.socket, socket.socket]):
    ours, client = pair
    client.close()
    ours.close()

    Closer().take(ours)
