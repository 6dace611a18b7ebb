"""Tags: names for manifests, and their list (OCI Distribution, "Listing tags")."""

from __future__ import annotations

from cfmiddleware.digest import Digest
from cfmiddleware.errors import RegistryError
from cfmiddleware.storage.driver import Driver

from . import paths
from .answers import Answer, as_json
from .links import has_link, read_link, write_link
from .paging import Page, next_link, parse_page
from .requests import Request

# Up to this many tags are looked at one by one; beyond, walking through all of them costs fewer requests of a
# storage that lists a thousand objects at a time.
_FEW = 32


class Tags:
    """The tags of all repositories.

    :param driver: where they are.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def current(self, repository: str, tag: str) -> Digest | None:
        """Return the manifest that a tag names, or None where there is no such tag."""
        return read_link(self._driver, paths.tag_current(repository, tag))

    def point(self, repository: str, tag: str, digest: Digest) -> None:
        """Make a tag name a manifest: the index first, so that no tag is current that the index lacks."""
        write_link(self._driver, paths.tag_index(repository, tag, digest), digest)
        write_link(self._driver, paths.tag_current(repository, tag), digest)

    def delete(self, repository: str, tag: str) -> bool:
        """Delete a tag, and return whether there was one. Its manifest stays."""
        current = paths.tag_current(repository, tag)
        if not has_link(self._driver, current):
            return False
        # First what makes it a tag, so that it is gone even if the rest is never reached.
        self._driver.delete([current])
        self._driver.delete_prefix(paths.tag(repository, tag))
        return True

    def forget(self, repository: str, digest: Digest) -> None:
        """Delete every tag that names *digest* now."""
        for tag in sorted(self._all(repository)):
            if self.current(repository, tag) == digest:
                self.delete(repository, tag)

    def _all(self, repository: str) -> set[str]:
        folder = paths.tags(repository)
        end = "/" + paths.CURRENT_LINK
        found = (path[len(folder) : -len(end)] for path, _ in self._driver.walk(folder) if path.endswith(end))
        return {tag for tag in found if "/" not in tag}

    def get(self, request: Request) -> Answer:
        """Answer GET: the repository's tags in the order of their bytes."""
        name = request.repository
        page = parse_page(request)
        tags = self._page(name, page)
        if not tags and not self._exists(name):
            raise RegistryError("NAME_UNKNOWN", 404, "there is no such repository", detail={"name": name})
        headers: dict[str, str] = {}
        if page.limit is not None and len(tags) > page.limit:
            tags = tags[: page.limit]
            if tags:
                headers = next_link(request, f"{name}/tags/list", page.limit, tags[-1])
        return as_json(200, {"name": name, "tags": tags}, headers)

    def _page(self, repository: str, page: Page) -> list[str]:
        """Return the tags of a page, and one more where there is one."""
        if page.limit is None or page.limit > _FEW:
            tags = sorted(tag for tag in self._all(repository) if tag > page.last)
            return tags if page.limit is None else tags[: page.limit + 1]
        found: list[str] = []
        for entry in self._driver.list(paths.tags(repository)):
            tag = entry.removesuffix("/")
            # A folder without a current link is what a deleted tag, or one in the making, leaves.
            if tag > page.last and has_link(self._driver, paths.tag_current(repository, tag)):
                found.append(tag)
                if len(found) > page.limit:
                    break
        return found

    def _exists(self, repository: str) -> bool:
        folders = self._driver.list(paths.repository(repository))
        return "_manifests/" in folders or "_layers/" in folders
