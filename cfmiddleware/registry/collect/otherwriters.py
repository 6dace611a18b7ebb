"""Whether another program pushes into the storage, which does not know of announcements.

Distribution skips the bytes of a blob that are there already, and links them. If a collection deletes them
just then, a blob is lost that was acknowledged, whatever the grace period. So a collection does nothing while
it sees an upload of Distribution's.
"""

from __future__ import annotations

from collections.abc import Iterable

from cfmiddleware.registry.store import paths
from cfmiddleware.storage.driver import Driver

from .lease import LeaseTaken

# An upload that nothing was written to for so many seconds has been given up.
_GIVEN_UP = 24 * 3600.0


class OtherWriter(LeaseTaken):
    """Distribution pushes into the storage; the message says where."""


def refuse_other_writers(driver: Driver, repositories: Iterable[str], now: float) -> None:
    """See that no upload of Distribution's is under way.

    :param repositories: those that have uploads.
    :param now: the storage's time in Unix seconds.
    :raises OtherWriter: when one is.
    """
    for name in repositories:
        folder = paths.uploads(name)
        for path, stat in driver.walk(folder):
            uuid, _, inner = path[len(folder) :].partition("/")
            # Ours have neither.
            is_distributions = inner == "data" or inner.startswith("hashstates/")
            if is_distributions and stat.modified > now - _GIVEN_UP:
                raise OtherWriter(f"{folder}{uuid}")
