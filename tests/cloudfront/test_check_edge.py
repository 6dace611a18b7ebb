"""The first and the third step of a check, put to an edge that is right, and to one that is not."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import yaml
from lab.edges import KEY_ID, checked, configuration, crosses, dated, questions
from lab.servers import free_port
from lab.signing_material import rsa_key
from lab.wsgi_server import App, running_app

from cfmiddleware.cloudfront.check import Request, check
from cfmiddleware.cloudfront.findings import Mark
from cfmiddleware.config import Config
from cfmiddleware.digest import Digest
from cfmiddleware.errors import ConfigError

OTHER_KEY = rsa_key(2).public_pem


def files(directory: Path) -> list[Path]:
    return [path for path in (directory / "registry").rglob("*") if path.is_file()]


def push(config: Config) -> None:
    """Put a layer of the repository `app` into a configuration's storage."""
    driver, digest, root = config.driver(), Digest.of(b"a layer"), "/docker/registry/v2/"
    driver.write(f"{root}blobs/sha256/{digest.hex[:2]}/{digest.hex}/data", b"a layer")
    driver.write(f"{root}repositories/app/_layers/sha256/{digest.hex}/link", str(digest).encode())


@pytest.mark.parametrize(
    "options",
    [{}, {"bindip": True}, {"hash": "sha256"}, {"originpath": ""}, {"layout": "quay"}, {"unsigned": True}],
    ids=str,
)
def test_an_edge_that_is_right_has_ticks_alone_and_nothing_is_left_behind(tmp_path: Path, options: dict):
    edge: dict[str, Any] = {}
    if "unsigned" in options:
        options = {**options, "privatekey": None}
        edge = {"publickeys": {KEY_ID: OTHER_KEY}}
    gate = _opened if "unsigned" in options else None
    with checked(tmp_path, options, edge, gate) as found:
        assert (crosses(found), questions(found)) == (set(), set())
        assert {"signed", "range"} <= found.keys()
    assert files(tmp_path) == []


def _opened(app: App) -> App:
    """Return what hands out every object, as a public bucket behind another CDN does."""

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        from cfmiddleware.edge import Edge

        assert isinstance(app, Edge)
        logical = environ["PATH_INFO"]
        content = app._driver.read(logical)
        status, headers = "200 OK", [("Content-Length", str(len(content)))]
        if span := environ.get("HTTP_RANGE"):
            first, _, last = span.removeprefix("bytes=").partition("-")
            content, status = content[int(first) : int(last) + 1], "206 Partial Content"
            headers = [("Content-Length", str(len(content)))]
        start_response(status, headers)
        return [content]

    return answer


