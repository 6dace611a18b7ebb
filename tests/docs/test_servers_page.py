"""The page "Servers" shows the options with which the tests run each server."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab import PROJECT
from lab.wsgi_servers import SERVERS, WSGIServer

PAGE = (PROJECT / "docs" / "servers.rst").read_text(encoding="utf-8")

#: What is the tests' own business: where a server listens, and how fast it ends.
OWN = {"--bind", "--host", "--port", "--no-control-socket", "--graceful-timeout", "--map-user", "--map-group"}
OWN_DIRECTIVES = {"ServerRoot", "ServerName", "PidFile", "Listen", "LoadModule", "ErrorLog", "LogLevel"}


@pytest.mark.parametrize("server", SERVERS, ids=str)
def test_every_option_of_a_server_is_on_the_page(server: WSGIServer, tmp_path: Path) -> None:
    for part in server.name.split():
        assert part in PAGE
    command = [*server.command(tmp_path, 5000)]
    options = {word.partition("=")[0] for word in command if word.startswith("--")} - OWN
    assert not [option for option in options if option not in PAGE]
    for file in tmp_path.glob("*.conf"):
        lines = [line.strip() for line in file.read_text().splitlines() if line and line[0].isalpha()]
        named = [
            line for line in lines if line.split()[0] not in OWN_DIRECTIVES | {"WSGIScriptAlias", "Require"}
        ]
        assert named
        assert not [line for line in named if line not in PAGE]
