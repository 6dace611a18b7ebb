"""Where messages go, and what never gets there.

The parts of this package log no signatures. Others do: gunicorn shows a request line that it cannot read as
it came, and a traceback shows what was in an exception. So every line passes :class:`Redacted` last.
"""

from __future__ import annotations

import logging.config
import re
from typing import Any

_SECRET = re.compile(
    r"\b((?:X-Amz-)?(?:Signature|Security-Token|Credential)|Policy|access_token|token)=[^&\s\"'<>]+",
    re.IGNORECASE,
)

_MESSAGE = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class Redacted(logging.Formatter):
    """A formatter that leaves the values of signing parameters and tokens out of URLs."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line, or lines, without secrets."""
        return _SECRET.sub(r"\1=...", super().format(record))


def configuration(level: str, accesslog: bool = True) -> dict[str, Any]:
    """Return a configuration of :mod:`logging` that sends everything to stderr.

    :param level: the least level of the package's own messages; gunicorn's are shown from WARNING on.
    :param accesslog: whether gunicorn's line for each request is shown.
    """
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "message": {"()": Redacted, "fmt": _MESSAGE},
            "access": {"()": Redacted, "fmt": "%(asctime)s %(message)s"},
        },
        "handlers": {
            "message": {"class": "logging.StreamHandler", "formatter": "message"},
            "access": {"class": "logging.StreamHandler", "formatter": "access"},
        },
        "loggers": {
            "cfmiddleware": {"level": level, "handlers": ["message"], "propagate": False},
            "cfmiddleware.edge": {"level": level, "handlers": ["access"], "propagate": False},
            "gunicorn.error": {"level": "WARNING", "handlers": ["message"], "propagate": False},
            "gunicorn.access": {
                "level": "INFO" if accesslog else "CRITICAL",
                "handlers": ["access"],
                "propagate": False,
            },
        },
        "root": {"level": "WARNING", "handlers": ["message"]},
    }


def set_up(level: str) -> None:
    """Set up logging in this process as gunicorn will in its own."""
    logging.config.dictConfig(configuration(level))


def to_stderr(level: str = "INFO") -> None:
    """Let the package's messages be seen where nobody has set up logging."""
    logger = logging.getLogger("cfmiddleware")
    if not logger.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(Redacted(_MESSAGE))
        logger.addHandler(handler)
        logger.setLevel(level)
