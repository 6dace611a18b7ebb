"""The section ``edge`` of a configuration: the local edge, which does CloudFront's part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from cfmiddleware import parse
from cfmiddleware.errors import ConfigError
from cfmiddleware.signing.originpath import directory
from cfmiddleware.storage.driver import Driver

from .address import DEFAULT_EDGE, Address
from .storageoptions import read_driver


def _directory(value: object, name: str) -> str:
    return directory(parse.optional_text(value, name), name)


def _public_keys(value: object, name: str) -> Mapping[str, str]:
    if not isinstance(value, dict) or not value:
        raise ConfigError(f"{name}: must map a Key-Pair-Id to the file of its public key")
    return {str(id): parse.text(file, f"{name}.{id}") for id, file in value.items()}


@dataclass(frozen=True)
class EdgeOptions:
    """The local edge.

    :param addr: where it listens. ``:5001`` is every address of the machine.
    :param originpath: the Origin Path, which is put in front of every path; the wrapper's by default.
    :param rootdirectory: the directory of the bucket that the storage's own root stands for; the wrapper's by
        default.
    :param publickeys: the files of the public keys that may sign, or their PEM text, by Key-Pair-Id; the
        wrapper's keys by default.
    :param trustedproxies: how many proxies in front append to ``X-Forwarded-For``.
    :param digestheader: whether the answers to pulls have ``Docker-Content-Digest``, as those of a
        distribution with the function of ``cfmiddleware template --digest-header``, and not those of a plain
        one. ``cfmiddleware serve`` without a file has it on.
    :param storage: the storage that it serves; the registry's by default.
    """

    addr: Address = DEFAULT_EDGE
    originpath: str | None = None
    rootdirectory: str | None = None
    publickeys: Mapping[str, str] | None = None
    trustedproxies: int = 0
    digestheader: bool = False
    storage: Driver | None = None

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {
        "addr": Address.parse,
        "originpath": _directory,
        "rootdirectory": _directory,
        "publickeys": _public_keys,
        "trustedproxies": parse.integer,
        "digestheader": parse.boolean,
        "storage": parse.section,
    }


def read_edge(section: Mapping[str, Any], here: Path) -> EdgeOptions:
    """Return the options of the section.

    :param here: the directory that relative paths are relative to.
    :raises ConfigError: for an unknown option, or a value that cannot work.
    """
    given = dict(section)
    storage = given.pop("storage", None)
    driver = None
    if storage is not None:
        driver = read_driver(parse.section(storage, "edge.storage"), "edge.storage", here)
    for name in ("originpath", "rootdirectory"):
        # An empty one is a blank path, not an absent option.
        if name in given and not given[name]:
            given[name] = "/"
    return parse.options(EdgeOptions, given, "edge", storage=driver)
