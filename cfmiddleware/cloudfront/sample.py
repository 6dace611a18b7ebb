"""The object that a check asks CloudFront for: a small one of its own, or a blob that is there."""

from __future__ import annotations

import secrets
from typing import NamedTuple
from uuid import uuid4

from cfmiddleware.config import Config
from cfmiddleware.config.settings import bucket_directory
from cfmiddleware.digest import Digest
from cfmiddleware.errors import ConfigError
from cfmiddleware.middleware.layout import Layout
from cfmiddleware.signing.originpath import path_below

from .asking import LARGEST
from .wanted import Wanted

# Where the start of the registry tries to write, too. No registry reads there.
_OURS = "/docker/registry/v2/_cfmiddleware"


class Sample(NamedTuple):
    """An object of the storage.

    :param path: its path in the storage.
    :param key: its whole key in the bucket, without a slash in front.
    :param size: in bytes.
    :param start: its first bytes.
    :param own: whether it is the check's own, to be written first and removed in the end.
    """

    path: str
    key: str
    size: int
    start: bytes
    own: bool


def own_sample(config: Config, wanted: Wanted) -> Sample:
    """Return a small object beside the blobs, where the Origin Path reaches. Nothing is written yet.

    :raises ConfigError: where the Origin Path reaches nothing of the storage.
    """
    root = storage_root(config, wanted)
    entry = config.settings.cloudfront
    layout = entry.options.layout if entry is not None else "distribution"
    directory = root + (_OURS if layout == "distribution" else "/_cfmiddleware")
    if path_below(f"{directory}/x".removeprefix("/"), wanted.originpath) is None:
        directory = wanted.originpath
    key = f"{directory}/check-{uuid4()}".removeprefix("/")
    content = f"This object of 'cfmiddleware check' may be deleted. {secrets.token_hex(500)}\n".encode()
    return Sample(_path(key, root, wanted), key, len(content), content, own=True)


def blob_sample(config: Config, wanted: Wanted, digest: Digest, repository: str = "") -> Sample:
    """Return a blob that is there.

    :param repository: its repository, for layouts whose keys have it.
    :raises ConfigError: where it is not there, or cannot be.
    :raises StorageUnavailable: where the storage does not say.
    """
    root = storage_root(config, wanted)
    entry = config.settings.cloudfront
    layout = Layout(entry.options.layout if entry is not None else "distribution", root)
    key = layout.key(repository, digest)
    path = _path(key, root, wanted)
    size = wanted.storage.stat(path).size
    reader = wanted.storage.open(path, 0, min(size, LARGEST))
    try:
        start = b"".join(reader)
    finally:
        reader.close()
    return Sample(path, key, size, start, own=False)


def storage_root(config: Config, wanted: Wanted) -> str:
    """Return the directory of the bucket that is the storage's root: ``/`` and whole segments, or nothing."""
    driver = wanted.storage
    return f"/{bucket_directory(driver).strip('/')}".rstrip("/") if driver.in_bucket else wanted.rootdirectory


def _path(key: str, root: str, wanted: Wanted) -> str:
    path = path_below(key, root)
    if path is None:
        raise ConfigError(
            f"{wanted.source}: {wanted.place}originpath: the Origin Path {wanted.originpath!r} reaches "
            f"nothing of the storage, which is at {root or '/'!r} of the bucket"
        )
    return path
