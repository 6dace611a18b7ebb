"""One connection for the events of an endpoint, whatever the endpoint does with it."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import pytest
from lab.event_receiver import Receiver, receiving
from lab.servers import eventually
from lab.tls import running_tls, write_certificate

from cfmiddleware.notifications.endpoint import Endpoint, Sender

BODY = b'{"events":[{}]}'


def sender_to(receiver: Receiver, **more: float) -> Sender:
    return Sender(Endpoint("a", receiver.url, **more))


def test_events_go_over_one_connection():
    with receiving("ok", "500", "redirect", "400") as receiver:
        sender = sender_to(receiver)
        assert [sender.post(BODY).status for _ in range(6)] == [200, 500, 307, 400, 200, 200]
        assert receiver.connections == 1
        sender.close()
        assert eventually(lambda: receiver.ended == 1)
        assert sender.post(BODY).status == 200
        sender.close()


def test_a_server_that_ends_an_idle_connection_costs_no_event_and_no_duplicate():
    with receiving(*["ok and close"] * 5) as receiver:
        sender = sender_to(receiver)
        for number in range(5):
            assert sender.post(BODY).status == 200
            assert eventually(lambda number=number: receiver.ended == number + 1)
        assert (len(receiver.taken), receiver.requests, receiver.connections) == (5, 5, 5)


def test_a_server_that_ends_a_connection_as_a_request_comes_is_asked_again_on_a_new_one():
    with receiving("ok", "close", "ok", "close", "close") as receiver:
        sender = sender_to(receiver)
        assert [sender.post(BODY).status for _ in range(3)] == [200, 200, None]
        assert (receiver.requests, receiver.connections) == (5, 3)
        assert sender.post(BODY).status == 200


def test_a_connection_that_was_idle_for_long_is_not_trusted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cfmiddleware.notifications.keptconnection._IDLE", -1)
    with receiving() as receiver:
        sender = sender_to(receiver)
        assert [sender.post(BODY).status for _ in range(3)] == [200] * 3
        assert receiver.connections == 3


def test_an_answer_that_does_not_end_counts_and_its_connection_is_not_used_again():
    with receiving("endless") as receiver:
        sender = sender_to(receiver)
        assert [sender.post(BODY).status for _ in range(3)] == [200] * 3
        assert (len(receiver.taken), receiver.connections) == (3, 2)


def test_the_deadline_counts_on_a_connection_that_was_kept():
    with receiving("ok", "hang") as receiver:
        sender = sender_to(receiver, timeout=0.3)
        assert sender.post(BODY).status == 200
        assert sender.post(BODY).reason == "it did not answer in time"
        assert receiver.requests == 2  # it was not sent again by itself
        assert sender.post(BODY).status == 200
        assert receiver.connections == 2


def test_a_connection_with_tls_is_kept_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    certificate = tmp_path / "c.pem"
    write_certificate(certificate)
    trusting = ssl.create_default_context(cafile=str(certificate))
    with receiving(*["ok"] * 3, "ok and close") as receiver, running_tls(receiver.port, certificate) as port:
        endpoint = Endpoint("a", f"https://127.0.0.1:{port}/event", timeout=5)
        assert Sender(endpoint).post(BODY).reason.startswith("its certificate is not valid")
        monkeypatch.setattr(ssl, "create_default_context", lambda: trusting)
        before = receiver.connections
        sender = Sender(endpoint)
        assert [sender.post(BODY).status for _ in range(4)] == [200] * 4
        assert receiver.connections == before + 1
        assert sender.post(BODY).status == 200
        assert len(receiver.taken) == 5
        sender.close()


def test_a_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch):
    with receiving() as proxy:
        monkeypatch.setenv("http_proxy", f"http://us%40er:word@127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "near.invalid")
        sender = Sender(Endpoint("a", "http://me:secret@listener.invalid/event?x=1"))
        assert [sender.post(BODY).status for _ in range(2)] == [200, 200]
        assert Sender(Endpoint("a", "http://near.invalid/event")).post(BODY).status is None
    (first, second) = proxy.taken
    assert first.target == second.target == "http://listener.invalid/event?x=1"
    assert first.headers["Host"] == "listener.invalid"
    assert first.headers["Proxy-Authorization"] == "Basic dXNAZXI6d29yZA=="
    assert first.headers["Authorization"] == "Basic bWU6c2VjcmV0"
    assert proxy.connections == 1


def test_a_proxy_of_the_environment_is_asked_for_a_tunnel(monkeypatch: pytest.MonkeyPatch):
    heads: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                heads.append(connection.recv(4096))
                connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        monkeypatch.setenv("https_proxy", f"http://user:word@127.0.0.1:{server.getsockname()[1]}")
        outcome = Sender(Endpoint("a", "https://me:secret@listener.invalid/event")).post(BODY)
        thread.join()
    assert outcome == (None, "no answer: OSError", False)
    head = heads[0].decode()
    assert head.startswith("CONNECT listener.invalid:443 HTTP/1.")
    assert "Proxy-Authorization: Basic dXNlcjp3b3Jk" in head
    assert "bWU6c2VjcmV0" not in head
