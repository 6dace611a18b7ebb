"""Wildcards of a custom policy's ``Resource``: ``*`` for any characters, ``?`` for any one."""

from __future__ import annotations


def matches(pattern: str, text: str) -> bool:
    """Return whether *pattern* matches the whole of *text*.

    Each piece between two stars is put at the first place it fits and never moved again, which is enough:
    what comes after a star can only gain from an earlier place. So the time is bounded by the product of the
    two lengths, whatever the pattern, and is the length of the text for usual ones.
    """
    first, *rest = pattern.split("*")
    if not rest:
        return len(pattern) == len(text) and _fits(pattern, text, 0)
    last = rest.pop()
    end = len(text) - len(last)
    if end < len(first) or not _fits(first, text, 0) or not _fits(last, text, end):
        return False
    position = len(first)
    for piece in rest:
        position = _find(piece, text, position, end)
        if position < 0:
            return False
        position += len(piece)
    return True


def _fits(piece: str, text: str, position: int) -> bool:
    """Return whether *piece* stands in *text* at *position*; it is known to end within the text."""
    if "?" not in piece:
        return text.startswith(piece, position)
    return all(want in ("?", text[position + index]) for index, want in enumerate(piece))


def _find(piece: str, text: str, start: int, end: int) -> int:
    """Return the first position at which *piece* stands in ``text[start:end]``, or -1."""
    if "?" not in piece:
        return text.find(piece, start, end)
    return next((at for at in range(start, end - len(piece) + 1) if _fits(piece, text, at)), -1)
