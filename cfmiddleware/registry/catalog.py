"""The catalog of repositories (Docker Registry HTTP API V2, "Listing Repositories")."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import islice

from cfmiddleware.storage.driver import Driver
from cfmiddleware.wsgi.response import Response, as_json

from .paging import next_link, parse_page
from .requests import Request
from .store import paths

#: How many repositories are listed if the client does not say, as in Distribution.
_DEFAULT_COUNT = 100


class Catalog:
    """The list of repositories.

    :param driver: where they are.
    :param maxentries: how many repositories a response has at most.
    """

    def __init__(self, driver: Driver, maxentries: int) -> None:
        self._driver = driver
        self._maxentries = maxentries

    def get(self, request: Request) -> Response:
        """Answer GET: the repositories in the order of their names' bytes."""
        page = parse_page(request)
        count = min(_DEFAULT_COUNT if page.limit is None else page.limit, self._maxentries)
        names = list(islice(repositories(self._driver, page.last), count + 1)) if count else []
        headers: dict[str, str] = {}
        if len(names) > count:
            names.pop()
            headers = next_link(request, "_catalog", count, names[-1])
        return as_json(200, {"repositories": names}, headers)


def repositories(driver: Driver, last: str = "") -> Iterator[str]:
    """Yield the names that come after *last* in the order of their bytes, and list no more folders than
    needed.

    A folder's name comes before the names of all that are in it; so the least of the folders not yet looked
    into comes before every name not yet found.
    """
    waiting = [""]
    while waiting:
        name = heapq.heappop(waiting)
        folder = paths.repository(name) if name else paths.REPOSITORIES
        entries = driver.list(folder, hollow=_may_be_a_repository)
        if name > last and ("_manifests/" in entries or "_layers/" in entries):
            yield name
        for entry in entries:
            if entry.endswith("/") and _may_be_a_repository(entry):
                child = f"{name}/{entry[:-1]}" if name else entry[:-1]
                if _may_come_after(child, last):
                    heapq.heappush(waiting, child)


def _may_be_a_repository(folder: str) -> bool:
    return not folder.startswith("_")


def _may_come_after(name: str, last: str) -> bool:
    """Return whether the repository *name*, or any that is nested in it, comes after *last*."""
    # "0" is the character after "/": all that is nested in a name comes before the name and "0".
    return name + "0" > last
