"""Key files: where they are, and the id in their names."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import NamedTuple, Protocol

from cfmiddleware.errors import ConfigError, cannot_be_read, shown_path

_NAME = re.compile(r"pk-([A-Za-z0-9]+)\.pem|([A-Z][A-Z0-9]*)\.pem")

#: No key file is larger, in bytes.
MAX_SIZE = 1 << 20


class KeyFile(NamedTuple):
    """A file that may hold a key.

    :param name: its name in messages.
    :param path: what is opened; the id comes from this very name or was given, never from a link that may
        point elsewhere a moment later.
    :param id: the key pair's id.
    """

    name: str
    path: str
    id: str


class KeySource(Protocol):
    """Where key files are looked for."""

    def files(self) -> list[KeyFile]:
        """Return the files that may hold the key to sign with, the one to prefer first.

        :raises ConfigError: when there is none.
        """


class SingleFile:
    """One file, which may be a symbolic link.

    :param path: the file.
    :param id: the key pair's id; None to take it from the file's name or, if that has none, from the name of
        the file that the link leads to.
    """

    def __init__(self, path: str, id: str | None) -> None:
        self._path = path
        self._id = id

    def files(self) -> list[KeyFile]:
        """Return the file.

        :raises ConfigError: when it is not there, or its name says no id where one is needed.
        """
        # Resolved once: should the link be switched from here on, then id and key still belong together.
        target = os.path.realpath(self._path)
        try:
            found = os.stat(target)
        except OSError as error:
            raise ConfigError(f"{shown_path(self._path)}: {cannot_be_read(error)}") from None
        if not stat.S_ISREG(found.st_mode):
            raise ConfigError(f"{self._path}: is not a regular file")
        id = self._id or id_of(os.path.basename(self._path)) or id_of(os.path.basename(target))
        if id is None:
            raise ConfigError(
                f"{self._path}: its name says no key pair id; set keypairid, or name it pk-<id>.pem, "
                "or make it a link to a file of such a name"
            )
        return [KeyFile(self._path, target, id)]


class Directory:
    """All files of a directory that are named ``pk-<id>.pem`` or ``<id>.pem``; the newest comes first.

    :param path: the directory.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def files(self) -> list[KeyFile]:
        """Return the files, by the time of their last change, then by name.

        :raises ConfigError: when the directory cannot be read, or none is in it.
        """
        files: list[tuple[int, str, KeyFile]] = []
        try:
            names = os.listdir(self._path)
        except OSError as error:
            raise ConfigError(f"{shown_path(self._path)}: {cannot_be_read(error)}") from None
        for name in names:
            id = id_of(name)
            if id is None:
                continue
            path = os.path.join(self._path, name)
            try:
                found = os.stat(path)
            except OSError:
                continue  # it is gone since it was listed, or a link to nothing
            if stat.S_ISREG(found.st_mode):
                files.append((found.st_mtime_ns, name, KeyFile(path, path, id)))
        if not files:
            raise ConfigError(f"{self._path}: no file in it is named pk-<id>.pem or <id>.pem")
        return [file for _, _, file in sorted(files, reverse=True)]


def id_of(name: str) -> str | None:
    """Return the key pair's id that a file's name says (``pk-<id>.pem`` or ``<ID>.pem``), or None."""
    match = _NAME.fullmatch(name)
    return (match[1] or match[2]) if match else None


def contradicted_id(path: str, id: str) -> str | None:
    """Return the id that the name of a key's file says if it is another than *id*, else None.

    A name in capitals without a digit, such as ``KEY.pem``, says nothing.
    """
    for file in (path, os.path.realpath(path)):
        found = id_of(os.path.basename(file))
        if found is not None and (os.path.basename(file).startswith("pk-") or re.search("[0-9]", found)):
            return None if found == id else found
    return None


def write_private(file: Path, text: str, mode: int = 0o600) -> None:
    """Write a new file that has its mode from the start, never over one that is there.

    :raises ConfigError: if it cannot be written.
    """
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with open(descriptor, "w", encoding="ascii") as stream:
                stream.write(text)
        except BaseException:  # also a Ctrl-C: the next start would read half a key
            file.unlink()
            raise
    except FileExistsError:
        raise ConfigError(f"{file}: there is a file already; choose another name") from None
    except FileNotFoundError:
        raise ConfigError(
            f"{file}: cannot be written: there is no directory {file.parent}; make it first"
        ) from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written: {error.strerror}") from None
