"""gunicorn's error lines without what clients sent: its own repeat a header, or a query, that it cannot take.

Whoever forgets a colon has ``Authorization Basic ...`` in the log.
"""

from __future__ import annotations

import logging
import re

_REFUSED = re.compile(r"(Invalid request from ip=\S*: [A-Za-z/ ]+).*", re.DOTALL)
_QUERY = re.compile(r"\?.*", re.DOTALL)

#: Where gunicorn logs errors, whatever its worker or logger class.
LOGGER = "gunicorn.error"


class WithoutContent(logging.Filter):
    """Cuts what clients, and apps in their headers, have sent out of gunicorn's records. It drops none."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change a record where it is one of those."""
        if isinstance(record.msg, str) and record.msg.startswith("Invalid request"):
            record.msg, record.args = _REFUSED.sub(r"\1", record.getMessage()).rstrip(), ()
        elif isinstance(record.msg, str) and record.msg.startswith("Error handling request"):
            if isinstance(record.args, tuple):
                record.args = tuple(
                    _QUERY.sub("?...", arg) if isinstance(arg, str) else arg for arg in record.args
                )
            error = record.exc_info[0] if record.exc_info else None
            if error is not None and error.__module__ == "gunicorn.http.errors":
                record.msg, record.args = f"{record.getMessage()}: {error.__name__}", ()
                record.exc_info = record.exc_text = None
        return True


def clean() -> None:
    """Have gunicorn's error lines cleaned in this process, if gunicorn serves it."""
    logger = logging.getLogger(LOGGER)
    if not any(isinstance(each, WithoutContent) for each in logger.filters):
        logger.addFilter(WithoutContent())
