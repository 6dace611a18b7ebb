"""What is kept out of the log, whoever writes it."""

from __future__ import annotations

import datetime
import io
import json
import logging
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfmiddleware.logs import (
    Event,
    EventFormatter,
    EventHandler,
    Json,
    LogOptions,
    Redacted,
    configuration,
    log_event,
)
from cfmiddleware.registry.store.uploadticket import Tickets
from cfmiddleware.storage.memory import MemoryDriver


def line(message: str, *args: object) -> str:
    record = logging.LogRecord("gunicorn.error", logging.WARNING, __file__, 1, message, args, None)
    return Redacted("%(message)s").format(record)


def members(message: str, *args: object, **fields: Any) -> dict[str, Any]:
    """Return what a line of JSON says, which must be one line."""
    record = logging.LogRecord("gunicorn.error", logging.WARNING, __file__, 1, message, args, None)
    shown = Json(fields).format(record)
    assert len(shown.splitlines()) == 1
    found: dict[str, Any] = json.loads(shown)
    return found


@pytest.mark.parametrize(
    "parameter",
    [
        *("Signature", "Policy", "X-Amz-Signature", "X-Amz-Security-Token", "X-Amz-Credential", "token"),
        *("SIGNATURE", "policy", "access_token", "x-amz-credential"),
    ],
)
def test_a_secret_in_a_url_is_left_out_of_the_line(parameter: str):
    shown = line("Invalid request line: %r", f"GET /a?Expires=17&{parameter}=s3cr3t~-_&Key-Pair-Id=K1 HTTP/9")

    assert "s3cr3t" not in shown
    assert f"Expires=17&{parameter}=...&Key-Pair-Id=K1" in shown


def test_the_signed_part_of_an_uploads_url_is_left_out_of_the_line():
    tickets = Tickets(MemoryDriver())
    uuid = "01234567-89ab-cdef-0123-456789abcdef"
    name = tickets.seal("team/app", uuid, tickets.begin("sha256"))

    shown = line("Invalid request line: %r", f"PATCH /v2/team/app/blobs/uploads/{name}?digest=x HTTP/9")

    assert name.rpartition(".")[2] not in shown
    assert f"/v2/team/app/blobs/uploads/{uuid}....?digest=x" in shown


def test_a_secret_in_a_traceback_is_left_out_too():
    try:
        raise ValueError("GET https://d.example/a?Signature=s3cr3t failed")
    except ValueError:
        record = logging.LogRecord("any", logging.ERROR, __file__, 1, "failed", (), sys.exc_info())

    shown = Redacted("%(message)s").format(record)

    assert "s3cr3t" not in shown
    assert "Signature=..." in shown


def test_what_is_no_secret_stays():
    message = "config.yml: storage.s3.bucket: 'policy' is taken; Signature: none"

    assert line(message) == message


# One line, whatever is in it


@given(st.text())
def test_a_message_is_one_line_of_text(text: str):
    assert len(line("%s", text).splitlines()) <= 1


def test_what_would_move_a_cursor_is_shown_as_python_writes_it():
    assert line("%s", "a\nb\x1b[2J\u2028é") == "a\\nb\\x1b[2J\\u2028é"


def test_a_traceback_cannot_be_taken_for_lines_of_the_log():
    try:
        raise ValueError("a\n2026-01-01 registry GET /forged 200\rb")
    except ValueError:
        record = logging.LogRecord("any", logging.ERROR, __file__, 1, "failed", (), sys.exc_info())

    first, *others = Redacted("%(message)s").format(record).splitlines()

    assert first == "failed"
    assert "  ValueError: a" in others
    assert all(other.startswith("  ") for other in others)


# JSON


@given(st.text())
def test_a_message_is_a_member_of_a_line_of_json(text: str):
    said = members("%s", text)["message"]

    assert said == text or "=" in text


def test_an_object_has_the_time_the_level_and_the_logger():
    found = members("said")

    when = datetime.datetime.fromisoformat(found.pop("time"))
    assert abs(datetime.datetime.now(datetime.UTC) - when) < datetime.timedelta(minutes=1)
    assert found == {"level": "warning", "logger": "gunicorn.error", "message": "said"}


def test_a_secret_is_left_out_of_json_and_leaves_the_rest_parseable():
    assert members("%s", 'GET "/a?Signature=s3cr3t\\"&b=1')["message"] == 'GET "/a?Signature=..."&b=1'


def test_a_traceback_is_a_member_without_secrets():
    try:
        raise ValueError("GET https://d.example/a?Signature=s3cr3t failed")
    except ValueError:
        record = logging.LogRecord("any", logging.ERROR, __file__, 1, "failed", (), sys.exc_info())

    found = json.loads(Json().format(record))

    assert "ValueError: GET https://d.example/a?Signature=... failed" in found["exception"]
    assert found["message"] == "failed"