@pytest.mark.parametrize(
    ("edge", "name", "said", "mend"),
    [
        ({"publickeys": {KEY_ID: OTHER_KEY}}, "key", "AccessDenied", "compare"),
        ({"publickeys": {"KOTHER": OTHER_KEY}}, "key", "does not know the key", "Key groups"),
        ({"originpath": ""}, "origin-path", "is blank", "/team/prod"),
        ({"originpath": "/team"}, "origin-path", "'/team'", 'originpath: "/team"'),
        ({"originpath": "/team/prod/docker"}, "origin-path", "'/team/prod/docker'", "/team/prod"),
        ({"originpath": "/elsewhere"}, "bucket-policy", "nor any likely other", "policy"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_fault_is_named_with_what_mends_it(
    tmp_path: Path, edge: dict[str, Any], name: str, said: str, mend: str
):
    with checked(tmp_path, edge=edge) as found:
        assert crosses(found) == {name}
        assert said in found[name].says
        assert mend in found[name].mend
    assert files(tmp_path) == []


@pytest.mark.parametrize("ahead", [-3600, 3600])
def test_a_wrong_clock_is_named_and_hides_nothing(tmp_path: Path, ahead: int):
    with checked(tmp_path, clock=lambda: time.time() + ahead) as found:
        assert crosses(found) == {"clock"}
        assert "signed" in found


def test_a_host_that_is_not_cloudfront_is_named(tmp_path: Path):
    def gate(app: App) -> App:
        def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            start_response("404 Not Found", [("Content-Length", "9")])
            return [b"not found"]

        return answer

    with checked(tmp_path, gate=gate) as found:
        assert crosses(found) == {"host"}
    assert files(tmp_path) == []


def test_an_error_in_the_cache_is_named(tmp_path: Path):
    def gate(app: App) -> App:
        def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            if "Signature" not in environ["QUERY_STRING"]:
                return app(environ, start_response)
            start_response("403 Forbidden", [("Age", "77"), ("X-Amz-Cf-Id", "x"), ("Content-Length", "0")])
            return []

        return answer

    with checked(tmp_path, gate=gate) as found:
        assert "cached-error" in crosses(found)
        assert "77 seconds" in found["cached-error"].says
        assert "create-invalidation" in found["cached-error"].mend


@pytest.mark.parametrize(
    ("headers", "name", "mend"),
    [
        ([("Age", "77"), ("X-Amz-Cf-Id", "x")], "cached-error", "create-invalidation"),
        ([("x-amz-request-id", "R"), ("X-Amz-Cf-Id", "x")], "blob", "metadata-directive REPLACE"),
        ([], "", ""),
    ],
    ids=["in the cache", "of another account", "none"],
)
def test_what_keeps_a_blob_that_is_there_from_being_served_is_named(
    tmp_path: Path, headers: list[tuple[str, str]], name: str, mend: str
):
    """The check's own object is served, and is in no cache."""
    push(configuration(tmp_path, "http://127.0.0.1:1", {}))

    def gate(app: App) -> App:
        def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            if not headers or "/blobs/" not in environ["PATH_INFO"]:
                return app(environ, start_response)
            body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
            start_response("403 Forbidden", [*headers, ("Content-Length", str(len(body)))])
            return [body]

        return answer

    with checked(tmp_path, gate=gate) as found:
        assert crosses(found) == ({name} if name else set())
        assert found["signed"].mark is Mark.TICK
        assert mend in found[name or "blobs"].mend


def test_a_key_whose_name_says_no_id_yet_is_one_line(tmp_path: Path):
    config = configuration(tmp_path, "http://127.0.0.1:1", {})
    (tmp_path / "keys" / f"pk-{KEY_ID}.pem").rename(tmp_path / "keys" / "cloudfront.pem")
    (tmp_path / "keys" / "cloudfront.pub.pem").write_text(rsa_key().public_pem)

    with pytest.raises(ConfigError, match=r"options\.privatekey: no key signs yet; name .*cloudfront\.pem"):
        next(check(Request(config)))


def test_nobody_there_is_named(tmp_path: Path):
    config = configuration(tmp_path, f"http://127.0.0.1:{free_port()}", {})
    found = {finding.name: finding for _, finding in check(Request(config))}

    assert crosses(found) == {"host"}
    assert files(tmp_path) == []


def test_an_object_that_is_there_is_asked_for_and_nothing_is_written(tmp_path: Path):
    content = b"x" * 200_000
    digest = Digest.of(content)
    path = tmp_path / "registry/docker/registry/v2/blobs/sha256" / digest.hex[:2] / digest.hex / "data"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with checked(tmp_path, digest=digest) as found:
        assert (crosses(found), questions(found)) == (set(), set())
        assert "removed" not in found
    assert files(tmp_path) == [path]


def test_into_a_storage_that_is_read_only_nothing_is_written(tmp_path: Path):
    with running_app(dated(lambda environ, start_response: edge(environ, start_response))) as port:
        edge = configuration(tmp_path, f"http://127.0.0.1:{port}", {}).edge()
        file = tmp_path / "config.yml"
        tree = yaml.safe_load(file.read_text())
        tree["storage"]["maintenance"] = {"readonly": {"enabled": True}}
        file.write_text(yaml.safe_dump(tree))
        config = Config.load(file, {})
        without = {finding.name: finding for _, finding in check(Request(config))}
        push(configuration(tmp_path, f"http://127.0.0.1:{port}", {}))
        before = files(tmp_path)
        with_blob = {finding.name: finding for _, finding in check(Request(config))}

    assert (crosses(without), crosses(with_blob), questions(with_blob)) == (set(), set(), set())
    assert {"object", "signed"} <= questions(without)
    assert "signed" in with_blob
    assert "removed" not in with_blob
    assert files(tmp_path) == before


def test_a_digest_that_is_not_there_is_one_line(tmp_path: Path):
    with pytest.raises(ConfigError, match="is not in the storage"), checked(tmp_path, digest=Digest.of(b"x")):
        pass


def test_the_object_is_removed_where_the_caller_stops_in_the_middle(tmp_path: Path):
    config = configuration(tmp_path, f"http://127.0.0.1:{free_port()}", {})
    found = check(Request(config))
    assert next(found)[1].name == "object"
    assert len(files(tmp_path)) == 1

    found.close()

    assert files(tmp_path) == []


def test_the_redirect_of_a_running_registry_is_followed(tmp_path: Path):
    with running_app(dated(lambda environ, start_response: edge(environ, start_response))) as port:
        config = configuration(tmp_path, f"http://127.0.0.1:{port}", {"rootdirectory": ""})
        edge = config.edge()
        with running_app(config.app()) as registry_port:
            url = f"http://127.0.0.1:{registry_port}"
            found = {finding.name: finding for _, finding in check(Request(config, url=url))}
            assert questions(found) == {"redirect"}

            push(config)
            found = {finding.name: finding for _, finding in check(Request(config, url=url))}

    assert (crosses(found), questions(found)) == (set(), set())
    assert {"redirect", "redirect-signature", "redirect-bytes"} <= found.keys()


def test_a_registry_that_serves_blobs_itself_is_named(tmp_path: Path):
    with running_app(dated(lambda environ, start_response: edge(environ, start_response))) as port:
        config = configuration(tmp_path, f"http://127.0.0.1:{port}", {"rootdirectory": ""})
        edge = config.edge()
        push(config)
        with running_app(config.registry()) as registry_port:
            url = f"http://127.0.0.1:{registry_port}"
            found = {finding.name: finding for _, finding in check(Request(config, url=url))}

    assert crosses(found) == {"redirect"}


@pytest.mark.parametrize(
    "location", ["", "/login", "http://[::1", "https://a:99999/x", "http://a b/", "ftp://a/b", "http://\xfc/"]
)
def test_a_redirect_that_leads_nowhere_is_a_cross(tmp_path: Path, location: str):
    def registry(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("307 Temporary Redirect", [("Location", location), ("Content-Length", "0")])
        return []

    with (
        running_app(dated(lambda environ, start_response: edge(environ, start_response))) as port,
        running_app(registry) as registry_port,
    ):
        config = configuration(tmp_path, f"http://127.0.0.1:{port}", {"rootdirectory": ""})
        edge = config.edge()
        push(config)
        url = f"http://127.0.0.1:{registry_port}"
        found = {finding.name: finding for _, finding in check(Request(config, url=url))}

    assert crosses(found) == {"redirect-signature", "redirect-bytes"}
    assert "leads nowhere" in found["redirect-bytes"].says


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
@pytest.mark.parametrize("login", ["me:secret", ""])
def test_a_registry_that_wants_a_login_gets_it(tmp_path: Path, scheme: str, login: str):
    """Basic authentication, and a token of a service."""
    basic = "Basic " + base64.b64encode(b"me:secret").decode()

    def tokens(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        query = parse_qs(environ["QUERY_STRING"])
        is_right = environ.get("HTTP_AUTHORIZATION") == basic and query == {
            "scope": ["repository:app:pull"],
            "service": ["images & more"],
        }
        start_response("200 OK" if is_right else "403 Forbidden", [])
        return [b'{"token": "the-token"}' if is_right else b"{}"]

    def guard(app: App, challenge: str, credential: str) -> App:
        def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            if environ.get("HTTP_AUTHORIZATION") == credential:
                return app(environ, start_response)
            start_response("401 Unauthorized", [("WWW-Authenticate", challenge), ("Content-Length", "0")])
            return []

        return answer

    with (
        running_app(dated(lambda environ, start_response: edge(environ, start_response))) as port,
        running_app(tokens) as token_port,
    ):
        config = configuration(tmp_path, f"http://127.0.0.1:{port}", {"rootdirectory": ""})
        edge = config.edge()
        push(config)
        challenge, credential = 'Basic realm="images"', basic
        if scheme == "Bearer":
            challenge = f'Bearer realm="http://127.0.0.1:{token_port}/token",service="images & more"'
            credential = "Bearer the-token"
        with running_app(guard(config.app(), challenge, credential)) as registry_port:
            request = Request(config, url=f"http://127.0.0.1:{registry_port}", login=login)
            found = {finding.name: finding for _, finding in check(request)}

    assert crosses(found) == set()
    assert questions(found) == (set() if login else {"redirect"})
    assert ("--login FILE" in found["redirect"].mend) == (not login)
    assert "secret" not in repr(request)


def test_no_finding_shows_a_signature(tmp_path: Path):
    with checked(tmp_path, edge={"publickeys": {KEY_ID: OTHER_KEY}}) as found:
        said = "".join(finding.says + finding.mend for finding in found.values())
        assert "Signature=" not in said.replace("Signature=...", "")
