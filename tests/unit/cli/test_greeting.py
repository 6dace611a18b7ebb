"""What the command says when it is ready: the lines name the registry as its clients do."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cfmiddleware.cli.greeting import greeting
from cfmiddleware.config import Config
from cfmiddleware.serving.services import Service


class Listening(NamedTuple):
    """A socket that is said to listen somewhere."""

    name: Any

    def getsockname(self) -> Any:
        return self.name


class Served(NamedTuple):
    """What matters of what is served."""

    certificates: Any = None


def said(name: Any, tls: bool = False, **sections: Any) -> list[str]:
    """Return the lines of the greeting of a registry that listens at a name."""
    config = Config({"storage": {"inmemory": None}, **sections}, "config.yml", Path())
    service: Any = Service("registry", Listening(name), Served(tls or None), lambda: None)  # type: ignore[arg-type]
    return greeting(config, [service]).splitlines()


def line(lines: list[str], begin: str) -> str:
    (found,) = [line for line in lines if line.startswith(f"  {begin} ")]
    return found


HTPASSWD = {"auth": {"htpasswd": {"realm": "r", "path": "p"}}}
TOKEN = {
    "auth": {
        "token": {
            "realm": "https://auth.example.com/token",
            "service": "my registry",
            "issuer": "i",
            "jwks": "j",
        }
    }
}


def test_the_lines_are_those_of_the_address_where_it_listens():
    lines = said(("127.0.0.1", 5000))

    assert line(lines, "registry") == "  registry  http://127.0.0.1:5000"
    assert line(lines, "push") == (
        "  push  skopeo copy --dest-tls-verify=false docker://docker.io/library/busybox "
        "docker://127.0.0.1:5000/busybox"
    )
    assert line(lines, "pull") == "  pull  podman pull --tls-verify=false 127.0.0.1:5000/busybox"
    assert line(lines, "look").startswith(
        '  look  curl -i "http://127.0.0.1:5000/v2/busybox/blobs/$(curl -s '
    )


@pytest.mark.parametrize(("host", "own"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]")])
def test_every_address_is_never_what_a_client_is_told(host: str, own: str):
    lines = said((host, 7430, 0, 0)[: 4 if ":" in host else 2])

    assert not any("0.0.0.0" in line or "[::]" in line for line in lines)
    assert line(lines, "registry") == f"  registry  http://{own}:7430"


def test_with_tls_it_is_the_name_of_the_machine_which_a_certificate_can_have():
    lines = said(("0.0.0.0", 443), tls=True)

    assert line(lines, "pull") == f"  pull  podman pull {socket.gethostname()}:443/busybox"


def test_the_host_that_clients_use_goes_before_all():
    lines = said(("0.0.0.0", 5000), http={"host": "https://registry.example.com", "prefix": "/a/b/"})

    assert line(lines, "registry") == "  registry  https://registry.example.com/a/b"
    assert line(lines, "pull") == "  pull  podman pull registry.example.com/busybox"
    assert '"https://registry.example.com/a/b/v2/busybox/blobs/' in line(lines, "look")


def test_a_prefix_without_a_host_is_told_and_looked_at():
    lines = said(("127.0.0.1", 5000), http={"prefix": "/my/nested/registry/"})

    assert line(lines, "registry") == "  registry  http://127.0.0.1:5000/my/nested/registry"
    assert line(lines, "look").count("http://127.0.0.1:5000/my/nested/registry/v2/busybox/") == 2
    assert not any("podman" in line or "skopeo" in line for line in lines)
    assert any("http.host" in line for line in lines)


def test_a_socket_is_looked_at_through_itself():
    lines = said("/run/my registry.sock", **HTPASSWD)

    assert line(lines, "registry") == "  registry  unix:/run/my registry.sock"
    assert line(lines, "look").count("curl --unix-socket '/run/my registry.sock' ") == 2
    assert "Clients must log in first." in lines


def test_with_passwords_the_look_has_the_login():
    lines = said(("127.0.0.1", 5000), **HTPASSWD)

    assert "Clients must log in first: skopeo login --tls-verify=false 127.0.0.1:5000" in lines
    assert line(lines, "look").count(" -u USER:PASSWORD http") == 1
    assert line(lines, "look").startswith('  look  curl -i -u USER:PASSWORD "http://127.0.0.1:5000/v2/')


def test_with_tokens_the_look_has_one():
    lines = said(("127.0.0.1", 5000), **TOKEN)

    assert (
        "curl -s -u USER:PASSWORD 'https://auth.example.com/token?service=my%20registry&"
        "scope=repository:busybox:pull' | "
    ) in line(lines, "login")
    assert line(lines, "look").count(' -H "Authorization: Bearer $TOKEN" ') == 2
