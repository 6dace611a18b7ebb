"""The registries that the suite of the specification runs against, each a real server on this machine."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from cfmiddleware.config import Config
from cfmiddleware.signing.keys import generate
from lab import TESTS
from lab.servers import CFMIDDLEWARE, S3Server, free_ports, running
from lab.spec_client import Client


class Setup(NamedTuple):
    """What a registry stands on, whether the wrapper stands in front of it, and how many workers it has."""

    storage: str
    wrapped: bool
    workers: int

    def __str__(self) -> str:
        front = "wrapped" if self.wrapped else "direct"
        return f"{self.storage}-{front}-{self.workers}"


#: Several workers matter because none sees the memory of another. Every storage is here, with the wrapper and
#: without it, with one worker and with several.
SETUPS = [
    Setup("inmemory", True, 1),
    Setup("filesystem", False, 4),
    Setup("s3", True, 4),
]

#: The rest, which is marked `long`. With it, every two values of different axes meet in a registry.
FURTHER_SETUPS = [
    Setup("inmemory", False, 1),
    Setup("filesystem", True, 1),
    Setup("s3", False, 1),
    Setup("filesystem", False, 1),
    Setup("filesystem", True, 4),
]


def storage_section(setup: Setup, s3: Callable[[], S3Server]) -> dict[str, Any]:
    """Return what `config.yml` says of the storage; *s3* starts an S3 where there is none yet."""
    if setup.storage == "s3":
        server = s3()
        return {"s3": server.driver_options(server.new_bucket(), rootdirectory="/team/prod")}
    return {setup.storage: {"rootdirectory": "objects"} if setup.storage == "filesystem" else {}}


@contextlib.contextmanager
def serving(
    setup: Setup, storage: dict[str, Any], directory: Path, *, delete: bool = True, **sections: Any
) -> Iterator[Client]:
    """Run a registry until the block is left.

    :param storage: the section `storage` without what belongs to no driver.
    :param sections: further sections of `config.yml`.
    """
    port, edge_port = free_ports(2)
    in_one = setup.wrapped and setup.storage == "inmemory"
    edge = f"http://127.0.0.1:{port if in_one else edge_port}" if setup.wrapped else ""
    tree = {
        "version": 0.1,
        "storage": {**storage, "delete": {"enabled": delete}},
        "http": {"addr": f"127.0.0.1:{port}"},
        "server": {"workers": setup.workers, "gracefultimeout": 1},
        **sections,
    }
    if setup.wrapped:
        (directory / "pk-KSPECIFICATION.pem").write_text(generate("ecdsa").private_pem)
        options = {"baseurl": edge, "privatekey": "pk-KSPECIFICATION.pem"}
        tree["middleware"] = {"storage": [{"name": "cloudfront", "options": options}]}
        tree["edge"] = {"addr": edge.removeprefix("http://"), "digestheader": True}
    file = directory / "config.yml"
    file.write_text(yaml.safe_dump(tree))
    command, ports = [CFMIDDLEWARE, "serve", str(file)], [port, edge_port] if setup.wrapped else [port]
    if in_one:
        command = [sys.executable, "-m", "gunicorn", f"lab.spec_servers:in_one_process({str(file)!r})"]
        command += ["--pythonpath", str(TESTS)]
        command += ["--bind", f"127.0.0.1:{port}", "--threads", "16", "--graceful-timeout", "1"]
        ports = [port]
    with running(command, directory / "process", ports=ports):
        yield Client(f"http://127.0.0.1:{port}", edge)


def in_one_process(file: str) -> Callable[[dict[str, Any], Any], Iterable[bytes]]:
    """Return a wrapped registry and its edge as one app, for a storage that no other process sees."""
    config = Config.load(file)
    app, edge = config.app(), config.edge()

    def both(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        return (app if path == "/v2" or path.startswith("/v2/") else edge)(environ, start_response)

    return both
