"""The literal blocks of the pages: what a page shows as it is to be typed, written or read."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from lab import PROJECT

DOCS = PROJECT / "docs"

#: The words for the languages of code blocks.
KINDS = ("sh", "text", "yaml", "json", "python", "ini")

#: What a block must begin with to be a configuration of the registry, or a part of one.
SECTIONS = {
    *("auth", "catalog", "edge", "health", "http", "log", "metrics", "middleware", "notifications", "redis"),
    *("retention", "server", "storage", "tags", "tracing", "validation", "version"),
}

# The line before a block, the options of a directive, and how far the block is indented.
_BEGIN = re.compile(rf"^(.*)::(?: (?:{'|'.join(KINDS)}))?\n((?: +:\w+:.*\n)*)\n+( +)(?=\S)", re.MULTILINE)


class Literal(NamedTuple):
    """A block of a page.

    :param page: the page's name.
    :param text: without its indentation.
    """

    page: str
    text: str

    @property
    def begin(self) -> str:
        """Its first line, by which it is named."""
        return self.text.partition("\n")[0]

    def configuration(self) -> dict[str, Any] | None:
        """Return what it says if it is a configuration of the registry or a part of one."""
        try:
            tree = yaml.safe_load(self.text)
        except yaml.YAMLError:
            return None
        return tree if isinstance(tree, dict) and set(map(str, tree)) <= SECTIONS else None


def literals(page: str) -> Iterator[Literal]:
    """Yield the literal blocks of `docs/PAGE.rst`, in their order."""
    text = (DOCS / f"{page}.rst").read_text(encoding="utf-8")
    for found in _BEGIN.finditer(text):
        directive = re.match(r" *\.\. (.*)", found[1])
        if directive and directive[1] != "code-block":
            continue
        indent = found[3]
        lines = text[found.start(3) :].splitlines()
        inside = itertools.takewhile(lambda line, indent=indent: not line or line.startswith(indent), lines)
        yield Literal(page, "\n".join(line.removeprefix(indent) for line in inside).strip("\n"))


def all_pages() -> list[str]:
    """Return the names of the pages."""
    return [file.stem for file in sorted(DOCS.glob("*.rst"))]
