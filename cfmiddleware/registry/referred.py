"""Whether what a manifest refers to is in its repository.

Where no garbage collection has ever been, a link says so: its bytes were there before it, and nobody deletes
them. Where one has been, a push that was killed may have left a link whose bytes are gone, or a manifest
whose blobs are (``collect/condemned.py``). There the bytes are looked at too, and so are the blobs of each
manifest that an index names: clients do not push a manifest that is there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Literal, NamedTuple

from cfmiddleware.digest import Digest
from cfmiddleware.errors import ObjectNotFound
from cfmiddleware.process.sidebyside import SideBySide
from cfmiddleware.storage.driver import Driver

from .collect.aside import bring_back
from .collect.condemned import Condemned, of_data, of_repository
from .errors import RegistryError
from .store import paths
from .store.links import has_link, read_link
from .store.manifest import Manifest, Required, parse_manifest
from .store.turns import ParseTurns

# After so many missing things that a manifest refers to, nobody looks for the others.
_MOST_MISSING = 100

# How often something comes back for a manifest.
_ATTEMPTS = 5

# How many things below the manifests of an index are looked at, at the most.
_MOST_BELOW = 10_000

_Kind = Literal["blob", "manifest", "either"]


class Lacking(Exception):
    """A manifest refers to what is not there.

    :param missing: what that is, also manifests that are there and cannot be pulled.
    :param broken: those of an index that are there and lack bytes, each with the manifests above it that the
        index leads to, from the top.
    """

    def __init__(self, missing: list[Digest], broken: list[tuple[Digest, ...]]) -> None:
        super().__init__(f"{len(missing)} are missing")
        self.missing = missing
        self.broken = broken


class _Wanted(NamedTuple):
    """What is looked for.

    :param above: the manifests through which the pushed one refers to it, from the top.
    """

    kind: _Kind
    digest: Digest
    above: tuple[Digest, ...] = ()


class _Found(NamedTuple):
    """What was found.

    :param data: the digest of its bytes; None if it is not there.
    :param manifest: what it says, if it is a manifest that can be read.
    """

    data: Digest | None
    manifest: Manifest | None = None


@dataclass
class _Look:
    """What a look has found.

    :param missing: what the pushed manifest refers to and is not there.
    :param below: what manifests of an index refer to and is not there, by all manifests above it.
    :param lines: what no garbage collection may take.
    """

    missing: list[Digest] = field(default_factory=list)
    below: dict[tuple[Digest, ...], list[Digest]] = field(default_factory=dict)
    lines: set[str] = field(default_factory=set)

    def add(self, wanted: _Wanted) -> None:
        """Add what is not there."""
        (self.below.setdefault(wanted.above, []) if wanted.above else self.missing).append(wanted.digest)


class Referred:
    """Looks for what manifests refer to.

    :param driver: where it is.
    :param required: what of it must be there before a manifest.
    :param turns: parses the manifests of an index.
    :param looks: looks side by side.
    :param condemned: what garbage collections are about to delete.
    """

    def __init__(
        self, driver: Driver, required: Required, turns: ParseTurns, looks: SideBySide, condemned: Condemned
    ) -> None:
        self._driver = driver
        self._required = Required(required.layers, required.platforms)
        self._turns = turns
        self._looks = looks
        self._condemned = condemned

    def check(self, repository: str, manifest: Manifest, *, data: bool) -> set[str]:
        """Look for everything that a manifest refers to, and end when very much of it is missing. What a
        garbage collection has set aside comes back.

        :param data: whether a link counts only with its bytes.
        :returns: what no garbage collection may take, as lines of an announcement.
        :raises Lacking: when something is missing.
        """
        look = self._look(repository, manifest, data=data)
        for _ in range(_ATTEMPTS):  # a collection may be setting links aside, one after the other
            absent = dict.fromkeys([*look.missing, *chain.from_iterable(look.below.values())])
            if not absent or len(absent) >= _MOST_MISSING:
                break
            if not bring_back(self._driver, repository, absent, self._turns):
                break
            look = self._look(repository, manifest, data=data)
        broken = self._broken(look)
        if look.missing or broken:
            raise Lacking(list(dict.fromkeys([*look.missing, *(above[0] for above in broken)])), broken)
        return look.lines

    def is_broken(self, repository: str, digest: Digest) -> bool:
        """Return whether a manifest is there and bytes of what it refers to are gone."""
        found = self._find(repository, _Wanted("manifest", digest))
        if found.manifest is None:
            return False
        look = self._look(repository, found.manifest, data=True)
        return not all(map(self._is_stored, look.missing)) or bool(self._broken(look))

    def _broken(self, look: _Look) -> list[tuple[Digest, ...]]:
        # The bytes of what a client has deleted stay for as long as a manifest refers to them.
        return [above for above, lost in look.below.items() if not all(map(self._is_stored, lost))]

    def _is_stored(self, digest: Digest) -> bool:
        return has_link(self._driver, paths.blob_data(digest))

    def _look(self, repository: str, manifest: Manifest, *, data: bool) -> _Look:
        since = self._condemned.clock()
        look, level, left = _Look(), list(_wanted(manifest)), _MOST_BELOW
        seen = {wanted.digest for wanted in level}
        while level:
            below: list[_Wanted] = []
            with contextlib.closing(self._each(repository, level, data=data)) as found:
                for wanted, there in zip(level, found, strict=True):
                    self._condemned.keep_looking(since)
                    if there.data is None:
                        look.add(wanted)
                        if len(look.missing) == _MOST_MISSING:
                            return look
                        continue
                    look.lines.update((of_repository(repository, wanted.digest), of_data(wanted.digest)))
                    look.lines.add(of_data(there.data))
                    if there.manifest is not None:
                        above = (*wanted.above, wanted.digest)
                        more = [one for one in _wanted(there.manifest, above) if one.digest not in seen]
                        seen.update(one.digest for one in more)
                        below += more
            level, left = below[:left], left - len(below[:left])
        return look

    def _each(
        self, repository: str, level: Sequence[_Wanted], *, data: bool
    ) -> Generator[_Found, None, None]:
        """Yield what is found of each; the link of a blob is looked at beside its bytes."""
        if not data:
            yield from self._looks.map(partial(self._has, repository), level)
            return
        asked: list[Callable[[], object]] = []
        for wanted in level:
            if wanted.kind == "blob":
                link = paths.layer_link(repository, wanted.digest)
                asked.append(partial(read_link, self._driver, link, wanted.digest))
                asked.append(partial(self._is_stored, wanted.digest))
            else:
                asked.append(partial(self._find, repository, wanted))
        answers = self._looks.map(lambda ask: ask(), asked)
        with contextlib.closing(answers):
            for wanted in level:
                answer = next(answers)
                if isinstance(answer, _Found):
                    yield answer
                    continue
                is_stored = next(answers)
                if isinstance(answer, Digest) and answer != wanted.digest:
                    is_stored = self._is_stored(answer)
                yield _Found(answer if isinstance(answer, Digest) and is_stored else None)

    def _has(self, repository: str, wanted: _Wanted) -> _Found:
        """Find something by its link alone."""
        for path in _links(repository, wanted):
            if has_link(self._driver, path):
                return _Found(wanted.digest)
        return _Found(None)

    def _find(self, repository: str, wanted: _Wanted) -> _Found:
        """Find something with its bytes, and what a manifest refers to."""
        for path in _links(repository, wanted):
            data = read_link(self._driver, path, wanted.digest)
            if data is None:
                continue
            with contextlib.suppress(ObjectNotFound):
                if path == paths.layer_link(repository, wanted.digest):
                    self._driver.stat(paths.blob_data(data))
                    return _Found(data)
                return _Found(data, self._parsed(self._driver.read(paths.blob_data(data))))
        return _Found(None)

    def _parsed(self, content: bytes) -> Manifest | None:
        try:
            return self._turns(parse_manifest, content, "", self._required)
        except RegistryError:  # nobody knows what one of another registry refers to
            return None


def _wanted(manifest: Manifest, above: tuple[Digest, ...] = ()) -> Iterator[_Wanted]:
    """Yield what a manifest refers to and must be there."""
    kinds: tuple[tuple[_Kind, tuple[Digest, ...]], ...] = (
        ("blob", manifest.blobs), ("manifest", manifest.manifests), ("either", manifest.others),
    )  # fmt: skip
    for kind, digests in kinds:
        for digest in digests:
            yield _Wanted(kind, digest, above)


def _links(repository: str, wanted: _Wanted) -> Iterator[str]:
    """Yield the links of which one must be there."""
    if wanted.kind != "blob":
        yield paths.revision_link(repository, wanted.digest)
    if wanted.kind != "manifest":
        yield paths.layer_link(repository, wanted.digest)
