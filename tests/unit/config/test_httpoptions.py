"""The section `http` of a configuration, seen from outside: prefix, host, relative URLs, headers."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.apps import Answered, ask, request

from cfmiddleware.config import Config
from cfmiddleware.config.serveroptions import ServerOptions
from cfmiddleware.digest import Digest
from cfmiddleware.errors import ConfigError
from cfmiddleware.paste import registry_factory
from cfmiddleware.server import registry as registry_of
from cfmiddleware.signing.keys import generate
from cfmiddleware.wsgi import headers
from cfmiddleware.wsgi.headers import ExtraHeaders

LAYER = b"layer"
DIGEST = Digest.of(LAYER)
START = "/v2/team/app/blobs/uploads/"
BLOB = f"/v2/team/app/blobs/{DIGEST}"


def config(wrapped: bool = False, **http: Any) -> Config:
    """Return the configuration of a registry in memory, perhaps behind a wrapper."""
    tree: dict[str, Any] = {"storage": {"inmemory": None}, "http": http}
    if wrapped:
        pem = generate("ecdsa").private_pem
        options = {"baseurl": "https://d.example", "privatekey": pem, "keypairid": "K1"}
        tree["middleware"] = {"storage": [{"name": "cloudfront", "options": options}]}
    return Config(tree, "config.yml", Path())


def refusal(**http: Any) -> str:
    """Return the line with which a configuration is refused."""
    with pytest.raises(ConfigError) as caught:
        config(**http).app()
    return str(caught.value)


def post(app: Any, path: str = START, **more: Any) -> Answered:
    return ask(app, request(path, "POST", CONTENT_LENGTH="0", **more))


def push(app: Any, prefix: str = "") -> None:
    """Push the layer in one request."""
    pushed = request(
        f"{prefix}{START}",
        "POST",
        QUERY_STRING=f"digest={DIGEST}",
        CONTENT_LENGTH=str(len(LAYER)),
        **{"wsgi.input": io.BytesIO(LAYER)},
    )
    assert ask(app, pushed).code == 201


# http.prefix


@pytest.mark.parametrize("prefix", ["/registry", "/registry/", "registry", "/a/b/"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_the_registry_stands_behind_the_prefix_and_nowhere_else(prefix: str, wrapped: bool):
    app = config(wrapped, prefix=prefix).app()
    mount = "/" + prefix.strip("/")

    assert ask(app, request(f"{mount}/v2/")).code == 200
    assert ask(app, request("/v2/")).code == 404
    assert ask(app, request(f"{mount}{mount}/v2/")).code == 404


def test_locations_have_the_prefix():
    location = post(config(prefix="/registry/").app(), f"/registry{START}", HTTP_HOST="r.example").location

    assert str(location).startswith(f"https://r.example/registry{START}")


@pytest.mark.parametrize("prefix", ["/registry", "/registry/", "/a/b/"])
def test_the_wrapper_redirects_pulls_behind_the_prefix(prefix: str):
    app = config(wrapped=True, prefix=prefix).app()
    push(app, prefix.rstrip("/"))

    answer = ask(app, request(f"{prefix.rstrip('/')}{BLOB}"))

    assert answer.code == 307
    # Where the registry is mounted says nothing of where its objects are.
    assert urlsplit(str(answer.location)).path.startswith("/docker/registry/v2/blobs/")


# http.host and http.relativeurls


def test_locations_lead_to_the_host_of_the_request():
    assert str(post(config().app(), HTTP_HOST="r.example:8443").location).startswith(
        f"https://r.example:8443{START}"
    )


@pytest.mark.parametrize("host", ["https://registry.example.com", "https://registry.example.com/"])
def test_locations_lead_to_the_host_of_the_file_whatever_a_client_called(host: str):
    location = post(config(host=host).app(), HTTP_HOST="other.example").location

    assert str(location).startswith(f"https://registry.example.com{START}")


def test_relative_locations_have_neither_scheme_nor_host():
    app = config(relativeurls=True, host="https://registry.example.com", prefix="/registry").app()

    assert str(post(app, f"/registry{START}").location).startswith(f"/registry{START}")


@pytest.mark.parametrize(
    "host",
    [
        "registry.example.com",
        "ftp://r.example",
        "https://",
        "https://r.example:x",
        "https://[::1",
        "https://a b",
        "https://r.example/?a",
        "https://r.example/#a",
        "https://u@r.example",
        "https://r.example\r\nX: y",
        "//r",
    ],
)
def test_a_host_that_is_no_url_is_refused(host: str):
    line = refusal(host=host)

    assert line.startswith("config.yml: http.host: ")
    assert line.endswith("is not a URL; write it like https://registry.example.com")
    assert "\n" not in line


@pytest.mark.parametrize(
    ("http", "line"),
    [
        ({"relativeurls": "perhaps"}, "config.yml: http.relativeurls: 'perhaps' is neither true nor false"),
        ({"prefix": ["a"]}, "config.yml: http.prefix: ['a'] is not text"),
    ],
)
def test_what_is_no_value_is_refused(http: dict[str, Any], line: str):
    assert refusal(**http) == line


# http.headers


@pytest.mark.parametrize("wrapped", [False, True])
def test_headers_of_the_file_are_on_every_answer(wrapped: bool):
    given = {"X-Content-Type-Options": ["nosniff"], "Strict-Transport-Security": ["max-age=31536000"]}
    app = config(wrapped, headers=given).app()
    push(app)

    answers = [ask(app, request(path)) for path in ("/v2/", BLOB, "/v2/none/tags/list", "/", "/v2/A/x")]

    assert [answer.code for answer in answers] == [200, 307 if wrapped else 200, 404, 200, 404]
    for answer in answers:
        assert ("X-Content-Type-Options", "nosniff") in answer.headers
        assert ("Strict-Transport-Security", "max-age=31536000") in answer.headers


def test_a_header_may_have_several_values_or_one_that_is_no_list():
    app = config(headers={"X-Many": ["a", "b"], "X-One": "c", "X-Number": 5}).app()

    added = [header for header in ask(app, request("/v2/")).headers if header[0].startswith("X-")]
    assert added == [("X-Many", "a"), ("X-Many", "b"), ("X-One", "c"), ("X-Number", "5")]


CORS = """
storage: {inmemory: }
http:
  headers:
    Access-Control-Allow-Origin: ['http://ui.example.com']
    Access-Control-Allow-Methods: [HEAD, GET, OPTIONS, DELETE]
    Access-Control-Allow-Credentials: [true]
    Access-Control-Max-Age: [1728000]
    X-Words: [yes, True, 1.10, 0x10, 2026-08-01, 010]
    X-One: true
