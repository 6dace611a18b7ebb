"""Blobs for the benchmark of redirects, written into the bucket as a registry would have left them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import socket
import threading
from collections.abc import Iterator
from email.utils import formatdate
from urllib.parse import urlsplit

from ceph_gateway import ACCESS_KEY, SECRET_KEY, Gateway

from cfmiddleware.digest import Digest
from cfmiddleware.registry.store import paths

#: The repository that all of them are in.
REPOSITORY = "bench/image"

_WRITERS = 16


def content(number: int) -> bytes:
    """Return the bytes of a blob. They are few: a redirect does not depend on their number."""
    return b"blob %d of the benchmark\n" % number


def digest(number: int) -> Digest:
    """Return a blob's digest."""
    return Digest("sha256", hashlib.sha256(content(number)).hexdigest())


def path(number: int) -> str:
    """Return the path that a blob is pulled from."""
    return f"/v2/{REPOSITORY}/blobs/{digest(number)}"


def fill(gateway: Gateway, bucket: str, numbers: range) -> None:
    """Write blobs: the data of each, and the link that makes it part of the repository.

    :raises RuntimeError: when the gateway refuses one.
    """
    objects = _objects(numbers)
    lock = threading.Lock()
    errors: list[BaseException] = []

    def write() -> None:
        try:
            with _Writer(gateway.endpoint, bucket) as writer:
                while not errors:
                    with lock:  # a generator serves one thread at a time
                        key, body = next(objects)
                    writer.put(key, body)
        except StopIteration:
            pass
        except Exception as error:  # noqa: BLE001 (told to the thread that waits)
            errors.append(error)

    threads = [threading.Thread(target=write) for _ in range(_WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise RuntimeError(f"the bucket could not be filled: {errors[0]}")


def _objects(numbers: range) -> Iterator[tuple[str, bytes]]:
    for number in numbers:
        named = digest(number)
        yield paths.blob_data(named).lstrip("/"), content(number)
        yield paths.layer_link(REPOSITORY, named).lstrip("/"), str(named).encode()


class _Writer:
    """A connection that writes small objects at a third of what boto3 costs: there are 200,000 of them."""

    def __init__(self, endpoint: str, bucket: str) -> None:
        where = urlsplit(endpoint)
        self._connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=60)
        self._bucket = bucket

    def __enter__(self) -> _Writer:
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()

    def put(self, key: str, body: bytes) -> None:
        """Write an object. Signed by S3's signature version 2, which is one hash."""
        date = formatdate(usegmt=True)
        resource = f"/{self._bucket}/{key}"
        text = f"PUT\n\n\n{date}\n{resource}".encode()
        signature = base64.b64encode(hmac.digest(SECRET_KEY.encode(), text, "sha1")).decode()
        headers = {"Date": date, "Authorization": f"AWS {ACCESS_KEY}:{signature}"}
        self._connection.request("PUT", resource, body, headers)
        response = self._connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise RuntimeError(f"{key}: {response.status} {answer[:200]!r}")
