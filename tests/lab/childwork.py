"""Functions that tests have called in another process, which finds them by their names."""

from __future__ import annotations

import os
from pathlib import Path

from cfmiddleware.digest import Digest
from cfmiddleware.registry.errors import manifest_blob_unknown


def wait_at(pipe: str) -> None:
    """Wait until a named pipe's other end is opened and closed."""
    Path(pipe).read_bytes()


def refuse() -> None:
    """Raise what a client is answered with."""
    raise manifest_blob_unknown([Digest.of(b"")])


def parsed_where(content: bytes, *, by: str = "") -> tuple[int, int, str]:
    """Return how many bytes there are, and which process was asked."""
    return len(content), os.getpid(), by
