"""How far something is that takes long."""

from __future__ import annotations


class Step(str):
    """A line about what is being done, which knows how much of it is done.

    It is text for those who only show or log it.

    :param line: what is done now, for people.
    :param done: how many are done.
    :param total: how many there are, 0 if nobody knows yet.
    :param what: what is counted, in the plural, such as ``repositories``. Another word is another part of the
        work, with a rate of its own.
    """

    done: int
    total: int
    what: str

    def __new__(cls, line: str, done: int, total: int, what: str) -> Step:
        """Return the line."""
        step = super().__new__(cls, line)
        step.done, step.total, step.what = done, total, what
        return step
