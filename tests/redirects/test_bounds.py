"""What pulls leave behind: no more than the caches' bounds, however many different blobs are pulled.

All parts are real but one: the key signs at once, because a million signatures would take ten minutes. The
caches are full after 10,000 blobs, so 50,000 show the bound; a million, which take a minute each, are marked
`long`.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from logging import Logger
from pathlib import Path
from types import MethodType, ModuleType
from typing import Any

import pytest
from lab.apps import EDGE, request, wrap
from lab.redirects import every_blob

from cfmiddleware.digest import Digest
from cfmiddleware.middleware.presigned import PresignedURLs
from cfmiddleware.registry.cache.descriptors import InMemoryDescriptorCache, Located
from cfmiddleware.signing.keyring import KeyRing
from cfmiddleware.signing.keys import KeyPair
from cfmiddleware.signing.signer import URLSigner
from cfmiddleware.signing.windows import ExpiryWindow
from cfmiddleware.storage.s3 import S3Options
from cfmiddleware.storage.s3.connection import ClientPerProcess
from cfmiddleware.storage.s3.presign import Presigner

PULLS = pytest.mark.parametrize("number", [50_000, pytest.param(1_000_000, marks=pytest.mark.long)])
#: What each cache remembers at the most.
BOUND = 10_000
NOW = 1_800_000_000.0
#: Bytes: more than what comes and goes meanwhile, and far fewer than a million entries take.
GENEROUS = 40 << 20


class InstantKey:
    """A key whose signatures cost nothing, and are as long as those of RSA."""

    algorithm = "rsa"
    fingerprint = "f" * 64
    public_pem = ""

    def __init__(self) -> None:
        self.signed = 0

    def sign(self, message: bytes, hash: str) -> bytes:
        self.signed += 1
        return b"s" * 256


def digest_of(number: int) -> str:
    """Return the hex form of a digest, cheaply."""
    return f"{number * 2_654_435_761 % 2**32:08x}{number:056x}"


def parts_of(thing: object) -> Iterator[object]:
    """Yield *thing* and all that hangs on it, but for modules, classes, loggers and a function's globals."""
    seen: dict[int, object] = {}
    waiting = [thing]
    while waiting:
        part = waiting.pop()
        if id(part) in seen or isinstance(part, ModuleType | type | Logger):
            continue
        seen[id(part)] = part
        yield part
        # A method has a function's attributes, and hangs on its object.
        if hasattr(part, "__globals__") and not isinstance(part, MethodType):
            waiting += [part.__closure__, part.__defaults__, part.__kwdefaults__, part.__dict__]  # type: ignore[attr-defined]
        else:
            waiting += gc.get_referents(part)


def biggest(*things: object) -> int:
    """Return the size of the biggest collection that hangs on *things*, or on a module of the package."""
    modules = [vars(module) for name, module in sys.modules.items() if name.startswith("cfmiddleware")]
    return max(
        len(part)
        for thing in (*things, *modules)
        for part in parts_of(thing)
        if isinstance(part, Mapping | list | tuple | set | frozenset)
    )


