"""The hours in which a collection may run by itself: ``02:00-05:00``."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import NamedTuple, Self

_FORM = re.compile(r"([0-9]{2}:[0-9]{2})\s*-\s*([0-9]{2}:[0-9]{2})(?:\s+([A-Za-z0-9_+/-]{1,64}))?")


class Window(NamedTuple):
    """The same hours of each day.

    :param begin: when it opens.
    :param end: when it closes: on the next day if that is not after *begin*.
    :param zone: whose clock it is.
    """

    begin: time
    end: time
    zone: tzinfo = UTC

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``22:00-04:30``, which is UTC, or ``22:00-04:30 Europe/Berlin``.

        :raises ValueError: for anything else; the message says what is wrong.
        """
        form = _FORM.fullmatch(text.strip())
        if form is None:
            raise ValueError("is not a window; write it like 02:00-05:00 or 02:00-05:00 Europe/Berlin")
        try:
            begin, end = time.fromisoformat(form[1]), time.fromisoformat(form[2])
        except ValueError:
            raise ValueError("has an hour that no clock has; write it like 22:00-04:30") from None
        if begin == end:
            raise ValueError("ends when it begins; leave it out where a collection may always run")
        return cls(begin, end, _zone(form[3]))

    def seconds_left(self, now: float) -> float:
        """Return for how many seconds it is open still; 0 while it is closed.

        :param now: in Unix seconds.
        """
        here = datetime.fromtimestamp(now, self.zone)
        for day in (here.date() - timedelta(days=1), here.date()):
            opens = datetime.combine(day, self.begin, self.zone).timestamp()
            last = day if self.end > self.begin else day + timedelta(days=1)
            closes = datetime.combine(last, self.end, self.zone).timestamp()
            if opens <= now < closes:
                return closes - now
        return 0.0


def _zone(name: str | None) -> tzinfo:
    if name is None or name in ("UTC", "Z"):
        return UTC
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        raise ValueError(f"names a zone, {name}, that this machine does not know") from None
