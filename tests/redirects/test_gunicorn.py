"""Wrapping apps that know nothing of us, over real HTTP, under gunicorn."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from lab import TESTS
from lab.apps import BLOB, CONTENT, DIGEST, EDGE, KEY, KEY_PAIR_ID, key
from lab.servers import S3Server, Server, eventually, free_port, running

QUAY_KEY = f"sha256/{DIGEST.hex[:2]}/{DIGEST.hex}"
TOKEN = {"Authorization": "Bearer let-me-in"}


class Reply(NamedTuple):
    code: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def location(self) -> str:
        return self.headers.get("Location", "")


class Service(NamedTuple):
    """A gunicorn and where it listens."""

    port: int
    server: Server

    def get(
        self, path: str, headers: dict[str, str] | None = None, method: str = "GET", body: Any = None
    ) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return Reply(answer.status, answer.headers, answer.read())

    def raw(self, *requests: bytes) -> list[Reply]:
        """Send bytes as they are, over one connection, each after the answer to those before it."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            found = []
            for request in requests:
                connection.sendall(request)
                answer = http.client.HTTPResponse(connection)
                answer.begin()
                found.append(Reply(answer.status, answer.headers, answer.read()))
            return found


@contextlib.contextmanager
def serving(factory: str, directory: Path, *arguments: str, **variables: str) -> Iterator[Service]:
    """Serve what a function of `apps.py` returns, until the block is left."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", f"lab.apps:{factory}()", "--bind", f"127.0.0.1:{port}"]
    command += ["--worker-class", "gthread", "--threads", "4", "--graceful-timeout", "1", *arguments]
    command += ["--pythonpath", str(TESTS), "--access-logfile", "-"]
    with running(command, directory, ports=[port], env=variables) as server:
        yield Service(port, server)


def options(**more: Any) -> str:
    signing = {"privatekey": key(1).private_pem, "keypairid": KEY_PAIR_ID}
    return json.dumps({"baseurl": EDGE, **signing, **more})


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """An edge whose Origin Path is /team/prod, in a bucket that holds the blob in two layouts."""
    bucket = tmp_path_factory.mktemp("bucket")
    for path in (f"team/prod/{KEY}", f"team/prod/{QUAY_KEY}"):
        (bucket / path).parent.mkdir(parents=True)
        (bucket / path).write_bytes(CONTENT)
    variables = {
        "TEST_DIRECTORY": str(bucket),
        "TEST_ORIGINPATH": "/team/prod",
        "TEST_PUBLIC_KEY": key(1).public_pem,
    }
    with serving("edge", tmp_path_factory.mktemp("edge"), **variables) as service:
        yield service


@pytest.fixture(scope="module")
def flask_registry(edge: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    pytest.importorskip("flask")
    given = options(
        baseurl=f"http://127.0.0.1:{edge.port}", layout="quay", rootdirectory="/team/prod", bindip=True
    )
    with serving("flask_registry", tmp_path_factory.mktemp("flask"), TEST_OPTIONS=given) as service:
        yield service


class TestAFlaskRegistryWithItsOwnTokensAndQuaysLayout:
    def test_without_a_token_is_401_and_no_redirect(self, flask_registry):
        reply = flask_registry.get(BLOB)
        assert (reply.code, reply.location) == (401, "")
        assert reply.headers["WWW-Authenticate"] == "Bearer"
        assert json.loads(reply.body)["errors"][0]["code"] == "UNAUTHORIZED"

    def test_with_a_token_leads_to_the_edge_and_to_the_very_bytes(self, flask_registry, edge):
        reply = flask_registry.get(BLOB, TOKEN)
        assert reply.code == 307
        assert urlsplit(reply.location).path == f"/{QUAY_KEY}"
        assert "Set-Cookie" not in reply.headers
        followed = edge.get(reply.location.removeprefix(f"http://127.0.0.1:{edge.port}"))
        assert (followed.code, followed.body) == (200, CONTENT)

    def test_answers_itself_for_what_it_does_not_have(self, flask_registry):
        other = str(DIGEST)[:-1] + ("0" if str(DIGEST)[-1] != "0" else "1")
        assert flask_registry.get(f"/v2/team/app/blobs/{other}", TOKEN).code == 404

    def test_takes_uploads_as_ever(self, flask_registry):
        reply = flask_registry.get(BLOB, method="PUT", body=CONTENT)
        assert json.loads(reply.body) == {"received": len(CONTENT)}

    def test_serves_on_after_a_get_with_a_body_that_nobody_read(self, flask_registry):
        line = f"GET {BLOB} HTTP/1.1\r\nHost: r\r\nAuthorization: Bearer let-me-in\r\n"
        smuggled = b"GET /v2/smuggled HTTP/1.1\r\nHost: r\r\n\r\n"
        first = line.encode() + b"Content-Length: %d\r\n\r\n" % len(smuggled) + smuggled
        replies = flask_registry.raw(first, line.encode() + b"\r\n")
        assert [reply.code for reply in replies] == [307, 307]


class TestTheEdge:
    def sent(self, flask_registry: Service, edge: Service) -> str:
        location = flask_registry.get(BLOB, TOKEN).location
        return location.removeprefix(f"http://127.0.0.1:{edge.port}")

    def test_serves_parts_and_heads(self, flask_registry, edge):
        sent = self.sent(flask_registry, edge)
        part = edge.get(sent, {"Range": "bytes=100-199"})
        assert (part.code, part.body) == (206, CONTENT[100:200])
        head = edge.get(sent, method="HEAD")
        assert (head.code, head.body, head.headers["Content-Length"]) == (200, b"", str(len(CONTENT)))

    def test_takes_an_absolute_request_line(self, flask_registry, edge):
        host = f"127.0.0.1:{edge.port}"
        request = f"GET http://{host}{self.sent(flask_registry, edge)} HTTP/1.1\r\nHost: {host}\r\n\r\n"
        (reply,) = edge.raw(request.encode())
        assert (reply.code, reply.body) == (200, CONTENT)

    def test_refuses_a_url_that_was_written_otherwise_than_it_was_signed(self, flask_registry, edge):
        sent = self.sent(flask_registry, edge)
        for other in (
            sent.replace("/sha256/", "/%73ha256/"),
            sent.replace("/sha256/", "//sha256/"),
            sent.replace("/sha256/", "/x/../sha256/"),
            "/%2e%2e" + sent,
            sent + "&x=1",
        ):
            host = f"127.0.0.1:{edge.port}"
            (reply,) = edge.raw(f"GET {other} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert reply.code == 403
            assert b"<Code>AccessDenied</Code>" in reply.body

    def test_shows_no_signature_in_any_log(self, flask_registry, edge):
        """gunicorn's own access log is on, in its default form."""
        sent = self.sent(flask_registry, edge)
        edge.get(sent)
        edge.get(sent + "&x")
        line = f"edge GET /{QUAY_KEY} 200 {len(CONTENT)}"
        assert eventually(lambda: line in edge.server.stderr)
        for written in (edge.server.stdout, edge.server.stderr, flask_registry.server.stderr):
            assert "Signature" not in written
            assert "Traceback" not in written
        assert f'"GET /{QUAY_KEY} HTTP/1.1" 200' in edge.server.stdout