# What the operator adds


def test_fields_are_members_of_json_with_their_types():
    found = members("said", environment="prod", rack=7, spare=True)

    assert (found["environment"], found["rack"], found["spare"]) == ("prod", 7, True)


def test_fields_end_a_line_of_text_and_those_that_are_no_word_are_in_quotes():
    fields = {"environment": "prod", "rack": 7, "spare": True, "owner": 'the "A" team', "empty": ""}
    record = logging.LogRecord("any", logging.INFO, __file__, 1, "said", (), None)

    shown = Redacted("%(message)s", fields).format(record)

    assert shown == r'said environment=prod rack=7 spare=true owner="the \"A\" team" empty=""'


def test_no_access_lines_are_shown_where_they_are_switched_off():
    loggers = configuration(LogOptions(access=False))["loggers"]

    assert loggers["cfmiddleware.edge"]["level"] == "WARNING"
    assert loggers["cfmiddleware"]["level"] == "INFO"


# The lines of requests


class Text(Event):
    """An event of one text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def members(self) -> dict[str, object]:
        return {"text": self.text, "number": 1}

    def __str__(self) -> str:
        return self.text


class Short(EventHandler):
    """Takes events as it is told to."""

    def __init__(self, takes: bool = True) -> None:
        super().__init__()
        self.takes = takes
        self.short: list[tuple[str, Event]] = []
        self.long: list[logging.LogRecord] = []

    def write_event(self, logger: str, event: Event) -> bool:
        if self.takes:
            self.short.append((logger, event))
        return self.takes

    def emit(self, record: logging.LogRecord) -> None:
        self.long.append(record)


@pytest.fixture
def logger() -> logging.Logger:
    logger = logging.Logger("test.events", logging.INFO)
    logger.propagate = False
    return logger


def test_a_handler_that_takes_events_gets_no_record(logger: logging.Logger):
    handler = Short()
    logger.addHandler(handler)
    event = Text("a")
    log_event(logger, event)
    assert (handler.short, handler.long) == ([("test.events", event)], [])


def test_what_it_does_not_take_comes_as_a_record(logger: logging.Logger):
    handler = Short(takes=False)
    logger.addHandler(handler)
    log_event(logger, Text("a"))
    (record,) = handler.long
    assert (record.name, record.levelname, record.getMessage()) == ("test.events", "INFO", "a")


@pytest.mark.parametrize("change", ["another handler", "a filter", "it propagates"])
def test_a_logger_that_does_more_with_its_messages_has_a_record(logger: logging.Logger, change: str):
    handler, other = Short(), Short()
    logger.addHandler(handler)
    if change == "another handler":
        logger.addHandler(other)
    elif change == "a filter":
        logger.addFilter(lambda record: True)
    else:
        logger.propagate, logger.parent = True, logging.Logger("parent")
        logger.parent.addHandler(other)
    log_event(logger, Text("a"))
    assert (handler.short, len(handler.long)) == ([], 1)
    assert len(other.long) == (change != "a filter")


def test_nothing_is_made_of_an_event_below_the_level(logger: logging.Logger):
    handler = Short()
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING)
    log_event(logger, Text("a"))
    assert (handler.short, handler.long) == ([], [])


_FORMS: list[Any] = [
    lambda fields: Redacted("%(asctime)s %(message)s", fields),
    lambda fields: Redacted("%(asctime)s %(levelname)s %(name)s: %(message)s", fields),
    lambda fields: Redacted(None, fields),
    Json,
]


@given(
    text=st.text(max_size=20)
    | st.sampled_from(["a\nb", "/x?Signature=abc token=%", "https://b/c?Policy=a'b"]),
    created=st.floats(1_600_000_000, 1_900_000_000),
    fields=st.dictionaries(st.sampled_from(["env", "zone"]), st.text(max_size=5) | st.integers(), max_size=2),
    form=st.sampled_from(_FORMS),
)
def test_its_line_is_the_one_that_its_record_has(text: str, created: float, fields: Any, form: Any):
    formatter: EventFormatter = form(fields)
    record = logging.LogRecord("test.events", logging.INFO, __file__, 0, Text(text), (), None)
    record.created, record.msecs = created, float(int(created % 1 * 1000))
    assert formatter.of_event("test.events", Text(text), created) == formatter.format(record)


def test_a_record_is_written_where_a_handler_knows_nothing_of_events(logger: logging.Logger):
    stream = io.StringIO()
    logger.addHandler(logging.StreamHandler(stream))
    log_event(logger, Text("a"))
    assert stream.getvalue() == "a\n"
