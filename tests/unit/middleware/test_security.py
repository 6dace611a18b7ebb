"""No client gets a signed URL for what the app would not have served it."""

from __future__ import annotations

import io
import itertools
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.apps import BLOB, CONTENT, DIGEST, App, Body, Exchange, ask, request, wrap

from cfmiddleware.digest import Digest
from cfmiddleware.reference import parse_blob_path

OTHER = Digest.of(b"another layer")
YES = ("200 OK", [("Docker-Content-Digest", str(DIGEST))])


class Unread(io.BytesIO):
    """A request's body that must not be touched."""

    def read(self, *_: Any) -> bytes:
        raise AssertionError("the body was read")

    readline = readlines = __next__ = read  # type: ignore[assignment]  # whatever it is called by


def test_a_blob_that_the_app_would_serve_is_redirected():
    """What follows is about the same request; here it is shown to lead somewhere."""
    app = App()
    answer = ask(wrap(app))
    assert answer.code == 307
    assert len(app.environs) == 1
    assert [body.closed for body in app.responses] == [1]


@pytest.mark.parametrize(
    "status",
    [
        "304 Not Modified",
        "401 Unauthorized",
        "403 Forbidden",
        "404 Not Found",
        "405 Method Not Allowed",
        "416 Range Not Satisfiable",
        "429 Too Many Requests",
        "500 Internal Server Error",
        "204 No Content",
        "202 Accepted",
        "300 Multiple Choices",
    ],
)
def test_a_no_is_handed_on_as_the_very_object_that_the_app_returned(status: str):
    app = App(status, [("Docker-Content-Digest", str(DIGEST)), ("X-Of", "the app")])
    exchange = Exchange(wrap(app, requiredigest=False), request())
    assert exchange.status == status
    assert exchange.headers == list(app._headers)
    assert exchange.response is app.responses[0]
    assert exchange.read() == CONTENT
    assert len(app.environs) == 1
    assert app.responses[0].closed == 1


def test_a_status_that_turns_from_200_to_403_with_its_first_chunk_is_no_yes():
    def app(environ, start_response):
        start_response(*YES)
        yield b""
        try:
            raise PermissionError
        except PermissionError:
            start_response("403 Forbidden", [], sys.exc_info())
        yield b"no"

    assert ask(wrap(app)).code == 403


def test_a_status_that_turns_from_200_to_403_through_exc_info_is_no_yes():
    def app(environ, start_response):
        start_response(*YES)
        try:
            raise PermissionError
        except PermissionError:
            start_response("403 Forbidden", [], sys.exc_info())
        return [b"no"]

    assert ask(wrap(app)).code == 403


def test_an_app_whose_first_chunk_raises_yields_no_redirect():
    def fail():
        raise PermissionError

    app = App(body=lambda: Body([fail]))
    with pytest.raises(PermissionError):
        ask(wrap(app))
    assert app.responses[0].closed == 1


@pytest.mark.parametrize("required", [True, False])
def test_a_page_that_answers_every_path_is_no_blob(required: bool):
    app = App(headers=[("Content-Type", "Text/HTML; charset=utf-8")], body=lambda: [b"<p>Welcome</p>"])
    assert ask(wrap(app, requiredigest=required)).body == b"<p>Welcome</p>"


def test_a_page_is_no_blob_even_under_the_blobs_digest():
    app = App(headers=[("content-type", " text/html"), ("docker-content-digest", str(DIGEST))])
    assert ask(wrap(app)).code == 200


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize(
    "said",
    [
        [str(OTHER)],
        [str(DIGEST), str(OTHER)],
        [str(OTHER), str(DIGEST)],
        [f"{DIGEST}, {OTHER}"],
        [str(DIGEST).upper()],
        [DIGEST.hex],
        [""],
    ],
)
def test_a_200_of_another_digest_is_no_yes(said: list[str], required: bool):
    app = App(headers=[("Docker-Content-Digest", digest) for digest in said])
    assert ask(wrap(app, requiredigest=required)).code == 200


