"""The two registries that are measured, each as its users run it, on a bucket of its own."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from ceph_gateway import ACCESS_KEY, REGION, SECRET_KEY
from lab.servers import free_ports
from programs import MissingProgram, Program

OURS, DISTRIBUTION = "cfmiddleware", "docker-registry"


class Registry(NamedTuple):
    """A registry that runs.

    :param name: which of the two it is.
    :param port: where it listens on 127.0.0.1.
    :param program: its processes.
    """

    name: str
    port: int
    program: Program


def check(names: Sequence[str] = (OURS, DISTRIBUTION)) -> None:
    """See that those of the two that are *names* are there.

    :raises MissingProgram: when one is not.
    """
    if DISTRIBUTION in names and shutil.which(DISTRIBUTION) is None:
        raise MissingProgram(
            "docker-registry is not installed; Debian has it: apt-get install docker-registry"
        )
    if OURS in names and shutil.which("cfmiddleware", path=str(Path(sys.executable).parent)) is None:
        raise MissingProgram("cfmiddleware is not installed beside this Python: pip install -e '.[server]'")


@contextlib.contextmanager
def running(
    name: str, home: Path, endpoint: str, bucket: str, *, edge: bool = False, warm: bool = False
) -> Iterator[Registry]:
    """Run one of the registries until the block is left.

    :param home: a directory for its configuration and log; made if it is not there.
    :param endpoint: the URL of the S3 server.
    :param edge: have ours redirect each pull to the local edge.
    :param warm: have it remember descriptors and write no access log, as in the benchmark of redirects.
    """
    home.mkdir(parents=True, exist_ok=True)
    port, edge_port = free_ports(2)
    s3 = {
        "regionendpoint": endpoint,
        "region": REGION,
        "bucket": bucket,
        "accesskey": ACCESS_KEY,
        "secretkey": SECRET_KEY,
        "secure": False,
    }
    # A caller's own bundle makes docker-registry's AWS library refuse to start; the variables of Amazon's
    # command line must not lead either of them elsewhere.
    foreign = ("AWS_", "REGISTRY_")
    configuration, command = _WAYS[name](s3, port, edge_port if edge else None, home)
    if warm:
        configuration["storage"]["cache"] = {"blobdescriptor": "inmemory"}
        configuration["log"] = {"accesslog": {"disabled": True}}
    (home / "config.yml").write_text(yaml.safe_dump(configuration))
    with Program([*command, str(home / "config.yml")], home / "log", without=foreign) as program:
        for expected in (port, edge_port) if edge else (port,):
            program.wait_for_port(expected)
        yield Registry(name, port, program)


def version(name: str) -> str:
    """Return a registry's version."""
    if name == OURS:
        from cfmiddleware.version import __version__

        return __version__
    answer = subprocess.run([name, "--version"], capture_output=True, text=True, check=True).stdout
    return answer.split()[-1]


def _ours(
    s3: dict[str, Any], port: int, edge_port: int | None, home: Path
) -> tuple[dict[str, Any], list[str]]:
    configuration: dict[str, Any] = {
        "version": "0.1",
        "storage": {"s3": s3},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    executable = str(Path(sys.executable).parent / "cfmiddleware")
    if edge_port is not None:
        key = home / "pk-KBENCHMARK"
        if not key.with_suffix(".pem").exists():
            subprocess.run([executable, "keygen", "--out", str(key)], check=True, capture_output=True)
        options = {"baseurl": f"http://127.0.0.1:{edge_port}", "privatekey": f"{key}.pem"}
        configuration["middleware"] = {"storage": [{"name": "cloudfront", "options": options}]}
        configuration["edge"] = {"addr": f"127.0.0.1:{edge_port}"}
    return configuration, [executable, "serve"]


def _distribution(
    s3: dict[str, Any], port: int, edge_port: int | None, home: Path
) -> tuple[dict[str, Any], list[str]]:
    # As Debian configures it, cache included, but for the storage and the password file. Redirects are off,
    # so that both registries send the bytes themselves; so is its look at the bucket every ten seconds.
    configuration = {
        "version": "0.1",
        "log": {"level": "info", "fields": {"service": "registry"}},
        "storage": {
            "s3": s3,
            "cache": {"blobdescriptor": "inmemory"},
            "delete": {"enabled": True},
            "redirect": {"disable": True},
        },
        "http": {"addr": f"127.0.0.1:{port}", "secret": "benchmark"},
    }
    return configuration, [DISTRIBUTION, "serve"]


_Way = Callable[[dict[str, Any], int, int | None, Path], tuple[dict[str, Any], list[str]]]
_WAYS: dict[str, _Way] = {OURS: _ours, DISTRIBUTION: _distribution}
