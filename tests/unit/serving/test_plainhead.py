"""Plain heads are read as gunicorn reads them, and whatever could be read otherwise is left to it."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("gunicorn", minversion="27.0")

from gunicorn.config import Config
from gunicorn.http import wsgi
from gunicorn.http.unreader import IterUnreader

from cfmiddleware.serving.parsedhead import ParsedRequest, environ_of
from cfmiddleware.serving.plainhead import read_plain

SERVER = ("127.0.0.1", 5000)
CLIENT = ("192.0.2.1", 4711)
BASE = {
    "SERVER_PROTOCOL": "HTTP/1.1",
    "SERVER_NAME": SERVER[0],
    "SERVER_PORT": str(SERVER[1]),
    "SCRIPT_NAME": "",
    "REMOTE_ADDR": CLIENT[0],
    "REMOTE_PORT": str(CLIENT[1]),
    "wsgi.url_scheme": "http",
}


def settings() -> Config:
    """Return gunicorn's settings as `serve` has them."""
    config = Config()
    config.set("forwarder_headers", "")
    config.set("secure_scheme_headers", {})
    config.set("limit_request_line", 0)
    return config


def of_gunicorn(head: bytes) -> dict[str, Any]:
    """Return the environ that gunicorn's parser makes, as far as the client decides about it."""
    config = settings()
    request = ParsedRequest(config, IterUnreader([head]), CLIENT)
    environ = wsgi.create(request, None, CLIENT, SERVER, config)[1]
    return compared(environ_of(environ, BASE))


def compared(environ: dict[str, Any]) -> dict[str, Any]:
    """Return the part of an environ that is compared: what is of text and not of the server's own."""
    return {
        name: value
        for name, value in environ.items()
        if (name.isupper() and name != "SERVER_SOFTWARE") or name == "wsgi.url_scheme"
    }


def head(line: str, *fields: str) -> bytes:
    return "\r\n".join([line, *fields, "", ""]).encode("latin-1")


PULL = ("Host: registry.example.com", "User-Agent: docker/27", "Accept: */*", "Authorization: Bearer a.b.c")

