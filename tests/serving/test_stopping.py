"""How a server stops, and how it takes up a new configuration, while clients go on."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from lab.repeating import Repeating, ended
from lab.servers import CFMIDDLEWARE, Server, eventually, free_port, running
from lab.serving import Service, ask, children, wait_for_greeting

SOON = 20


class Configured:
    """A registry whose configuration a test changes."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self._file = directory / "config.yml"
        self.configure()

    def configure(self, **sections: object) -> None:
        """Write the configuration, with *sections* besides those that it always has."""
        tree = {
            "storage": {"filesystem": {"rootdirectory": "objects"}},
            "http": {"addr": f"127.0.0.1:{self.port}"},
            "server": {"workers": 2, "gracefultimeout": 20},
            **sections,
        }
        self._file.write_text(yaml.safe_dump(tree))


@pytest.fixture
def configured(tmp_path: Path) -> Configured:
    return Configured(tmp_path)


@pytest.fixture
def service(tmp_path: Path, configured: Configured) -> Iterator[Service]:
    command = [CFMIDDLEWARE, "serve", "config.yml"]
    with running(command, tmp_path, ports=[configured.port]) as server:
        wait_for_greeting(server)
        assert eventually(lambda: len(children(children(server.process.pid)[0])) == 2)
        yield Service(server, configured.port, 0)


def refused(port: int) -> bool:
    """Whether nobody listens; a connection that hangs or is reset is an error."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return False
    except ConnectionRefusedError:
        return True


def test_while_a_push_ends_new_connections_are_refused_at_once(service: Service):
    with service.slow_upload("app") as upload:
        os.kill(service.server.process.pid, signal.SIGTERM)

        assert eventually(lambda: refused(service.port), 3)
        assert service.server.process.poll() is None
        upload.sendall(b"x" * 79_999)
        answer = upload.recv(1 << 16)
        assert b" 202 " in answer
        assert b"Connection: close" in answer
    assert service.server.process.wait(SOON) == 0
    assert "stopping: SIGTERM" in service.server.stderr


def test_connections_that_were_open_get_their_answer(service: Service):
    kept = [http.client.HTTPConnection("127.0.0.1", service.port, timeout=SOON) for _ in range(20)]
    for connection in kept:
        connection.request("GET", "/v2/")
        assert connection.getresponse().read() == b"{}"
    accepted = [socket.create_connection(("127.0.0.1", service.port), timeout=SOON) for _ in range(20)]

    os.kill(service.server.process.pid, signal.SIGTERM)
    assert eventually(lambda: refused(service.port), 3)

    for connection in kept:
        connection.request("GET", "/v2/")
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("Connection")) == (200, "close")
        answer.read()
    for raw in accepted:
        raw.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
        assert raw.recv(1000).startswith(b"HTTP/1.1 200 ")
        raw.close()
    assert service.server.process.wait(SOON) == 0


def base(connection: http.client.HTTPConnection) -> str:
    connection.request("GET", "/v2/")
    return ended(connection, 200)


def test_sighup_takes_up_the_configuration_without_a_lost_request(configured: Configured, service: Service):
    digest = service.push("app", b"layer")
    url = f"{service.url}/v2/app/blobs/{digest}"
    assert ask("DELETE", url).status == 405
    with Repeating(service.port, [(base, 0.0)] * 4) as asking:
        configured.configure(
            storage={"filesystem": {"rootdirectory": "objects"}, "delete": {"enabled": True}},
        )
        os.kill(service.server.process.pid, signal.SIGHUP)
        assert eventually(lambda: "configuration, keys and certificates again" in service.server.stderr)
        master = children(service.server.process.pid)[0]
        assert eventually(lambda: len(children(master)) == 2)
        # Both workers that are left are new ones.
        assert eventually(lambda: ask("DELETE", url).status in (202, 404))

    assert asking.done
    assert asking.failures == []


def test_a_sighup_that_comes_at_once_is_taken_up_when_the_servers_are_there(
    tmp_path: Path, configured: Configured
):
    with running([CFMIDDLEWARE, "serve", "config.yml"], tmp_path, ports=[configured.port]) as server:
        # A process checks the storage, or the registry's is there and its gunicorn has not begun.
        assert eventually(lambda: bool(children(server.process.pid)))
        os.kill(server.process.pid, signal.SIGHUP)

        assert eventually(lambda: "configuration, keys and certificates again" in server.stderr), (
            server.stderr
        )
        assert ask("GET", f"http://127.0.0.1:{configured.port}/v2/").status == 200


#: The command, whose registry gets a SIGHUP as soon as it lets signals in. The first fork checks the storage.
AT_ONCE = """
import os, signal, sys
from cfmiddleware.cli import main

forks, sent, set_mask = [], [], signal.pthread_sigmask

def letting_in(how, numbers):
    before = set_mask(how, numbers)
    if how == signal.SIG_UNBLOCK and len(forks) == 2 and os.getpid() != command and not sent:
        sent.append(os.getpid())
        os.kill(os.getpid(), signal.SIGHUP)
    return before

command = os.getpid()
os.register_at_fork(before=lambda: forks.append(1))
signal.pthread_sigmask = letting_in
sys.exit(main(["serve", "config.yml"]))
"""


def test_nor_does_one_that_comes_while_the_registry_begins_end_it(tmp_path: Path, configured: Configured):
    with running([sys.executable, "-c", AT_ONCE], tmp_path, ports=[configured.port]) as server:
        assert eventually(lambda: "configuration, keys and certificates again" in server.stderr), (
            server.stderr
        )
        assert ask("GET", f"http://127.0.0.1:{configured.port}/v2/").status == 200


def test_sighup_with_a_configuration_that_cannot_work_changes_nothing(
    configured: Configured, service: Service
):
    configured.configure(nonsense={})
    os.kill(service.server.process.pid, signal.SIGHUP)

    assert eventually(lambda: "goes on with the configuration that it has" in service.server.stderr)
    assert "config.yml: nonsense: there is no such section" in service.server.stderr
    assert ask("GET", f"{service.url}/v2/").status == 200
    assert "Traceback" not in service.server.stderr


def test_sighup_with_another_address_says_when_that_takes_effect(configured: Configured, service: Service):
    configured.configure(http={"addr": "127.0.0.1:1"})
    os.kill(service.server.process.pid, signal.SIGHUP)

    assert eventually(lambda: "until it is started anew, not on 127.0.0.1:1" in service.server.stderr)
    assert ask("GET", f"{service.url}/v2/").status == 200


def test_a_terminal_that_goes_ends_the_command(tmp_path: Path, configured: Configured):
    leader, follower = os.openpty()
    command = ["setsid", "--ctty", "--wait", CFMIDDLEWARE, "serve", "config.yml"]
    server = Server(["sh", "-c", f'exec "$@" </proc/{os.getpid()}/fd/{follower}', "sh", *command], tmp_path)
    try:
        server.wait_for_ports([configured.port], SOON)
        os.close(follower)
        os.close(leader)
        assert eventually(lambda: refused(configured.port), SOON)
    finally:
        server.stop(signal.SIGKILL)