@pytest.fixture(scope="module")
def yes_man(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """An app that serves the blob under every path, behind a server that takes lines of any length."""
    arguments = ("--limit-request-line", "0")
    with serving("asked", tmp_path_factory.mktemp("asked"), *arguments, TEST_OPTIONS=options()) as service:
        yield service


@pytest.mark.parametrize(
    "target",
    [
        f"/v2/team/../app/blobs/{DIGEST}",
        f"/v2/team/%2e%2e/app/blobs/{DIGEST}",
        f"/v2/%74eam/app/blobs/{DIGEST}",
        f"/v2/team%2Fapp/blobs/{DIGEST}",
        f"/v2//app/blobs/{DIGEST}",
        f"//v2/app/blobs/{DIGEST}",
        f"/v2/app/blobs/sha256:{DIGEST.hex.upper()}",
        f"/v2/app/blobs/{str(DIGEST).replace(':', '%3a')}",
        f"{BLOB}/",
        f"{BLOB}%0a",
        f"{BLOB}%0A",
        f"/%0a{BLOB}",
        f"{BLOB}%00",
        f"{BLOB};x=1",
        f"{BLOB}#part",
        f"/v2/{'a/' * 500_000}app/blobs/{DIGEST}",
        f"{BLOB}/{'a' * 1_000_000}",
    ],
    ids=lambda target: target[:40],
)
def test_a_hostile_path_is_never_redirected(yes_man: Service, target: str):
    (reply,) = yes_man.raw(f"GET {target} HTTP/1.1\r\nHost: r\r\n\r\n".encode())
    assert (reply.code, reply.location) == (200, "")
    assert reply.body == CONTENT


@pytest.mark.parametrize("target", [BLOB, f"{BLOB}?ns=docker.io", f"http://r{BLOB}"])
def test_a_plain_path_is_redirected_by_the_same_app(yes_man: Service, target: str):
    (reply,) = yes_man.raw(f"GET {target} HTTP/1.1\r\nHost: r\r\n\r\n".encode())
    assert reply.code == 307
    assert urlsplit(reply.location).path == f"/{KEY}"


class TestAnAppThatWritesAndCountsItsCloses:
    @pytest.fixture
    def notes(self, tmp_path: Path) -> Path:
        return tmp_path / "notes"

    @pytest.fixture
    def writing(self, notes: Path, tmp_path: Path) -> Iterator[Service]:
        variables = {"TEST_NOTES": str(notes), "TEST_OPTIONS": options()}
        with serving("writing", tmp_path / "gunicorn", **variables) as service:
            yield service

    def test_is_called_once_stopped_at_once_and_closed_once(self, writing, notes):
        assert writing.get(f"/v2/yes/blobs/{DIGEST}").code == 307
        assert notes.read_text().split() == ["called", "closed"]
        notes.unlink()
        reply = writing.get(f"/v2/yes-writes/blobs/{DIGEST}")
        assert (reply.code, reply.body) == (307, b"")
        assert notes.read_text().splitlines() == ["called", "ended by _Stop"]
        notes.unlink()
        reply = writing.get(f"/v2/no/blobs/{DIGEST}")
        assert (reply.code, reply.body) == (200, b"one two")
        assert eventually(lambda: notes.read_text().split() == ["called", "closed"])
        notes.unlink()
        # A client that goes away in the middle of a gigabyte.
        with socket.create_connection(("127.0.0.1", writing.port), timeout=20) as raw:
            raw.sendall(f"GET /v2/no-writes/blobs/{DIGEST} HTTP/1.1\r\nHost: r\r\n\r\n".encode())
            assert raw.recv(1000)
        assert eventually(lambda: "ended by" in notes.read_text())
        assert notes.read_text().count("called") == 1
        assert notes.read_text().count("written") < 100
        assert writing.get("/").body == b"ok"


class TestARegistryUnderAPrefix:
    def test_inside_the_wrapper(self, tmp_path):
        with serving("mounted_inside", tmp_path, TEST_OPTIONS=options(prefix="/registry")) as service:
            assert urlsplit(service.get(f"/registry{BLOB}").location).path == f"/{KEY}"
            assert service.get(BLOB).body == CONTENT
            assert json.loads(service.get("/registry/v2/").body) == {"path": "/v2/", "mount": "/registry"}

    def test_outside_the_wrapper(self, tmp_path):
        with serving("mounted_outside", tmp_path, TEST_OPTIONS=options()) as service:
            assert urlsplit(service.get(f"/registry{BLOB}").location).path == f"/{KEY}"
            assert service.get(BLOB).body == CONTENT
            assert json.loads(service.get("/registry/v2/").body) == {"path": "/v2/", "mount": "/registry"}


def test_a_django_registry(tmp_path):
    pytest.importorskip("django")
    with serving("django_registry", tmp_path, TEST_OPTIONS=options()) as service:
        assert service.get(BLOB).code == 401
        assert urlsplit(service.get(BLOB, TOKEN).location).path == f"/{KEY}"
        assert service.get(f"/v2/page/blobs/{DIGEST}", TOKEN).body == b"<p>Welcome</p>"
        assert service.get("/elsewhere").code == 404


class TestAnAppThatRedirectsToPresignedUrls:
    def redirected(self, tmp_path: Path, given: str, **variables: str) -> Reply:
        pytest.importorskip("flask")
        with serving("presigning", tmp_path, TEST_OPTIONS=given, **variables) as service:
            return service.get(BLOB)

    def test_into_the_bucket_sends_its_clients_to_the_edge(self, tmp_path, edge):
        given = options(
            baseurl=f"http://127.0.0.1:{edge.port}", bucket="made-up-images", rootdirectory="/team/prod"
        )
        reply = self.redirected(
            tmp_path, given, TEST_BUCKET="made-up-images", TEST_KEY=f"team/prod/{QUAY_KEY}"
        )
        assert (reply.code, urlsplit(reply.location).path) == (307, f"/{QUAY_KEY}")
        followed = edge.get(reply.location.removeprefix(f"http://127.0.0.1:{edge.port}"))
        assert (followed.code, followed.body) == (200, CONTENT)

    def test_into_the_bucket_of_an_s3_of_ones_own(self, tmp_path, s3_server: S3Server):
        given = options(bucket="images", regionendpoint=s3_server.endpoint)
        variables = {"TEST_BUCKET": "images", "TEST_ENDPOINT": s3_server.endpoint, "TEST_KEY": "a b/ä+c"}
        reply = self.redirected(tmp_path, given, **variables)
        assert reply.location.startswith(f"{EDGE}/a%20b/%C3%A4%2Bc?Expires=")

    def test_elsewhere_sends_its_clients_there(self, tmp_path, s3_server: S3Server):
        bucket = s3_server.new_bucket()
        s3_server.client().put_object(Bucket=bucket, Key="x", Body=CONTENT)
        given = options(bucket="another", regionendpoint=s3_server.endpoint)
        variables = {"TEST_BUCKET": bucket, "TEST_ENDPOINT": s3_server.endpoint, "TEST_KEY": "x"}
        reply = self.redirected(tmp_path, given, **variables)
        assert reply.code == 302
        parts = urlsplit(reply.location)
        fetched = Service(parts.port or 0, None).get(f"{parts.path}?{parts.query}")  # type: ignore[arg-type]
        assert fetched.body == CONTENT
