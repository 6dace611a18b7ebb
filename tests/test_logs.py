"""What is kept out of the log, whoever writes it."""

from __future__ import annotations

import logging
import sys

import pytest

from cfmiddleware.logs import Redacted


def line(message: str, *args: object) -> str:
    record = logging.LogRecord("gunicorn.error", logging.WARNING, __file__, 1, message, args, None)
    return Redacted("%(message)s").format(record)


@pytest.mark.parametrize(
    "parameter",
    ["Signature", "Policy", "X-Amz-Signature", "X-Amz-Security-Token", "X-Amz-Credential", "token"],
)
def test_a_secret_in_a_url_is_left_out_of_the_line(parameter: str):
    shown = line("Invalid request line: %r", f"GET /a?Expires=17&{parameter}=s3cr3t~-_&Key-Pair-Id=K1 HTTP/9")

    assert "s3cr3t" not in shown
    assert f"Expires=17&{parameter}=...&Key-Pair-Id=K1" in shown


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
