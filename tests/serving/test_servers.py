"""What clients of a registry do, under each WSGI server: `docs/servers.rst` is made from this."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import socket
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from lab.required import cannot_run
from lab.servers import Server, eventually
from lab.serving import Answer, ask
from lab.wsgi_servers import EDGE, HYPERCORN, SERVERS, WSGIServer, serving

from cfmiddleware.digest import Digest

CONTENT = bytes(range(256)) * 400
DIGEST = Digest.of(CONTENT)

#: Our registry, the same behind the wrapper, and a Flask app behind the wrapper.
APPS = ["", "/wrapped", "/flask"]

_CHUNK = 1 << 16


class Place(NamedTuple):
    """A server that runs, and the directory where its app keeps things."""

    kind: WSGIServer
    server: Server
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, app: str, name: str = "library/app") -> str:
        """Begin an upload and return its path."""
        answer = ask("POST", f"{self.url}{app}/v2/{name}/blobs/uploads/")
        assert answer.status == 202, answer
        return urlsplit(answer.headers["Location"]).path

    def blob(self, method: str, app: str, digest: Digest, headers: dict[str, str] | None = None) -> Answer:
        return ask(method, f"{self.url}{app}/v2/library/app/blobs/{digest}", headers=headers)


#: hypercorn is not in the extra `test`, because what it needs has been missing from the index.
INSTALLED = [
    pytest.param(server, marks=[pytest.mark.servers, pytest.mark.long] if server.debian else [])
    for server in (*SERVERS, HYPERCORN)
    if server is not HYPERCORN or not server.missing()
]


@pytest.fixture(scope="module", params=INSTALLED, ids=str)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    kind: WSGIServer = request.param
    if reason := kind.missing():
        cannot_run(reason)
    with serving(kind, tmp_path_factory.mktemp("served")) as (server, port):
        yield Place(kind, server, port)


def test_a_pushed_blob_is_pulled_whole_or_in_part_or_looked_at(place: Place):
    for app in APPS:
        path = place.start(app)
        answer = ask("PATCH", place.url + path, CONTENT[:70_000])
        assert answer.status == 202
        path = urlsplit(answer.headers.get("Location", path)).path
        answer = ask("PUT", f"{place.url}{path}?digest={DIGEST}", CONTENT[70_000:])
        assert answer.status == 201, answer

        head = place.blob("HEAD", app, DIGEST)
        if app == "/flask" and not place.kind.empty:  # Flask's own response to a HEAD has no chunk
            assert head.status == 500
        else:
            assert (head.status, head.headers["Content-Length"]) == (200, str(len(CONTENT)))
            assert (head.headers["Docker-Content-Digest"], head.body) == (str(DIGEST), b"")
        whole = place.blob("GET", app, DIGEST)
        part = place.blob("GET", app, DIGEST, {"Range": "bytes=1000-1999"})
        if app:
            for answer in (whole, part):
                assert (answer.status, answer.body) == (307, b"")
                assert answer.headers["Location"].startswith(EDGE), answer.headers
                assert f"{DIGEST.hex}/data?Expires=" in answer.headers["Location"]
        else:
            assert (whole.status, whole.body) == (200, CONTENT)
            assert (part.status, part.body) == (206, CONTENT[1000:2000])
            assert part.headers["Content-Range"] == f"bytes 1000-1999/{len(CONTENT)}"
        other = place.blob("GET", app, Digest.of(b"another"))
        assert other.status == 404


def test_a_blob_without_bytes_is_pushed_and_answered(place: Place):
    empty = Digest.of(b"")
    assert ask("PUT", f"{place.url}{place.start('')}?digest={empty}", b"").status == 201
    assert (place.blob("HEAD", "", empty).status, place.blob("GET", "", empty).status) == (200, 200)
    assert place.blob("GET", "", empty, {"If-None-Match": "*"}).status == 304


def pushed_in_chunks(place: Place, app: str, megabytes: int) -> tuple[Answer, str, Digest]:
    """Send one PATCH as docker does it, and return its answer, where the upload is, and its digest."""
    piece, digest = bytes(range(256)) * 256, hashlib.sha256()
    path = place.start(app)
    connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=60)
    with contextlib.closing(connection):
        pieces = []
        for number in range(megabytes * 16):
            digest.update(number.to_bytes(8, "big") + piece[8:])
            pieces.append(number)
        body = (number.to_bytes(8, "big") + piece[8:] for number in pieces)
        headers = {"Transfer-Encoding": "chunked"}
        # A server that refuses the body answers before it is sent.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request("PATCH", path, body, headers, encode_chunked=True)
        answer = connection.getresponse()
        taken = Answer(answer.status, answer.headers, answer.read())
    return taken, path, Digest("sha256", digest.hexdigest())


@pytest.mark.parametrize("megabytes", [3, pytest.param(100, marks=pytest.mark.long)])
def test_a_chunked_body_arrives_or_is_refused_with_the_reason(place: Place, megabytes: int):
    if not place.kind.chunked:
        answer, path, digest = pushed_in_chunks(place, "", 0)
        assert (answer.status, json.loads(answer.body)["errors"][0]["code"]) == (411, "SIZE_INVALID")
        assert "chunked" in json.loads(answer.body)["errors"][0]["message"]
        assert ask("GET", place.url + path).headers["Range"] == "0-0"
        return
    for app in APPS:
        answer, path, digest = pushed_in_chunks(place, app, megabytes)
        assert (answer.status, answer.headers["Range"]) == (202, f"0-{(megabytes << 20) - 1}")
        path = urlsplit(answer.headers.get("Location", path)).path
        assert ask("PUT", f"{place.url}{path}?digest={digest}").status == 201
        head = place.blob("HEAD", app, digest)
        assert (head.status, head.headers["Content-Length"]) == (200, str(megabytes << 20))


HEADS = {"length": f"Content-Length: {len(CONTENT)}", "chunked": "Transfer-Encoding: chunked"}


def break_off(place: Place, method: str, target: str, head: str, media_type: str = "") -> None:
    """Send half of a request's body, and end the connection."""
    half = CONTENT[: len(CONTENT) // 2]
    framed = b"%x\r\n%s\r\n" % (len(half), half) if head == "chunked" else half
    lines = [f"{method} {target} HTTP/1.1", "Host: registry", HEADS[head]]
    lines += [f"Content-Type: {media_type}"] if media_type else []
    with socket.create_connection(("127.0.0.1", place.port), timeout=10) as connection:
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + framed)


