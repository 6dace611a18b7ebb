"""A file that must not be there, a URL that must answer, a port that must take connections."""

from __future__ import annotations

import base64
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lab.servers import free_port
from lab.wsgi_server import running_app

from cfmiddleware.health.checks import CheckFailed, absent_file, open_port
from cfmiddleware.health.urlcheck import answering_url, shown_url


def reason(look: Callable[[], None]) -> str:
    with pytest.raises(CheckFailed) as caught:
        look()
    return str(caught.value)


def test_a_file_fails_while_it_is_there(tmp_path: Path):
    file = tmp_path / "down"
    look = absent_file(str(file))
    look()
    file.touch()
    assert reason(look) == "file exists"


def test_a_file_that_cannot_be_looked_at_fails(tmp_path: Path):
    (tmp_path / "file").touch()
    assert reason(absent_file(str(tmp_path / "file" / "down"))) == "Not a directory"


def test_a_port_fails_while_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        look = open_port(f"127.0.0.1:{listener.getsockname()[1]}", 2)
        look()
    assert reason(look) == "connection failed: Connection refused"


def test_the_name_of_no_host_fails():
    assert reason(open_port("no-such-host.invalid:80", 2)).startswith("connection failed: ")


def test_a_url_fails_with_any_other_status():
    seen = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append((environ["REQUEST_METHOD"], environ.get("HTTP_AUTHORIZATION")))
        start_response(environ["PATH_INFO"][1:] + " x", [("Content-Length", "0")])
        return []

    with running_app(app) as port:
        url = f"http://127.0.0.1:{port}"
        answering_url(f"{url}/200", 200, [("Authorization", "Basic eDp4")], 2)()
        answering_url(f"{url}/404", 404, [], 2)()
        assert reason(answering_url(f"{url}/503", 200, [], 2)) == "the status is 503, not 200"
        assert reason(answering_url(f"{url}/200", 204, [], 2)) == "the status is 200, not 204"
    assert seen[0] == ("HEAD", "Basic eDp4")
    assert reason(answering_url(f"http://127.0.0.1:{free_port()}/", 200, [], 2)).startswith("no answer: ")


def test_what_is_secret_in_a_url_is_sent_and_not_shown():
    seen = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append((environ.get("HTTP_AUTHORIZATION"), environ["QUERY_STRING"], environ.get("HTTP_X_WORDS")))
        start_response("200 OK", [("Content-Length", "0")])
        return []

    with running_app(app) as port:
        url = f"http://us%40er:hush@127.0.0.1:{port}/alive?token=hush#part"
        answering_url(url, 200, [("x-words", "one"), ("X-Words", "two")], 2)()
    login = base64.b64encode(b"us@er:hush").decode()
    assert seen == [(f"Basic {login}", "token=hush", "one, two")]
    assert shown_url(url) == f"http://127.0.0.1:{port}/alive?..."
    # Now nobody listens there.
    for broken in (url, "http://user:hush@no-such-host.invalid/", "http://user:hush@[::1]:1/"):
        assert "hush" not in reason(answering_url(broken, 200, [], 2))


def test_a_server_that_a_url_redirects_to_gets_nothing_secret():
    seen: list[tuple[str, str, str | None, str | None]] = []

    def recording(name: str, location: Callable[[], str]) -> Any:
        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            about = (environ.get("HTTP_AUTHORIZATION"), environ.get("HTTP_X_KEY"))
            seen.append((name, environ["REQUEST_METHOD"], *about))
            to = location() if environ["PATH_INFO"] != "/end" else ""
            headers = [("Content-Length", "0"), *([("Location", to)] if to else [])]
            start_response("302 Found" if to else "200 OK", headers)
            return []

        return app

    target = ""
    with (
        running_app(recording("other", lambda: "")) as other,
        running_app(recording("own", lambda: target)) as own,
    ):
        look = answering_url(f"http://user:hush@127.0.0.1:{own}/", 200, [("X-Key", "hush")], 2)
        target = "/end"
        look()
        assert [(name, method, key) for name, method, _, key in seen] == [("own", "HEAD", "hush")] * 2
        seen.clear()
        target = f"http://127.0.0.1:{other}/end"
        look()
        assert seen[1] == ("other", "HEAD", None, None)
        for elsewhere in ("ftp://127.0.0.1/x", "file:///etc/passwd", "data:,x", "http://127.0.0.1:1/"):
            target = elsewhere
            assert reason(look)
