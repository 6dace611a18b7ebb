"""A server that must sign without ``cryptography`` says so once, whatever its processes are."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from lab.servers import CFMIDDLEWARE, eventually, free_ports

from cfmiddleware.signing.keys import generate

WORKERS = 3
LINE = "cryptography is not installed: each signature takes the package rsa some 60 times longer"

APP = """
from cfmiddleware import CloudFrontMiddleware
def inner(environ, start_response): ...
app = CloudFrontMiddleware(inner, baseurl="https://d1.cloudfront.net", privatekey="pk-K2JCJMDEHXQW5F.pem")
open(f"built-{__import__('os').getpid()}", "w").close()
"""


@pytest.fixture
def without(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which ``cryptography`` cannot be imported."""
    (tmp_path / "none" / "cryptography").mkdir(parents=True)
    (tmp_path / "none" / "cryptography" / "__init__.py").write_text("raise ImportError")
    return {**os.environ, "PYTHONPATH": str(tmp_path / "none")}


def ended(server: subprocess.Popen[bytes], log: Path) -> str:
    os.killpg(server.pid, signal.SIGTERM)
    server.wait(30)
    return log.read_text()


def test_of_the_workers_of_gunicorn_one_says_it(tmp_path: Path, without: dict[str, str]):
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "pk-K2JCJMDEHXQW5F.pem").write_text(generate("rsa").private_pem)
    with tempfile.TemporaryDirectory() as short, (tmp_path / "log").open("wb") as log:
        command = [
            sys.executable,
            "-m",
            "gunicorn",
            "-w",
            str(WORKERS),
            "-b",
            f"unix:{short}/socket",
            "app:app",
        ]
        server = subprocess.Popen(command, cwd=tmp_path, env=without, stderr=log, start_new_session=True)
        assert eventually(lambda: len(list(tmp_path.glob("built-*"))) == WORKERS)
        said = ended(server, tmp_path / "log")
    assert said.count("Booting worker") == WORKERS
    assert said.count(LINE) == 1


@pytest.mark.long
def test_serve_says_it_once(tmp_path: Path, without: dict[str, str]):
    keys = tmp_path / "data" / "keys"
    keys.mkdir(parents=True)
    (keys / "pk-K2JCJMDEHXQW5F.pem").write_text(generate("rsa").private_pem)
    registry, edge = (f"127.0.0.1:{port}" for port in free_ports(2))
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [
                CFMIDDLEWARE,
                "serve",
                "--data",
                str(tmp_path / "data"),
                "--addr",
                registry,
                "--edge-addr",
                edge,
            ],
            env=without,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        assert eventually(lambda: LINE in (tmp_path / "log").read_text(), 60)
        assert eventually(lambda: "Try:" in (tmp_path / "log").read_text(), 60)
        port = int(registry.partition(":")[2])
        assert eventually(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, 60)
        said = ended(server, tmp_path / "log")
    assert said.count(LINE) == 1
