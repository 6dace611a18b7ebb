"""When a collection may run by itself."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from cfmiddleware.registry.collect.window import Window


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("window", "moment", "left"),
    [
        ("02:00-05:00", "2026-11-28T01:59:59", 0),
        ("02:00-05:00", "2026-11-28T02:00", 3 * 3600),
        ("02:00-05:00", "2026-11-28T04:59:59", 1),
        ("02:00-05:00", "2026-11-28T05:00", 0),
        ("22:00-04:30", "2026-11-28T21:59", 0),
        ("22:00-04:30", "2026-11-28T23:00", 5.5 * 3600),
        ("22:00-04:30", "2026-11-29T04:00", 1800),
        ("22:00-04:30", "2026-11-29T04:30", 0),
        ("00:00-23:59", "2026-11-28T12:00", 11 * 3600 + 59 * 60),
        ("02:00 - 05:00 Europe/Berlin", "2026-11-28T01:00", 3 * 3600),
        ("02:00-05:00 Europe/Berlin", "2026-11-28T04:30", 0),
        # The night in which there is no 02:30, and the one in which it comes twice.
        ("02:30-05:00 Europe/Berlin", "2026-03-29T01:30", 1.5 * 3600),
        ("01:00-04:00 Europe/Berlin", "2026-10-25T00:00", 3 * 3600),
    ],
)
def test_it_is_open_between_its_hours(window: str, moment: str, left: float) -> None:
    assert Window.parse(window).seconds_left(at(moment)) == pytest.approx(left)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2-5", "write it like"),
        ("02:00", "write it like"),
        ("25:00-05:00", "no clock has"),
        ("02:60-05:00", "no clock has"),
        ("02:00-02:00", "ends when it begins"),
        ("02:00-05:00 Mars/Olympus", "Mars/Olympus"),
        ("02:00-05:00 ../../etc/passwd", "write it like"),
        ("02:00-05:00 /etc/passwd", "does not know"),
    ],
)
def test_what_is_no_window_is_told(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Window.parse(text)