NAMES = st.one_of(
    st.sampled_from(["Host", "Accept", "Range", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Ssl"]),
    st.sampled_from(["Content-Type", "Content-Length", "Transfer-Encoding", "Expect", "Connection", "TE"]),
    st.sampled_from(["SCRIPT_NAME", "Upgrade"]),
    st.text(string.ascii_letters + "-_ ", min_size=1, max_size=8),
)
VALUES = st.one_of(
    st.sampled_from(["0", "5", "chunked", "close", "100-continue", "https", "on", "a, b", " x\t"]),
    st.text(st.characters(max_codepoint=255), max_size=12),
)
TARGETS = st.one_of(
    st.sampled_from(
        ["/v2/", "/v2/a/blobs/sha256:0", "/v2/a/tags/list?n=1&last=x", "/%61%2f?%20", "//x/", "*"]
    ),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20).map("/".__add__),
    st.text(st.characters(max_codepoint=255), max_size=6),
)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_pull_is_read_as_gunicorn_reads_it(method: str):
    sent = head(f"{method} /v2/a%2fb/blobs/sha256:00?x=%41&y HTTP/1.1", *PULL)

    read = read_plain(sent, BASE)

    assert read is not None
    request, environ = read
    assert (request.method, request.should_close()) == (method, False)
    assert environ["wsgi.input"].read() == b""
    assert compared(environ) == of_gunicorn(sent)


@given(
    line=st.tuples(
        st.sampled_from(["GET", "HEAD", "PUT", "get"]), TARGETS, st.sampled_from(["1.1", "1.0", "2"])
    ),
    fields=st.lists(st.tuples(NAMES, st.sampled_from([": ", ":", " : "]), VALUES).map("".join), max_size=5),
    host=st.sampled_from([(), ("Host: x:5000",), ("Host:",), ("Host: a b",)]),
)
def test_whatever_is_read_at_all_is_read_as_gunicorn_reads_it(
    line: tuple[str, str, str], fields: list[str], host: tuple[str, ...]
):
    sent = head(f"{line[0]} {line[1]} HTTP/{line[2]}", *host, *fields)

    read = read_plain(sent[: sent.index(b"\r\n\r\n") + 4], BASE)

    if read is not None:
        assert compared(read[1]) == of_gunicorn(sent)


@pytest.mark.parametrize(
    "sent",
    [
        head("POST /v2/ HTTP/1.1", *PULL),
        head("GET /v2/ HTTP/1.0", *PULL),
        head("GET http://x/v2/ HTTP/1.1", *PULL),
        head("GET //x/v2/ HTTP/1.1", *PULL),
        head("GET /v2/#x HTTP/1.1", *PULL),
        head("GET /v2/ HTTP/1.1", *PULL, "Content-Length: 5"),
        head("GET /v2/ HTTP/1.1", *PULL, "Transfer-Encoding: chunked"),
        head("GET /v2/ HTTP/1.1", *PULL, "Expect: 100-continue"),
        head("GET /v2/ HTTP/1.1", *PULL, "Connection: close"),
        head("GET /v2/ HTTP/1.1", *PULL, "SCRIPT_NAME: /v2"),
        head("GET /v2/ HTTP/1.1", *PULL, "Host: another"),
        head("GET /v2/ HTTP/1.1", *PULL[1:]),
        head("GET /v2/ HTTP/1.1", *PULL[1:], "Host: a b"),
        head("GET /v2/ HTTP/1.1", *PULL[1:], "Host: a/b"),
        head("GET /v2/ HTTP/1.1", *PULL, " folded"),
        head("GET /v2/ HTTP/1.1", *PULL, "X: a\nY: b"),
        head("GET /v2/ HTTP/1.1", *PULL, "X: a\rb"),
        head("GET /v2/ HTTP/1.1", *PULL, "X : a"),
        head("GET /v2/ HTTP/1.1", *PULL, "X: \xe4"),
        head("GET /v2/ HTTP/1.1", *PULL, "X: " + "a" * 9000),
        head("GET /v2/ HTTP/1.1", *(f"X-{number}: a" for number in range(80))),
    ],
)
def test_what_is_not_plain_is_left_to_gunicorn(sent: bytes):
    assert read_plain(sent, BASE) is None


@pytest.mark.parametrize("place", ["target", "value", "name", "end of a line", "end of the head"])
def test_no_byte_but_printable_ascii_ends_or_changes_a_line(place: str):
    plain = head("GET /v2/aa HTTP/1.1", "Host: x", "X-Some: bb", "X-Last: c")
    where = {
        "target": b"aa",
        "value": b"bb",
        "name": b"Some",
        "end of a line": b"x\r",
        "end of the head": b"c\r",
    }
    at = plain.index(where[place]) + 1
    for number in range(256):
        sent = plain[:at] + bytes((number,)) + plain[at:]
        read = read_plain(sent[: sent.index(b"\r\n\r\n") + 4], BASE)
        if read is not None:
            assert 32 < number < 127 or (number in b" \t" and place not in ("target", "name"))
            assert compared(read[1]) == of_gunicorn(sent)


@pytest.mark.parametrize("cut", range(1, 8))
def test_a_head_without_its_end_is_not_plain(cut: int):
    assert read_plain(head("GET /v2/ HTTP/1.1", *PULL)[:-cut], BASE) is None


def test_two_requests_of_one_connection_share_nothing():
    first, second = (read_plain(head("GET /v2/ HTTP/1.1", *PULL), BASE) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first[1] is not second[1]
    assert first[1]["wsgi.input"] is not second[1]["wsgi.input"]
    with pytest.raises(AttributeError):
        first[0].note = "of one request"  # type: ignore[attr-defined]


def test_the_base_is_not_changed():
    base = dict(BASE)
    read_plain(head("GET /v2/ HTTP/1.1", *PULL), base)
    assert base == BASE
