"""Garbage collections as the benchmarks run them: seconds on the clock, memory, and what was said."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

#: Ours, as a command.
GC = (sys.executable, "-m", "cfmiddleware", "gc")


class Run(NamedTuple):
    """A program that has ended.

    :param seconds: on the clock.
    :param cpu: seconds of the processor.
    :param memory: the most that it had in memory, in bytes.
    :param said: what it printed.
    """

    seconds: float
    cpu: float
    memory: int
    said: str


def run(command: Sequence[str], log: Path) -> Run:
    """Run a collection to its end.

    :raises RuntimeError: when it fails.
    """
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "REGISTRY_"))
    }
    began = time.monotonic()
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - began
    said = log.read_text(errors="replace")
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: {said[-500:]}")
    return Run(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024, said)


def write_config(file: Path, endpoint: str, bucket: str, keys: tuple[str, str, str]) -> Path:
    """Write a configuration for both collectors, and return it.

    :param keys: access key, secret key and region.
    """
    storage = {
        "s3": {
            "bucket": bucket,
            "region": keys[2],
            "regionendpoint": endpoint,
            "accesskey": keys[0],
            "secretkey": keys[1],
            "forcepathstyle": True,
            "secure": False,
        },
        "delete": {"enabled": True},
    }
    file.write_text(yaml.safe_dump({"version": 0.1, "storage": storage, "http": {"addr": "127.0.0.1:0"}}))
    return file
