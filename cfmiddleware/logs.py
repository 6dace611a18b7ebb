"""The form of log messages, and what must never be in them.

This package logs no signatures, but others do: gunicorn shows a request line that it cannot read, and a
traceback shows what was in an exception. So every line passes :class:`Redacted` or :class:`Json` last. They
also prevent a client's bytes from beginning a line.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from logging.handlers import MemoryHandler

_SECRET = re.compile(
    r"\b((?:X-Amz-)?(?:Signature|Security-Token|Credential)|Policy|access_token|token)=[^&\s\"'<>]+",
    re.IGNORECASE | re.ASCII,
)
# The ends of all those names. To look for them first takes a tenth of the time on most lines.
_ENDS = ("signature=", "token=", "credential=", "policy=")

# What follows an upload's id in its URL (``registry/store/uploadticket.py``).
_UPLOADS = "/blobs/uploads/"
_TICKET = re.compile(r"(/blobs/uploads/[0-9a-f-]{36}\.)[A-Za-z0-9._-]+", re.ASCII)

_WORD = re.compile(r'[^ "=\\]+')

_MESSAGE = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_ACCESS = "%(asctime)s %(message)s"

#: The type of a field that the operator adds.
Scalar = str | int | float | bool

#: The attribute of a record that has the ids of its trace and span, if there are any.
TRACE = "cfmiddleware_trace"

#: The members that a JSON line may have: which lines have it, and what it says, in reStructuredText. The
#: table in the docs is made of it, and no field of an operator's has such a name.
MEMBERS = {
    "time": ("each", "When it was logged, in UTC with milliseconds."),
    "level": ("each", "``error``, ``warning``, ``info`` or ``debug``."),
    "logger": (
        "each",
        "``cfmiddleware.access`` for requests, ``cfmiddleware`` or a library's name for messages.",
    ),
    "message": ("message", "What is told."),
    "exception": ("message", "The traceback, where there is one."),
    "name": ("request", "The server: ``registry``."),
    "method": ("request", "Of the request."),
    "path": (
        "request",
        "The path without its query, percent-encoded, so that it is one word; at most 2,000 "
        "letters before that.",
    ),
    "status": ("request", "Of the answer."),
    "bytes": ("request", "Of the answer's body."),
    "client": (
        "request",
        "The peer's address, or, with the wrapper's ``trustedproxies``, the one that the proxies vouch for; "
        "``-`` where it is not known for certain.",
    ),
    "ms": ("request", "Milliseconds until the last byte was handed to the server."),
    "id": (
        "request",
        "``X-Request-Id`` where a proxy or the client sent one of up to 64 letters, digits, ``.``, ``_`` and "
        "``-``; else a random one. It is a label and proves nothing.",
    ),
    "repository": ("request", "The repository that the path names. Left out where there is none."),
    "user": (
        "request",
        "Who the client has shown to be. Left out without ``auth`` and where the credential is wrong.",
    ),
    "sent": (
        "request",
        "Where the pull of a blob was sent: ``edge`` (a redirect to CloudFront), ``s3`` (a redirect to S3) "
        "or ``app`` (the registry's own answer). Left out for everything else, refused pulls included.",
    ),
    "trace_id": ("both", "The request's trace, where requests are traced (:doc:`tracing`)."),
    "span_id": ("message", "The part of that trace in which the message was logged."),
}


@dataclass(frozen=True)
class LogOptions:
    """How the command logs.

    :param level: the least level of the package's own messages; gunicorn's are shown from WARNING on.
    :param json: whether each line is a JSON object.
    :param access: whether each request is a line.
    :param fields: what is added to each line.
    """

    level: str = "INFO"
    json: bool = False
    access: bool = True
    fields: Mapping[str, Scalar] = field(default_factory=dict)


class Event:
    """A message with members: text where text is logged (``str()``), an object where JSON is."""

    __slots__ = ()

    def members(self) -> dict[str, object]:
        """Return what the JSON line has instead of a message."""
        raise NotImplementedError

    def has_trace(self) -> bool:
        """Return whether it names its trace itself."""
        return False


class EventHandler(logging.Handler):
    """A handler that writes an event without a record of it, which takes longer than the rest of a line."""

    def write_event(self, logger: str, event: Event) -> bool:
        """Write the line of an event at level INFO, and return whether that was done.

        If not, the event is logged as any other message is.

        :param logger: the logger's name.
        """
        raise NotImplementedError


def log_event(logger: logging.Logger, event: Event) -> None:
    """Log an event at level INFO."""
    if not logger.isEnabledFor(logging.INFO):
        return
    handlers = logger.handlers
    if len(handlers) == 1 and not logger.propagate and not logger.filters:
        handler = handlers[0]
        if isinstance(handler, EventHandler) and handler.write_event(logger.name, event):
            return
    # Logger.info would look for the line that calls it, which is always the same.
    logger.handle(logger.makeRecord(logger.name, logging.INFO, __file__, 0, event, (), None, "log"))


class EventFormatter(logging.Formatter):
    """A formatter that needs no record for an event."""

    def of_event(self, logger: str, event: Event, created: float) -> str:
        """Return the line of an event, the same as for a record of it at level INFO.

        :param logger: the logger's name.
        :param created: when it was logged, in Unix seconds.
        """
        raise NotImplementedError


class Redacted(EventFormatter):
    """A formatter that leaves the values of signing parameters and tokens out of URLs.

    Every record is one line; a traceback's lines follow it, each beginning with a space.

    :param fields: what is added to each line, as ``name=value``.
    """

    def __init__(self, fmt: str | None = None, fields: Mapping[str, Scalar] | None = None) -> None:
        super().__init__(fmt)
        self._fields = "".join(f" {name}={word(value)}" for name, value in (fields or {}).items())
        self._second = (0, "")  # replaced as a whole, so that no lock is needed

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line, or lines, without secrets."""
        return redacted(super().format(record))

    def of_event(self, logger: str, event: Event, created: float) -> str:
        """Return an event's line."""
        members = {
            "asctime": self._time(created, int(created % 1 * 1000)),
            "levelname": "INFO",
            "name": logger,
            "message": str(event),
        }
        return redacted(printable((self._fmt or "%(message)s") % members) + self._fields)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 (logging's)
        """Return the record's time. All but the milliseconds is made once for each second."""
        return self._time(record.created, int(record.msecs))

    def _time(self, created: float, milliseconds: int) -> str:
        second, text = self._second
        now = int(created)
        if second != now:
            text = time.strftime(self.default_time_format, self.converter(created))
            self._second = (now, text)
        return f"{text},{milliseconds:03d}"

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        """Return the record's own line."""
        return printable(super().formatMessage(record)) + _trace(record) + self._fields

    def formatException(self, ei: Any) -> str:  # noqa: N802 (logging's name)
        """Return a traceback that cannot be taken for lines of the log."""
        return "\n".join("  " + printable(line) for line in super().formatException(ei).split("\n"))


class Json(EventFormatter):
    """A formatter whose lines are JSON objects, a traceback in one of their members.

    :param fields: what is added to each object.
    """

    def __init__(self, fields: Mapping[str, Scalar] | None = None) -> None:
        super().__init__()
        self._fields = dict(fields or {})

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line, without secrets."""
        members = self._begun(record.created, record.levelname.lower(), record.name)
        if isinstance(record.msg, Event):
            members.update(record.msg.members())
        else:
            members["message"] = record.getMessage()
        ids = getattr(record, TRACE, None)
        if ids is not None:
            members["trace_id"], members["span_id"] = ids
        if record.exc_info:
            members["exception"] = self.formatException(record.exc_info)
        return self._ended(members)

    def of_event(self, logger: str, event: Event, created: float) -> str:
        """Return an event's line."""
        members = self._begun(created, "info", logger)
        members.update(event.members())
        return self._ended(members)

    def _begun(self, created: float, level: str, logger: str) -> dict[str, object]:
        when = datetime.datetime.fromtimestamp(created, datetime.UTC)
        time = when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return {"time": time, "level": level, "logger": logger}

    def _ended(self, members: dict[str, object]) -> str:
        members.update(self._fields)
        # Before they are encoded: a secret that ends at an escaped quote would take half of the escape along.
        return json.dumps(
            {name: redacted(value) if isinstance(value, str) else value for name, value in members.items()}
        )


def _trace(record: logging.LogRecord) -> str:
    """Return the words that name a record's trace, beginning with a space; nothing where it has none."""
    ids = getattr(record, TRACE, None)
    if ids is None or (isinstance(record.msg, Event) and record.msg.has_trace()):
        return ""
    return f" trace_id={ids[0]} span_id={ids[1]}"


def redacted(text: str) -> str:
    """Return a text without the values of signing parameters and tokens, and without the signed part of an
    upload's URL.
    """
    if _UPLOADS in text:
        text = _TICKET.sub(r"\1...", text)
    lowered = text.lower()
    for end in _ENDS:
        if end in lowered:
            return _SECRET.sub(r"\1=...", text)
    return text


def printable(text: str) -> str:
    """Return a text on one line, with characters that cannot be printed as Python would write them."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def word(value: Scalar) -> str:
    """Return a value as one word of a line. If it is not a word by itself, it is in quotes, as in JSON."""
    if isinstance(value, str) and (value.isalnum() or (_WORD.fullmatch(value) and value.isprintable())):
        return value
    return json.dumps(value)


def configuration(
    options: LogOptions, handler: Callable[[], logging.Handler] = logging.StreamHandler
) -> dict[str, Any]:
    """Return a configuration of :mod:`logging` that sends everything to stderr.

    :param handler: makes what writes there.
    """

    def formatter(text: str) -> dict[str, Any]:
        # Bound here, for logging would look up values such as ext://sys.stdout in what it is given.
        if options.json:
            return {"()": partial(Json, options.fields)}
        return {"()": partial(Redacted, text, options.fields)}

    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"message": formatter(_MESSAGE), "access": formatter(_ACCESS)},
        "handlers": {
            "message": {"()": handler, "formatter": "message"},
            "access": {"()": handler, "formatter": "access"},
        },
        "loggers": {
            "cfmiddleware": {"level": options.level, "handlers": ["message"], "propagate": False},
            # A request's line is logged whatever the level of messages is.
            "cfmiddleware.access": {"level": "INFO", "handlers": ["access"], "propagate": False},
            "cfmiddleware.edge": {
                "level": options.level if options.access else "WARNING",
                "handlers": ["access"],
                "propagate": False,
            },
            "gunicorn.error": {"level": "WARNING", "handlers": ["message"], "propagate": False},
            # It warns of each connection to S3 beyond those that are kept, of which a stall leaves hundreds.
            "urllib3.connectionpool": {"level": "ERROR"},
        },
        "root": {"level": "WARNING", "handlers": ["message"]},
    }


def set_up(options: LogOptions, handler: Callable[[], logging.Handler] = logging.StreamHandler) -> None:
    """Set up logging in this process as gunicorn will in its own.

    :param handler: makes what writes to stderr.
    """
    import logging.config  # here and below, because commands that serve nothing need neither

    logging.config.dictConfig(configuration(options, handler))


def straight(options: LogOptions) -> logging.Logger:
    """Return a logger for what must be seen while other messages are held back, as :func:`held_back` does."""
    handler = logging.StreamHandler()
    handler.setFormatter(Json(options.fields) if options.json else Redacted(_MESSAGE, options.fields))
    logger = logging.Logger("cfmiddleware", options.level)
    logger.addHandler(handler)
    return logger


@contextlib.contextmanager
def held_back() -> Iterator[MemoryHandler]:
    """Hold the package's messages back until the block is left, for :func:`replay`.

    A command that cannot work says so in one line. So what is logged until it is known to work is kept, and
    thrown away if the block ends with an error.
    """
    from logging.handlers import MemoryHandler

    logger = logging.getLogger("cfmiddleware")
    held = MemoryHandler(capacity=sys.maxsize, flushLevel=sys.maxsize, flushOnClose=False)
    handlers, level, propagate = logger.handlers, logger.level, logger.propagate
    logger.handlers, logger.propagate = [held], False
    logger.setLevel(logging.INFO)
    try:
        yield held
    finally:
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


@contextlib.contextmanager
def left_out(name: str) -> Iterator[None]:
    """Leave a logger's messages out until the block is left, where a command says the same in its own words.

    :param name: the logger's, below ``cfmiddleware``.
    """
    logger = logging.getLogger(name)
    handlers, propagate = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [logging.NullHandler()], False
    try:
        yield
    finally:
        logger.handlers, logger.propagate = handlers, propagate


def replay(held: MemoryHandler) -> None:
    """Log the messages that were held back, in the form that is set up now and whatever its level.

    They are about the configuration: whoever asked for errors alone must hear of them too.
    """
    for record in held.buffer:
        logging.getLogger(record.name).handle(record)


def enable() -> None:
    """Let the package's messages through where a configuration of logging does not name its loggers.

    Python disables every logger that was there before and is not named, unless told otherwise
    (``disable_existing_loggers``). So ``LOGGING`` of a Django app silences what was imported before it.
    """
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and name.split(".", 1)[0] == "cfmiddleware":
            logger.disabled = False


def to_stderr(level: str = "INFO") -> None:
    """Send the package's messages to stderr if the application has not set up logging."""
    logger = logging.getLogger("cfmiddleware")
    if not logger.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(Redacted(_MESSAGE))
        logger.addHandler(handler)
        logger.setLevel(level)
