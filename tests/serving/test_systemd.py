"""The command under systemd: sockets that listen already, what is told of start and stop, and the units."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import PROJECT
from lab.servers import CFMIDDLEWARE, free_port

UNITS = PROJECT / "deploy" / "systemd"

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is missing")


@pytest.fixture
def told(tmp_path: Path) -> Iterator[socket.socket]:
    """What systemd would hear."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(60)
        yield listener


def start(
    home: Path, listeners: list[socket.socket], names: str, *arguments: str, notify: str = ""
) -> subprocess.Popen[str]:
    """Start the command as systemd does: with the sockets from descriptor 3 on."""
    descriptors = [listener.fileno() for listener in listeners]
    # The shell becomes the command, so that LISTEN_PID is the command's.
    moves = " ".join(f"{3 + index}<&{number}" for index, number in enumerate(descriptors))
    closes = " ".join(f"{number}<&-" for number in descriptors if number >= 3 + len(descriptors))
    command = f'export LISTEN_PID=$$; exec "$0" "$@" {moves} {closes}'
    variables = {"LISTEN_FDS": str(len(descriptors)), "LISTEN_FDNAMES": names}
    if notify:
        variables["NOTIFY_SOCKET"] = notify
    return subprocess.Popen(
        ["bash", "-c", command, CFMIDDLEWARE, "serve", *arguments],
        cwd=home,
        env={**os.environ, **variables},
        pass_fds=descriptors,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def listening() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener


def status(port: int, path: str = "/v2/") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_socket_that_listens_already_is_taken_and_stays_open_over_a_new_start(
    tmp_path: Path, told: socket.socket
):
    with listening() as listener:
        port = listener.getsockname()[1]
        for _ in range(2):
            server = start(
                tmp_path,
                [listener],
                "registry",
                *("--data", "data", "--addr", f"127.0.0.1:{free_port()}", "--edge-addr", edge()),
                notify=str(tmp_path / "notify"),
            )
            try:
                assert told.recv(100) == b"READY=1"
                assert status(port) == 200
                server.send_signal(signal.SIGTERM)
                assert told.recv(100) == b"STOPPING=1"
                assert server.wait(60) == 0
            finally:
                server.kill()
                said = server.communicate()
            assert f"http://127.0.0.1:{port}" in said[0]
            # Nobody accepts, and nobody is refused.
            socket.create_connection(("127.0.0.1", port), timeout=5).close()


def edge() -> str:
    return f"127.0.0.1:{free_port()}"


def test_each_listener_is_known_by_its_name(tmp_path: Path, told: socket.socket):
    with listening() as one, listening() as other:
        server = start(
            tmp_path,
            [one, other],
            "edge:registry",
            *("--data", "data", "--addr", f"127.0.0.1:{free_port()}", "--edge-addr", edge()),
            notify=str(tmp_path / "notify"),
        )
        try:
            assert told.recv(100) == b"READY=1"
            assert status(other.getsockname()[1]) == 200
            assert status(one.getsockname()[1]) == 403  # CloudFront's answer to what is not signed
        finally:
            server.terminate()
            server.communicate()


@pytest.mark.parametrize(
    ("names", "kind", "line"),
    [
        ("registry:web", socket.SOCK_STREAM, "LISTEN_FDNAMES: 'web' is none of registry, edge, debug"),
        ("edge:edge", socket.SOCK_STREAM, "LISTEN_FDNAMES: 'edge' is none of"),
        ("registry", socket.SOCK_DGRAM, "LISTEN_FDS: descriptor 3 is no stream socket that listens"),
    ],
)
def test_what_cannot_be_taken_is_one_line(tmp_path: Path, names: str, kind: int, line: str):
    number = names.count(":") + 1
    given = [socket.socket(type=kind) for _ in range(number)]
    server = start(tmp_path, given, names, "--data", "data", "--addr", edge(), "--edge-addr", edge())
    said = server.communicate(timeout=60)
    for each in given:
        each.close()
    assert server.returncode == 2
    assert said[0] == ""
    assert said[1].startswith(f"cfmiddleware: {line}")
    assert said[1].count("\n") == 1


def test_variables_of_another_process_are_none_of_ours(tmp_path: Path):
    done = subprocess.run(
        [CFMIDDLEWARE, "serve", "--data", "data", "--addr", "nonsense"],
        cwd=tmp_path,
        env={**os.environ, "LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "web:web"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "LISTEN" not in done.stderr


@needs_systemd
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path):
    for file in ("cfmiddleware.service", "cfmiddleware.socket"):
        text = (UNITS / file).read_text().replace("/opt/cfmiddleware/bin/cfmiddleware", CFMIDDLEWARE)
        (tmp_path / file).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "cfmiddleware.service", "cfmiddleware.socket"],
        cwd=tmp_path,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        capture_output=True,
        text=True,
    )
    said = [line for line in done.stderr.splitlines() if "cfmiddleware" in line]
    assert (done.returncode, said) == (0, [])


@needs_systemd
def test_little_is_exposed():
    done = subprocess.run(
        [
            "systemd-analyze",
            "security",
            "--offline=true",
            "--threshold=30",  # tenths: 3.0
            "--no-pager",
            str(UNITS / "cfmiddleware.service"),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-500:] + done.stderr


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd is missing")
def test_the_user_and_the_directories_are_made(tmp_path: Path):
    (tmp_path / "etc").mkdir()
    for program, file in (("systemd-sysusers", "sysusers.conf"), ("systemd-tmpfiles", "tmpfiles.conf")):
        options = ["--create"] if program == "systemd-tmpfiles" else []
        subprocess.run([program, *options, f"--root={tmp_path}", str(UNITS / file)], check=True)
    assert "cfmiddleware:" in (tmp_path / "etc" / "passwd").read_text()
    assert ((tmp_path / "etc" / "cfmiddleware" / "keys").stat().st_mode & 0o777) == 0o750
