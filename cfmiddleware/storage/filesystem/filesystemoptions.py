"""The options of the driver, with Distribution's names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from cfmiddleware import parse


def _path(value: object, name: str) -> Path:
    return Path(parse.exact_text(value, name))


@dataclass(frozen=True)
class FilesystemOptions:
    """Where the files are.

    :param rootdirectory: the directory that holds ``docker/``, on one filesystem that has hard links.
    :param maxthreads: how many files are worked on at the same time at the most. Any number holds, because a
        worker works on one file at a time.
    """

    rootdirectory: Path = Path("/var/lib/registry")
    maxthreads: int | None = None

    PARSERS: ClassVar[Mapping[str, parse.Parser]] = {"rootdirectory": _path, "maxthreads": parse.integer}
