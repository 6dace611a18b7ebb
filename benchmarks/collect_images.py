"""Both collectors on one bucket, while it gets more images: seconds, and requests to S3."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import ceph_gateway
import lab_path  # noqa: F401
from collect_runs import GC, run, write_config
from registries import DISTRIBUTION
from slow_way import slow_way_to

# isort: split
from lab.registry_client import RegistryClient, image_manifest
from lab.s3_proxy import S3Proxy

from cfmiddleware.digest import Digest
from cfmiddleware.registry.store import paths
from cfmiddleware.storage.s3 import S3Driver
from cfmiddleware.storage.s3.options import S3Options

_BUCKET = "collected"
_KEYS = (ceph_gateway.ACCESS_KEY, ceph_gateway.SECRET_KEY, ceph_gateway.REGION)

#: In how many repositories the images are.
REPOSITORIES = 10


def images(
    home: Path, gateway: Any, counts: Sequence[int], delays: Mapping[str, float], rounds: int
) -> dict[str, Any]:
    """Return what came out, by part.

    :param counts: how many images there are, ascending.
    :param delays: the seconds that each answer of S3 takes longer, by part; Distribution's run over a slow
        one, which takes minutes, is measured once.
    """
    gateway.new_bucket(_BUCKET)
    driver = driver_of(gateway.endpoint, _BUCKET)
    results: dict[str, Any] = {part: {"delay": delay, "rows": []} for part, delay in delays.items()}
    there = 0
    for count in counts:
        fill(driver, range(there, count))
        there = count
        requests = _requests(home, gateway.endpoint, driver)
        for part, delay in delays.items():
            with (
                slow_way_to(gateway.endpoint, delay)
                if delay
                else contextlib.nullcontext(gateway.endpoint) as endpoint
            ):
                file = write_config(home / "config.yml", endpoint, _BUCKET, _KEYS)
                seconds = _seconds(home, file, driver, rounds, once=DISTRIBUTION if delay else "")
            results[part]["rows"].append({"images": count, "seconds": seconds, "requests": requests})
    return results


def _commands(file: Path) -> dict[str, list[str]]:
    ours = [*GC, str(file)]
    return {
        DISTRIBUTION: [DISTRIBUTION, "garbage-collect", "--dry-run", str(file)],
        "first": [*ours, "--dry-run"],
        "next": [*ours, "--dry-run"],
        "whole": ours,
    }


def _seconds(home: Path, file: Path, driver: S3Driver, rounds: int, once: str) -> dict[str, float]:
    """Return the medians; a round of ours begins with nothing remembered.

    :param once: what is run in the first round alone.
    """
    took: dict[str, list[float]] = {}
    for _ in range(rounds):
        driver.delete_prefix(paths.REMEMBERED)
        for name, command in _commands(file).items():
            if name == once and name in took:
                continue
            took.setdefault(name, []).append(run(command, home / "log").seconds)
    return {name: median(each) for name, each in took.items()}


def _requests(home: Path, endpoint: str, driver: S3Driver) -> dict[str, int]:
    """Return how many requests each makes, in a run of its own that is not timed."""
    driver.delete_prefix(paths.REMEMBERED)
    found = {}
    with S3Proxy(endpoint) as proxy:
        file = write_config(home / "config.yml", proxy.endpoint, _BUCKET, _KEYS)
        for name, command in _commands(file).items():
            proxy.counts()
            run(command, home / "log")
            found[name] = sum(proxy.counts().values())
    return found


def driver_of(endpoint: str, bucket: str) -> S3Driver:
    """Return a driver for a bucket of the gateway."""
    access, secret, region = _KEYS
    return S3Driver(
        S3Options(
            bucket=bucket,
            region=region,
            regionendpoint=endpoint,
            accesskey=access,
            secretkey=secret,
            forcepathstyle=True,
            secure=False,
        )
    )


def fill(driver: S3Driver, numbers: range) -> list[str]:
    """Push images, each of a layer and a config of its own and one layer that all share; return the paths of
    the layers.
    """
    client = RegistryClient(driver)
    pushed = []
    for number in numbers:
        name = f"team/app{number % REPOSITORIES}"
        layers = [client.push_blob(name, b"shared"), client.push_blob(name, b"layer %d" % number)]
        config = client.push_blob(name, b'{"number": %d}' % number)
        content = json.dumps(image_manifest(config, layers)).encode()
        answer = client.push_manifest(name, f"v{number}", content)
        assert answer.headers["Docker-Content-Digest"] == str(Digest.of(content))
        pushed.append(f"/v2/{name}/blobs/{layers[1]}")
    return pushed
