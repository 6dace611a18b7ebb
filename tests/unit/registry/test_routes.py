"""Which resource a path names, whoever sends it; ranges of what is sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.registry_client import RegistryClient, error_code

from cfmiddleware.reference import is_name
from cfmiddleware.registry.errors import RegistryError
from cfmiddleware.registry.routes import Route, parse_route
from cfmiddleware.storage.memory import MemoryDriver
from cfmiddleware.wsgi.ranges import Span, Unsatisfiable, parse_sent, parse_wanted

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v2/", Route("base")),
        ("/v2", Route("base")),
        ("/v2/_catalog", Route("catalog")),
        ("/v2/a/tags/list", Route("tags", "a")),
        ("/v2/a/b/blobs/" + DIGEST, Route("blob", "a/b", DIGEST)),
        ("/v2/a/blobs/uploads/", Route("uploads", "a")),
        ("/v2/a/blobs/uploads", Route("uploads", "a")),
        ("/v2/a/blobs/uploads/u-1", Route("upload", "a", "u-1")),
        ("/v2/a/manifests/latest", Route("manifest", "a", "latest")),
        ("/v2/a/manifests/b/tags/list", Route("tags", "a/manifests/b")),
        ("/v2/a/blobs/uploads/blobs/x", Route("blob", "a/blobs/uploads", "x")),
        ("/v2/blobs/uploads/manifests/blobs/uploads/x", Route("upload", "blobs/uploads/manifests", "x")),
        ("/v2/tags/list/tags/list", Route("tags", "tags/list")),
    ],
)
def test_a_path_is_read_from_the_right(path, route):
    assert parse_route(path) == route
    assert parse_route("/under/this" + path, "/under/this") == route


@pytest.mark.parametrize(
    "path",
    ["/v1/", "/v2x", "/v2/a", "/v2//", "/v2/a/tags", "/v2/a/blobs/", "/v2/a/manifests/", "v2/"],
)
def test_there_is_nothing_at_any_other_path(path):
    with pytest.raises(RegistryError) as caught:
        parse_route(path)
    assert (caught.value.status, caught.value.code) == (404, "UNSUPPORTED")


_words = st.sampled_from(
    ["v2", "blobs", "uploads", "manifests", "tags", "list", "_catalog", "a", "..", "", "A"]
)


@given(st.lists(_words | st.text(max_size=5), max_size=9).map("/".join))
def test_a_path_that_is_a_route_has_a_valid_name_and_is_read_whole(rest):
    path = "/v2/" + rest
    try:
        route = parse_route(path)
    except RegistryError:
        return
    if route.resource in ("base", "catalog"):
        assert rest in ("", "_catalog")
        return
    assert is_name(route.repository)
    between = {"blob": "blobs", "manifest": "manifests", "upload": "blobs/uploads"}.get(route.resource, "")
    tails = {"tags": ["tags/list"], "uploads": ["blobs/uploads", "blobs/uploads/"]}
    tail = tails.get(route.resource, [f"{between}/{route.reference}"])
    assert path in [f"/v2/{route.repository}/{end}" for end in tail]


@given(st.binary(max_size=40), st.sampled_from(["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "BREW"]))
def test_no_request_makes_the_registry_fail(raw, method):
    client = RegistryClient(MemoryDriver())
    path = "/v2/a/" + raw.decode("latin-1")
    answer = client.open("/v2/", method=method, environ_overrides={"PATH_INFO": path})
    assert 200 <= answer.status_code < 500


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v2/", "GET, HEAD"),
        ("/v2/_catalog", "GET, HEAD"),
        ("/v2/a/tags/list", "GET, HEAD"),
        ("/v2/a/blobs/x", "DELETE, GET, HEAD"),
        ("/v2/a/blobs/uploads/", "POST"),
        ("/v2/a/blobs/uploads/x", "DELETE, GET, HEAD, PATCH, PUT"),
        ("/v2/a/referrers/x", "GET, HEAD"),
        ("/v2/a/manifests/x", "DELETE, GET, HEAD, PUT"),
    ],
)
def test_a_method_that_a_resource_does_not_have_is_405_and_names_those_it_has(path, allowed):
    answer = RegistryClient(MemoryDriver()).open(path, method="BREW")
    assert (answer.status_code, error_code(answer)) == (405, "UNSUPPORTED")
    assert answer.headers["Allow"] == allowed
    assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"


@given(st.integers(0, 30), st.integers(0, 40), st.integers(0, 40))
def test_a_range_is_the_same_part_that_python_slices(size, first, last):
    content = bytes(range(size))
    for header, expected in [
        (f"bytes={first}-", content[first:]),
        (f"bytes=-{last}", content[-last:] if last else b""),
        (f"bytes={first}-{last}", content[first : last + 1]),
    ]:
        try:
            span = parse_wanted(header, size)
        except Unsatisfiable:
            assert not expected
        else:
            assert (span and content[span.offset : span.offset + span.length]) == expected


@given(st.text(max_size=30), st.integers(0, 100))
def test_any_text_is_a_range_or_ignored(header, size):
    try:
        span = parse_wanted(header, size)
    except Unsatisfiable:
        return
    assert span is None or 0 <= span.offset < span.offset + span.length <= size


@pytest.mark.parametrize(
    ("header", "span"),
    [
        ("0-0", Span(0, 1)),
        ("10-19", Span(10, 10)),
        ("bytes 10-19/*", Span(10, 10)),
        ("bytes 10-19/100", Span(10, 10)),
        ("bytes=10-19", Span(10, 10)),
        ("19-10", None),
        ("-5", None),
        ("5-", None),
        ("", None),
        ("9" * 5000 + "-", None),
        ("\u0661-\u0662", None),
    ],
)
def test_what_a_client_says_that_it_sends_is_read_in_every_form(header, span):
    assert parse_sent(header) == span
