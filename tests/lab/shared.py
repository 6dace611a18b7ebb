"""Servers that all processes of one run of pytest share.

The process that needs a server first starts a keeper. The keeper starts the server and waits until nobody
uses it any more. Every user holds a shared lock on a file, and the keeper ends the server when it gets an
exclusive one: the kernel counts the users, and takes the lock away from a process that was killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO

from lab import TESTS
from lab.ceph import running_ceph
from lab.servers import S3Server, Server, eventually, running_moto

#: How long a server may take to start. Ceph takes 15 seconds on a quiet machine.
SECONDS = 180


def _moto(home: Path) -> contextlib.AbstractContextManager[S3Server]:
    return running_moto()


def _ceph(home: Path) -> contextlib.AbstractContextManager[S3Server]:
    return running_ceph(Path(tempfile.mkdtemp(prefix="ceph-", dir=home)))


SERVERS: Mapping[str, Callable[[Path], contextlib.AbstractContextManager[S3Server]]] = {
    "moto": _moto,
    "ceph": _ceph,
}


@contextlib.contextmanager
def shared(name: str, run: Path) -> Iterator[S3Server]:
    """Give a server that every process of the run uses, until the block is left.

    :param name: one of `SERVERS`.
    :param run: a directory that these processes have in common.
    :raises AssertionError: if the server does not start, with what it wrote.
    """
    home = run / f"shared-{name}"
    home.mkdir(exist_ok=True)
    with _open(home, "users") as users:
        with _open(home, "starting") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            # Waits where the keeper is about to end the server.
            fcntl.flock(users, fcntl.LOCK_SH)
            if not (home / "server.json").exists():
                _start_keeper(name, home)
        yield S3Server(**json.loads((home / "server.json").read_text()))


def _start_keeper(name: str, home: Path) -> None:
    command = [sys.executable, "-m", "lab.shared", name, str(home)]
    keeper = Server(command, home / "keeper", env={"PYTHONPATH": str(TESTS)})
    started = (home / "server.json").exists
    eventually(lambda: started() or keeper.process.poll() is not None, SECONDS)
    assert started(), f"{name} did not start:\n{keeper.stdout}{keeper.stderr}"


def keep(name: str, home: Path) -> None:
    """Run a server for as long as somebody uses it."""
    file = home / "server.json"
    # The lock is held until the server has ended.
    with _open(home, "users") as users, SERVERS[name](home) as server:
        unfinished = file.with_suffix(".new")
        unfinished.write_text(json.dumps(server._asdict()))
        unfinished.rename(file)
        fcntl.flock(users, fcntl.LOCK_EX)
        file.unlink()


def _open(home: Path, name: str) -> IO[str]:
    return (home / name).open("a")


if __name__ == "__main__":
    keep(sys.argv[1], Path(sys.argv[2]))
