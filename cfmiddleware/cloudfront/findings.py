"""What a check of CloudFront finds: one line that says it, and one that mends it."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from cfmiddleware.logs import printable, redacted

#: What is printed of a text that another program wrote, in characters.
_LONGEST = 400


class Mark(enum.Enum):
    """How a check ended; the values are those of ``--json``."""

    #: It is right.
    TICK = "ok"
    #: It is wrong, and pulls fail or what is private is not.
    CROSS = "wrong"
    #: It could not be found out, from here or with these permissions.
    QUESTION = "unknown"


@dataclass(frozen=True)
class Finding:
    """What one check found.

    :param name: the check's name, which does not change: programs read it.
    :param mark: how it ended.
    :param says: what was found, in one line without a secret.
    :param mend: the command or the click that mends it, or lets it be found out; empty for a tick.
    """

    name: str
    mark: Mark
    says: str
    mend: str = ""


def tick(name: str, says: str) -> Finding:
    """Return that something is right."""
    return Finding(name, Mark.TICK, _line(says))


def cross(name: str, says: str, mend: str) -> Finding:
    """Return that something is wrong."""
    return Finding(name, Mark.CROSS, _line(says), _whole(mend))


def question(name: str, says: str, mend: str = "") -> Finding:
    """Return that something could not be found out."""
    return Finding(name, Mark.QUESTION, _line(says), _whole(mend))


def _line(text: str) -> str:
    """Return *text* as one line: parts of it may be another program's."""
    text = _whole(text)
    return text if len(text) <= _LONGEST + 3 else text[:_LONGEST] + "..."


def _whole(text: str) -> str:
    """Return *text* as one line that is never cut: half a command mends nothing."""
    return redacted(printable(" ".join(text.split())))
