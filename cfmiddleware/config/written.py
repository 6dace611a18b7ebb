"""What a configuration says, value by value, and where each stands: in which line or variable."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import yaml

from .configtext import nodes
from .tree import VARIABLE, Tree

_INDEX = re.compile(r"\[(\d+)\]")


class Written(NamedTuple):
    """A value that is not a section.

    :param place: its path, such as ``http.debug.addr`` or ``health.tcp[0].addr``.
    :param value: what YAML makes of it.
    :param source: where it stands: ``line 12`` or the name of a variable.
    """

    place: str
    value: Any
    source: str


def written_values(tree: Tree, text: str, environ: Mapping[str, str]) -> list[Written]:
    """Return the values of a tree that was read from a file and from variables.

    :param tree: the sections.
    :param text: the file's.
    :param environ: where the variables are looked up.
    """
    lines = dict(_lines(text))
    variables = {
        tuple(name[len(VARIABLE) :].lower().split("_")): name for name in environ if name.startswith(VARIABLE)
    }
    return [
        Written(place, value, _variable(place, variables) or lines.get(place) or _nearest_line(place, lines))
        for place, value in values(tree)
    ]


def values(node: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what is not a section, with its path. A list of values is one value."""
    if isinstance(node, Mapping) and node:
        for name, value in node.items():
            yield from values(value, f"{place}.{name}" if place else str(name))
    elif isinstance(node, list) and any(isinstance(entry, Mapping) for entry in node):
        for index, entry in enumerate(node):
            yield from values(entry, f"{place}[{index}]")
    else:
        yield place, node


def _variable(place: str, variables: Mapping[tuple[str, ...], str]) -> str:
    """Return the variable that sets the value at *place*, or a section above it; empty if none does."""
    if not variables:
        return ""
    steps = tuple(_INDEX.sub(r".\1", place).lower().split("."))
    for length in range(len(steps), 0, -1):
        for further in ((), ("file",)):
            name = variables.get((*steps[:length], *further))
            if name is not None:
                return name
    return ""


def _nearest_line(place: str, lines: Mapping[str, str]) -> str:
    """Return the line of the section that a value came into by an alias or a merge."""
    while place:
        place = place.rpartition(".")[0] if not place.endswith("]") else place.rpartition("[")[0]
        if place in lines:
            return lines[place]
    return "the file"


def _lines(text: str) -> Iterator[tuple[str, str]]:
    """Yield the path of every value and section of a YAML text, and its line."""
    root = nodes(text)
    if root is not None:
        yield from _lines_below(root, "")


def _lines_below(node: yaml.Node, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = f"{place}.{key.value}" if place else str(key.value)
            yield below, f"line {key.start_mark.line + 1}"
            yield from _lines_below(value, below)
    elif isinstance(node, yaml.SequenceNode):
        for index, entry in enumerate(node.value):
            yield f"{place}[{index}]", f"line {entry.start_mark.line + 1}"
            yield from _lines_below(entry, f"{place}[{index}]")
