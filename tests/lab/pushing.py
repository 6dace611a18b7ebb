"""What clients do with images, as docker and others do it, and what they were promised for it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from cfmiddleware.digest import Digest
from lab.registry_client import OCI_INDEX, OCI_MANIFEST, RegistryClient, descriptor, image_manifest
from lab.simplecollector import Holdings

#: How a client brings a blob.
WAYS = ("head", "upload", "chunks", "mount")


@dataclass
class Request:
    """A request that makes or ends what a tag names.

    :param digest: the manifest that is pushed, or deleted by its digest.
    :param tag: the tag; empty for a push or a delete by digest.
    :param began: when it began, in the order of all moments that the ledger notes.
    :param ended: when it was answered; None if it was not, or with an error that leaves open what was done.
    :param acknowledged: whether it was answered with success.
    """

    kind: str
    name: str
    tag: str
    digest: str
    began: int
    ended: int | None = None
    acknowledged: bool = False

    def is_over_before(self, other: Request) -> bool:
        """Return whether its effect is certainly older than all that the other has done."""
        return self.ended is not None and self.ended < other.began


@dataclass
class Ledger:
    """All requests that clients made, and what follows from their answers."""

    requests: list[Request] = field(default_factory=list)
    _moments: Iterator[int] = field(default_factory=count)

    def moment(self) -> int:
        """Return a number that is greater than all before."""
        return next(self._moments)

    def promised(self, *, untagged: bool) -> Iterator[tuple[str, str, str]]:
        """Yield the repository, the tag and the digest of every image that must be there.

        :param untagged: whether images without a tag must be there; their tag is empty then.
        """
        for push in self.requests:
            if push.kind != "push" or not push.acknowledged:
                continue
            others = [other for other in self.requests if other is not push and other.name == push.name]
            if push.tag:
                in_the_way = [
                    other
                    for other in others
                    if (other.tag == push.tag or _may_end(other, push))
                    and not other.is_over_before(push)
                    and not (other.kind == "push" and other.digest == push.digest)
                ]
            elif untagged:
                in_the_way = [
                    other for other in others if _may_end(other, push) and not other.is_over_before(push)
                ]
            else:
                continue
            if not in_the_way:
                yield push.name, push.tag, push.digest

    def broken(self, holdings: Holdings, *, untagged: bool) -> list[str]:
        """Return what is missing of what was promised, and of what tags name."""
        faults = []
        for name, tag, digest in self.promised(untagged=untagged):
            if tag and holdings.tags.get((name, tag)) != digest:
                faults.append(f"{name}:{tag} is not {digest[:15]} but {holdings.tags.get((name, tag))}")
            faults += holdings.faults(name, digest, self._ended(name, digest))
        for (name, tag), digest in holdings.tags.items():
            if (name, digest) in holdings.revisions:  # otherwise a client's delete was cut off
                ended = self._ended(name, digest)
                faults += [f"{name}:{tag}: {fault}" for fault in holdings.faults(name, digest, ended)]
        return faults

    def _ended(self, name: str, parent: str) -> set[str]:
        """Return what clients have deleted of a repository by digest, but for what was over before each push
        of the manifest *parent*.
        """
        pushes = [r for r in self.requests if r.kind == "push" and (r.name, r.digest) == (name, parent)]
        return {
            delete.digest
            for delete in self.requests
            if delete.kind == "delete" and delete.name == name and delete.digest
            and not all(delete.is_over_before(push) for push in pushes)
        }  # fmt: skip


def _may_end(other: Request, push: Request) -> bool:
    """Return whether a delete by digest may have deleted what was pushed, or its tag while that moved."""
    if other.kind != "delete" or other.tag:
        return False
    return other.digest == push.digest or not push.is_over_before(other)


class Pusher:
    """A client of a registry's process.

    :param client: how it asks.
    :param ledger: what it was promised.
    :ivar missed: what the last manifest referred to and the registry did not have.
    """

    def __init__(self, client: RegistryClient, ledger: Ledger) -> None:
        self.missed: list[str] = []
        self._client = client
        self._ledger = ledger

    @contextmanager
    def _noted(self, kind: str, name: str, tag: str, digest: str) -> Iterator[Request]:
        noted = Request(kind, name, tag, digest, self._ledger.moment())
        self._ledger.requests.append(noted)
        yield noted

    def finds(self, name: str, manifest: bytes) -> bool:
        """Return whether a manifest is there, as clients ask before they push it."""
        return self._client.head(f"/v2/{name}/manifests/{Digest.of(manifest)}").status_code == 200

    def blob(self, name: str, content: bytes, way: str, source: str = "base") -> bool:
        """Bring a blob, unless it is there."""
        digest = Digest.of(content)
        uploads = f"/v2/{name}/blobs/uploads/"
        if way == "head" and self._client.head(f"/v2/{name}/blobs/{digest}").status_code == 200:
            return True
        mounting = f"{uploads}?mount={digest}&from={source}"
        if way == "mount" and self._client.post(mounting).status_code == 201:
            return True
        if way == "chunks":
            url = self._client.post(uploads).headers.get("Location", uploads)
            url = self._client.patch(url, data=content).headers.get("Location", url)
            return self._client.put(f"{url}?digest={digest}").status_code == 201
        return self._client.post(f"{uploads}?digest={digest}", data=content).status_code == 201

    def image(
        self, name: str, tag: str, layers: Sequence[bytes], config: bytes, way: str = "head", **more: Any
    ) -> int:
        """Push an image and return the status of its manifest; 0 if a blob was refused."""
        brought = [self.blob(name, content, way) for content in (*layers, config)]
        if not all(brought):
            return 0
        return self.manifest(name, tag, image(layers, config, **more))

    def manifest(self, name: str, tag: str, content: bytes, content_type: str = "") -> int:
        """Push a manifest under a tag, or under its digest if the tag is empty."""
        digest = str(Digest.of(content))
        with self._noted("push", name, tag, digest) as noted:
            answer = self._client.push_manifest(name, tag or digest, content, content_type)
            status = answer.status_code
            self.missed = (
                [one["digest"] for one in answer.json["errors"][0]["detail"]] if status == 404 else []
            )
            if status < 500:
                noted.ended = self._ledger.moment()
            noted.acknowledged = status == 201
        return status

    def index(self, name: str, tag: str, children: Sequence[bytes]) -> int:
        """Push an index of manifests that are there."""
        return self.manifest(name, tag, index(children))

    def retag(self, name: str, tag: str, new: str) -> int:
        """Give an image another tag, as ``crane tag`` does, and return the status; 0 if it is not there."""
        found = self._client.get(f"/v2/{name}/manifests/{tag}")
        return self.manifest(name, new, found.data) if found.status_code == 200 else 0

    def delete(self, name: str, tag: str, content: bytes | None = None) -> int:
        """Delete a tag, or a manifest."""
        digest = "" if content is None else str(Digest.of(content))
        with self._noted("delete", name, "" if digest else tag, digest) as noted:
            status = self._client.delete(f"/v2/{name}/manifests/{digest or tag}").status_code
            if status < 500:
                noted.ended = self._ledger.moment()
            if status == 404:  # it was not there, and nothing was done
                self._ledger.requests.remove(noted)
            noted.acknowledged = status == 202
        return status


def image(layers: Sequence[bytes], config: bytes, **more: Any) -> bytes:
    """Return the manifest of an image."""
    return json.dumps(
        image_manifest(Digest.of(config), [Digest.of(layer) for layer in layers], **more)
    ).encode()


def index(children: Sequence[bytes]) -> bytes:
    """Return an index of manifests."""
    entries = [descriptor(Digest.of(child), OCI_MANIFEST, len(child)) for child in children]
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
