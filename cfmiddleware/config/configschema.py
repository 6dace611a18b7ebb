"""A JSON Schema of configurations, for editors: made from the options' classes and Distribution's keys."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from cfmiddleware import parse

from . import distributionkeys
from .optionrows import Row, rows
from .secretfiles import SECRETS
from .sectionclasses import SECTION_CLASSES
from .tree import SECTIONS

Schema = dict[str, Any]

# What YAML may make of what is written in such a form. An empty value says nothing anywhere.
_TYPES: Mapping[str, list[str]] = {
    "text": ["string", "number", "null"],
    "word": ["string", "null"],
    "path": ["string", "null"],
    "host:port": ["string", "null"],
    "true or false": ["boolean", "string", "null"],
    "number": ["number", "string", "null"],
    "duration": ["string", "number", "null"],
    "size": ["string", "number", "null"],
    "list": ["array", "string", "null"],
    "section": ["object", "null"],
}

# What no dataclass of options and no key of Distribution's says.
_FURTHER: Mapping[str, str] = {
    "middleware.storage[].name": "cloudfront, redirect or rewrite.",
    "middleware.storage[].disabled": "Whether the entry is left out.",
    "edge.storage": "Where the edge reads, if not where the registry stores: a section as storage.",
}


def schema() -> Schema:
    """Return the schema (JSON Schema, draft 2020-12)."""
    root = _section()
    for key in distributionkeys.KEYS:
        for name in key.names:
            if name.startswith("middleware.storage."):  # entries of a list, which have classes of their own
                continue
            _place(root, name.split("."), {"description": _plain(key.text)} if key.text else {})
    for section in SECTION_CLASSES:
        options = _options(section.kind)
        for name, option in options.items():
            _place(root, [*section.place.split("."), name], option, replaces=True)
    for path, secrets in SECRETS.items():
        for secret in secrets:
            text = f"A file whose text is {secret}."
            _place(root, [*path, f"{secret}file"], {"type": _TYPES["path"], "description": text})
    for name, text in _FURTHER.items():
        _place(root, name.split("."), {"description": text}, replaces=True)
    _close(root)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A configuration of cfmiddleware: Distribution's, with sections of its own",
        **root,
    }


def _options(kind: type) -> dict[str, Schema]:
    parsers: Mapping[str, Callable[..., Any]] = getattr(kind, "PARSERS", {})
    return {row.name.strip("`"): _option(row, parsers[row.name.strip("`")]) for row in rows(kind)}


def _option(row: Row, parser: Callable[..., Any]) -> Schema:
    found: Schema = {"description": _plain(row.effect)}
    choices = _choices(parser)
    if choices:
        found["enum"] = [*choices, None]
    elif row.form in _TYPES:
        found["type"] = _TYPES[row.form]
    if row.default.startswith("``"):
        found["default"] = row.default.strip("`")
    return found


def _choices(parser: Callable[..., Any]) -> list[str]:
    if isinstance(parser, functools.partial) and parser.func is parse.choice:
        return [str(choice) for choice in parser.keywords.get("choices", ())]
    return []


def _section(description: str = "") -> Schema:
    found: Schema = {"type": ["object", "null"], "properties": {}}
    return {"description": description, **found} if description else found


def _place(node: Schema, path: list[str], what: Schema, *, replaces: bool = False) -> None:
    """Put a key into the schema, and the sections on the way to it.

    :param path: its names. One that ends in ``[]`` is a list of sections.
    :param replaces: whether it counts for more than what is there already.
    """
    step, rest = path[0], path[1:]
    name = step.removesuffix("[]")
    properties = node.setdefault("properties", {})
    if not rest and not step.endswith("[]"):
        known = properties.get(name)
        if known is None or (replaces and "properties" not in known and "items" not in known):
            properties[name] = dict(what)
        elif replaces:
            known.setdefault("description", what.get("description", ""))
        return
    below = properties.setdefault(name, {})
    if step.endswith("[]"):
        below["type"] = ["array", "null"]
        for other in ("enum", "properties"):  # of Distribution's keys, which name no entries of lists
            below.pop(other, None)
        below = below.setdefault("items", _section())
    else:
        # What only Distribution acts on may be a list of sections there.
        below["type"] = ["object", "null"] if replaces else below.get("type", ["object", "array", "null"])
        below.pop("default", None)
    below.setdefault("properties", {})
    if rest:
        _place(below, rest, what, replaces=replaces)


def _close(root: Schema) -> None:
    """Have editors mark names that are unknown, where all names are known: not where operators give them."""
    root["properties"] = {
        name: root["properties"].get(name, {}) for name in dict.fromkeys([*SECTIONS, *root["properties"]])
    }
    _close_below(root)


def _close_below(node: Schema) -> None:
    for below in node.get("properties", {}).values():
        _close_below(below)
    if "items" in node:
        _close_below(node["items"])
    if node.get("properties"):
        node["additionalProperties"] = False


def _plain(text: str) -> str:
    """Return a text without the marks of reStructuredText."""
    return text.replace("``", "").replace("*", "")
