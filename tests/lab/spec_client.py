"""A client that speaks the OCI Distribution Specification and looks at every answer it gets."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import re
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode, urljoin, urlsplit

from cfmiddleware.digest import Digest

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"

#: The blob of the empty descriptor (OCI Image Specification, "Guidance for an Empty Descriptor").
EMPTY = b"{}"

ALGORITHMS = ("sha256", "sha512")

#: Every code that the specification knows, and the ones of Docker that it lets clients meet.
CODES = {
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "UNAUTHORIZED",
    "DENIED",
    "UNSUPPORTED",
    "TOOMANYREQUESTS",
    "TAG_INVALID",
    "PAGINATION_NUMBER_INVALID",
}


class Answer(NamedTuple):
    """An answer, and the redirects that led to it."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    redirects: tuple[Answer, ...] = ()

    def json(self) -> Any:
        """Return the body, which must be JSON."""
        return json.loads(self.body)

    def code(self) -> str:
        """Return the code of the first error, having checked the body's form ("Error Codes")."""
        assert self.headers["Content-Type"] == "application/json"
        errors = self.json()["errors"]
        assert errors
        for error in errors:
            assert set(error) <= {"code", "message", "detail"}
            assert re.fullmatch("[A-Z_]+", error["code"])
            assert error["code"] in CODES
            assert isinstance(error["message"], str)
        return str(errors[0]["code"])


