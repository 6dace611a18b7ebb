"""Two instances behind a balancer are restarted in turn, and no client notices."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab.repeating import Act, Repeating, ended
from lab.required import cannot_run
from lab.servers import CFMIDDLEWARE, Server, eventually, free_ports, running
from lab.serving import ask, wait_for_greeting

from cfmiddleware.digest import Digest

pytestmark = [pytest.mark.servers, pytest.mark.long]

SOON = 20

NGINX = """
daemon off; pid nginx.pid; error_log stderr crit;
events {{ worker_connections 512; }}
http {{
  access_log off; client_max_body_size 0;
  client_body_temp_path body; proxy_temp_path proxy;
  fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  upstream registry {{
    server 127.0.0.1:{first} max_fails=0; server 127.0.0.1:{second} max_fails=0;
    keepalive 32;
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://registry;
      proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
      proxy_request_buffering off;
    }}
  }}
}}
"""

HAPROXY = """
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  retries 3
  option redispatch 1
frontend front
  bind 127.0.0.1:{port}
  default_backend registry
backend registry
  balance roundrobin
  default-server check inter 300ms fall 1 rise 1
  server first 127.0.0.1:{first}
  server second 127.0.0.1:{second}
"""

# It asks the debug listener, and sends a request that failed to nobody else.
HAPROXY_THAT_ASKS = """
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  retries 0
frontend front
  bind 127.0.0.1:{port}
  default_backend registry
backend registry
  balance roundrobin
  option httpchk GET /debug/ready
  default-server check inter 300ms fall 1 rise 1
  server first 127.0.0.1:{first} port {first_debug}
  server second 127.0.0.1:{second} port {second_debug}
"""


def nginx(directory: Path) -> list[str]:
    return ["nginx", "-p", str(directory), "-c", str(directory / "balancer.conf"), "-e", "stderr"]


def haproxy(directory: Path) -> list[str]:
    return ["haproxy", "-f", str(directory / "balancer.conf")]


def pull_of(digest: Digest) -> Act:
    def pull(connection: http.client.HTTPConnection) -> str:
        connection.request("GET", f"/v2/app/blobs/{digest}")
        return ended(connection, 307)

    return pull


def push(connection: http.client.HTTPConnection, content: bytes | None = None) -> str:
    content = os.urandom(40_000) if content is None else content
    connection.request("POST", f"/v2/app/blobs/uploads/?digest={Digest.of(content)}", content)
    return ended(connection, 201)


def configured(directory: Path, port: int, debug: int | None) -> Path:
    key = directory / "key.pem"
    if not key.exists():
        from cfmiddleware.signing.keys import generate

        key.write_text(generate("ecdsa").private_pem)
    options = {"baseurl": "https://d111111abcdef8.cloudfront.net", "privatekey": str(key), "keypairid": "K1"}
    tree: dict[str, Any] = {
        "storage": {"filesystem": {"rootdirectory": str(directory / "objects")}},
        "http": {"addr": f"127.0.0.1:{port}"},
        "middleware": {"storage": [{"name": "cloudfront", "options": options}]},
        "log": {"accesslog": {"disabled": True}},
    }
    if debug is not None:
        tree["http"] = {**tree["http"], "debug": {"addr": f"127.0.0.1:{debug}"}, "draintimeout": "2s"}
        tree["health"] = {"storagedriver": {"enabled": True, "interval": "1s"}}
    file = directory / f"config-{port}.yml"
    file.write_text(yaml.safe_dump(tree))
    return file


class Instance:
    """One registry, which can be restarted on its port.

    :param debug: where it says whether it is ready; None if it does not.
    """

    def __init__(self, directory: Path, port: int, debug: int | None = None) -> None:
        self._directory, self._port, self._debug = directory, port, debug
        self._file = configured(directory, port, debug)
        self._number = 0
        self.server = self._started()

    def _started(self) -> Server:
        self._number += 1
        place = self._directory / f"run-{self._port}-{self._number}"
        server = Server([CFMIDDLEWARE, "serve", str(self._file)], place)
        server.wait_for_ports([self._port], SOON)
        wait_for_greeting(server)
        if self._debug is not None:
            assert eventually(self._is_ready, SOON)
        return server

    def _is_ready(self) -> bool:
        with contextlib.suppress(OSError):
            return ask("GET", f"http://127.0.0.1:{self._debug}/debug/ready").status == 200
        return False

    def restart(self) -> None:
        self.server.process.send_signal(signal.SIGTERM)
        assert self.server.process.wait(SOON) == 0
        self.server = self._started()


@contextlib.contextmanager
def instances(
    directory: Path, ports: list[int], debug: Sequence[int | None] = (None, None)
) -> Iterator[list[Instance]]:
    started: list[Instance] = []
    try:
        for each in zip(ports, debug, strict=True):
            started.append(Instance(directory, *each))
        yield started
    finally:
        for instance in started:
            instance.server.stop()


@pytest.mark.parametrize(
    ("name", "command", "settings"), [("nginx", nginx, NGINX), ("haproxy", haproxy, HAPROXY)]
)
def test_a_rolling_restart_fails_nobody(
    tmp_path: Path, name: str, command: Callable[[Path], list[str]], settings: str
):
    require(name)
    port, first, second = free_ports(3)
    (tmp_path / "balancer.conf").write_text(settings.format(port=port, first=first, second=second))
    with (
        instances(tmp_path, [first, second]) as both,
        running(command(tmp_path), tmp_path / "balancer", ports=[port], env=PROGRAMS),
    ):
        restart_in_turn(port, both)


def test_a_balancer_that_asks_who_is_ready_fails_nobody_even_once(tmp_path: Path):
    """It sends no request twice: what is lost on the way to a registry that stops would be seen."""
    require("haproxy")
    port, first, second, first_debug, second_debug = free_ports(5)
    (tmp_path / "balancer.conf").write_text(
        HAPROXY_THAT_ASKS.format(
            port=port, first=first, second=second, first_debug=first_debug, second_debug=second_debug
        )
    )
    with (
        instances(tmp_path, [first, second], [first_debug, second_debug]) as both,
        running(haproxy(tmp_path), tmp_path / "balancer", ports=[port], env=PROGRAMS),
    ):
        restart_in_turn(port, both)


PROGRAMS = {"PATH": f"{os.environ['PATH']}:/usr/sbin"}


def require(program: str) -> None:
    if shutil.which(program, path=PROGRAMS["PATH"]) is None:
        cannot_run(f"{program} is not installed")


def restart_in_turn(port: int, both: list[Instance]) -> None:
    """Restart each registry twice under load, and see that no client notices."""
    content = b"layer"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SOON)
    assert eventually(lambda: push(connection, content) == "", SOON)
    # 200 redirects and 5 pushes a second.
    acts = [(pull_of(Digest.of(content)), 0.1)] * 20 + [(push, 1.0)] * 5
    with Repeating(port, acts) as clients:
        for instance in (*both, *both):
            time.sleep(1)
            instance.restart()
        time.sleep(1)
    assert clients.done > 500
    assert clients.failures == []
