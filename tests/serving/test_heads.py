"""What a head may hold, and how the server refuses what it cannot read."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.servers import eventually
from lab.serving import Service, ask, serving


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory: Path = tmp_path_factory.mktemp("heads")
    # gunicorn would take it to be the path at which the app is mounted.
    with serving(directory, "--data", str(directory / "data"), env={"SCRIPT_NAME": "/mounted"}) as service:
        yield service


def answer(service: Service, sent: bytes) -> tuple[bytes, bytes]:
    """Send bytes, and return the head and the body of what comes until the server ends the connection."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(sent)
        data = b""
        while piece := connection.recv(1 << 16):
            data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    return head, body


def test_a_token_may_be_as_long_as_64_kib(service: Service):
    token = {"Authorization": "Bearer " + "a" * (65_536 - len("Bearer "))}

    assert ask("GET", f"{service.url}/v2/", headers=token).status == 200


def test_a_request_line_may_be_as_long_as_16_kib(service: Service):
    assert ask("GET", f"{service.url}/v2/?x={'a' * 16_000}").status == 200


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"a" * 17_000), 414, "URI_TOO_LONG"),
        (b"G" * 300_000, 414, "URI_TOO_LONG"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n" % (b"a" * 70_000), 431, "HEADERS_TOO_LARGE"),
        (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 200 + b"\r\n", 431, "HEADERS_TOO_LARGE"),
        (b"GET / HTTP/1.1\r\n" + b"X: %s\r\n" % (b"a" * 60_000) * 9, 431, "HEADERS_TOO_LARGE"),
        (b"nonsense\r\n\r\n", 400, "REQUEST_INVALID"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x00\n\x00", 400, "UNSUPPORTED"),  # TLS
        (b"GET / HTTP/1.1\r\nHost: x\r\nA B: c\r\n\r\n", 400, "REQUEST_INVALID"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", 400, "REQUEST_INVALID"),
        (b"GET / HTTP/1.1\nHost: x\n\n", 400, "REQUEST_INVALID"),
        (
            b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
            "REQUEST_INVALID",
        ),
        (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400, "REQUEST_INVALID"),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: nonsense\r\n\r\n", 501, "UNSUPPORTED"),
        (b"GET / HTTP/1.1\r\nExpect: nonsense\r\n\r\n", 417, "UNSUPPORTED"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501, "UNSUPPORTED"),
        (b"GET / HTTP/1.1\r\nAccept: */*\r\n\r\n", 400, "REQUEST_INVALID"),
        (b"GET / HTTP/1.1\r\nHost: a/../b\r\n\r\n", 400, "REQUEST_INVALID"),
        (b"GET ftp://x/v2/ HTTP/1.1\r\nHost: x\r\n\r\n", 400, "REQUEST_INVALID"),
        (b"GET / HTTP/3.0\r\n\r\n", 505, "UNSUPPORTED"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "REQUEST_INVALID"),
    ],
    ids=range(20),
)
def test_what_the_server_refuses_is_the_registrys_error(
    service: Service, sent: bytes, status: int, code: str
):
    head, body = answer(service, sent)

    assert int(head.split()[1]) == status, head
    assert b"Connection: close" in head
    assert b"Content-Type: application/json" in head
    assert json.loads(body)["errors"][0]["code"] == code


def test_a_refused_head_is_not_repeated_in_the_log(service: Service):
    answer(service, b"GET /v2/?password=hidden HTTP/1.1\r\nAuthorization Basic SECRET\r\n\r\n")

    assert eventually(lambda: "a request was refused with" in service.server.stderr)
    assert "SECRET" not in service.server.stderr
    assert "hidden" not in service.server.stderr


@pytest.mark.parametrize("name", ["SCRIPT_NAME", "PATH_INFO", "SCRIPT-NAME", "PATH-INFO", "REMOTE_USER"])
def test_a_client_does_not_say_where_the_app_is_mounted(service: Service, name: str):
    digest = service.push("app", b"layer")

    plain = ask("GET", f"{service.url}/v2/app/blobs/{digest}", headers={name: "/v2/app"})
    led = ask("GET", f"{service.url}/v2/app/v2/app/blobs/{digest}", headers={name: "/v2/app"})

    assert plain.status == 307
    assert led.status == 404
    upload = ask("POST", f"{service.url}/v2/app/blobs/uploads/", headers={name: "//evil.example"})
    assert upload.headers["Location"].startswith(f"{service.url}/v2/app/")


def test_headers_of_proxies_that_contradict_each_other_are_no_error(service: Service):
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Ssl": "off", "X-Forwarded-Protocol": "http"}

    upload = ask("POST", f"{service.url}/v2/app/blobs/uploads/", headers=headers)

    assert upload.status == 202
    assert upload.headers["Location"].startswith("https://")


def test_requests_that_come_together_are_answered_one_after_the_other(service: Service):
    one = b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n"
    body = b"POST /v2/app/blobs/uploads/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
    last = b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

    head, rest = answer(service, b"\r\n" + one + body + one + last)

    statuses = [line for line in (head + b"\r\n\r\n" + rest).split(b"\r\n") if b"HTTP/1.1 " in line]
    assert [line[-10:].split(b" ", 1)[0] for line in statuses] != []
    assert (head + rest).count(b"HTTP/1.1 200 ") == 3
    assert (head + rest).count(b"HTTP/1.1 202 ") == 1


def test_http_1_0_is_spoken(service: Service):
    head, body = answer(service, b"GET /v2/ HTTP/1.0\r\n\r\n")

    assert head.startswith(b"HTTP/1.0 200 ")
    assert body == b"{}"


@pytest.mark.parametrize(
    "line",
    [b"PATCH /v2/app/blobs/uploads/unknown", b"PUT /v2/app/manifests/.x", b"POST /v2/app/nothing/here"],
)
def test_no_body_is_asked_for_where_the_path_leads_nowhere(service: Service, line: bytes):
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        head = line + b" HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
        connection.sendall(head + b"Content-Length: 50000000\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 40")


def test_a_body_is_asked_for_when_it_is_read(service: Service):
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        head = b"PUT /v2/app/manifests/x HTTP/1.1\r\nHost: localhost\r\n"
        connection.sendall(head + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"{}")
        assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")


def test_a_body_is_not_asked_for_by_an_earlier_request(service: Service):
    begin = b"POST /v2/app/blobs/uploads/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n"
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(begin + b"Expect: 100-continue\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 202 ")
        connection.sendall(
            b"PUT /v2/app/manifests/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n"
        )
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1000)
        connection.settimeout(20)
        connection.sendall(b"{}")
        assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")


def test_locations_name_the_host_of_an_absolute_target(service: Service):
    begin = b"POST http://localhost:1/v2/app/blobs/uploads/ HTTP/1.1\r\nHost: 127.0.0.1\r\n"

    head, _ = answer(service, begin + b"Content-Length: 0\r\nConnection: TE, close\r\n\r\n")

    assert b"Location: http://localhost:1/v2/app/blobs/uploads/" in head
