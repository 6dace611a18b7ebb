"""What there is to say of options, read from the dataclasses that hold them.

The tables of the docs, the command ``config`` and its schema are made of it.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from cfmiddleware import parse
from cfmiddleware.parse import documented

#: What a reader may write where one of these functions reads the option.
FORMS: Mapping[Callable[..., Any], str] = {
    parse.text: "text",
    parse.optional_text: "text",
    parse.exact_text: "text",
    parse.boolean: "true or false",
    parse.integer: "number",
    parse.seconds: "duration",
    parse.short_seconds: "duration",
    parse.size: "size",
    parse.choice: "word",
    parse.positive: "number",
    parse.words: "list",
    parse.section: "section",
}

_TYPES = {
    **{"Address": "host:port", "AddressRange": "list", "CacheOptions": "section", "Mapping": "section"},
    **{"str": "text", "int": "number", "bool": "true or false", "float": "number", "Path": "path"},
}


class Row(NamedTuple):
    """One option as a table shows it, each column in reStructuredText."""

    name: str
    form: str
    default: str
    effect: str


def options_class(path: str) -> type:
    """Return the class that *path* names, such as ``cfmiddleware.storage.s3.options.S3Options``."""
    module, _, name = path.rpartition(".")
    found: type = getattr(importlib.import_module(module), name)
    return found


def rows(options: type) -> Iterator[Row]:
    """Yield a row for each option of the dataclass *options* that a configuration may hold.

    These are the names of its ``PARSERS``, in the order of the fields.
    """
    parsers: Mapping[str, Callable[..., Any]] = getattr(options, "PARSERS", {})
    texts = documented(options)
    fields = {field.name: field for field in dataclasses.fields(options)}
    for name in sorted(parsers, key=list(fields).index if parsers.keys() <= fields.keys() else None):
        field, parser = fields.get(name), parsers[name]
        form = field.metadata.get("form", "") if field else ""
        form = form or _form(parser, str(field.type) if field else "")
        default = _default(field, form) if field else ""
        yield Row(f"``{name}``", form, default, _effect(texts.get(name, ""), fields))


def _form(parser: Callable[..., Any], annotation: str) -> str:
    while isinstance(parser, functools.partial):
        parser = parser.func
    if parser in FORMS:
        return FORMS[parser]
    if annotation.startswith("tuple["):
        return "section" if annotation.startswith("tuple[tuple[str, str]") else "list"
    return next((form for name, form in _TYPES.items() if re.search(rf"\b{name}\b", annotation)), "")


def _default(field: dataclasses.Field[Any], form: str) -> str:
    value = field.default
    if value is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    if value is dataclasses.MISSING:
        return "required"
    text = written(value, form)
    return f"``{text}``" if text else ""


def written(value: object, form: str) -> str:
    """Return a value as a configuration may have it; empty for one that says nothing, and for a section.

    :param form: the option's form, such as ``size``.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or value in ("", (), [], {}) or form == "section":
        return ""
    if form == "size" and isinstance(value, int):
        return _bytes(value)
    if form == "duration" and isinstance(value, int | float):
        return _duration(value)
    return ", ".join(map(str, value)) if type(value) is tuple else str(value)


def _bytes(value: int) -> str:
    for unit, step in (("GiB", 1 << 30), ("GB", 10**9), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value and value % step == 0:
            return f"{value // step}{unit}"
    return str(value)


def _duration(seconds: float) -> str:
    if 0 < seconds < 1:
        return f"{round(seconds * 1000)}ms"
    for unit, step in (("h", 3600), ("m", 60)):
        if seconds and seconds % step == 0:
            return f"{round(seconds // step)}{unit}"
    return f"{seconds:g}s"


def _effect(text: str, fields: Mapping[str, Any]) -> str:
    """Return *text* as sentences, with the names of other options (``*keyid*``) as literals."""
    text = re.sub(r"\*([a-z_]+)\*", lambda match: f"``{match[1]}``" if match[1] in fields else match[0], text)
    return text[:1].upper() + text[1:]
