"""Secrets that lie in files of their own, as Docker, Kubernetes and systemd hand them over."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cfmiddleware.errors import ConfigError, cannot_be_read, shown_path

#: The sections, and the options of each whose value may lie in a file. Such a file is named by the option's
#: name with ``file`` behind it.
SECRETS: Mapping[tuple[str, ...], tuple[str, ...]] = {
    ("storage", "s3"): ("accesskey", "secretkey", "sessiontoken"),
    ("edge", "storage", "s3"): ("accesskey", "secretkey", "sessiontoken"),
    ("redis",): ("username", "password", "sentinelusername", "sentinelpassword"),
    ("http",): ("secret",),
}

# No secret is longer, in bytes.
_MOST = 1 << 16


def with_secrets(tree: Mapping[str, Any], here: Path) -> dict[str, Any]:
    """Return the sections with the secrets in them that lie in files. The tree itself is not changed.

    :param here: the directory that relative paths are relative to.
    :raises ConfigError: for a file that cannot be read or is empty, and for a secret that is given twice.
    """
    found = dict(tree)
    for path, options in SECRETS.items():
        found = _below(found, path, options, ".".join(path), here)
    return found


def _below(
    node: Mapping[str, Any], path: tuple[str, ...], options: tuple[str, ...], place: str, here: Path
) -> dict[str, Any]:
    """Return *node* with the secrets of the section at *path* below it."""
    found = dict(node)
    if path:
        inner = node.get(path[0])
        if isinstance(inner, Mapping):  # what is not a section is told where it is read
            found[path[0]] = _below(inner, path[1:], options, place, here)
        return found
    for option in options:
        file = found.pop(f"{option}file", None)
        if file in (None, ""):
            continue
        if found.get(option) not in (None, ""):
            raise ConfigError(f"{place}.{option}file: goes without '{option}'; they say the same")
        found[option] = read_secret(file, f"{place}.{option}file", here)
    return found


def read_secret(file: object, name: str, here: Path) -> str:
    """Return the text of a file without the blanks and line ends around it.

    :param name: what names the file, for the error, which never holds what is in it.
    :param here: the directory that a relative path is relative to.
    :raises ConfigError: for a file that cannot be read, is empty or is too long.
    """
    if not isinstance(file, str):
        raise ConfigError(f"{name}: must be the path of a file")
    try:
        with (here / file).open("rb") as stream:
            text = stream.read(_MOST + 1).decode("utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{name}: {shown_path(file)} {cannot_be_read(error)}") from None
    if len(text) > _MOST:
        raise ConfigError(f"{name}: {shown_path(file)} is longer than any secret")
    if not text.strip():
        raise ConfigError(f"{name}: {shown_path(file)} is empty")
    return text.strip()
