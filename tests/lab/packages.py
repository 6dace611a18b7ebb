"""The wheel and the archive of the sources, built from what git has of this checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from lab import PROJECT

#: The time that the archives have, in seconds since 1970.
EPOCH = 1_750_000_000

_BUILD = """
import os, sys
os.umask(int(sys.argv[2], 8))
from setuptools import build_meta
getattr(build_meta, sys.argv[3])(sys.argv[1])
"""


class Built(NamedTuple):
    """The two archives of a build."""

    wheel: Path
    sdist: Path


def tracked() -> list[str]:
    """Return the files of the checkout that git has, as paths below its top."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    return sorted(name for name in listed.stdout.split("\0") if name and (PROJECT / name).exists())


def copy_tracked(to: Path) -> None:
    """Copy those files as they are now."""
    for name in tracked():
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PROJECT / name, to / name)
        (to / name).chmod((PROJECT / name).stat().st_mode & 0o777)


def build(directory: Path, umask: str = "022") -> Built:
    """Build both archives of a copy that is made below *directory*, without the network.

    :param umask: of the one that builds, in octal.
    """
    source, dist = directory / "source", directory / "dist"
    copy_tracked(source)
    # A process each: setuptools builds only once in one.
    for what in ("build_sdist", "build_wheel"):
        subprocess.run(
            [sys.executable, "-c", _BUILD, str(dist), umask, what],
            cwd=source,
            env={**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)},
            capture_output=True,
            check=True,
            timeout=120,
        )
    [wheel] = dist.glob("*.whl")
    [sdist] = dist.glob("*.tar.gz")
    return Built(wheel, sdist)
