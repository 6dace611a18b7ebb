"""What is too large for CloudFront goes to S3 by a presigned URL, or is served by the app (`maximumsize`)."""

from __future__ import annotations

import io
from typing import Any

import pytest
from lab.apps import DIGEST, EDGE, App, ask, request, wrap
from lab.near import S3, Presigner

from cfmiddleware.digest import Digest
from cfmiddleware.middleware.options import WrapperOptions
from cfmiddleware.registry.app import Registry
from cfmiddleware.storage.memory import MemoryDriver

SAID = ("Docker-Content-Digest", str(DIGEST))
LIMIT = 50 * 10**9


def app(size: int) -> App:
    return App(headers=[SAID, ("Content-Length", str(size))])


def part(size: int) -> App:
    return App("206 Partial Content", [SAID, ("Content-Length", "9"), ("Content-Range", f"bytes 0-8/{size}")])


def told(size: int) -> Any:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        environ["cfmiddleware.probe"].located("docker/x", size)
        start_response("200 OK", [SAID])
        return [b"x"]

    return app


@pytest.mark.parametrize("of", [app, part, told])
@pytest.mark.parametrize("probecache", [0, "30s"])
def test_without_a_presigner_the_app_serves_it_and_that_is_said(of: Any, probecache: Any, caplog: Any):
    wrapped = wrap(of(LIMIT + 1), probecache=probecache)
    for _ in range(2):
        assert ask(wrapped).code in (200, 206)
    assert wrapped.not_redirected["too-large"] == 2
    assert [f"{DIGEST} has {LIMIT + 1} bytes" in line for line in caplog.messages] == [True]
    assert "maximumsize" in caplog.text


@pytest.mark.parametrize("of", [app, part, told])
@pytest.mark.parametrize("probecache", [0, "30s"])
def test_with_a_presigner_it_goes_to_s3(of: Any, probecache: Any):
    wrapped = wrap(of(LIMIT + 1), presign=Presigner(), probecache=probecache)
    for _ in range(2):
        assert str(ask(wrapped).location).startswith(S3)


def test_a_size_that_comes_after_the_key_counts():
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        environ["cfmiddleware.probe"].located("docker/x")
        assert environ["cfmiddleware.probe"].redirects()
        start_response("200 OK", [SAID, ("Content-Length", str(LIMIT + 1))])
        return [b"x"]

    assert str(ask(wrap(app, presign=Presigner())).location).startswith(S3)
    assert ask(wrap(app)).code == 200


@pytest.mark.parametrize("of", [app, part, told])
def test_up_to_the_limit_it_goes_to_cloudfront(of: Any):
    assert str(ask(wrap(of(LIMIT), presign=Presigner())).location).startswith(EDGE)
    assert str(ask(wrap(of(LIMIT + 1), maximumsize=0)).location).startswith(EDGE)
    assert str(ask(wrap(of(LIMIT), maximumsize="1TB")).location).startswith(EDGE)


def test_where_s3_cannot_be_signed_for_the_app_serves_it():
    wrapped = wrap(app(LIMIT + 1), presign=Presigner(OSError()))
    assert ask(wrapped).code == 200
    assert wrapped.not_redirected["too-large"] == 1


def test_with_bindip_the_app_serves_it_because_urls_of_s3_are_not_bound():
    wrapped = wrap(app(LIMIT + 1), presign=Presigner(), bindip=True)
    assert ask(wrapped).code == 200


@pytest.mark.parametrize(("maximum", "front"), [("1kB", S3), (0, EDGE), (WrapperOptions.maximumsize, EDGE)])
def test_the_registry_is_asked_for_the_size_where_the_operator_sets_a_limit(maximum: Any, front: str):
    content = bytes(2000)
    digest = Digest.of(content)
    driver = MemoryDriver()
    registry = Registry(driver)
    body = {"wsgi.input": io.BytesIO(content), "CONTENT_LENGTH": "2000"}
    push = request("/v2/a/blobs/uploads/", "POST", QUERY_STRING=f"digest={digest}", **body)
    assert ask(registry, push).code == 201
    wrapped = wrap(registry, presign=Presigner(), maximumsize=maximum)
    for _ in range(2):
        assert str(ask(wrapped, request(f"/v2/a/blobs/{digest}")).location).startswith(front)


def test_the_size_of_a_blob_is_looked_at_once():
    asked = []

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        probe = environ["cfmiddleware.probe"]
        asked.append(probe.needs_size)
        probe.located("docker/x", 9 if probe.needs_size else None)
        start_response("200 OK", [SAID])
        return [b"x"]

    wrapped = wrap(app, maximumsize="1kB")
    for _ in range(3):
        assert ask(wrapped).code == 307
    assert asked == [True, False, False]