"""


def added(app: Any, name: str, **environ: str) -> list[str]:
    return [value for header, value in ask(app, request("/v2/", **environ)).headers if header == name]


def test_header_values_without_quotes_are_what_stands_in_the_file(tmp_path: Path):
    """As in Distribution, whose parser makes texts of them; guides for registry UIs have such a block."""
    file = tmp_path / "config.yml"
    file.write_text(CORS)
    app = Config.load(file, {"REGISTRY_HTTP_HEADERS_X-Other": "[true, 1.10]"}).app()

    assert added(app, "Access-Control-Allow-Credentials") == ["true"]
    assert added(app, "Access-Control-Max-Age") == ["1728000"]
    assert added(app, "X-Words") == ["yes", "True", "1.10", "0x10", "2026-08-01", "010"]
    assert added(app, "X-One") == ["true"]
    assert added(app, "x-other") == ["true", "1.10"]


def test_a_header_without_a_value_is_as_in_distribution(tmp_path: Path):
    """``null`` adds nothing, and an empty text is an empty header."""
    file = tmp_path / "config.yml"
    file.write_text(
        "storage: {inmemory: }\nhttp: {headers: {X-A: , X-B: [~, 1.10], X-C: [], X-D: [''], X-E: null}}"
    )
    app = Config.load(file).app()

    assert [added(app, f"X-{name}") for name in "ABCDE"] == [[], ["1.10"], [], [""], []]


def test_header_values_of_python_are_texts_too():
    app = config(headers={"X-True": [True], "X-Number": [1728000, 1.5]}).app()

    assert added(app, "X-True") == ["true"]
    assert added(app, "X-Number") == ["1728000", "1.5"]


def test_headers_that_are_merged_in_stay(tmp_path: Path):
    file = tmp_path / "config.yml"
    file.write_text(
        "storage: {inmemory: }\nlog: {fields: &more {X-A: a}}\nhttp: {headers: {<<: *more, X-B: [true]}}"
    )
    app = Config.load(file, {}).app()

    assert (added(app, "X-A"), added(app, "X-B")) == (["a"], ["true"])


def test_what_the_registry_says_itself_is_not_said_otherwise():
    app = config(headers={"content-type": "text/html", "Docker-Distribution-API-Version": "x"}).app()

    fields = [(name.lower(), value) for name, value in ask(app, request("/v2/")).headers]
    assert [value for name, value in fields if name == "content-type"] == ["application/json"]
    assert [value for name, value in fields if name == "docker-distribution-api-version"] == ["registry/2.0"]


def test_an_app_that_replaces_its_status_has_them_too():
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        try:
            raise ValueError
        except ValueError as error:
            start_response("403 Forbidden", [("A", "b")], (ValueError, error, None))(b"written")
        return []

    answer = ask(ExtraHeaders(app, [("X-One", "c")]), request())

    assert (answer.code, answer.headers, answer.body) == (403, [("A", "b"), ("X-One", "c")], b"written")


def test_other_servers_of_the_same_file_add_them(tmp_path: Path):
    file = tmp_path / "config.yml"
    file.write_text("storage: {inmemory: }\nhttp: {headers: {X-One: [c]}}")

    for app in (registry_of(file), registry_factory({"here": str(tmp_path)}, config="config.yml")):
        assert ("X-One", "c") in ask(app, request("/v2/")).headers


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["X-One"], "headers: must map the name of a header to a list of values"),
        ({"X One": ["a"]}, "headers: 'X One' is not a name of a header"),
        ({"X-One\n": ["a"]}, "headers: 'X-One\\n' is not a name of a header"),
        ({"": ["a"]}, "headers: '' is not a name of a header"),
        ({"X-One": ["a\r\nX-Two: b"]}, "headers.X-One: a value must be text of one line; put it in quotes"),
        ({"X-One": ["€"]}, "headers.X-One: a value must be text of one line"),
        ({"X-One": {"a": "b"}}, "headers.X-One: a value must be text of one line"),
        ({"Connection": ["close"]}, "headers.Connection: is written by the server itself"),
        ({"transfer-encoding": ["chunked"]}, "headers.transfer-encoding: is written by the server itself"),
        ({"Content-Length": ["5"]}, "headers.Content-Length: is written by the server itself"),
    ],
)
def test_a_header_that_cannot_be_is_refused(given: Any, line: str):
    assert refusal(headers=given).startswith(f"config.yml: http.{line}")


@given(st.text(max_size=20), st.text(max_size=20))
def test_what_is_taken_fits_a_header_and_what_does_not_is_refused(name: str, value: str):
    try:
        taken = headers.read({name: [value]})
    except ConfigError:
        return
    assert taken == [(name, value)]
    encoded = f"{name}: {value}".encode("latin-1")
    assert not any(byte in encoded for byte in b"\r\n\0")
    assert value == value.strip(" \t")
    assert ":" not in name


# http.draintimeout


@pytest.mark.parametrize(
    ("tree", "seconds"),
    [
        ({}, ServerOptions.gracefultimeout),
        ({"http": {"draintimeout": "1m"}}, 60),
        ({"http": {"draintimeout": "0s"}}, ServerOptions.gracefultimeout),
        ({"http": {"draintimeout": "1m"}, "server": {"gracefultimeout": 5}}, 5),
    ],
)
def test_the_drain_timeout_is_what_requests_get_when_the_server_stops(tree: dict[str, Any], seconds: int):
    assert Config(tree, "config.yml", Path()).server_options().gracefultimeout == seconds


def test_a_drain_timeout_that_is_none_is_refused():
    with pytest.raises(ConfigError, match=r"^config\.yml: http\.draintimeout: 'soon' is not a duration"):
        config(draintimeout="soon").server_options()