class Client:
    """Requests to one registry, each over a connection of its own, so that any worker may get it.

    :param url: the registry's address.
    :param edge: where its pulls are sent to, or an empty string where it answers them itself.
    """

    def __init__(self, url: str, edge: str = "") -> None:
        self.url = url
        self.edge = edge

    def ask(
        self,
        method: str,
        where: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Send a request and follow redirects.

        :param where: a path, or a URL as a ``Location`` header had it.
        :param parameters: what is added to the URL's query, whatever that has already.
        """
        url = urljoin(self.url, where)
        if parameters:
            url += ("&" if "?" in url else "?") + urlencode(parameters, doseq=True)
        redirects: list[Answer] = []
        while True:
            answer = _ask_once(method, url, body, dict(headers or {}))
            if answer.status not in (301, 302, 303, 307, 308):
                return answer._replace(redirects=tuple(redirects))
            redirects.append(answer)
            assert len(redirects) < 4
            url = urljoin(url, answer.headers["Location"])

    def repository(self, name: str = "") -> Repository:
        """Return a repository; one of its own, that nothing is in yet, where it has no name."""
        return Repository(self, name or f"spec/{uuid.uuid4().hex[:12]}")


class Repository:
    """A repository's endpoints."""

    def __init__(self, client: Client, name: str) -> None:
        self.client = client
        self.ask = client.ask
        self.name = name
        self.path = f"/v2/{name}"

    def sibling(self) -> Repository:
        """Return another new repository of the same registry."""
        return self.client.repository()

    # Blobs

    def blob(self, digest: object, method: str = "GET", **headers: str) -> Answer:
        """Ask for a blob; underscores in headers' names are dashes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask(method, f"{self.path}/blobs/{digest}", headers=named)

    def has(self, digest: Digest) -> bool:
        """Whether the repository has a blob, asked as clients ask."""
        answer = self.blob(digest, "HEAD")
        assert answer.status in (200, 404), answer
        return answer.status == 200

    def start(self, **parameters: Any) -> Answer:
        """Begin an upload."""
        return self.ask(
            "POST", f"{self.path}/blobs/uploads/", headers={"Content-Length": "0"}, parameters=parameters
        )

    def location(self, **parameters: Any) -> str:
        """Begin an upload and return where its bytes go."""
        answer = self.start(**parameters)
        assert answer.status == 202, answer
        return answer.headers["Location"]

    def patch(self, location: str, chunk: bytes, first: int | None = None) -> Answer:
        """Send a chunk, with its range where the chunk's first byte is given."""
        return self.ask("PATCH", location, chunk, _chunk_headers(chunk, first))

    def finish(
        self, location: str, digest: object, chunk: bytes | None = None, first: int | None = None
    ) -> Answer:
        """Close an upload, with a last chunk or without."""
        headers = {"Content-Length": "0"} if chunk is None else _chunk_headers(chunk, first)
        return self.ask("PUT", location, chunk, headers, {"digest": str(digest)})

    def push_blob(self, content: bytes, algorithm: str = "sha256") -> Digest:
        """Push a blob with a single POST."""
        digest = Digest.of(content, algorithm)
        answer = self.post_blob(content, digest)
        assert answer.status == 201, answer
        return digest

    def post_blob(self, content: bytes, digest: object) -> Answer:
        """Send a blob with a single POST."""
        return self.ask(
            "POST", f"{self.path}/blobs/uploads/", content, _OCTETS, parameters={"digest": str(digest)}
        )

    # Manifests

    def manifest(self, reference: object, method: str = "GET", **headers: str) -> Answer:
        """Ask for a manifest as clients do, with the types they take."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        accept = {"Accept": f"{OCI_INDEX}, {OCI_MANIFEST}"}
        return self.ask(method, f"{self.path}/manifests/{reference}", headers=accept | named)

    def put_manifest(
        self, reference: object, content: bytes, media_type: str = "", **parameters: Any
    ) -> Answer:
        """Send a manifest under its own media type, or another one."""
        stated = media_type or json.loads(content).get("mediaType", OCI_MANIFEST)
        return self.ask(
            "PUT", f"{self.path}/manifests/{reference}", content, {"Content-Type": stated}, parameters
        )

    def push_manifest(self, reference: object, content: bytes) -> Digest:
        """Push a manifest and return the digest that it got."""
        answer = self.put_manifest(reference, content)
        assert answer.status == 201, answer
        return Digest.parse(answer.headers["Docker-Content-Digest"])

    def push_image(self, reference: str = "", algorithm: str = "sha256", **more: Any) -> Pushed:
        """Push an image of one layer; by its digest where it gets no tag."""
        content = self.image(algorithm=algorithm, **more)
        digest = Digest.of(content, algorithm)
        assert self.push_manifest(reference or digest, content) == digest
        return Pushed(digest, content)

    def image(self, layers: int = 1, algorithm: str = "sha256", **more: Any) -> bytes:
        """Push the blobs of an image that no other is like, and return its manifest."""
        config = self.push_blob(json.dumps({"os": "linux", "id": uuid.uuid4().hex}).encode(), algorithm)
        described = []
        for number in range(layers):
            layer = f"layer {number} of {self.name}".encode()
            described.append(descriptor(layer, OCI_LAYER, algorithm))
            self.push_blob(layer, algorithm)
        return manifest(config=describe(config, OCI_CONFIG, 57), layers=described, **more)

    def tags(self, **parameters: Any) -> Answer:
        """List the tags."""
        return self.ask("GET", f"{self.path}/tags/list", parameters=parameters)

    def referrers(self, digest: object, **parameters: Any) -> Answer:
        """List the referrers of a manifest."""
        return self.ask("GET", f"{self.path}/referrers/{digest}", parameters=parameters)


class Pushed(NamedTuple):
    """A manifest that was pushed."""

    digest: Digest
    content: bytes

    @property
    def descriptor(self) -> dict[str, Any]:
        """What an index or a subject says of it."""
        return describe(self.digest, json.loads(self.content)["mediaType"], len(self.content))


def describe(digest: Digest, media_type: str, size: int, **more: Any) -> dict[str, Any]:
    """Return a descriptor."""
    return {"mediaType": media_type, "digest": str(digest), "size": size, **more}


def descriptor(content: bytes, media_type: str, algorithm: str = "sha256", **more: Any) -> dict[str, Any]:
    """Return the descriptor of *content*."""
    return describe(Digest.of(content, algorithm), media_type, len(content), **more)


def manifest(**fields: Any) -> bytes:
    """Return an OCI image manifest."""
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, **fields}).encode()


def index(manifests: list[dict[str, Any]], **fields: Any) -> bytes:
    """Return an OCI image index."""
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests, **fields}).encode()


def some_bytes(count: int) -> bytes:
    """Return so many bytes that no other call returns."""
    return hashlib.shake_256(uuid.uuid4().bytes).digest(count)


_OCTETS = {"Content-Type": "application/octet-stream"}


def _chunk_headers(chunk: bytes, first: int | None) -> dict[str, str]:
    ranged = {} if first is None else {"Content-Range": f"{first}-{first + len(chunk) - 1}"}
    return {**_OCTETS, **ranged}


def _ask_once(method: str, url: str, body: Any, headers: dict[str, str]) -> Answer:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    try:
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        chunked = "Transfer-Encoding" in headers
        # A registry may answer, and end the connection, before it has read what it does not take.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, target, body, headers, encode_chunked=chunked)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()