def test_a_200_without_a_digest_is_a_yes_only_where_none_is_required():
    app = App(headers=[("Content-Type", "application/octet-stream")])
    assert ask(wrap(app)).code == 200
    assert ask(wrap(app, requiredigest=False)).code == 307


def test_a_gigabyte_through_write_is_stopped_with_the_first_piece():
    through = 0

    def app(environ, start_response):
        nonlocal through
        write = start_response(*YES)
        for _ in range(1024):
            write(bytes(1 << 20))
            through += 1 << 20
        return []

    exchange = Exchange(wrap(app), request())
    assert (exchange.code, through, bytes(exchange.written)) == (307, 0, b"")


def test_a_gigabyte_of_chunks_is_left_alone_after_the_first():
    app = App(body=lambda: Body(itertools.repeat(bytes(1 << 20), 1024)))
    assert ask(wrap(app)).code == 307
    assert (app.responses[0].taken, app.responses[0].closed) == (1, 1)


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS", "get", "PROPFIND"])
def test_every_other_method_reaches_the_app_as_it_came(method: str):
    app = App()
    environ = request(method=method, **{"wsgi.input": Unread()})
    before = dict(environ)
    exchange = Exchange(wrap(app), environ)
    assert app.environs[0] is environ
    assert environ == before
    assert exchange.response is app.responses[0]


def test_a_body_that_comes_with_a_get_is_left_to_the_app():
    app = App()
    assert ask(wrap(app), request(CONTENT_LENGTH="9", **{"wsgi.input": Unread()})).code == 307
    app = App()
    environ = request(CONTENT_LENGTH="9", **{"wsgi.input": Unread()})
    assert ask(wrap(app, probe="head"), environ).code == 307
    assert app.methods == ["GET"]


paths = st.one_of(
    st.text(max_size=50),
    st.lists(
        st.sampled_from(
            ["/v2", "/", "//", "/team", "/..", "/%2e%2e", "/blobs", f"/{DIGEST}", "\n", "A", "?", "a"]
        )
    ).map("".join),
    st.builds(lambda at, put: BLOB[:at] + put + BLOB[at:], st.integers(0, len(BLOB)), st.text(max_size=2)),
)

_passing = wrap(lambda environ, start_response: App("404 Not Found")(environ, start_response))


@given(paths)
def test_a_path_is_exactly_a_blobs_or_the_app_gets_the_same_environ_untouched(path: str):
    seen = []

    def app(environ, start_response):
        seen.append(environ)
        start_response("404 Not Found", [])
        return []

    _passing.app = app
    environ = request(path)
    before = dict(environ)
    assert ask(_passing, environ).code == 404
    assert seen[0] is environ
    assert len(seen) == 1
    if parse_blob_path(path) is None:
        assert environ == before
    else:
        assert path.startswith("/v2/")
        assert path.endswith(f"/blobs/{DIGEST}")


HOSTILE = {
    "dots": f"/v2/team/../app/blobs/{DIGEST}",
    "dots behind": f"/v2/team/app/blobs/{OTHER}/../{DIGEST}",
    "a dot": f"/v2/./app/blobs/{DIGEST}",
    "two slashes": f"/v2//app/blobs/{DIGEST}",
    "two slashes in front": f"//v2/app/blobs/{DIGEST}",
    "mixed case": f"/v2/app/blobs/{DIGEST.algorithm}:{DIGEST.hex.upper()}",
    "a slash at its end": f"{BLOB}/",
    "a newline": f"{BLOB}\n",
    "a newline in front": f"\n{BLOB}",
    "a null": f"{BLOB}\0",
    "a megabyte": f"/v2/{'a/' * 500_000}app/blobs/{DIGEST}",
    "a megabyte behind": BLOB + "/" * 1_000_000,
    "encoded dots": f"/v2/%2e%2e/app/blobs/{DIGEST}",
    "a backslash": f"/v2/team\\app/blobs/{DIGEST}",
}


