"""The media types of stored manifests, which are read from the manifests' bytes once and then remembered.

What has a digest never changes. So a manifest is parsed once in each process, and a HEAD of one that is known
reads no byte of it.
"""

from __future__ import annotations

from typing import NamedTuple

from cfmiddleware.digest import Digest
from cfmiddleware.errors import ObjectNotFound
from cfmiddleware.process.cache import Cache
from cfmiddleware.storage.driver import Driver

from . import paths
from .manifest import TypeInBytes, type_in_bytes
from .turns import FEW, ParseTurns

# How many manifests a process remembers, each in a few hundred bytes.
_REMEMBERED = 10_000


class Known(NamedTuple):
    """What a process knows of a manifest's bytes: their number, and what they say of their media type."""

    size: int
    type: TypeInBytes


class MediaTypes:
    """The media types of all repositories' manifests. Nothing but bytes that have the digest is remembered.

    :param driver: where the manifests are.
    :param turns: parses them.
    """

    def __init__(self, driver: Driver, turns: ParseTurns) -> None:
        self._driver = driver
        self._turns = turns
        self._known: Cache[Digest, Known] = Cache(_REMEMBERED)

    def known(self, data: Digest) -> Known | None:
        """Return what is remembered of the bytes of *data*, or None."""
        return self._known.get(data)

    def learn(self, data: Digest) -> tuple[Known, bytes | None]:
        """Read the bytes of *data*. Of many requests that do so at once, one does it.

        Return what there is to know of them, and the bytes if they are few and this call has read them.

        :raises ObjectNotFound: if the storage has no such bytes.
        """
        few: list[bytes] = []

        def make() -> Known:
            content = self._driver.read(paths.blob_data(data))
            if len(content) <= FEW:
                few.append(content)
            return Known(len(content), self._turns(type_in_bytes, content))

        known = self._known.once(data, make)
        return known, few[0] if few else None

    def remember(self, data: Digest, size: int, found: TypeInBytes) -> None:
        """Remember what a push found in the bytes of *data*, so that no pull has to parse them."""
        self._known.put(data, Known(size, found))

    def of(self, repository: str, digest: Digest, known: Known) -> str:
        """Return the media type in the manifest, or the one it was pushed with if the manifest has none."""
        if not known.type.stated:
            try:
                return self._driver.read(paths.manifest_type(repository, digest)).decode("ascii")
            except (ObjectNotFound, UnicodeDecodeError):  # Distribution does not keep types
                pass
        return known.type.media_type
