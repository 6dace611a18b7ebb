"""What is kept out of the log, whoever writes it."""

from __future__ import annotations

import datetime
import json
import logging
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfmiddleware.logs import Json, LogOptions, Redacted, configuration
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
