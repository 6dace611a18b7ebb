"""Distribution 2.8.2, as Debian packages it: the registry whose buckets ours must share."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from lab.required import cannot_run
from lab.servers import S3Server, Server, free_port, running

PROGRAM = "docker-registry"


def require_docker_registry() -> None:
    """Return where there is a Distribution; skip the test, or fail it, where there is none."""
    if shutil.which(PROGRAM) is None:
        cannot_run(f"{PROGRAM}: not installed; Debian has it in the package of that name")


class DockerRegistry(NamedTuple):
    """A Distribution, running."""

    server: Server
    address: str
    configuration: Path

    def collect_garbage(self) -> str:
        """Run the garbage collector over the same bucket and return what it says.

        :raises AssertionError: with that, when it ends with another status than 0.
        """
        done = subprocess.run(
            [PROGRAM, "garbage-collect", str(self.configuration)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@contextlib.contextmanager
def running_docker_registry(
    directory: Path, s3: S3Server, bucket: str, rootdirectory: str = ""
) -> Iterator[DockerRegistry]:
    """Run a Distribution on a bucket until the block is left.

    :param directory: where its configuration and what it writes are kept.
    :param rootdirectory: what stands in front of every key, without slashes at its ends.
    """
    root = {"rootdirectory": f"/{rootdirectory}"} if rootdirectory else {}
    storage = {"s3": s3.driver_options(bucket, **root), "delete": {"enabled": True}}
    with running_with(directory, storage=storage) as registry:
        yield registry


@contextlib.contextmanager
def running_with(directory: Path, **sections: Any) -> Iterator[DockerRegistry]:
    """Run a Distribution until the block is left.

    :param directory: where its configuration and what it writes are kept.
    :param sections: what its configuration has beside where it listens and how it logs.
    """
    port = free_port()
    configuration = {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "http": {"addr": f"127.0.0.1:{port}"},
        **sections,
    }
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "distribution.yml"
    file.write_text(yaml.safe_dump(configuration))
    with running([PROGRAM, "serve", str(file)], directory / "distribution", ports=[port]) as server:
        yield DockerRegistry(server, f"127.0.0.1:{port}", file)
