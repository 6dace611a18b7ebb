"""What is built. All about the package stands in setup.cfg; here is that two builds are the same bytes.

An archive keeps the time, the owner and the permissions of each file, which differ between checkouts. With
``SOURCE_DATE_EPOCH`` in the environment all files have that time instead. None has the owner or the umask.
"""

from __future__ import annotations

import gzip
import os
import tarfile
from pathlib import Path
from typing import Any

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.sdist import sdist


class Wheel(bdist_wheel):
    """Builds the wheel. The times are set by setuptools itself."""

    def write_wheelfile(self, wheelfile_base: str, *arguments: Any, **options: Any) -> None:
        """Write the last file that goes into the archive, and then set the permissions of all."""
        super().write_wheelfile(wheelfile_base, *arguments, **options)
        for path in Path(self.bdist_dir).rglob("*"):
            path.chmod(_permissions(path))


class Sdist(sdist):
    """Builds the archive of the sources."""

    def make_archive(
        self,
        base_name: str,
        format: str,
        root_dir: Any = None,
        base_dir: Any = None,
        owner: str | None = None,
        group: str | None = None,
    ) -> str:
        """Pack *base_dir*, sorted by name."""
        epoch = os.environ.get("SOURCE_DATE_EPOCH")
        if epoch is None or format != "gztar":
            return super().make_archive(base_name, format, root_dir, base_dir, owner, group)
        name, top = f"{base_name}.tar.gz", Path(base_dir)
        with (
            open(name, "wb") as file,
            # Without a name and with this time: gzip's head has both.
            gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=int(epoch)) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            for path in [top, *sorted(top.rglob("*"))]:
                archive.add(path, recursive=False, filter=lambda member: _nobodys(member, int(epoch)))
        return name


def _nobodys(member: tarfile.TarInfo, time: int) -> tarfile.TarInfo:
    """Return an entry of an archive without what is of the machine."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = time
    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    return member


def _permissions(path: Path) -> int:
    return 0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644


setup(cmdclass={"bdist_wheel": Wheel, "sdist": Sdist})
