"""The dates of HTTP (RFC 9110, section 5.6.7), read without the parser of mail."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_DATE = re.compile(r"\w{3}, (\d\d) (\w{3}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT", re.ASCII)
_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTHS = {name: number for number, name in enumerate(_NAMES, 1)}


def http_date(text: str) -> datetime:
    """Return the time that a header tells.

    :raises ValueError: where it is no time.
    """
    found = _DATE.fullmatch(text)
    if found is None or found[2] not in _MONTHS:
        from email.utils import parsedate_to_datetime  # of older forms, which are seldom

        return parsedate_to_datetime(text)
    day, _, year, hour, minute, second = found.groups()
    return datetime(
        int(year), _MONTHS[found[2]], int(day), int(hour), int(minute), min(int(second), 59), tzinfo=UTC
    )
