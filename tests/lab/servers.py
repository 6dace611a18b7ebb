"""Servers for tests: processes on free ports, and an S3 of our own."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lab.wsgi_server import running_app

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

#: The smallest part that the S3 servers of the tests take: tests need not move megabytes. Amazon's is 5 MiB.
SMALLEST_PART = 1000

#: The command that the package installs, beside the interpreter that runs the tests.
CFMIDDLEWARE = str(Path(sys.executable).parent / "cfmiddleware")


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nothing listens on."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Return *count* TCP ports of 127.0.0.1 that nothing listens on, and that no other call returns.

    They lie below the range from which the kernel takes ports for outgoing connections, so that none of those
    can occupy one between this call and the server's own.
    """
    found: list[int] = []
    for port in itertools.islice(_PORTS, 500):
        if len(found) == count:
            return found
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                found.append(port)
    raise RuntimeError(f"no {count} free ports between 20000 and 32000")


def _ports() -> Iterator[int]:
    """Yield ports in random order. Each process of pytest-xdist has its own."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    own = list(range(20_000 + number, 32_000, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))))
    random.SystemRandom().shuffle(own)
    return itertools.cycle(own)


# A port that was returned is not free any more, although nothing may listen on it yet.
_PORTS = _ports()


def answers(port: int) -> bool:
    """Whether something on this machine accepts connections on *port*."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def eventually(condition: Callable[[], bool], seconds: float = 10) -> bool:
    """Ask *condition* until it is true, for *seconds* at the most, and return its last answer."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return answer


class Server:
    """A process in a session of its own, with what it writes kept in files.

    :param command: the program and its arguments.
    :param directory: where `stdout` and `stderr` are kept; the process's own working directory, too.
    :param env: variables on top of this process's own environment.
    :param without: the beginnings of the names of variables that the process does not inherit.
    """

    def __init__(
        self,
        command: Sequence[str],
        directory: Path,
        env: Mapping[str, str] | None = None,
        without: tuple[str, ...] = (),
    ) -> None:
        self.command = list(command)
        self._stdout, self._stderr = directory / "stdout", directory / "stderr"
        directory.mkdir(parents=True, exist_ok=True)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(without)}
        with self._stdout.open("wb") as stdout, self._stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=directory,
                env={**inherited, **(env or {})},
                start_new_session=True,
            )

    @property
    def stdout(self) -> str:
        """What the process has written to its standard output so far."""
        return self._stdout.read_text(errors="replace")

    @property
    def stderr(self) -> str:
        """What the process has written to its standard error so far."""
        return self._stderr.read_text(errors="replace")

    def wait_for_ports(self, ports: Sequence[int], seconds: float = 30) -> None:
        """Return when every port answers.

        :raises AssertionError: with the process's output, when it ended or *seconds* went by before that.
        """
        eventually(lambda: self.process.poll() is not None or all(map(answers, ports)), seconds)
        if self.process.poll() is None and all(map(answers, ports)):
            return
        code = self.process.poll()
        what = f"ended with status {code}" if code is not None else f"does not answer on {list(ports)}"
        raise AssertionError(f"{' '.join(self.command)} {what}\n{self.stdout}{self.stderr}")

    def stop(self, number: int = signal.SIGTERM, seconds: float = 15) -> int:
        """End the process with a signal to its group, and by force whatever is left; return its status.

        :param seconds: how long the process may take before force is used; its status is -9 then.
        """
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
        # Also where the leader went in peace: what it left behind holds its ports. A process can leave its
        # group without leaving the session that was begun for it.
        for process in members(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        return self.process.wait()


def members(session: int) -> list[int]:
    """Return the processes of a session."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(int(entry.name)) == session:
                found.append(int(entry.name))
    return found


@contextlib.contextmanager
def running(
    command: Sequence[str],
    directory: Path,
    *,
    ports: Sequence[int],
    env: Mapping[str, str] | None = None,
    seconds: float = 30,
) -> Iterator[Server]:
    """Run *command* until the block is left; the block begins when every one of *ports* answers."""
    server = Server(command, directory, env)
    try:
        server.wait_for_ports(ports, seconds)
        yield server
    finally:
        server.stop()


class S3Server(NamedTuple):
    """An S3 server that runs on this machine.

    :param endpoint: its URL.
    :param access_key: a key that it knows, or one of any if it knows none.
    :param kms_key: a key that it can encrypt objects with, where it cannot do so without one.
    """

    endpoint: str
    access_key: str
    secret_key: str
    kms_key: str = ""

    def client(self) -> S3Client:
        """Return a new boto3 client."""
        # Only the tests that need an S3 need boto3.
        import boto3
        from botocore.config import Config

        names = ("request_checksum_calculation", "response_checksum_validation")
        # Older ones know none of them, and send no checksum that is not required.
        checksums: dict[str, Any] = {
            name: "when_required" for name in names if name in Config.OPTION_DEFAULTS
        }
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(s3={"addressing_style": "path"}, **checksums),
        )

    def new_bucket(self) -> str:
        """Make an empty bucket and return its name."""
        name = f"images-{random.SystemRandom().getrandbits(64):016x}"
        self.client().create_bucket(Bucket=name)
        return name

    def keys(self, bucket: str) -> list[str]:
        """Return every key in *bucket*, sorted."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return sorted(item["Key"] for page in pages for item in page.get("Contents", []))

    def driver_options(self, bucket: str, **more: Any) -> dict[str, Any]:
        """Return what `storage: s3:` says in a configuration file to reach *bucket*."""
        return {
            "region": "us-east-1",
            "regionendpoint": self.endpoint,
            "bucket": bucket,
            "accesskey": self.access_key,
            "secretkey": self.secret_key,
            "secure": False,
            **more,
        }


@contextlib.contextmanager
def running_moto() -> Iterator[S3Server]:
    """Run moto's S3 in this process, on a free port, until the block is left. It checks no signatures."""
    from moto.s3 import models
    from moto.server import DomainDispatcherApplication, create_backend_app

    smallest_part = models.S3_UPLOAD_PART_MIN_SIZE
    models.S3_UPLOAD_PART_MIN_SIZE = SMALLEST_PART
    try:
        dispatcher = DomainDispatcherApplication(create_backend_app)
        # Each request would list the directories of moto's package, which costs a third of a small one.
        dispatcher.get_backend_for_host = functools.cache(dispatcher.get_backend_for_host)
        with running_app(dispatcher) as port:
            yield S3Server(f"http://127.0.0.1:{port}", "testing-key", "testing-secret")
    finally:
        models.S3_UPLOAD_PART_MIN_SIZE = smallest_part
