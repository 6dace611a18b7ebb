"""What a registry's storage must hold, found the slow and simple way: everything is read, each time.

It shares no code with the collector of the package, and is written from the layout and from what the
documentation promises, so that each can be put against the other.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from cfmiddleware.storage.driver import Driver

_ROOT = "/docker/registry/v2/"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_PATH = re.compile(
    _ROOT + r"repositories/(?P<name>.+?)/"
    r"(?:_layers/(?P<layer>[a-z0-9]+/[0-9a-f]+)|_manifests/revisions/(?P<revision>[a-z0-9]+/[0-9a-f]+)"
    r"|_manifests/tags/(?P<tag>[^/]+)/current)/link"
)


class Holdings:
    """All that a storage holds.

    :ivar layers: what each repository's link of a blob names, by repository and digest.
    :ivar revisions: the same for its manifests.
    :ivar tags: the digest that each tag names, by repository and tag.
    :ivar data: the bytes of each digest.
    """

    def __init__(self, driver: Driver) -> None:
        self.layers: dict[tuple[str, str], str] = {}
        self.revisions: dict[tuple[str, str], str] = {}
        self.tags: dict[tuple[str, str], str] = {}
        self.data: dict[str, bytes] = {}
        for path, _ in driver.walk(_ROOT):
            found = _PATH.fullmatch(path)
            if path.startswith(_ROOT + "blobs/") and path.endswith("/data"):
                algorithm, _, hexadecimal = path[len(_ROOT + "blobs/") : -len("/data")].split("/")
                self.data[f"{algorithm}:{hexadecimal}"] = driver.read(path)
            elif found is not None:
                name, content = found["name"], driver.read(path).decode()
                if found["tag"]:
                    self.tags[name, found["tag"]] = content
                elif found["layer"]:
                    self.layers[name, found["layer"].replace("/", ":")] = content
                else:
                    self.revisions[name, found["revision"].replace("/", ":")] = content

    def manifest(self, name: str, digest: str) -> Mapping[str, Any]:
        """Return what a repository's manifest says."""
        content = json.loads(self.data[self.revisions[name, digest]])
        assert isinstance(content, dict)
        return content

    def faults(self, name: str, digest: str, ended: Collection[str] = ()) -> Iterator[str]:
        """Yield what is missing of an image, and what of it has other bytes.

        :param ended: manifests that a client has deleted, and that an index may miss.
        """
        link = self.revisions.get((name, digest))
        if link is None:
            yield f"{name}@{digest[:15]}: no manifest"
        elif not _is(self.data.get(link), link):
            yield f"{name}@{digest[:15]}: no bytes of the manifest"
        else:
            content = self.manifest(name, digest)
            for entry in content.get("manifests", ()):
                if entry["digest"] not in ended:
                    yield from self.faults(name, entry["digest"])
            for entry in (*content.get("layers", ()), *filter(None, [content.get("config")])):
                blob = self.layers.get((name, entry["digest"]))
                if blob is None:
                    yield f"{name}@{digest[:15]}: no blob {entry['digest'][:15]}"
                elif not _is(self.data.get(blob), blob):
                    yield f"{name}@{digest[:15]}: no bytes of {entry['digest'][:15]}"

    def kept(self, *, untagged: bool) -> set[tuple[str, str]]:
        """Return which manifests stay, as repositories and digests.

        :param untagged: whether those stay that no tag leads to.
        """
        if untagged:
            return set(self.revisions)
        kept = {(name, digest) for (name, _), digest in self.tags.items() if (name, digest) in self.revisions}
        while True:
            more = {
                (name, digest)
                for name, digest in self.revisions
                if any((name, other) in kept for other in self._subject(name, digest))
            }
            for name, digest in kept:
                more |= {(name, other) for other in self._names(name, digest)} & set(self.revisions)
            if more <= kept:
                return kept
            kept |= more

    def _subject(self, name: str, digest: str) -> list[str]:
        if self.revisions[name, digest] not in self.data:  # of which nobody knows what it refers to
            return []
        subject = self.manifest(name, digest).get("subject")
        return [subject["digest"]] if subject else []

    def _names(self, name: str, digest: str) -> set[str]:
        return set(_DIGEST.findall(self.data.get(self.revisions[name, digest], b"").decode()))

    def garbage(self, *, untagged: bool) -> list[str]:
        """Return what nothing needs: links of blobs, manifests and bytes.

        :param untagged: whether manifests stay that no tag leads to.
        """
        # A manifest that nobody can read keeps everything of its repository. A push that was killed beside a
        # collection may leave one without its bytes.
        unreadable = {name for (name, _), data in self.revisions.items() if data not in self.data}
        kept = self.kept(untagged=untagged)
        kept |= {revision for revision in self.revisions if revision[0] in unreadable}
        needed = {(name, other) for name, digest in kept for other in self._names(name, digest)}
        needed |= {key for key in self.layers if key[0] in unreadable}
        data = {self.revisions[revision] for revision in kept}
        data |= {link for key, link in self.layers.items() if key in needed}
        # Also the bytes of what is named and is not part of a repository, such as a subject that was deleted.
        data |= {digest for _, digest in needed}
        if unreadable:  # the collector may remember what such a manifest referred to
            data |= set(self.data)
        return [
            *(f"blob {name}@{digest}" for name, digest in self.layers if (name, digest) not in needed),
            *(f"manifest {name}@{digest}" for name, digest in set(self.revisions) - kept),
            *(f"bytes {digest}" for digest in set(self.data) - data),
        ]


def _is(content: bytes | None, digest: str) -> bool:
    algorithm, _, hexadecimal = digest.partition(":")
    return content is not None and hashlib.new(algorithm, content).hexdigest() == hexadecimal
