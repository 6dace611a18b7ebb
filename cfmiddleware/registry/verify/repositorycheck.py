"""What of one repository is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from cfmiddleware.digest import Digest
from cfmiddleware.errors import ObjectNotFound, StorageUnavailable
from cfmiddleware.process.sidebyside import SideBySide
from cfmiddleware.registry.store import paths
from cfmiddleware.storage.driver import Stat

from . import layoutkeys, uploadcheck
from .bytesread import BytesRead
from .faults import Fault, Kind, Note, shown
from .parts import Part, Role, parts
from .secondlook import SecondLooks
from .sizes import Sizes
from .storedobjects import StoredObjects, WrongLink

# No manifest is larger, in bytes: registries take 4 MiB.
_LARGEST = 32 << 20


class Rules(NamedTuple):
    """What is looked at, and what counts as broken.

    :param every: whether every link and every blob is read.
    :param sample: how many blobs are read otherwise, chosen at random.
    :param layers: whether the layers of an image must be there (``validation.manifests.layers``).
    """

    every: bool = False
    sample: int = 100
    layers: bool = True


@dataclass
class Counts:
    """What was looked at."""

    layers: int = 0
    manifests: int = 0
    tags: int = 0
    uploads: int = 0

    def add(self, other: Counts) -> None:
        """Count what was looked at elsewhere."""
        self.layers += other.layers
        self.manifests += other.manifests
        self.tags += other.tags
        self.uploads += other.uploads


class RepositoryCheck:
    """Checks one repository.

    :param name: its name.
    :param folders: which folders it has, each ending in a slash.
    :param reading: reads manifests, a few at a time.
    :param note: is told of what is not broken and worth knowing.
    :param now: the time in Unix seconds.
    """

    def __init__(
        self,
        name: str,
        folders: frozenset[str],
        objects: StoredObjects,
        bytesread: BytesRead,
        seconds: SecondLooks,
        reading: SideBySide,
        note: Callable[[Note], object],
        rules: Rules,
        now: float,
    ) -> None:
        self.name = name
        self.counts = Counts()
        self._folders = folders
        self._objects = objects
        self._bytes = bytesread
        self._suspect = seconds.suspect
        self._reading = reading
        self._note = note
        self._rules = rules
        self._now = now
        self._folder = paths.repository(name)
        # The sizes of what the links name, and the links whose bytes are not there.
        self._layers, self._revisions = Sizes(), Sizes()
        self._empty, self._needed = Sizes(), set[Digest]()
        self._told = set[str]()

    def run(self) -> Counts:
        """Check the repository, and return what was looked at."""
        if "_layers/" in self._folders:
            self._list_layers()
        if "_manifests/" in self._folders:
            self._list_manifests()
            for _ in self._reading.map(self._check_named, self._named()):
                pass
        if len(self._empty):
            self._empty.freeze()
            self._check_empty()
        if "_uploads/" in self._folders:
            for _ in self._reading.map(self._check_upload, self._uploads()):
                pass
        for folder in ("_referrers/", "_types/"):
            if folder in self._folders:
                for key, _ in self._walk(folder):
                    if not layoutkeys.is_known(key):
                        self._unknown(key)
        return self.counts

    def _walk(self, folder: str) -> Iterator[tuple[str, Stat]]:
        for path, stat in self._objects.walk(self._folder + folder, self._odd):
            yield path[len(self._folder) :], stat

    def _odd(self, path: str) -> None:
        if path not in self._told:
            self._told.add(path)
            self._suspect(partial(self._look_at_unknown, path))

    def _fault(self, kind: Kind, says: str, remedy: str) -> Fault:
        return Fault(kind, self.name, says, remedy)

    # What there is

    def _list_layers(self) -> None:
        for key, stat in self._walk("_layers/"):
            digest = layoutkeys.layer_in(key)
            if digest is None:
                self._unknown(key)
                continue
            self.counts.layers += 1
            size = self._size_behind(key, digest, stat)
            (self._empty if size is None else self._layers).add(digest, size or 0)
        self._layers.freeze()

    def _list_manifests(self) -> None:
        current, indexed = set[str](), set[str]()
        for key, stat in self._walk("_manifests/"):
            digest, tag = layoutkeys.revision_in(key), layoutkeys.current_in(key)
            if digest is not None:
                self.counts.manifests += 1
                self._revisions.add(digest, self._size_behind(key, digest, stat) or 0)
            elif tag is not None:
                self.counts.tags += 1
                current.add(tag)
            elif (tag := layoutkeys.indexed_in(key)) is not None:
                indexed.add(tag)
            elif not layoutkeys.is_known(key):
                self._unknown(key)
        self._revisions.freeze()
        for tag in sorted(indexed - current):
            self._suspect(partial(self._look_at_tag, tag))

    def _size_behind(self, key: str, digest: Digest, stat: Stat) -> int | None:
        """Return the size of what a link names; None if the bytes or the link are not right."""
        try:
            data = self._objects.named(self._folder + key, digest, stat, read=self._rules.every)
        except (WrongLink, StorageUnavailable):
            return None
        return None if data is None else self._objects.size(data)

    def _named(self) -> Iterator[tuple[str, Digest | str]]:
        for key, _ in self._walk("_manifests/"):
            named = layoutkeys.revision_in(key) or layoutkeys.current_in(key)
            if named is not None:
                yield key, named

    def _unknown(self, key: str) -> None:
        path = self._folder + key
        self._suspect(partial(self._look_at_unknown, path))

    def _look_at_unknown(self, path: str) -> Fault | None:
        return unknown_key(self._objects, path, self.name)

    # Manifests

    def _check_named(self, item: tuple[str, Digest | str]) -> None:
        key, named = item
        if isinstance(named, str):
            self._check_tag(named)
            return
        path = self._folder + key
        try:
            data = self._objects.follow(path, named)
            content = self._content(data) if data is not None else None
        except (ObjectNotFound, WrongLink, StorageUnavailable):
            data = content = None
        if (
            data is None
            or content is None
            or (found := parts(content)) is None
            or not _is_named(content, named, data)
        ):
            self._suspect(partial(self._look_at_manifest, named))
            return
        self._check_parts(named, found)

    def _content(self, data: Digest) -> bytes | None:
        size = self._objects.size(data)
        if size is None or size > _LARGEST:
            return None
        return self._objects.driver.read(paths.blob_data(data))

    def _look_at_manifest(self, digest: Digest) -> Fault | None:
        again = "push it again, or delete it: " + self._delete(f"@{digest}")
        try:
            data = self._objects.follow(paths.revision_link(self.name, digest), digest)
            if data is None:
                return None  # it was deleted
            size = self._objects.size_now(data)
            if size is None:
                return self._fault(Kind.REVISION, f"manifest {digest}: its bytes are not there", again)
            if size > _LARGEST:
                return self._fault(
                    Kind.MANIFEST, f"manifest {digest} has {size} bytes, more than any manifest", again
                )
            content = self._objects.driver.read(paths.blob_data(data))
        except WrongLink as error:
            return self._fault(Kind.WRONG_LINK, f"manifest {digest}: its link {error}", again)
        except ObjectNotFound:
            return None  # a collection has just taken it
        except StorageUnavailable as error:
            return unreadable(self.name, f"manifest {digest}", error)
        if not _is_named(content, digest, data):
            return self._fault(
                Kind.DATA,
                f"manifest {digest}: its {len(content)} bytes are not those of its digest",
                mend_data(self._objects, data),
            )
        if parts(content) is None:
            return self._fault(
                Kind.MANIFEST,
                f"manifest {digest} is not a JSON object; nothing of the repository is garbage while it is "
                "there",
                "delete it: " + self._delete(f"@{digest}"),
            )
        return None

    def _check_parts(self, manifest: Digest, found: list[Part]) -> None:
        entries = absent = 0
        for part in found:
            if part.role is Role.FREE:
                continue
            size = self._layers.get(part.digest)
            if part.role is not Role.BLOB and size is None:
                size = self._revisions.get(part.digest)
            entries += part.role is Role.ENTRY
            if size is None or (part.size is not None and size != part.size):
                if part.role is Role.BLOB:
                    self._check_blob(manifest, part)
                elif not self._has_either(part.digest):
                    absent += part.role is Role.ENTRY
                    if part.role is Role.OTHER:
                        self._tell_absent(manifest, part)
                elif part.size is not None:
                    self._suspect(partial(self._look_at_entry, manifest, part))
        if absent:
            self._note(
                Note(self.name, f"index {manifest} is sparse: {absent} of its {entries} entries are not here")
            )

    def _check_blob(self, manifest: Digest, part: Part) -> None:
        if not self._rules.layers and not self._has_either(part.digest):
            self._note(
                Note(self.name, f"image {manifest} is sparse: {part.digest} of its {part.field} is not here")
            )
        elif self._suspect(partial(self._look_at_blob, manifest, part)):
            self._needed.add(part.digest)

    def _tell_absent(self, manifest: Digest, part: Part) -> None:
        self._note(
            Note(self.name, f"manifest {manifest} names {part.digest} in an unknown field; it is not here")
        )

    def _has_either(self, digest: Digest) -> bool:
        """Return whether the repository has a blob or a manifest, as it is now."""
        links = (paths.revision_link(self.name, digest), paths.layer_link(self.name, digest))
        for link in links:
            try:
                if self._objects.follow(link) is not None:
                    return True
            except (WrongLink, StorageUnavailable):
                return True
        return False

    def _look_at_blob(self, manifest: Digest, part: Part) -> Fault | None:
        """Look at what a pull of an image needs."""
        if self._is_gone(manifest):
            return None
        again = "push the image again, or delete it: " + self._delete(f"@{manifest}")
        needs = f"manifest {manifest} needs {part.digest} ({part.field})"
        try:
            data = self._objects.follow(paths.layer_link(self.name, part.digest), part.digest)
        except WrongLink as error:
            return self._fault(Kind.PART, f"{needs}, whose link {error}", again)
        except StorageUnavailable as error:
            return unreadable(self.name, f"the link of {part.digest}", error)
        size = self._objects.size_now(data or part.digest)
        if size is None:
            return self._fault(Kind.PART, f"{needs}, which is not there", again)
        if data is None:
            return self._fault(Kind.PART, f"{needs}, which the repository has no link to", again)
        return self._compare(manifest, part, data, size)

    def _look_at_entry(self, manifest: Digest, part: Part) -> Fault | None:
        """Look at the size of what an index names, if that is here."""
        if self._is_gone(manifest):
            return None
        for link in (paths.revision_link, paths.layer_link):
            try:
                data = self._objects.follow(link(self.name, part.digest), part.digest)
            except (WrongLink, StorageUnavailable):
                return None  # told where that link is looked at
            size = None if data is None else self._objects.size_now(data)
            if data is not None and size is not None:
                return self._compare(manifest, part, data, size)
        return None

    def _compare(self, manifest: Digest, part: Part, data: Digest, size: int) -> Fault | None:
        if part.size is None or part.size == size:
            return None
        try:
            content = self._bytes.content(data, again=False)
        except ObjectNotFound:
            return None
        except StorageUnavailable as error:
            return unreadable(self.name, str(data), error)
        says = f"manifest {manifest} says that {part.digest} has {part.size} bytes; it has {size}"
        if content.digests[0] == data:
            remedy = "its bytes are right and the manifest is not: build the image again, and push it"
        else:
            says += ", and not those of its digest"
            remedy = mend_data(self._objects, data)
        return self._fault(Kind.SIZE, says, remedy)

    def _is_gone(self, manifest: Digest) -> bool:
        """Return whether a manifest was deleted meanwhile."""
        try:
            return self._objects.follow(paths.revision_link(self.name, manifest)) is None
        except (WrongLink, StorageUnavailable):
            return False

    # Links and tags

    def _check_empty(self) -> None:
        """Look at the links of blobs whose bytes were not there, unless a manifest's fault tells of them."""
        for key, _ in self._walk("_layers/"):
            digest = layoutkeys.layer_in(key)
            if digest is not None and digest not in self._needed and self._empty.get(digest) is not None:
                self._suspect(partial(self._look_at_layer, digest))

    def _look_at_layer(self, digest: Digest) -> Fault | None:
        path = paths.layer_link(self.name, digest)
        try:
            data = self._objects.follow(path, digest)
        except WrongLink as error:
            return self._fault(
                Kind.WRONG_LINK,
                f"blob {digest}: its link {error}",
                f"push an image with it again, or remove the object {self._objects.driver.key(path)}",
            )
        except StorageUnavailable as error:
            return unreadable(self.name, f"the link of {digest}", error)
        if data is None or self._objects.size_now(data) is not None:
            return None
        return self._fault(
            Kind.LINK,
            f"blob {digest}: its link is there, and its bytes are not",
            "no manifest here needs it; the next `cfmiddleware gc` takes the link away",
        )

    def _check_tag(self, tag: str) -> None:
        try:
            named = self._objects.follow(paths.tag_current(self.name, tag))
        except (WrongLink, StorageUnavailable):
            named = None
        if named is None or self._revisions.get(named) is None:
            self._suspect(partial(self._look_at_tag, tag))

    def _look_at_tag(self, tag: str) -> Fault | None:
        remedy = "push it again, or delete it: " + self._delete(f":{tag}")
        try:
            named = self._objects.follow(paths.tag_current(self.name, tag))
            if named is None:
                below = next(self._objects.walk(paths.tag(self.name, tag)), None)
                if below is None:
                    return None  # it was deleted
                return self._fault(Kind.TAG, f"tag {tag} has a history and names nothing now", remedy)
            there = self._objects.follow(paths.revision_link(self.name, named)) is not None
        except WrongLink as error:
            return self._fault(Kind.TAG, f"tag {tag}: its link, or its manifest's, {error}", remedy)
        except StorageUnavailable as error:
            return unreadable(self.name, f"tag {tag}", error)
        if there:
            return None
        return self._fault(Kind.TAG, f"tag {tag} names {named}, which is not there", remedy)

    def _delete(self, reference: str) -> str:
        return f"cfmiddleware delete CONFIG {self.name}{reference}"

    # Uploads

    def _uploads(self) -> Iterator[str]:
        for name in self._objects.driver.list(self._folder + "_uploads/"):
            if name.endswith("/"):
                yield name[:-1]
            else:
                self._unknown(f"_uploads/{name}")

    def _check_upload(self, uuid: str) -> None:
        self.counts.uploads += 1
        for name in self._of_upload(uuid):
            if not layoutkeys.is_of_upload(name):
                self._unknown(f"_uploads/{uuid}/{name}")
        self._suspect(partial(self._look_at_upload, uuid))

    def _of_upload(self, uuid: str) -> dict[str, Stat]:
        folder = f"_uploads/{uuid}/"
        return {key[len(folder) :]: stat for key, stat in self._walk(folder)}

    def _look_at_upload(self, uuid: str) -> Fault | None:
        problem = uploadcheck.problem(self._objects, self.name, uuid, self._of_upload(uuid), self._now)
        if not problem:
            return None
        return self._fault(
            Kind.UPLOAD,
            f"upload {shown(uuid)}: {problem}",
            "nobody can pull it; `cfmiddleware purge CONFIG` removes it",
        )


