"""gunicorn's records are changed where they hold what a client sent, and no others are."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from cfmiddleware.wsgi.gunicornlines import LOGGER, WithoutContent, clean


def said(message: Any, *arguments: object, error: BaseException | None = None) -> logging.LogRecord:
    exc_info = None if error is None else (type(error), error, None)
    record = logging.LogRecord(LOGGER, logging.WARNING, "", 0, message, arguments, exc_info)
    assert WithoutContent().filter(record)
    return record


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (
            "Invalid request from ip=::1: Invalid HTTP Header: 'Authorization Basic S'",
            "Invalid request from ip=::1: Invalid HTTP Header",
        ),
        (
            "Invalid request from ip=1.2.3.4: Request Line is too large (9 > 8)",
            "Invalid request from ip=1.2.3.4: Request Line is too large",
        ),
        ("Invalid request from ip=: limit request headers fields size", None),
        (
            "Invalid request from ip=1.2.3.4: Invalid HTTP header name: 'a\nb'",
            "Invalid request from ip=1.2.3.4: ",
        ),
        ("Worker (pid:7) was sent SIGKILL! 100%", None),
        ({"a": 1}, None),
    ],
)
def test_a_line_ends_before_what_was_sent(line: Any, shown: str | None):
    message = said(line).getMessage()
    assert message.startswith(str(line if shown is None else shown))
    assert "\n" not in message
    assert "'Authorization" not in message


def test_a_query_is_not_shown():
    record = said("Error handling request %s %s", "GET", "/v2/?token=S", error=ValueError("x"))
    assert record.getMessage() == "Error handling request GET /v2/?..."
    assert record.exc_info is not None


def test_a_header_of_the_app_is_not_shown():
    errors = pytest.importorskip("gunicorn.http.errors")
    record = said("Error handling request %s", "/v2/", error=errors.InvalidHeader("S", None))
    assert record.getMessage() == "Error handling request /v2/: InvalidHeader"
    assert record.exc_info is None


def test_one_filter_is_enough():
    logger = logging.getLogger(LOGGER)
    before = list(logger.filters)
    try:
        clean()
        clean()
        assert sum(isinstance(each, WithoutContent) for each in logger.filters) == 1
    finally:
        logger.filters = before
