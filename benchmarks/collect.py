"""Compare garbage collections: how long one takes over S3, and how many requests it makes.

Run it as ``python benchmarks/collect.py``; README.rst beside this file says what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import ceph_gateway
import lab_path  # noqa: F401
import yaml
from machine import end_as_by_ctrl_c
from programs import MissingProgram
from registries import DISTRIBUTION, check
from report import table

# isort: split
from lab.registry_client import RegistryClient, image_manifest
from lab.s3_proxy import S3Proxy

from cfmiddleware.digest import Digest
from cfmiddleware.storage.s3 import S3Driver
from cfmiddleware.storage.s3.options import S3Options

_BUCKET = "collected"
_REPOSITORIES = 10


class Run(NamedTuple):
    """A collection: its seconds on the clock, and its requests to S3."""

    name: str
    seconds: float
    requests: int


def main() -> int:
    """Run it and print what came out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=400, help="how many images there are (default: 400)")
    arguments = parser.parse_args()
    try:
        check([DISTRIBUTION])
        ceph_gateway.check()
    except MissingProgram as missing:
        print(f"collect: {missing}", file=sys.stderr)
        return 2
    end_as_by_ctrl_c()
    home = Path(tempfile.mkdtemp(prefix="collect-"))
    try:
        with ceph_gateway.running(home / "ceph") as gateway, S3Proxy(gateway.endpoint) as proxy:
            gateway.new_bucket(_BUCKET)
            _fill(gateway.endpoint, arguments.images)
            runs = list(_runs(home, proxy))
    except KeyboardInterrupt:
        return 130
    finally:
        shutil.rmtree(home, ignore_errors=True)
    theirs = runs[0]
    print(f"{arguments.images} images in {_REPOSITORIES} repositories")
    rows = [
        [run.name, f"{run.seconds:.2f}", f"{theirs.seconds / run.seconds:.1f}", str(run.requests)]
        for run in runs
    ]
    print("\n".join(table(("", "seconds", "times as fast", "S3 requests"), rows)))
    return 0


def _fill(endpoint: str, images: int) -> None:
    """Push images, each of a layer and a config of its own and one layer that all share."""
    driver = S3Driver(S3Options(**_storage(endpoint)))
    client = RegistryClient(driver)
    for number in range(images):
        name = f"team/app{number % _REPOSITORIES}"
        layers = [client.push_blob(name, b"shared"), client.push_blob(name, b"layer %d" % number)]
        config = client.push_blob(name, b'{"number": %d}' % number)
        content = json.dumps(image_manifest(config, layers)).encode()
        answer = client.push_manifest(name, f"v{number}", content)
        assert answer.headers["Docker-Content-Digest"] == str(Digest.of(content))


def _runs(home: Path, proxy: S3Proxy) -> Sequence[Run]:
    storage = {"s3": _storage(proxy.endpoint), "delete": {"enabled": True}}
    file = home / "config.yml"
    file.write_text(yaml.safe_dump({"version": 0.1, "storage": storage, "http": {"addr": "127.0.0.1:0"}}))
    ours = [sys.executable, "-m", "cfmiddleware", "gc", str(file)]
    theirs = ["docker-registry", "garbage-collect", "--dry-run", str(file)]
    return [
        _timed(f"{DISTRIBUTION}, dry run", theirs, proxy),
        _timed("cfmiddleware, first dry run", [*ours, "--dry-run"], proxy),
        _timed("cfmiddleware, next dry run", [*ours, "--dry-run"], proxy),
        _timed("cfmiddleware, nothing to collect", ours, proxy),
    ]


def _timed(name: str, command: Sequence[str], proxy: S3Proxy) -> Run:
    proxy.counts()
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    seconds = time.monotonic() - began
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr[-500:]}")
    return Run(name, seconds, sum(proxy.counts().values()))


def _storage(endpoint: str) -> dict[str, object]:
    return {
        "bucket": _BUCKET,
        "region": ceph_gateway.REGION,
        "regionendpoint": endpoint,
        "accesskey": ceph_gateway.ACCESS_KEY,
        "secretkey": ceph_gateway.SECRET_KEY,
        "forcepathstyle": True,
        "secure": False,
    }


if __name__ == "__main__":
    sys.exit(main())