def unknown_key(objects: StoredObjects, path: str, repository: str = "") -> Fault | None:
    """Return the fault of a key of no known layout, or None if it is gone.

    :param path: an object's, or a folder's, which ends in a slash.
    """
    below = ""
    try:
        if path.endswith("/"):
            count = sum(1 for _ in objects.walk(path))
            if not count:
                return None
            below = f" ({count} objects)"
        else:
            objects.driver.stat(path)
    except ValueError:  # no object can have such a path here, and yet it was listed
        pass
    except ObjectNotFound:
        return None
    return Fault(
        Kind.KEY,
        repository,
        f"{shown(path.lstrip('/'))}{below}: no registry writes such a key",
        "nothing removes it by itself; look whose it is",
    )


def unreadable(repository: str, what: str, error: StorageUnavailable) -> Fault:
    """Return the fault of an object that the storage does not give."""
    return Fault(
        Kind.UNREADABLE,
        repository,
        f"{what} cannot be read: {shown(str(error))}",
        "look at the storage: the disk, the rights, the storage class of the object",
    )


def mend_data(objects: StoredObjects, data: Digest) -> str:
    """Return what mends bytes that are not those of their digest."""
    key = objects.driver.key(paths.blob_data(data))
    return (
        f"remove the object {key} and push an image with it again (clients send only what is not there); "
        f"if CloudFront may have it, invalidate it there"
    )


def _is_named(content: bytes, name: Digest, data: Digest) -> bool:
    return all(Digest.of(content, digest.algorithm) == digest for digest in {name, data})
