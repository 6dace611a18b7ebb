"""Tags: names for manifests, and their list (OCI Distribution, "Listing tags")."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterator
from itertools import islice
from typing import NamedTuple

from cfmiddleware.digest import Digest
from cfmiddleware.errors import ObjectExists, ObjectNotFound
from cfmiddleware.process.waiting import in_turns
from cfmiddleware.storage.driver import Driver
from cfmiddleware.wsgi.response import Response, as_json

from . import errors
from .paging import Page, next_link, parse_page
from .requests import Request
from .retention.tagrules import TagPolicy
from .store import paths
from .store.links import has_link, read_link, write_link

# Up to this many tags are looked at one by one. With more, a walk through all of them costs fewer requests to
# a storage that lists a thousand objects at a time.
_FEW = 32

# A push that began to move a tag up to this many seconds ago may still be about to finish.
_UNDER_WAY = 60

# How many seconds the clocks of one storage's machines may differ, with rounding to whole seconds.
_SKEW = 2


class ListedTag(NamedTuple):
    """A tag as a listing shows it.

    :param name: its name.
    :param moved: when it was last pointed to a manifest, in Unix seconds by the storage's clock.
    :param size: how many bytes its link has.
    """

    name: str
    moved: float
    size: int


class Tags:
    """The tags of all repositories.

    :param driver: where they are.
    :param maxtags: how many tags a response has at most; None for no limit but the client's.
    :param policy: which of them are immutable.
    """

    def __init__(self, driver: Driver, maxtags: int | None = None, policy: TagPolicy | None = None) -> None:
        self._driver = driver
        self._maxtags = maxtags
        self._policy = policy or TagPolicy()

    def current(self, repository: str, tag: str) -> Digest | None:
        """Return the manifest that a tag names, or None if there is no such tag."""
        return read_link(self._driver, paths.tag_current(repository, tag))

    def is_there(self, repository: str, tag: str) -> bool:
        """Return whether there is a tag, whatever its link holds."""
        return has_link(self._driver, paths.tag_current(repository, tag))

    def lead_to(self, repository: str, digest: Digest, without: Collection[str] = ()) -> bool:
        """Return whether a tag names a manifest.

        :param without: tags that do not count.
        """
        folder = paths.tags(repository)
        entry = f"/{digest.algorithm}/{digest.hex}/link"
        for path, _ in self._driver.walk(folder):
            tag, _, rest = path[len(folder) :].partition("/")
            # A tag's index has every manifest that the tag ever named.
            if rest != f"index{entry}" or tag in without:
                continue
            if self.current(repository, tag) == digest:
                return True
        return False

    def check_unmoved(self, repository: str, tag: str, digest: Digest) -> None:
        """See that an immutable tag may be pointed to a manifest: it is new, names that one already, or leads
        to none that is there.

        :raises RegistryError: ``DENIED`` (403) otherwise.
        """
        current = self.current(repository, tag)
        if current in (None, digest) or not has_link(self._driver, paths.revision_link(repository, current)):
            return
        raise errors.tag_immutable(tag, current)

    def announce(self, repository: str, tag: str, digest: Digest) -> None:
        """Enter a manifest in the index of a tag that is about to name it, so that the index has every
        manifest that is current, and a delete knows of the push.
        """
        write_link(self._driver, paths.tag_index(repository, tag, digest), digest)

    def point(self, repository: str, tag: str, digest: Digest) -> None:
        """Make a tag name a manifest that was announced and whose revision is written.

        :raises RegistryError: ``DENIED`` (403) for an immutable tag that another push was faster to make.
        """
        current = paths.tag_current(repository, tag)
        if self._policy.is_immutable(repository, tag):
            try:
                self._driver.create(current, str(digest).encode())
            except ObjectExists:
                self.check_unmoved(repository, tag, digest)
            else:
                return
        write_link(self._driver, current, digest)

    def delete(self, repository: str, tag: str) -> bool:
        """Delete a tag, and return whether there was one. Its manifest stays."""
        current = paths.tag_current(repository, tag)
        # Not by a stat, because S3's times there are whole seconds and differ from those in a listing.
        listed = self._driver.walk(paths.tag(repository, tag))
        moved = next((stat.modified for path, stat in listed if path == current), None)
        if moved is None:
            return False
        self._drop(repository, tag, moved, time.time())
        return True

    def delete_unmoved(self, repository: str, seen: ListedTag, now: float) -> bool:
        """Delete a tag as :meth:`delete` does, but only if it has not been moved since it was seen and no
        push is about to move it. Return whether it is gone by this.

        :param seen: the tag, which was moved more than :data:`_SKEW` seconds ago.
        :param now: the storage's time in Unix seconds.
        """
        current = paths.tag_current(repository, seen.name)
        listed = dict(self._driver.walk(paths.tag(repository, seen.name)))
        if current not in listed or listed[current].modified != seen.moved:
            return False
        named = self.current(repository, seen.name)
        if named is None:
            return False
        own = paths.tag_index(repository, seen.name, named)
        for path, stat in listed.items():
            # A push writes its entry before it moves the tag. The entry of the last one is a little older
            # than the tag; one of another push may be, if that one is slower.
            since = seen.moved + (_SKEW if path == own else -_SKEW)
            if path != current and stat.modified > max(since, now - _UNDER_WAY):
                return False
        self._drop(repository, seen.name, seen.moved, now)
        return not self.is_there(repository, seen.name)

    def forget(self, repository: str, digest: Digest) -> list[str]:
        """Delete every tag that names *digest* now, and return them; its revision has been deleted before.

        A push of the same manifest writes the revision before its tags name it, and looks at it after them.
        So if the revision is back, a push is under way at the same time. It wins, and its tags are put back.
        """
        revision = paths.revision_link(repository, digest)
        forgotten = []
        for tag in in_turns(self.listed(repository)):
            if self.current(repository, tag.name) != digest:
                continue
            if has_link(self._driver, revision):
                break
            self._drop(repository, tag.name, tag.moved, time.time())
            if has_link(self._driver, revision):
                self._put_back(repository, tag.name, digest)
            else:
                forgotten.append(tag.name)
        return forgotten

    def _drop(self, repository: str, tag: str, moved: float, now: float) -> None:
        """Delete a tag, unless a push moves it at the same time.

        :param moved: when it was last moved, by the storage's clock.
        :param now: what time it is.

        The current link goes first, so that the tag is gone even if the rest is never reached. No storage can
        delete an object only if it is still the one that was read. So a push that came between is known by
        its entry in the tag's index, which it writes before. If its revision is there, the tag may have named
        it already. If not, the tag is yet to name it: then only the entry must stay.
        """
        self._driver.delete([paths.tag_current(repository, tag)])
        entries = self._index(repository, tag)
        since = max(moved + _SKEW, now - _UNDER_WAY)
        for _, pushed in sorted((entry for entry in entries if entry[0] > since), reverse=True):
            if has_link(self._driver, paths.revision_link(repository, pushed)):
                self._put_back(repository, tag, pushed)
                return
        old = [digest for written, digest in entries if written <= since]
        self._driver.delete(paths.tag_index(repository, tag, digest) for digest in old)
        # Not by prefix, because that would delete what a push writes meanwhile.
        again = self.current(repository, tag)
        if again is not None:
            write_link(self._driver, paths.tag_index(repository, tag, again), again)

    def _index(self, repository: str, tag: str) -> list[tuple[float, Digest]]:
        """Return every manifest that a tag ever named, and when its entry was last written."""
        found: list[tuple[float, Digest]] = []
        for path, stat in self._driver.walk(paths.tag(repository, tag) + "index/"):
            algorithm, hexadecimal = path.split("/")[-3:-1]
            try:
                found.append((stat.modified, Digest.parse(f"{algorithm}:{hexadecimal}")))
            except ValueError:
                continue
        return found

    def _put_back(self, repository: str, tag: str, digest: Digest) -> None:
        """Make a tag name a manifest again, unless it names one already."""
        write_link(self._driver, paths.tag_index(repository, tag, digest), digest)
        try:
            self._driver.create(paths.tag_current(repository, tag), str(digest).encode())
        except ObjectExists:
            return

    def listed(self, repository: str) -> list[ListedTag]:
        """Return all tags in the order of their bytes."""
        return sorted(self._walked(repository) if self._driver.remote else self._looked_at(repository))

    def _walked(self, repository: str) -> Iterator[ListedTag]:
        """Yield all tags by a walk, which a storage with a thousand objects in an answer does fastest."""
        folder = paths.tags(repository)
        end = "/" + paths.CURRENT_LINK
        for path, stat in self._driver.walk(folder):
            name = path[len(folder) : -len(end)]
            if path.endswith(end) and "/" not in name:
                yield ListedTag(name, stat.modified, stat.size)

    def _looked_at(self, repository: str, last: str = "") -> Iterator[ListedTag]:
        """Yield the tags after *last* in the order of their bytes, looking at one after the other.

        A deleted tag, or one that is being made, leaves a folder without a current link.
        """
        entries = self._driver.list(paths.tags(repository), hollow=lambda name: True)
        for entry in in_turns(entries):
            tag = entry.removesuffix("/")
            if tag <= last:
                continue
            with contextlib.suppress(ObjectNotFound):
                stat = self._driver.stat(paths.tag_current(repository, tag))
                yield ListedTag(tag, stat.modified, stat.size)

    def get(self, request: Request) -> Response:
        """Answer GET: the repository's tags in the order of their bytes."""
        name = request.repository
        page = parse_page(request)
        if self._maxtags is not None:
            page = page._replace(
                limit=min(self._maxtags, page.limit if page.limit is not None else self._maxtags)
            )
        tags = self._page(name, page)
        if not tags and not self._exists(name):
            raise errors.name_unknown(name)
        headers: dict[str, str] = {}
        if page.limit is not None and len(tags) > page.limit:
            tags = tags[: page.limit]
            if tags:
                headers = next_link(request, f"{name}/tags/list", page.limit, tags[-1])
        return as_json(200, {"name": name, "tags": tags}, headers)

    def _page(self, repository: str, page: Page) -> list[str]:
        """Return the tags of a page, and one more where there is one."""
        most = None if page.limit is None else page.limit + 1
        if self._driver.remote and (page.limit is None or page.limit > _FEW):
            tags = [tag.name for tag in self.listed(repository) if tag.name > page.last]
            return tags[:most]
        return [tag.name for tag in islice(self._looked_at(repository, page.last), most)]

    def _exists(self, repository: str) -> bool:
        folders = self._driver.list(paths.repository(repository))
        return "_manifests/" in folders or "_layers/" in folders
