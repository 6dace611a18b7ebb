"""What is in force: every value of a configuration, written or by default, and where it comes from."""

from __future__ import annotations

import copy
import math
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

import yaml

from .configtext import read_text
from .configuration import Config
from .optionrows import rows, written
from .sectionclasses import SECTION_CLASSES
from .settings import Settings
from .tree import tree_of
from .written import written_values

#: What is shown in the place of a secret.
HIDDEN = "(hidden)"

_SECRET = re.compile(
    r"(?:secret|password|passwd|passphrase|token|credentials?|authorization|sas"
    r"|(?:access|secret|account|encryption|api|license)[_-]?key)$",
    re.IGNORECASE,
)
_HEADERS = re.compile(r"^(?:notifications|health)\..*\.headers\.")
_PEM = "-----BEGIN"
_END_OF_NAME = re.compile(r"[.\[]")

# What YAML's form of a list has as it is, but for the words that YAML takes for something else.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9/_-]*")
_OTHER_WORDS = frozenset(("true", "false", "yes", "no", "on", "off", "null"))
_DEFAULT = "default"


class InForce(NamedTuple):
    """A value that is in force.

    :param place: its path, such as ``http.debug.addr``.
    :param value: as it may be written; :data:`HIDDEN` for a secret.
    :param source: ``line 12``, the name of a variable, or ``default``.
    """

    place: str
    value: str
    source: str


def in_force(path: str | os.PathLike[str], environ: Mapping[str, str] = os.environ) -> list[InForce]:
    """Return every value, those that are written first in each section.

    :param path: the configuration file.
    :param environ: where the ``REGISTRY_...`` variables are looked up.
    :raises ConfigError: for whatever keeps the configuration from being used.
    """
    text, source = read_text(path), str(path)
    tree = tree_of(text, source, environ)
    settings = Config(copy.deepcopy(tree), source, Path(path).resolve().parent).settings
    found = {
        each.place: InForce(each.place, _shown(each.place, each.value), each.source)
        for each in written_values(tree, text, environ)
        if each.value is not None
    }
    for place, value in _further(settings):
        if place not in found:
            found[place] = InForce(place, value, _DEFAULT)
    known = {*found, *_above(found)}
    for section in SECTION_CLASSES:
        for place, options in section.found(settings):
            for option in _unwritten(section.kind, place, options, known):
                found[option.place] = option
                known.update((option.place, *_above((option.place,))))
    order = {place: number for number, place in enumerate(_order(found))}
    return sorted(found.values(), key=lambda each: order[each.place.partition(".")[0].partition("[")[0]])


def _further(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield the values of the options that no dataclass has under their own names."""
    yield "log.level", settings.log.level.lower()
    yield "log.formatter", "json" if settings.log.json else "text"
    yield "log.accesslog.disabled", written(not settings.log.access, "")
    yield "storage.delete.enabled", written(settings.storage.delete, "")
    yield "storage.redirect.disable", written(not settings.storage.redirect, "")
    yield "storage.maintenance.readonly.enabled", written(settings.storage.maintenance.readonly, "")


# The sections of a switch, which a dataclass has as true or false.
_SWITCHES = frozenset(("storage.delete", "storage.redirect", "storage.maintenance.readonly"))


def _above(places: Iterable[str]) -> set[str]:
    """Return the places of the sections and lists that these places are in."""
    return {place[: end.start()] for place in places for end in _END_OF_NAME.finditer(place)}


def _unwritten(kind: type, place: str, options: object, known: Collection[str]) -> Iterator[InForce]:
    for row in rows(kind):
        name = row.name.strip("`")
        at = f"{place}.{name}"
        if at in known or at in _SWITCHES:
            continue
        value = written(getattr(options, name, None), row.form)
        if value:
            yield InForce(at, _shown(at, value), _DEFAULT)


def _order(found: Mapping[str, InForce]) -> list[str]:
    """Return the top sections: those of the file in its order, then the others."""
    return list(dict.fromkeys(place.partition(".")[0].partition("[")[0] for place in found))


def _shown(place: str, value: object) -> str:
    """Return a value on one line, without what must not be shown."""
    name = place.rpartition(".")[2]
    text = value if isinstance(value, str) else _as_yaml(value)
    if _PEM in text or (text and (_SECRET.search(name) or _HEADERS.search(place))):
        return HIDDEN
    return _without_secrets(text) if "://" in text else text


def _as_yaml(value: object) -> str:
    if type(value) is list and value and all(map(_is_plain, value)):  # so are most, and the dumper is slow
        return f"[{', '.join(value)}]"
    text: str = yaml.safe_dump(value, default_flow_style=True, width=math.inf, allow_unicode=True)
    return text.removesuffix("\n...\n").strip()


def _is_plain(entry: object) -> bool:
    return isinstance(entry, str) and bool(_PLAIN.fullmatch(entry)) and entry.lower() not in _OTHER_WORDS


def _without_secrets(text: str) -> str:
    """Return a text whose URL has no user and no password, and neither a query nor a fragment, in which some
    services have a key.
    """
    try:
        parts = urlsplit(text)
    except ValueError:
        return HIDDEN
    user, _, host = parts.netloc.rpartition("@")
    if user:
        parts = parts._replace(netloc=f"{HIDDEN}@{host}")
    if parts.query:
        parts = parts._replace(query=HIDDEN)
    if parts.fragment:
        parts = parts._replace(fragment=HIDDEN)
    return urlunsplit(parts)
