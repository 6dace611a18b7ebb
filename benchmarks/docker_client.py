"""A client that pushes and pulls as docker does, and is no bottleneck: what it sends and expects is made
beforehand, and what it gets is compared, not hashed.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from types import TracebackType
from typing import Self
from urllib.parse import urlencode, urlsplit

_BLOCK = 1 << 20
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"

#: What Go's HTTP client puts into one chunk of a body whose length it does not know.
DOCKER_CHUNK = 32 << 10

# A slow answer is an answer; one that never comes must not keep the benchmark.
_TIMEOUT = 120


class Failed(Exception):
    """A push or a pull did not succeed; the message is one line."""


@dataclass(frozen=True)
class Layer:
    """A blob: the same block over and over, and a tail that makes it another blob than the others.

    :param size: its size in bytes.
    :param name: what is in its tail.
    """

    size: int
    name: str

    @cached_property
    def tail(self) -> bytes:
        """The last bytes."""
        return self.name.encode().rjust(64, b"-")

    @cached_property
    def digest(self) -> str:
        """The digest."""
        hasher = hashlib.sha256()
        for block in self.blocks():
            hasher.update(block)
        return f"sha256:{hasher.hexdigest()}"

    def blocks(self) -> Iterator[bytes]:
        """Yield its bytes in blocks of 1 MiB and what remains."""
        left = self.size - len(self.tail)
        block = _noise()
        while left:
            taken = min(left, _BLOCK)
            yield block[:taken]  # which is no copy where all of it is taken
            left -= taken
        yield self.tail

    @property
    def manifest(self) -> bytes:
        """A manifest that refers to this blob and to nothing else."""
        config = {"mediaType": _LAYER, "digest": self.digest, "size": self.size}
        return json.dumps(
            {"schemaVersion": 2, "mediaType": _MANIFEST, "config": config, "layers": []}
        ).encode()


class Client:
    """A docker, with one connection that it keeps, and further ones where it is redirected.

    :param port: where the registry listens on 127.0.0.1.
    :param chunk: the size of the HTTP chunks of a PATCH, in bytes. They are sent many at a time.
    """

    def __init__(self, port: int, chunk: int = DOCKER_CHUNK) -> None:
        self._host = f"127.0.0.1:{port}"
        self._chunk = chunk
        self._connections: dict[str, http.client.HTTPConnection] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._connections.values():
            connection.close()

    def push(self, repository: str, layer: Layer) -> None:
        """Push a blob: POST, a chunked PATCH, PUT.

        :raises Failed: when it does not come to be.
        """
        location = self._ask("POST", f"/v2/{repository}/blobs/uploads/", 202).location
        location = self._patch(location, layer)
        mark = "&" if "?" in location else "?"
        self._ask("PUT", f"{location}{mark}{urlencode({'digest': layer.digest})}", 201)

    def tag(self, repository: str, tag: str, layer: Layer) -> None:
        """Push the blob's manifest under a tag.

        :raises Failed: when it does not come to be.
        """
        self._ask("PUT", f"/v2/{repository}/manifests/{tag}", 201, layer.manifest)

    def pull(self, repository: str, layer: Layer) -> None:
        """Pull a blob, following one redirect, and compare each byte.

        :raises Failed: when it does not come, or is another.
        """
        url = f"/v2/{repository}/blobs/{layer.digest}"
        for _ in range(2):
            with self._answer("GET", url) as answer:
                if answer.status in (302, 307):
                    url = answer.getheader("Location", "")
                    answer.read()
                    continue
                if answer.status != 200:
                    raise _refused("GET", url, answer)
                return _compare(answer, layer)
        raise Failed("the blob was redirected twice")

    def pull_tag(self, repository: str, tag: str, layer: Layer) -> None:
        """Pull the manifest that a tag names, and compare it.

        :raises Failed: when it does not come, or is another.
        """
        if self._ask("GET", f"/v2/{repository}/manifests/{tag}", 200).content != layer.manifest:
            raise Failed("the manifest is not the one that was pushed")

    def _ask(self, method: str, url: str, wanted: int, content: bytes | None = None) -> _Short:
        headers = {"Accept": _MANIFEST}
        if content is not None:
            headers["Content-Type"] = _MANIFEST
        elif method != "GET":
            headers["Content-Length"] = "0"
        with self._answer(method, url, headers, content) as answer:
            if answer.status != wanted:
                raise _refused(method, url, answer)
            return _Short(answer.getheader("Location", ""), answer.read())

    def _patch(self, url: str, layer: Layer) -> str:
        headers = {"Content-Type": "application/octet-stream", "Transfer-Encoding": "chunked"}
        whole = _framed(_noise(), self._chunk) if layer.size > _BLOCK else b""

        def body() -> Iterator[bytes]:
            for block in layer.blocks():
                yield whole if len(block) == _BLOCK else _framed(block, self._chunk)
            yield b"0\r\n\r\n"

        with self._answer("PATCH", url, headers, body()) as answer:
            if answer.status != 202:
                raise _refused("PATCH", url, answer)
            answer.read()
            return answer.getheader("Location", "")

    @contextlib.contextmanager
    def _answer(
        self,
        method: str,
        url: str,
        headers: dict[str, str] | None = None,
        content: bytes | Iterator[bytes] | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        """Send a request; whatever goes wrong becomes :class:`Failed`, and takes the connection with it."""
        parts = urlsplit(url)
        host = parts.netloc or self._host
        target = parts._replace(scheme="", netloc="").geturl()
        connection = self._connections.get(host)
        if connection is None:
            connection = self._connections[host] = http.client.HTTPConnection(host, timeout=_TIMEOUT)
        try:
            # The chunks are framed here: http.client would make one of each block.
            connection.request(method, target, content, headers or {}, encode_chunked=False)
            answer = connection.getresponse()
            yield answer
            answer.read(_BLOCK)
            if not answer.isclosed():
                connection.close()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise Failed(f"{method} {parts.path}: {type(error).__name__}: {error}") from error
        except Failed:
            connection.close()
            raise


@dataclass(frozen=True)
class _Short:
    location: str
    content: bytes


def _compare(answer: http.client.HTTPResponse, layer: Layer) -> None:
    whole = bytearray(_BLOCK)
    for block in layer.blocks():
        # Of the block's own size, so that the two are compared as a whole; views are compared byte by byte.
        buffer = whole if len(block) == _BLOCK else bytearray(len(block))
        got = 0
        while got < len(block):
            read = answer.readinto(memoryview(buffer)[got:])
            if not read:
                raise Failed(f"the blob ended early; {layer.size} bytes were pushed")
            got += read
        if buffer != block:
            raise Failed("the blob is not the one that was pushed")
    if answer.read(1):
        raise Failed(f"the blob goes on after {layer.size} bytes")


def _framed(block: bytes, size: int) -> bytes:
    """Return *block* as chunks of *size* bytes, as HTTP has them (RFC 9112, 7.1)."""
    pieces: list[bytes] = []
    for start in range(0, len(block), size):
        piece = block[start : start + size]
        pieces += [b"%x\r\n" % len(piece), piece, b"\r\n"]
    return b"".join(pieces)


@cache
def _noise() -> bytes:
    """Return a mebibyte that does not compress, always the same one."""
    return hashlib.shake_128(b"a layer").digest(_BLOCK)


def _refused(method: str, url: str, answer: http.client.HTTPResponse) -> Failed:
    text = answer.read(300).decode(errors="replace").strip()
    return Failed(f"{method} {urlsplit(url).path}: {answer.status} {text}")
