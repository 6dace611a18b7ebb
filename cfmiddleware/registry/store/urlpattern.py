"""Regular expressions that take time in proportion to the text, as those of Distribution's Go do.

An operator writes them, and who pushes writes the text. Python's own engine takes exponential time for the
example in Distribution's reference (``^https?://([^/]+\\.)*example\\.com/``) and a text made for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

# Go's limit for a counted repetition.
_MOST_REPEATS = 1000

# No pattern is larger, in states.
_MOST_STATES = 20_000

# How many steps are remembered.
_MOST_STEPS = 10_000

_DIGITS = frozenset("0123456789")
_HEX = frozenset("0123456789abcdefABCDEF")
_WORD = _DIGITS | frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_SPACE = frozenset("\t\n\f\r ")
_CLASSES = {"d": _DIGITS, "w": _WORD, "s": _SPACE}
_CONTROL = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v", "a": "\a"}


class _Set(NamedTuple):
    """Characters: single ones, ranges, or all others."""

    single: frozenset[str] = frozenset()
    ranges: tuple[tuple[str, str], ...] = ()
    negated: bool = False

    def has(self, char: str) -> bool:
        listed = char in self.single or any(low <= char <= high for low, high in self.ranges)
        return listed != self.negated


class _State:
    """One state: it takes a character, or leads on without one."""

    __slots__ = ("at", "follow", "takes")

    def __init__(self, takes: _Set | None = None, at: str = "", follow: tuple[_State, ...] = ()) -> None:
        self.takes = takes
        self.at = at  # ``^`` or ``$``: leads on there alone
        self.follow = follow


# Makes the states that lead to the given one.
_Part = Callable[[_State], _State]


class Pattern:
    """A regular expression of the syntax that Go and Python share, without ``\\b`` and look-around.

    :param text: the expression. ``(?i)`` at its beginning takes letters in both cases.
    :raises ValueError: for what is not such an expression, saying what is wrong.
    """

    def __init__(self, text: str) -> None:
        self._folded = text.startswith("(?i)")
        reader = _Reader(text[4:] if self._folded else text)
        self._end = _State()
        try:
            self._start = reader.whole()(self._end)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        self._steps: dict[tuple[frozenset[_State], str, bool], frozenset[_State]] = {}

    def is_in(self, text: str) -> bool:
        """Return whether the expression matches somewhere in *text*."""
        last = len(text) - 1
        states = self._reached((self._start,), first=True, last=not text)
        for place, char in enumerate(text):
            if self._end in states:
                return True
            key = (states, char, place == last)
            following = self._steps.get(key)
            if following is None:
                if len(self._steps) >= _MOST_STEPS:
                    self._steps.clear()
                following = self._steps[key] = self._step(*key)
            states = following
        return self._end in states

    def _step(self, states: frozenset[_State], char: str, last: bool) -> frozenset[_State]:
        chars = {char, char.lower(), char.upper()} if self._folded else {char}
        taken = [
            following
            for state in states
            if state.takes is not None and any(map(state.takes.has, chars))
            for following in state.follow
        ]
        return self._reached((*taken, self._start), first=False, last=last)

    def _reached(self, begun: tuple[_State, ...], *, first: bool, last: bool) -> frozenset[_State]:
        """Return the states that take a character, and the end, that are reached without one."""
        found: set[_State] = set()
        waiting = list(begun)
        while waiting:
            state = waiting.pop()
            if state in found or (state.at == "^" and not first) or (state.at == "$" and not last):
                continue
            found.add(state)
            if state.takes is None:
                waiting.extend(state.follow)
        return frozenset(state for state in found if state.takes is not None or state is self._end)


class _Reader:
    """Reads an expression from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0
        self._states = 0

    def whole(self) -> _Part:
        part = self._choice()
        if self._place < len(self._text):
            raise ValueError("there is a ')' without its '('")
        return part

    def _next(self) -> str:
        return self._text[self._place : self._place + 1]

    def _take(self) -> str:
        char = self._next()
        if not char:
            raise ValueError("it ends too early")
        self._place += 1
        return char

    def _state(self, takes: _Set | None, at: str, follow: tuple[_State, ...]) -> _State:
        self._states += 1
        if self._states > _MOST_STATES:
            raise ValueError("it is too large")
        return _State(takes, at, follow)

    def _choice(self) -> _Part:
        parts = [self._sequence()]
        while self._next() == "|":
            self._take()
            parts.append(self._sequence())
        if len(parts) == 1:
            return parts[0]
        return lambda to: self._state(None, "", tuple(part(to) for part in parts))

    def _sequence(self) -> _Part:
        parts: list[_Part] = []
        while self._next() not in ("", "|", ")"):
            parts.append(self._repeated(self._atom()))

        def sequence(to: _State) -> _State:
            for part in reversed(parts):
                to = part(to)
            return to

        return sequence

    def _repeated(self, part: _Part) -> _Part:
        bounds = self._bounds()
        if bounds is None:
            return part
        if self._next() == "?":  # how much it takes does not matter to whether it matches
            self._take()
        if self._next() in ("*", "+", "?"):
            raise ValueError(f"{self._next()!r} repeats a repetition")
        least, most = bounds

        def repeated(to: _State) -> _State:
            if most is None:
                loop = self._state(None, "", ())
                loop.follow = (part(loop), to)
                to = loop
            else:
                end = to
                for _ in range(most - least):
                    to = self._state(None, "", (part(to), end))
            for _ in range(least):
                to = part(to)
            return to

        return repeated

    def _bounds(self) -> tuple[int, int | None] | None:
        """Read ``*``, ``+``, ``?`` or ``{2,3}``: how often at least and at most."""
        char = self._next()
        if char in ("*", "+", "?") and char:
            self._take()
            return (1 if char == "+" else 0), (1 if char == "?" else None)
        closed = self._text.find("}", self._place) if char == "{" else -1
        least, comma, most = self._text[self._place + 1 : max(closed, 0)].partition(",")
        if closed < 0 or not (least.isdecimal() and (most.isdecimal() or not most)):
            return None  # a brace like any other character
        self._place = closed + 1
        first, last = int(least), int(most) if most else None if comma else int(least)
        if max(first, last or 0) > _MOST_REPEATS or (last is not None and last < first):
            raise ValueError(f"{{{least}{comma}{most}}} is not a number of times")
        return first, last

    def _atom(self) -> _Part:
        char = self._take()
        if char == "(":
            return self._group()
        if char == "[":
            takes = self._set()
        elif char == ".":
            takes = _Set(frozenset("\n"), negated=True)
        elif char in "^$":
            return lambda to: self._state(None, char, (to,))
        elif char == "\\" and self._next() in ("A", "z"):
            at = "^" if self._take() == "A" else "$"
            return lambda to: self._state(None, at, (to,))
        elif char == "\\":
            takes = self._escaped()
        elif char in "*+?":
            raise ValueError(f"{char!r} repeats nothing")
        else:
            takes = _Set(frozenset(char))
        return lambda to: self._state(takes, "", (to,))

    def _group(self) -> _Part:
        if self._next() == "?":
            closed = self._text.find(">", self._place)
            named = self._text.startswith(("?P<", "?<"), self._place) and closed > 0
            if self._text.startswith(("?<=", "?<!"), self._place) or not (
                named or self._text.startswith("?:", self._place)
            ):
                raise ValueError("'(?' begins what is not known; there are (?:...), and (?i) at the start")
            self._place = closed + 1 if named else self._place + 2
        part = self._choice()
        if self._next() != ")":
            raise ValueError("there is a '(' without its ')'")
        self._take()
        return part

    def _escaped(self) -> _Set:
        char = self._take()
        if char.lower() in _CLASSES:
            return _Set(_CLASSES[char.lower()], negated=char.isupper())
        if char in _CONTROL:
            return _Set(frozenset(_CONTROL[char]))
        if char == "x":
            digits = self._text[self._place : self._place + 2]
            if len(digits) != 2 or not set(digits) <= _HEX:
                raise ValueError("'\\x' needs two hexadecimal digits")
            self._place += 2
            return _Set(frozenset(chr(int(digits, 16))))
        if char in _WORD:
            raise ValueError(f"'\\{char}' is not known")
        return _Set(frozenset(char))

    def _set(self) -> _Set:
        negated = self._next() == "^"
        if negated:
            self._take()
        single: set[str] = set()
        ranges: list[tuple[str, str]] = []
        is_first = True
        while self._next() != "]" or is_first:
            is_first = False
            char = self._take()
            if char == "[" and self._next() == ":":
                raise ValueError("'[:' begins a class that is not known; write it like [a-z]")
            low = self._escaped() if char == "\\" else _Set(frozenset(char))
            if low.negated:
                raise ValueError("a class with a capital letter cannot stand in brackets")
            is_range = self._next() == "-" and self._text[self._place + 1 : self._place + 2] not in ("", "]")
            if not is_range or len(low.single) > 1:
                single |= low.single
                continue
            self._take()
            char = self._take()
            high = self._escaped() if char == "\\" else _Set(frozenset(char))
            first, last = min(low.single), min(high.single)
            if len(high.single) != 1 or last < first:
                raise ValueError("a range in brackets ends before it begins")
            ranges.append((first, last))
        self._take()
        return _Set(frozenset(single), tuple(ranges), negated)