@pytest.mark.parametrize("probe", ["get", "head", "none"])
@pytest.mark.parametrize("path", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_path_never_reaches_the_signer(path: str, probe: str):
    """Here the app says yes to everything, so that nothing but the path can be what stops it."""
    app = App()
    wrapped = wrap(app, probe=probe)
    environ = request(path)
    assert ask(wrapped, environ).code == 200
    assert app.environs[0] is environ
    assert wrapped._signer.signatures == 0


@pytest.mark.parametrize("variable", ["RAW_URI", "REQUEST_URI"])
@pytest.mark.parametrize(
    "sent",
    [
        BLOB.replace("team", "%74eam"),
        BLOB.replace("/team/", "/team/%2e%2e/team/"),
        BLOB.replace("/app", "%2Fapp"),
        BLOB.replace("/team", "//team"),
        BLOB.replace("/team", "/x/../team"),
        BLOB + "#part",
        BLOB + "\t",
        BLOB.replace("team", "te\tam"),
        f"/v2/other/blobs/{OTHER}",
        f"/v2/other/blobs/{OTHER}?{BLOB}",
    ],
)
def test_a_path_that_was_sent_otherwise_than_it_is_read_goes_to_the_app(variable: str, sent: str):
    app = App()
    environ = request(**{variable: sent})
    assert ask(wrap(app), environ).code == 200
    assert app.environs[0] is environ
    assert "cfmiddleware.probe" not in environ


@pytest.mark.parametrize(
    "sent", [BLOB, f"{BLOB}?ns=docker.io&x=%2F", f"https://registry.example{BLOB}", f"/mounted{BLOB}", ""]
)
def test_a_path_sent_as_it_is_read_is_redirected_with_its_query_or_mount(sent: str):
    assert ask(wrap(App()), request(RAW_URI=sent, REQUEST_URI=sent)).code == 307


def test_a_client_cannot_speak_for_the_app():
    """Header fields come as HTTP_..., so none of them is the probe."""
    app = App("404 Not Found")
    answer = ask(wrap(app), request(HTTP_CFMIDDLEWARE_PROBE="located", **{"cfmiddleware.probe": object()}))
    assert answer.code == 404


def test_head_as_a_probe_asks_again_with_the_get_unless_the_answer_is_yes():
    app = App()
    assert ask(wrap(app, probe="head")).code == 307
    assert app.methods == ["HEAD"]
    app = App("404 Not Found")
    exchange = Exchange(wrap(app, probe="head"), request())
    assert (exchange.code, app.methods) == (404, ["HEAD", "GET"])
    assert exchange.response is app.responses[1]
    assert app.responses[0].closed == 1


def test_what_an_app_said_of_a_head_does_not_count_for_its_get():
    def app(environ, start_response):
        if environ["REQUEST_METHOD"] == "HEAD":
            environ["cfmiddleware.probe"].located("docker/of/the/head")
            start_response("404 Not Found", [])
        else:
            assert environ["cfmiddleware.probe"].key is None
            start_response(*YES)
        return []

    assert DIGEST.hex in str(ask(wrap(app, probe="head")).location)


def test_a_head_that_no_longer_holds_for_the_get_leads_to_no_redirect():
    def app(environ, start_response):
        code = "405 Method Not Allowed" if environ["REQUEST_METHOD"] == "HEAD" else "403 Forbidden"
        start_response(code, [])
        return [b"no"]

    assert ask(wrap(app, probe="head")).code == 403


@pytest.mark.parametrize("probe", ["get", "head"])
def test_range_and_conditions_reach_the_app_intact(probe: str):
    app = App("304 Not Modified")
    fields = {
        "HTTP_RANGE": "bytes=5-9",
        "HTTP_IF_RANGE": '"a"',
        "HTTP_IF_NONE_MATCH": '"b"',
        "HTTP_IF_MODIFIED_SINCE": "c",
        "HTTP_AUTHORIZATION": "Bearer d",
    }
    assert ask(wrap(app, probe=probe), request(**fields)).code == 304
    assert all(environ.items() >= fields.items() for environ in app.environs)


def test_none_as_a_probe_asks_nobody():
    app = App("403 Forbidden")
    assert ask(wrap(app, probe="none")).code == 307
    assert app.environs == []
