"""A collector that is slow and simple, to compare the real one with: it reads everything, every time.

It shares nothing with the package: digests are found in a manifest's text, not in its fields.
"""

from __future__ import annotations

import json
import re
from typing import Any

_ROOT = "/docker/registry/v2/"
_NAMED = re.compile(r'"(?:digest|blobSum)"\s*:\s*"(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})"')
_LINK = re.compile(r"repositories/(.+?)/(_layers|_manifests/revisions)/([^/]+)/([^/]+)/link")
_TAG = re.compile(r"repositories/(.+?)/_manifests/tags/([^/]+)/current/link")
_DATA = re.compile(r"blobs/([^/]+)/../([^/]+)/data")


def what_stays(driver: Any, *, delete_untagged: bool) -> set[str]:
    """Return the links and the bytes that stay when everything is old enough."""
    objects = {path[len(_ROOT) :]: driver.read(path) for path, _ in driver.walk(_ROOT)}
    content = {}
    for path, found in objects.items():
        if data := _DATA.fullmatch(path):
            content[":".join(data.groups())] = found
    repositories: dict[str, dict[str, dict[str, str]]] = {}
    for path, found in objects.items():
        if link := _LINK.fullmatch(path):
            name, kind, algorithm, hexadecimal = link.groups()
            links = repositories.setdefault(name, {}).setdefault(kind, {})
            links[f"{algorithm}:{hexadecimal}"] = found.decode()
    stays: set[str] = set()
    for name, kinds in repositories.items():
        manifests = kinds.get("_manifests/revisions", {})
        texts = {digest: content[data].decode() for digest, data in manifests.items()}
        kept = set(texts)
        if delete_untagged:
            tagged = {
                found.decode()
                for path, found in objects.items()
                if (tag := _TAG.fullmatch(path)) and tag[1] == name
            }
            kept, before = tagged & set(texts), None
            while kept != before:
                before = set(kept)
                for digest, text in texts.items():
                    subject = (json.loads(text).get("subject") or {}).get("digest")
                    named_by_kept = any(digest in _NAMED.findall(texts[one]) for one in before)
                    if named_by_kept or subject in before:
                        kept.add(digest)
        named = {digest for one in kept for digest in _NAMED.findall(texts[one])}
        # Distribution looks for sha512 blobs by two links.
        named |= {data for digest, data in kinds.get("_layers", {}).items() if digest in named}
        for kind, wanted in (("_manifests/revisions", kept), ("_layers", named)):
            for digest, data in kinds.get(kind, {}).items():
                if digest in wanted:
                    algorithm, _, hexadecimal = digest.partition(":")
                    stays.add(f"repositories/{name}/{kind}/{algorithm}/{hexadecimal}/link")
                    stays.add(_path(data))
        stays |= {_path(digest) for digest in named if digest in content}
    return stays


def what_is_there(driver: Any) -> set[str]:
    """Return the links and the bytes that there are, of those that a collection decides about."""
    paths = (path[len(_ROOT) :] for path, _ in driver.walk(_ROOT))
    return {path for path in paths if _LINK.fullmatch(path) or _DATA.fullmatch(path)}


def _path(digest: str) -> str:
    algorithm, _, hexadecimal = digest.partition(":")
    return f"blobs/{algorithm}/{hexadecimal[:2]}/{hexadecimal}/data"
