"""The ids of the trace in the lines of the log, and OpenTelemetry's own lines in a form of one line each."""

from __future__ import annotations

import logging
import re
from typing import Any

from cfmiddleware.logs import TRACE, Json, Redacted
from cfmiddleware.process.throttle import Throttle

# Where handlers with the package's formatters are.
_LOGGERS = ("", "cfmiddleware", "cfmiddleware.access", "cfmiddleware.edge", "gunicorn.error")

# They warn of headers, and repeat them. Anybody can send those, as long as a head may be, and each warning
# takes a request's time.
_OF_CLIENTS = ("opentelemetry.baggage", "opentelemetry.trace.propagation", "opentelemetry.trace.span")

# No message of OpenTelemetry's is shown beyond this.
_LONGEST = 500

# A user and a password of a URL, and its query.
_SECRET = re.compile(r"(?<=//)[^/@\s'\"]+(?=@)|(?<=\?)[^\s'\")]+")

# What an exception carries out of the span that it ended.
_CARRIED = "_cfmiddleware_trace"


def ids_of(span: Any) -> tuple[str, str] | None:
    """Return the ids of the trace and the span, or None for a span that is none."""
    context = span.get_span_context()
    return (f"{context.trace_id:032x}", f"{context.span_id:016x}") if context.is_valid else None


def carry(error: BaseException, ids: tuple[str, str] | None) -> None:
    """Have an exception tell the span's ids to whoever logs it when the span has ended."""
    if ids is not None and not hasattr(error, _CARRIED):
        try:
            setattr(error, _CARRIED, ids)
        except AttributeError:  # it has no room
            return


class _TraceIds(logging.Filter):
    """Puts the ids of the trace into the records of a request. It drops none."""

    def __init__(self, current: Any) -> None:
        super().__init__()
        self._current = current

    def filter(self, record: logging.LogRecord) -> bool:
        ids = ids_of(self._current())
        if ids is None and isinstance(record.exc_info, tuple):
            ids = getattr(record.exc_info[1], _CARRIED, None)
        setattr(record, TRACE, ids)
        return True


def label_lines() -> None:
    """Have the lines that this package formats name the trace and the span that they belong to."""
    from opentelemetry.trace import get_current_span

    for name in _LOGGERS:
        for handler in logging.getLogger(name or None).handlers:
            ours = isinstance(handler.formatter, Json | Redacted)
            if ours and not any(isinstance(each, _TraceIds) for each in handler.filters):
                handler.addFilter(_TraceIds(get_current_span))


class _OneLine(logging.Handler):
    """Logs what OpenTelemetry says as a message of this package, seldom and without a traceback."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._throttle = Throttle(60)

    def emit(self, record: logging.LogRecord) -> None:
        if not self._throttle.allows():
            return
        text = record.getMessage().splitlines()[0] if record.getMessage() else record.name
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if error is not None:
            text = f"{text} {type(error).__name__}: {error}"
        # A collector's URL may have a password or a key in it.
        text = _SECRET.sub("...", text[:_LONGEST])
        logging.getLogger("cfmiddleware").warning("tracing: %s", text)


def ignore_clients() -> None:
    """Have OpenTelemetry say nothing of what clients send, unless the program has chosen what it says."""
    for name in _OF_CLIENTS:
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.ERROR)


def shorten_lines() -> None:
    """Have OpenTelemetry's own messages come as one line, once a minute at the most."""
    logger = logging.getLogger("opentelemetry")
    if not any(isinstance(each, _OneLine) for each in logger.handlers):
        logger.addHandler(_OneLine())
        logger.propagate = False
