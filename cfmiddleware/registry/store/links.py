"""Links: small objects whose content is a digest."""

from __future__ import annotations

import logging

from cfmiddleware.digest import Digest
from cfmiddleware.errors import ObjectNotFound
from cfmiddleware.storage.driver import Driver

_log = logging.getLogger(__name__)


def read_link(driver: Driver, path: str, name: Digest | None = None) -> Digest | None:
    """Return the digest that the link at *path* names, or None where there is no link.

    A link that does not hold a digest is logged and counts as missing. A push replaces it.

    :param name: the digest that the link stands for, of a layer or a revision. What it names may be a digest
        in another algorithm, as in Distribution's buckets. Another one in the same algorithm counts as
        missing: it would be other bytes.
    """
    try:
        content = driver.read(path)
    except ObjectNotFound:
        return None
    try:
        found = Digest.parse(content.decode("ascii").strip())
    except ValueError:
        _log.error("the link at %s holds no digest; it is treated as missing", path)
        return None
    if name is not None and found.algorithm == name.algorithm and found != name:
        _log.error("the link at %s names other bytes; it is treated as missing", path)
        return None
    return found


def write_link(driver: Driver, path: str, digest: Digest) -> None:
    """Make *path* a link to *digest*."""
    driver.write(path, str(digest).encode())


def has_link(driver: Driver, path: str) -> bool:
    """Return whether a link is at *path*, without following it."""
    try:
        driver.stat(path)
    except ObjectNotFound:
        return False
    return True
