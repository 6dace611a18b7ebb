"""The section ``log`` of a configuration (Distribution, "log")::

log:
  level: info               # error, warn, info or debug
  formatter: text           # or json; logstash is json; auto is text on a terminal, else json
  fields: {service: registry}
  accesslog:
    disabled: false
"""

from __future__ import annotations

import logging
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from cfmiddleware import parse
from cfmiddleware.errors import ConfigError
from cfmiddleware.logs import MEMBERS, LogOptions, Scalar

_log = logging.getLogger("cfmiddleware")

_LEVELS = {"error": "ERROR", "warn": "WARNING", "warning": "WARNING", "info": "INFO", "debug": "DEBUG"}
_FORMATTERS = ("text", "json", "logstash", "auto")
_FIELD = re.compile(r"[A-Za-z0-9_.-]{1,100}")


def _level(value: object, name: str) -> str:
    return parse.choice(value, name, tuple(_LEVELS))


def _formatter(value: object, name: str) -> str:
    formatter = parse.choice(value, name, _FORMATTERS)
    if formatter == "logstash":
        _log.warning("%s: logstash: lines are objects as 'json' has them", name)
    return formatter


def _is_json(formatter: str) -> bool:
    """Return whether lines are objects. For people at a terminal ``auto`` writes text."""
    return formatter != "text" and not (formatter == "auto" and sys.stderr.isatty())


def _access_log(value: object, name: str) -> bool:
    section = parse.section(value, name, "with 'disabled'")
    return bool(parse.read(section, {"disabled": parse.boolean}, f"{name}.").get("disabled", False))


def _fields(value: object, name: str) -> dict[str, Scalar]:
    """Read the fields that are added to each line of the log."""
    if value and not isinstance(value, dict):
        raise ConfigError(f"{name}: must map names to values")
    fields = parse.section(value, name)
    for key, content in fields.items():
        if not _FIELD.fullmatch(str(key)):
            raise ConfigError(f"{name}: {key!r} is not a name; use letters, digits, '_', '.' and '-'")
        if key in MEMBERS:
            raise ConfigError(f"{name}.{key}: lines have a {key!r} of their own; choose another name")
        if not isinstance(content, Scalar) or (isinstance(content, float) and not math.isfinite(content)):
            raise ConfigError(f"{name}.{key}: must be text, a number or a truth value")
    return {str(key): content for key, content in fields.items()}


@dataclass(frozen=True)
class LogSection:
    """What is logged, as the file says it.

    :param level: the least level of messages: ``error``, ``warn``, ``info`` or ``debug``.
    :param formatter: ``text``, or ``json``: each line is one object. ``logstash`` is taken for ``json``.
        ``auto`` is ``text`` where standard error is a terminal, and otherwise ``json``.
    :param fields: names and values that are added to each line.
    :param accesslog: ``disabled``: whether requests, the edge's included, leave no line; false by default.
    """

    level: str = field(default="info", metadata={"form": "word"})
    formatter: str = field(default="text", metadata={"form": "word"})
    fields: Mapping[str, Scalar] = field(default_factory=dict, metadata={"form": "section"})
    accesslog: bool = field(default=False, metadata={"form": "section"})

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {
        "level": _level,
        "formatter": _formatter,
        "fields": _fields,
        "accesslog": _access_log,
    }


def read_log(section: Mapping[str, Any], level: object = None) -> LogOptions:
    """Return the options of the section.

    :param level: ``loglevel``, the older name at the top of the file, which counts where the section has no
        level.
    :raises ConfigError: for an unknown option, or a value that cannot work.
    """
    older = parse.read({"loglevel": level}, {"loglevel": _level})
    read = parse.options(LogSection, section, "log")
    word = read.level if section.get("level") else older.get("loglevel", LogSection.level)
    return LogOptions(
        level=_LEVELS[word], json=_is_json(read.formatter), access=not read.accesslog, fields=read.fields
    )