@pytest.mark.parametrize("head", HEADS)
def test_a_push_that_breaks_off_is_never_taken_for_a_whole_one(place: Place, head: str):
    path = place.start("")
    break_off(place, "PUT", f"{place.start('')}?digest={Digest.of(CONTENT + b'!')}", head)
    break_off(place, "PATCH", path, head)

    def size() -> int:
        return int(ask("GET", place.url + path).headers["Range"].partition("-")[2])

    # Where the server does not tell that it broke off, what came is in the URL of an answer that nobody read.
    assert size() == 0
    headers = {"Content-Range": f"0-{len(CONTENT) - 1}"}
    answer = ask("PATCH", place.url + path, CONTENT, headers)
    assert answer.status == 202
    path = urlsplit(answer.headers["Location"]).path
    assert ask("PUT", f"{place.url}{path}?digest={DIGEST}").status == 201
    assert place.blob("GET", "", Digest.of(CONTENT + b"!")).status == 404


@pytest.mark.parametrize("head", HEADS)
def test_half_of_a_manifest_is_no_manifest(place: Place, head: str):
    target = f"/v2/library/app/manifests/{head}"
    break_off(place, "PUT", target, head, "application/vnd.oci.image.manifest.v1+json")
    assert not eventually(lambda: ask("GET", place.url + target).status != 404, 0.5)


def test_a_manifest_of_megabytes_is_read_in_a_process_of_its_own(place: Place):
    notes = {f"note-{number}": "" for number in range(200_000)}
    image = {"mediaType": "application/vnd.example.v1+json", "annotations": notes}
    content = json.dumps(image, separators=(",", ":")).encode()
    target = f"{place.url}/v2/library/app/manifests/large"
    assert ask("PUT", target, content, {"Content-Type": image["mediaType"]}).status == 201
    pulled = ask("GET", target)
    assert (pulled.body, pulled.headers["Content-Type"]) == (content, image["mediaType"])
    refused = ask("PUT", target, b'{"layers": {},' + content[1:], {"Content-Type": image["mediaType"]})
    assert json.loads(refused.body)["errors"][0]["code"] == "MANIFEST_INVALID"
    assert "keeps others waiting" not in place.server.stderr + place.server.stdout


def test_long_heads_are_taken(place: Place):
    headers = {"Authorization": "Bearer " + "x" * place.kind.authorization}
    assert ask("GET", f"{place.url}/v2/", headers=headers).status == 200
    assert ask("GET", f"{place.url}/v2/?scope={'x' * place.kind.line}").status == 200


def test_a_clients_headers_are_not_taken_for_paths(place: Place):
    for form in ("SCRIPT_NAME", "SCRIPT-NAME"):
        headers = {form: "/flask", form.replace("SCRIPT", "PATH").replace("NAME", "INFO"): "/v2/"}
        assert ask("GET", f"{place.url}/v2/a/b", headers=headers).status == 404
        assert ask("GET", f"{place.url}/v2/", headers=headers).status == 200


def test_a_connection_serves_one_request_after_the_other(place: Place):
    connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=10)
    with contextlib.closing(connection):
        connection.connect()
        first = connection.sock
        for path in ("/v2/", "/v2/library/nothing/tags/list", "/v2/"):
            connection.request("GET", path)
            connection.getresponse().read()
        assert (connection.sock is first) == place.kind.keeps
