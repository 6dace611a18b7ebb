"""Answers on their way: one piece where one is enough, and nothing that the app may not send."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("gunicorn", minversion="27.0")

from gunicorn.config import Config
from gunicorn.http.errors import InvalidResponseHeader, InvalidResponseHeaderName

from cfmiddleware.serving.answer import Answer, _field
from cfmiddleware.serving.plainhead import PlainRequest
from cfmiddleware.wsgi.repeatedheaders import Repeated, RepeatedHeaders, start_repeated


class Wire:
    """A connection that keeps what is sent."""

    def __init__(self, *, unread: bool = False, stopping: bool = False) -> None:
        self.sent: list[bytes] = []
        self._unread, self._stopping = unread, stopping

    def sendall(self, data: bytes) -> None:
        self.sent.append(bytes(data))

    def body_is_unread(self, request: Any) -> bool:
        return self._unread

    def is_stopping(self) -> bool:
        return self._stopping


def answered(
    headers: list[tuple[str, str]], *pieces: bytes, method: str = "GET", status: str = "200 OK", **wire: bool
) -> tuple[Answer, list[bytes]]:
    connection = Wire(**wire)
    answer = Answer(PlainRequest(method), connection, Config())
    answer.start_response(status, headers)
    for piece in pieces:
        answer.write(piece)
    answer.close()
    return answer, connection.sent


def test_a_small_answer_is_sent_in_one_piece():
    answer, sent = answered([("Content-Length", "2")], b"{}")

    (whole,) = sent
    assert whole.startswith(b"HTTP/1.1 200 OK\r\nDate: ")
    assert whole.endswith(b"\r\nContent-Length: 2\r\n\r\n{}")
    assert not answer.should_close()


def repeated(*headers: tuple[str, str]) -> Callable[[], RepeatedHeaders]:
    same = Repeated(headers)

    def again() -> RepeatedHeaders:
        made = RepeatedHeaders(same.fields)
        made.repeated = same
        return made

    return again


@pytest.mark.parametrize("status", ["307 Temporary Redirect", "204 No Content", "304 Not Modified"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_headers_that_are_sent_again_are_sent_as_any_others(status: str, method: str):
    fields = [("Location", "https://edge/a"), ("Content-Length", "0"), ("Connection", "upgrade")]
    again = repeated(*fields)
    for headers in (again(), again(), fields):
        _, sent = answered(headers, method=method, status=status)
        (head,) = sent
        assert head.count(b"Location: https://edge/a\r\n") == 1
        assert b"upgrade" not in head
        assert (b"Content-Length: 0\r\n" in head) == (not status.startswith("204"))


def test_headers_that_somebody_has_changed_are_sent_as_they_are_now():
    again = repeated(("Location", "https://edge/a"), ("Content-Length", "0"))
    answered(again(), status="307 Temporary Redirect")
    changed = again()
    changed[0] = ("Location", "https://edge/b")
    changed.append(("X-Mark", "here"))
    _, (head,) = answered(changed, status="307 Temporary Redirect")
    assert b"edge/b" in head
    assert b"edge/a" not in head
    assert b"X-Mark: here\r\n" in head
    _, (head,) = answered(again(), status="307 Temporary Redirect")
    assert b"edge/a" in head
    assert b"X-Mark" not in head


@pytest.mark.parametrize("status", ["307 Temporary Redirect", "204 No Content", "304 Not Modified"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("fields", [{"Content-Length": "0"}, {"Connection": "upgrade"}, {}])
@pytest.mark.parametrize("ends", [{}, {"unread": True}, {"stopping": True}])
@pytest.mark.parametrize("version", [(1, 0), (1, 1)])
def test_repeated_headers_are_sent_as_a_list_of_them(
    status: str, method: str, fields: dict[str, str], ends: dict[str, bool], version: tuple[int, int]
):
    repeated = Repeated([("Location", "https://edge/a"), *fields.items()])
    found = []
    for number in range(4):
        wire = Wire(**ends)
        incoming: Any = PlainRequest(method)
        if ends or version == (1, 0):
            should_close = version == (1, 0)
            incoming = SimpleNamespace(
                method=method, version=version, body=object(), should_close=lambda end=should_close: end
            )
        answer = Answer(incoming, wire, Config())
        if number:
            start_repeated(answer.start_response, status, repeated)
        else:
            answer.start_response(status, list(repeated.fields))
        answer.write(b"")
        answer.close()
        sent = re.sub(rb"Date: [^\r]+", b"", b"".join(wire.sent))
        found.append((sent, answer.should_close(), answer.is_short()))
    assert found == [found[0]] * 4


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_headers_that_were_sent_with_a_body_may_be_sent_without_one(status: str):
    repeated = Repeated([("Content-Length", "2")])
    for told, body in (("307 Temporary Redirect", b"{}"), (status, b"")):
        wire = Wire()
        answer = Answer(PlainRequest("GET"), wire, Config())
        start_repeated(answer.start_response, told, repeated)
        answer.write(b"{}")
        answer.close()
        assert b"".join(wire.sent).endswith(b"\r\n\r\n" + body)
    assert (b"Content-Length" in wire.sent[0]) == (status[:3] == "304")


def test_an_answer_is_not_begun_twice_with_repeated_headers_either():
    repeated = Repeated([("Content-Length", "0")])
    for _ in range(2):
        answer = Answer(PlainRequest("GET"), Wire(), Config())
        start_repeated(answer.start_response, "307 Temporary Redirect", repeated)
        with pytest.raises(AssertionError):
            start_repeated(answer.start_response, "307 Temporary Redirect", repeated)


def test_who_stands_between_the_app_and_the_server_gets_the_list():
    repeated = Repeated([("Location", "https://edge/a"), ("Content-Length", "0")])
    for _ in range(2):
        wire = Wire()
        answer = Answer(PlainRequest("GET"), wire, Config())

        class Between:
            def start(self, status: str, headers: Any, exc_info: Any = None) -> Any:
                return answer.start_response(status, [*headers, ("X-Mark", "here")])  # noqa: B023

        start_repeated(Between().start, "307 Temporary Redirect", repeated)
        answer.close()
        assert b"X-Mark: here\r\n" in wire.sent[0]
        assert wire.sent[0].count(b"Location: https://edge/a\r\n") == 1
    straight = Wire()
    answer = Answer(PlainRequest("GET"), straight, Config())
    start_repeated(answer.start_response, "307 Temporary Redirect", repeated)
    answer.close()
    assert b"X-Mark" not in straight.sent[0]


def test_headers_that_cannot_be_sent_cannot_be_sent_again():
    again = repeated(("Location", "https://edge/a\r\nSet-Cookie: a=b"))
    for _ in range(2):
        with pytest.raises(InvalidResponseHeader):
            answered(again(), status="307 Temporary Redirect")


def test_a_large_piece_is_not_copied_to_the_head():
    _, sent = answered([("Content-Length", "100000")], b"x" * 100_000)

    assert [len(piece) for piece in sent][1:] == [100_000]


def test_a_body_without_a_length_is_chunked():
    _, sent = answered([], b"a" * 16, b"", b"b")

    assert b"Transfer-Encoding: chunked\r\n" in sent[0]
    assert b"".join(sent).endswith(b"\r\n\r\n10\r\n" + b"a" * 16 + b"\r\n1\r\nb\r\n0\r\n\r\n")


@pytest.mark.parametrize(("method", "status"), [("HEAD", "200 OK"), ("GET", "304 Not Modified")])
def test_an_answer_that_has_no_body_gets_none(method: str, status: str):
    _, sent = answered([("Content-Length", "5")], b"hello", method=method, status=status)

    assert b"".join(sent).endswith(b"Content-Length: 5\r\n\r\n")


@pytest.mark.parametrize("reason", ["unread", "stopping"])
def test_an_answer_after_which_the_connection_ends_says_so(reason: str):
    answer, sent = answered([("Content-Length", "0")], **{reason: True})

    assert b"\r\nConnection: close\r\n" in sent[0]
    assert answer.should_close()


def test_no_more_is_sent_than_was_announced_and_less_is_noticed():
    answer, sent = answered([("Content-Length", "2")], b"abc")
    assert sent[0].endswith(b"\r\n\r\nab")
    assert not answer.is_short()

    assert answered([("Content-Length", "9")], b"abc")[0].is_short()


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: b", "a\nb", "a\0"])
def test_a_value_that_would_begin_a_header_of_its_own_is_refused_without_being_shown(value: str):
    with pytest.raises(InvalidResponseHeader) as caught:
        answered([("Location", value)])
    assert value not in str(caught.value)


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\r\n"])
def test_a_name_that_is_not_one_is_refused(name: str):
    for _ in range(2):  # it is not remembered as a good one
        with pytest.raises(InvalidResponseHeaderName):
            answered([(name, "x")])


def test_what_is_between_two_machines_alone_is_not_the_apps_to_send():
    _, sent = answered([("Connection", "upgrade"), ("Keep-Alive", "1"), ("Content-Length", "0")])

    assert b"upgrade" not in sent[0]
    assert b"Keep-Alive" not in sent[0]


def test_an_app_that_fails_before_anything_was_sent_may_begin_anew():
    connection = Wire()
    answer = Answer(PlainRequest("GET"), connection, Config())
    answer.start_response("200 OK", [("Content-Length", "5"), ("X-First", "1")])
    try:
        raise ValueError
    except ValueError as error:
        answer.start_response(
            "500 Failed", [("Content-Length", "0")], (ValueError, error, error.__traceback__)
        )
    answer.close()

    assert connection.sent[0].startswith(b"HTTP/1.1 500 Failed")
    assert b"X-First" not in connection.sent[0]
    assert connection.sent[0].count(b"Content-Length") == 1


@pytest.mark.parametrize(
    "headers", [[("X-A", 1)], [("X-A", None)], [(1, "x")], [("X-A", b"x")], [("X-A", ["x"])]]
)
def test_what_is_not_text_is_no_header(headers: Any):
    for _ in range(2):
        with pytest.raises(TypeError):
            answered(headers)


def test_a_value_that_is_good_under_one_name_makes_no_other_name_good():
    answered([("X-Good", "x")])
    with pytest.raises(InvalidResponseHeaderName):
        answered([("X Good", "x")])
    with pytest.raises(InvalidResponseHeader):
        answered([("X-Good", "x\r\nSet-Cookie: y")])


def test_a_header_is_sent_with_the_answer_that_has_it_and_with_no_other():
    for number in range(3):
        _, (sent,) = answered([("Location", f"/{number}"), ("content-length", "0")])
        assert sent.endswith(f"GMT\r\nLocation: /{number}\r\ncontent-length: 0\r\n\r\n".encode())


@pytest.mark.parametrize("length", [1, 1024, 1025, 60_000])
def test_a_long_header_is_sent_and_not_remembered(length: int):
    before = _field.cache_info().currsize
    for _ in range(2):
        _, sent = answered([("X-Length", f"{length:x}" + "a" * (length - len(f"{length:x}")))])
        assert b"".join(sent).count(b"a" * (length - 10 if length > 10 else 0)) > 0
    assert _field.cache_info().currsize - before <= (1 if length <= 1024 else 0)
    assert _field.cache_info().maxsize == 4096


@pytest.mark.parametrize("status", ["OK", "20 OK", "200 OK\r\nX: y", "2000", "", " 200 OK"])
def test_a_status_that_is_not_one_is_refused_each_time(status: str):
    for _ in range(2):
        with pytest.raises(ValueError, match="Invalid status"):
            answered([], status=status)


@pytest.mark.parametrize("status", ["204 No Content", "101 Switching Protocols"])
def test_an_answer_that_cannot_have_a_length_sends_none(status: str):
    answer, sent = answered([("Content-Length", "5"), ("X-A", "b")], b"hello", status=status)

    assert b"".join(sent).endswith(b"X-A: b\r\n\r\n")
    assert b"Content-Length" not in b"".join(sent)
    assert not answer.is_short()


def test_an_answer_that_has_begun_cannot_begin_anew():
    connection = Wire()
    answer = Answer(PlainRequest("GET"), connection, Config())
    answer.start_response("200 OK", [("Content-Length", "5")])
    with pytest.raises(AssertionError, match="twice"):
        answer.start_response("200 OK", [])
    answer.write(b"he")
    with pytest.raises(KeyError):
        answer.start_response("500 Failed", [], (KeyError, KeyError("k"), None))
    assert connection.sent[0].endswith(b"he")