def resident() -> int:
    """Return the bytes of memory that this process has, or 0 where that is not to be seen."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def memory_after(pull: Callable[[int], object], number: int, *things: object) -> None:
    """Pull that many blobs, and fail where memory goes on growing once the caches are full.

    :param pull: pulls the blob of that number.
    :param things: what remembers.
    """
    full = 3 * BOUND
    for blob in range(full):
        pull(blob)
    gc.collect()
    blocks, bytes_before = sys.getallocatedblocks(), resident()
    for blob in range(full, number):
        pull(blob)
    gc.collect()
    assert sys.getallocatedblocks() - blocks < BOUND
    assert resident() - bytes_before < GENEROUS
    assert BOUND <= biggest(*things) <= BOUND + 100


@PULLS
def test_many_signed_urls_leave_no_more_than_the_last_ones(number: int):
    key = InstantKey()
    signer = URLSigner(KeyRing(KeyPair("K1", key)), ExpiryWindow(1200, 300), clock=lambda: NOW)
    memory_after(lambda blob: signer.url(f"{EDGE}/{blob}", digest_of(blob)), number, signer)
    assert key.signed == number + 1  # with the trial at the start: they were all different
    signer.url(f"{EDGE}/{number - 1}", digest_of(number - 1))
    assert key.signed == number + 1


class InstantPresigner:
    """Presigns at once; most of the time of a real one would be spent on hashing."""

    def __init__(self) -> None:
        self.presigned = 0

    def __call__(self, key: str, expires: int) -> tuple[str, int]:
        self.presigned += 1
        return f"https://registry.s3.amazonaws.com/{key}?Expires={expires}", expires


@PULLS
def test_many_presigned_urls_leave_no_more_than_the_last_ones(number: int):
    presign = InstantPresigner()
    urls = PresignedURLs(presign, ExpiryWindow(1200, 300), clock=lambda: NOW)
    memory_after(lambda blob: urls.url(f"docker/{blob}", digest_of(blob)), number, urls)
    assert presign.presigned == number
    urls.url(f"docker/{number - 1}", digest_of(number - 1))
    assert presign.presigned == number


def test_a_real_presigner_remembers_nothing():
    built = S3Options(bucket="registry", region="us-west-2", accesskey="AKIDTEST", secretkey="secret")
    presign = Presigner(built, ClientPerProcess(built).connection, lambda: NOW)
    presign("docker/first", int(NOW) + 1200)
    gc.collect()
    before = sys.getallocatedblocks()
    for number in range(10_000):
        presign(f"docker/{number}", int(NOW) + 1200 + number)
    gc.collect()
    assert sys.getallocatedblocks() - before < 1000


def test_ten_minutes_of_new_windows_leave_no_more_than_the_last_urls():
    """The blobs are the same, and their URLs new ones each time."""
    now = [NOW]
    key = InstantKey()
    signer = URLSigner(KeyRing(KeyPair("K1", key)), ExpiryWindow(40, 10), clock=lambda: now[0])

    def pull(number: int) -> None:
        if number % 1000 == 0:
            now[0] += 10
        signer.url(f"{EDGE}/{number % 1000}", digest_of(number % 1000))

    memory_after(pull, 60_000, signer)
    assert key.signed == 60_001


@PULLS
def test_many_descriptors_leave_no_more_than_the_last_ones(number: int):
    descriptors = InMemoryDescriptorCache()

    def find(blob: int) -> None:
        digest = Digest("sha256", digest_of(blob))
        located = Located(digest, f"/{blob}", blob)
        assert descriptors.find("team/app", digest, lambda: located) is located

    memory_after(find, number, descriptors)


@PULLS
def test_pulls_of_different_blobs_leave_no_more_than_the_bounds_of_all_that_is_remembered(number: int):
    """From a different address each, by a different path, with a different token."""
    presign = InstantPresigner()
    remembering = {"bindip": True, "probecache": "1h", "networks": ["10.0.0.0/9"]}
    wrapped = wrap(every_blob, clock=lambda: NOW, presign=presign, **remembering)
    wrapped.keys.current().key.sign = InstantKey().sign
    answers: list[str] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        answers[:] = [status]

    def pull(blob: int) -> None:
        # Every other one is near S3.
        address = f"10.{blob << 7 & 255 | blob >> 15 & 127}.{blob >> 7 & 255}.{blob & 127}"
        path = f"/v2/team/app{blob}/blobs/sha256:{digest_of(blob)}"
        environ = request(path, REMOTE_ADDR=address, HTTP_AUTHORIZATION=f"Bearer {blob}")
        wrapped(environ, start_response)
        assert answers == ["307 Temporary Redirect"]

    memory_after(pull, number, wrapped)
    assert wrapped.signing_failures == 0
    assert presign.presigned == number // 2


@pytest.mark.parametrize("kind", ["blobs", "manifests", "uploads"])
def test_what_is_no_pull_leaves_nothing(kind: str):
    wrapped = wrap(every_blob, clock=lambda: NOW)
    before = biggest(wrapped)

    def pull(number: int) -> None:
        wrapped(request(f"/v2/team/app/{kind}/{number}"), lambda *arguments: None)

    for number in range(50_000):
        pull(number)
    assert biggest(wrapped) <= max(before, BOUND)
