"""Sixteen clients, two servers and two collectors over Ceph, all of which are killed again and again.

`.ci/collecting-stress` runs it for ten minutes.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import threading
import time
from pathlib import Path

import pytest
import yaml
from lab.collectstress import COLLECT, KilledServer, Pusher, collect, missing, run_all
from lab.servers import S3Server, free_ports
from lab.simplecollector import Holdings

from cfmiddleware.config import Config

# Read before the tests' own environment is cleaned.
SECONDS = float(os.environ.get("CFMIDDLEWARE_STRESS_SECONDS", "40"))
WITHOUT = os.environ.get("CFMIDDLEWARE_STRESS_WITHOUT", "")

HURRIED = Path(__file__).parent.parent / "lab" / "hurried"


@pytest.mark.long
def test_nothing_acknowledged_is_lost_when_everything_is_killed(ceph: S3Server, tmp_path: Path) -> None:
    env = {"PYTHONPATH": str(HURRIED), "HURRIED_WITHOUT": WITHOUT}
    tree = {
        "version": "0.1",
        "storage": {"s3": ceph.driver_options(ceph.new_bucket()), "delete": {"enabled": True}},
        "http": {},
    }
    (tmp_path / "config.yml").write_text(yaml.safe_dump(tree))
    driver = Config.load(tmp_path / "config.yml").driver()
    with contextlib.ExitStack() as stack:
        servers = [KilledServer(tmp_path, port, env) for port in free_ports(2)]
        for server in servers:
            stack.callback(server.stop)
        pushers = [Pusher([server.url for server in servers], number) for number in range(16)]
        until = time.monotonic() + SECONDS
        counts: list[tuple[int, int]] = []

        def kill() -> None:
            chance = random.Random(7)
            while time.monotonic() < until - 5:
                time.sleep(chance.uniform(2, 6))
                chance.choice(servers).kill(chance)

        def collecting(seed: int) -> None:
            counts.append(collect(tmp_path, random.Random(seed), until, env))

        threads = [threading.Thread(target=pusher.work, args=(until,)) for pusher in pushers]
        threads += [threading.Thread(target=kill)]
        threads += [threading.Thread(target=collecting, args=(seed,)) for seed in (1, 2)]
        run_all(threads, SECONDS)
        done, killed = (sum(column) for column in zip(*counts, strict=True))
        pushed, refused = (sum(getattr(p, name) for p in pushers) for name in ("pushed", "refused"))
        print(f"{pushed} images pushed, {refused} refused; {done} collections ended, {killed} were killed")
        lost = [line for pusher in pushers for line in pusher.broken]
        acknowledged = {key: digest for pusher in pushers for key, digest in pusher.acknowledged.items()}
        for (name, tag), digest in acknowledged.items():
            lost += missing(servers[0].url, name, tag, digest)
        assert not lost
        assert done
        assert killed
        assert acknowledged
        for _ in range(4):
            time.sleep(2)
            subprocess.run(COLLECT, cwd=tmp_path, check=True, capture_output=True, env=os.environ | env)
        for (name, tag), digest in acknowledged.items():
            assert not missing(servers[0].url, name, tag, digest)
    assert not Holdings(driver).garbage(untagged=False)
