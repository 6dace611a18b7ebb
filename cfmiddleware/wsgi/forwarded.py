"""The header ``Forwarded`` (RFC 7239): what each proxy says of the request that it got."""

from __future__ import annotations

import re

_WORD = r'[^\s"(),/:;<=>?@\[\\\]{}\x00-\x1f\x7f]+'
_PAIR = re.compile(rf'[ \t]*({_WORD})[ \t]*=[ \t]*(?:({_WORD})|"((?:[^"\\]|\\.)*)")[ \t]*(?=[;,]|\Z)')
_ESCAPED = re.compile(r"\\(.)")
_BLANK = re.compile(r"[ \t]*(?=,|\Z)")

#: What one proxy says: parameters, their names in lower case, without quotes.
Element = dict[str, str]


def first_element(text: str) -> Element:
    """Return what the proxy says that the client called. It is empty where it breaks the grammar.

    The other elements are not read, as Distribution does it.
    """
    found = _element(text, 0)
    return found[0] if found is not None else {}


def elements(text: str) -> list[Element]:
    """Return what all proxies say, the last of them last.

    :returns: nothing where any part breaks the grammar: a client may open a quote that a proxy's part closes.
    """
    result: list[Element] = []
    position = -1
    while position < len(text):
        position += 1
        blank = _BLANK.match(text, position)
        if blank is not None:  # RFC 9110, 5.6.1: empty elements do not count
            position = blank.end()
            continue
        found = _element(text, position)
        if found is None:
            return []
        result.append(found[0])
        position = found[1]
    return result


def _element(text: str, position: int) -> tuple[Element, int] | None:
    """Return the element that begins at *position*, and where it ends: at a comma, or at the end."""
    element: Element = {}
    while True:
        pair = _PAIR.match(text, position)
        if pair is None or pair[1].lower() in element:
            return None
        value = _ESCAPED.sub(r"\1", pair[3]) if pair[2] is None else pair[2]
        element[pair[1].lower()] = value
        position = pair.end()
        if text[position : position + 1] != ";":
            return element, position
        position += 1
        if not text[position:].strip(" \t"):
            return element, len(text)
