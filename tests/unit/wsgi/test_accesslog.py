"""The line of a request: what two requests share is remembered, and nothing else of them."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.apps import request

from cfmiddleware import logs
from cfmiddleware.logs import Redacted, word
from cfmiddleware.wsgi import accesslog
from cfmiddleware.wsgi.accesslog import AccessLog
from cfmiddleware.wsgi.repeatedheaders import Repeated, Repeating, start_repeated


class Lines(logging.Handler):
    """Keeps the lines as they are written."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(Redacted("%(name)s %(levelname)s %(message)s"))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def lines() -> Any:
    handler, logger = Lines(), logging.getLogger("cfmiddleware.access")
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.INFO)
    yield handler.lines
    logger.setLevel(level)
    logger.removeHandler(handler)


def put(proxies: int = 0, **fields: Any) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        return [b"abc"]

    answer = AccessLog(app, trustedproxies=proxies)(request(**fields), lambda *given: lambda data: None)
    assert b"".join(answer) == b"abc"
    answer.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"path": "/v2/a/b"}, " GET /v2/a/b 200 3 192.0.2.7 "),
        ({"path": "/v2/a b\n"}, " /v2/a%20b%0A 200 "),
        ({"path": "/v2/?Signature=s3cr3t"}, " /v2/%3FSignature=... 200 "),
        ({"path": "", "SCRIPT_NAME": ""}, " GET - 200 "),
        ({"path": "/b", "SCRIPT_NAME": "/a"}, " /a/b 200 "),
        ({"path": "/" + "x" * 5000}, f" /{'x' * 1999} 200 "),
        ({"method": "BREW\n"}, "registry BREW%0A "),
        ({"method": "get"}, "registry get "),
        ({"REMOTE_ADDR": "::ffff:192.0.2.9"}, " 192.0.2.9 "),
        ({"REMOTE_ADDR": "2001:DB8::1"}, " 2001:db8::1 "),
        ({"REMOTE_ADDR": "[::1]:80"}, " ::1 "),
        ({"REMOTE_ADDR": "a b"}, " 200 3 - "),
        ({"REMOTE_ADDR": ""}, " 200 3 - "),
        ({"REMOTE_ADDR": "1" * 100_000}, " 200 3 - "),
    ],
)
def test_a_request_is_told_in_the_same_words_each_time(lines: list[str], fields: dict[str, Any], part: str):
    for _ in range(2):
        put(**fields)
    first, second = (line.partition("ms id=")[0].rpartition(" ")[0] + " " for line in lines)
    assert first == second
    assert part in first
    assert first.startswith("cfmiddleware.access INFO registry ")


def test_two_requests_of_one_path_keep_their_own_clients_and_ids(lines: list[str]):
    for client in ("192.0.2.1", "192.0.2.2", "192.0.2.1"):
        put(REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR=f"6.6.6.6, {client}", proxies=1)
    assert [line.split(" ")[7] for line in lines] == ["192.0.2.1", "192.0.2.2", "192.0.2.1"]
    assert len({line.partition(" id=")[2] for line in lines}) == 3


def test_what_clients_make_long_is_not_remembered(lines: list[str]):
    before = [each.cache_info().currsize for each in (accesslog._short_path, accesslog._client)]
    for number in range(50):
        put(path=f"/{number}" + "x" * 1000, REMOTE_ADDR="1" * 1000 + str(number))
    after = [each.cache_info() for each in (accesslog._short_path, accesslog._client)]
    assert after[0].currsize == before[0]
    assert after[1].currsize <= before[1] + 1
    assert all((each.maxsize or 10**9) <= 4096 for each in after)


def test_a_body_in_one_piece_stays_a_list_and_is_logged_when_it_is_closed(lines: list[str]):
    given = [b"abc"]

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        return given

    answer: Any = AccessLog(app)(request(), lambda *given: lambda data: None)
    assert (isinstance(answer, list), answer, given) == (True, [b"abc"], [b"abc"])
    assert lines == []
    answer.close()
    answer.close()
    assert [line.split(" ")[5:7] for line in lines] == [["200", "3"]]


class Server(Repeating):
    """A server's response that takes repeated headers as they are."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    def start_response(self, status: str, headers: Any, exc_info: Any = None) -> Any:
        self.got.append((status, headers))
        return lambda data: None

    def start_again(self, status: str, repeated: Repeated) -> None:
        self.got.append((status, repeated))


@pytest.mark.parametrize("knows", [True, False])
def test_headers_that_are_sent_many_times_reach_a_server_that_knows_them(lines: list[str], knows: bool):
    server, repeated = Server(), Repeated([("Location", "/x")])

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_repeated(start_response, "307 Temporary Redirect", repeated)
        return [b""]

    start = server.start_response if knows else lambda *given: server.start_response(*given)
    AccessLog(app)(request(), start).close()  # type: ignore[attr-defined]
    ((status, headers),) = server.got
    assert status == "307 Temporary Redirect"
    assert headers is repeated if knows else headers == [("Location", "/x")]
    assert lines[0].split(" ")[5:7] == ["307", "0"]


def test_nothing_is_made_of_a_line_that_nobody_wants(lines: list[str]):
    logging.getLogger("cfmiddleware.access").setLevel(logging.WARNING)
    put()
    assert lines == []


@given(st.text(max_size=8))
def test_a_word_is_in_quotes_where_it_would_not_be_one(text: str):
    is_word = bool(text) and text.isprintable() and not any(c in ' "=\\' for c in text)
    assert (word(text) == text) == is_word


@given(st.text(max_size=30))
def test_a_path_is_escaped_whether_it_is_remembered_or_not(path: str):
    expected = quote(logs.redacted(path), safe="/:@=,+~*!$()", encoding="latin-1", errors="replace") or "-"
    assert accesslog._path(path) == accesslog._path(path) == expected


def test_the_time_of_a_line_is_its_own():
    formatter = Redacted("%(asctime)s")
    plain = logging.Formatter("%(asctime)s")
    for created in (
        1_800_000_000.0,
        1_800_000_000.9994,
        1_800_000_001.5,
        1_800_000_000.25,
        1_700_000_000.123,
    ):
        record = logging.LogRecord("x", logging.INFO, __file__, 1, "x", (), None)
        record.created, record.msecs = created, float(int(created % 1 * 1000))
        assert formatter.format(record) == plain.format(record)
