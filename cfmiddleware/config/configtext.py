"""From a configuration file to what YAML makes of it. A mistake is one line, in which no value is shown."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import yaml

from cfmiddleware.errors import ConfigError, cannot_be_read

from .quickyaml import YAML_ERRORS, quick_nodes

# What PyYAML says with a word of the file in it, which may be a password; and what is said instead.
_NAMING = {
    "found undefined alias": "a value that begins with * must be in quotes",
    "could not determine a constructor for the tag": "a value that begins with ! must be in quotes",
    "found undefined tag handle": "a value that begins with ! must be in quotes",
    "found duplicate anchor": "a value that begins with & must be in quotes",
}


def read_text(path: str | os.PathLike[str]) -> str:
    """Return the text of a file, which may be a pipe and so can be read once.

    :raises ConfigError: for a file that cannot be read.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: the configuration {cannot_be_read(error)}") from None


def parse_yaml(text: str, source: str) -> Any:
    """Return what YAML makes of a text.

    :param source: the file's name.
    :raises ConfigError: for what is not YAML, and for a key that stands twice in one section.
    """
    try:
        return _loaded(text)
    except _Twice as error:
        raise ConfigError(f"{source}, {error}") from None
    except YAML_ERRORS as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = str(getattr(error, "problem", None) or "it cannot be parsed")
        said = next((instead for begin, instead in _NAMING.items() if problem.startswith(begin)), problem)
        raise ConfigError(f"{source}{line}: this is not YAML: {said}") from None


def _loaded(text: str) -> Any:
    root = quick_nodes(text)
    if root is not None:
        with contextlib.suppress(*YAML_ERRORS):  # what is wrong is said below
            return _Loader("").construct_document(root)
    return yaml.load(text, Loader=_Loader)  # noqa: S506 (it is a SafeLoader)


def nodes(text: str) -> yaml.Node | None:
    """Return the root of a text that :func:`parse_yaml` takes; None for an empty one."""
    return quick_nodes(text) or yaml.compose(text, Loader=yaml.SafeLoader)


def as_text(text: str) -> Any:
    """Return what stands in a text that :func:`parse_yaml` takes, each value as it is written there."""
    root = quick_nodes(text)
    if root is not None:
        return yaml.constructor.BaseConstructor().construct_document(root)
    return yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 (it makes text alone)


class _Twice(yaml.YAMLError):
    """A key stands twice in a section."""


class _Loader(yaml.SafeLoader):
    """Makes plain values, and takes a key once in each section (YAML 1.2, section 3.2.1.3)."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Look at the keys as they are written, before those of a merge (``<<``) come to them."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            name, line = (key.tag, key.value), key.start_mark.line + 1
            if name in lines:
                raise _Twice(
                    f"line {line}: {key.value!r} stands in line {lines[name]} already; write it once"
                )
            lines[name] = line
        return node
