"""A file that must not be there, a URL that must answer, a port that must take connections."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lab.servers import free_port
from lab.wsgi_server import running_app

from cfmiddleware.health.checks import CheckFailed, absent_file, answering_url, open_port


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
