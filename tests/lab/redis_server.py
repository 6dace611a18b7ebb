"""A real Redis, from Debian's package: it can be killed, started again, stopped in its tracks, filled."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.required import cannot_run
from lab.servers import Server, free_port

if TYPE_CHECKING:
    from redis import Redis

PROGRAM = "redis-server"


def require_redis() -> None:
    """Return where there is a Redis; skip the test, or fail it, where there is none."""
    if shutil.which(PROGRAM) is None:
        cannot_run(f"{PROGRAM}: not installed; Debian has it in the package of that name")


class RedisServer:
    """A Redis on a port of its own, which keeps nothing when it ends.

    :param directory: where its configuration and what it writes are kept.
    :param password: what clients must say.
    :param certificate: a file of `tls.write_certificate`; then it speaks TLS alone, and its clients must show
        a certificate that this one vouches for.
    :param more: further lines of the configuration.
    :param arguments: further arguments of the program.
    """

    def __init__(
        self,
        directory: Path,
        password: str = "",
        certificate: Path | None = None,
        more: Sequence[str] = (),
        arguments: Sequence[str] = (),
    ) -> None:
        self._directory = directory
        self._more = more
        self._arguments = arguments
        self._password = password
        self._certificate = certificate
        self._server: Server | None = None
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "redis.conf").write_text("\n".join(self._configuration()))

    def _configuration(self) -> Sequence[str]:
        lines = ["bind 127.0.0.1", f"dir {self._directory}"]
        if "--sentinel" not in self._arguments:
            lines += ['save ""', "appendonly no"]
        if self._password:
            lines.append(f"requirepass {self._password}")
        lines += self._more
        if self._certificate is None:
            return [*lines, f"port {self.port}"]
        file = self._certificate
        tls = ["port 0", f"tls-port {self.port}"]
        tls += [f"{name} {file}" for name in ("tls-cert-file", "tls-key-file", "tls-ca-cert-file")]
        return [*lines, *tls]

    def start(self) -> None:
        """Start it, empty."""
        self._server = Server(
            [PROGRAM, str(self._directory / "redis.conf"), *self._arguments], self._directory
        )
        self._server.wait_for_ports([self.port])

    def kill(self) -> None:
        """End it as a machine ends that loses its power."""
        if self._server is not None:
            self._server.stop(signal.SIGKILL)
            self._server = None

    def pause(self) -> None:
        """Let it answer nothing: connections to it are taken, and what is sent to it waits."""
        assert self._server is not None
        os.kill(self._server.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it answer again, also what was sent to it in between."""
        assert self._server is not None
        os.kill(self._server.process.pid, signal.SIGCONT)

    def client(self, **options: Any) -> Redis:
        """Return a client of the tests' own."""
        from redis import Redis

        if self._certificate is not None:
            file = str(self._certificate)
            options |= {"ssl": True, "ssl_ca_certs": file, "ssl_certfile": file, "ssl_keyfile": file}
        return Redis("127.0.0.1", self.port, password=self._password or None, **options)


@contextlib.contextmanager
def running_redis(
    directory: Path, password: str = "", certificate: Path | None = None
) -> Iterator[RedisServer]:
    """Run a Redis until the block is left; skip the test where there is none."""
    require_redis()
    server = RedisServer(directory, password, certificate)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@contextlib.contextmanager
def running_several(servers: Sequence[RedisServer]) -> Iterator[None]:
    """Run several of them until the block is left; skip the test where there is none."""
    require_redis()
    with contextlib.ExitStack() as stack:
        for server in servers:
            stack.callback(server.kill)
            server.start()
        yield
