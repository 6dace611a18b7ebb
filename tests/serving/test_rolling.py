"""Two instances behind a balancer are restarted in turn, and no client notices."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from lab.repeating import Act, Repeating, ended
from lab.required import cannot_run
from lab.servers import CFMIDDLEWARE, Server, eventually, free_ports, running
from lab.serving import wait_for_greeting

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


def configured(directory: Path, port: int) -> Path:
    key = directory / "key.pem"
    if not key.exists():
        from cfmiddleware.signing.keys import generate

        key.write_text(generate("ecdsa").private_pem)
    options = {"baseurl": "https://d111111abcdef8.cloudfront.net", "privatekey": str(key), "keypairid": "K1"}
    tree = {
        "storage": {"filesystem": {"rootdirectory": str(directory / "objects")}},
        "http": {"addr": f"127.0.0.1:{port}"},
        "middleware": {"storage": [{"name": "cloudfront", "options": options}]},
        "log": {"accesslog": {"disabled": True}},
    }
    file = directory / f"config-{port}.yml"
    file.write_text(yaml.safe_dump(tree))
    return file


class Instance:
    """One registry, which can be restarted on its port."""

    def __init__(self, directory: Path, port: int) -> None:
        self._directory, self._port = directory, port
        self._file = configured(directory, port)
        self._number = 0
        self.server = self._started()

    def _started(self) -> Server:
        self._number += 1
        place = self._directory / f"run-{self._port}-{self._number}"
        server = Server([CFMIDDLEWARE, "serve", str(self._file)], place)
        server.wait_for_ports([self._port], SOON)
        wait_for_greeting(server)
        return server

    def restart(self) -> None:
        self.server.process.send_signal(signal.SIGTERM)
        assert self.server.process.wait(SOON) == 0
        self.server = self._started()


@contextlib.contextmanager
def instances(directory: Path, ports: list[int]) -> Iterator[list[Instance]]:
    started = []
    try:
        started += [Instance(directory, port) for port in ports]
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
    if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None:
        cannot_run(f"{name} is not installed")
    port, first, second = free_ports(3)
    (tmp_path / "balancer.conf").write_text(settings.format(port=port, first=first, second=second))
    env = {"PATH": f"{os.environ['PATH']}:/usr/sbin"}
    with (
        instances(tmp_path, [first, second]) as both,
        running(command(tmp_path), tmp_path / "balancer", ports=[port], env=env),
    ):
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
