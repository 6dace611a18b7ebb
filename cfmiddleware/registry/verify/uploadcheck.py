"""Uploads that nobody will finish: silent for long, or without what would finish them."""

from __future__ import annotations

from collections.abc import Mapping

from cfmiddleware.errors import ObjectNotFound
from cfmiddleware.registry.store import paths
from cfmiddleware.registry.store.upload import State
from cfmiddleware.storage.driver import Stat

from .storedobjects import StoredObjects

#: After how many seconds of silence nobody finishes an upload: what Distribution's purge goes by.
ABANDONED = 7 * 24 * 3600.0

# What has no beginning was left by a crash, or is one second old.
_LOST = 3600.0

_STATE = "state-"


def problem(objects: StoredObjects, repository: str, uuid: str, found: Mapping[str, Stat], now: float) -> str:
    """Return what is wrong with an upload, or an empty text.

    :param found: the objects in its folder.
    :param now: the time in Unix seconds.
    """
    if not found or "cancelled" in found:
        return ""
    silent = now - max(stat.modified for stat in found.values())
    if "startedat" not in found:
        return "nothing says when it began, so Distribution does not purge it" if silent > _LOST else ""
    if silent > ABANDONED:
        return f"nobody has written to it for {silent / 86400:.0f} days"
    newest = max((name for name in found if name.startswith(_STATE)), default=None)
    if newest is None:
        return ""
    try:
        content = objects.driver.read(paths.upload(repository, uuid) + newest)
    except ObjectNotFound:  # it has ended meanwhile
        return ""
    try:
        state = State.decode(int(newest[len(_STATE) :]), "sha256", content)
    except ValueError as error:
        return str(error) if content else ""  # another request has just gone on from it
    for piece in state.pieces:
        stat = found.get(piece.name)
        if stat is None:
            return f"its {piece.name} is gone"
        if stat.size != piece.size:
            return f"its {piece.name} has {stat.size} bytes of {piece.size}"
    return ""
