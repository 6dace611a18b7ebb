"""Collections back to back, some of them killed, beside clients that push, mount, retag and delete."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
import yaml
from lab.collecting import ROOT
from lab.registry_client import image_manifest
from lab.servers import S3Server
from lab.serving import CFMIDDLEWARE, Service, ask, serving

from cfmiddleware.config import Config
from cfmiddleware.digest import Digest
from cfmiddleware.storage.driver import Driver

NAMES = ("team/one", "team/two", "three")
SHARED = [b"shared layer %d" % number * 50 for number in range(8)]

# Read before the tests' own environment is cleaned.
SECONDS = float(os.environ.get("CFMIDDLEWARE_COLLECT_SECONDS", "60"))

COLLECT = [CFMIDDLEWARE, "gc", "config.yml", "--grace", "1s", "--delete-untagged", "--older-than", "1s"]


def write_config(directory: Path, options: dict[str, object]) -> None:
    tree = {"version": "0.1", "storage": {"s3": options, "delete": {"enabled": True}}, "http": {}}
    (directory / "config.yml").write_text(yaml.safe_dump(tree))


class Pusher:
    """A client that pushes images with tags of its own, deletes some, and sees whether each is whole.

    :param number: tells its tags from those of the others.
    """

    def __init__(self, service: Service, number: int) -> None:
        self._service = service
        self._number = number
        self._random = random.Random(number)
        #: What each repository's tag must name, as far as it was acknowledged.
        self.acknowledged: dict[tuple[str, str], str] = {}
        self.broken: list[str] = []
        self.refused = 0

    def work(self, until: float) -> None:
        """Push until the time has come."""
        count = 0
        while time.monotonic() < until:
            count += 1
            name = self._random.choice(NAMES)
            tag = f"p{self._number}-{self._random.randrange(3)}"
            with contextlib.suppress(OSError):
                if self._random.random() < 0.15 and (name, tag) in self.acknowledged:
                    digest = self.acknowledged.pop((name, tag))
                    if digest not in self.acknowledged.values():
                        ask("DELETE", f"{self._service.url}/v2/{name}/manifests/{digest}", timeout=120)
                else:
                    self._push(name, tag, count)

    def _push(self, name: str, tag: str, count: int) -> None:
        own = b"layer %d of %d" % (count % 5, self._number)
        layers = [*self._random.sample(SHARED, 2), own]
        config = b'{"number": %d}' % (count % 7)
        for content in (*layers, config):
            if not self._blob(name, content):
                self.refused += 1
                return
        manifest = image_manifest(Digest.of(config), [Digest.of(layer) for layer in layers])
        content = json.dumps(manifest).encode()
        before = self.acknowledged.pop((name, tag), None)
        # A push waits for the deletes of a collector that was killed. One whose client has not waited for it
        # may move the tag after that client's next push.
        answer = ask("PUT", f"{self._service.url}/v2/{name}/manifests/{tag}", content, timeout=120)
        if answer.status != 201:
            # 404: a blob that was there at the HEAD is not any more, which ends a push of docker's as well.
            assert answer.status in (404, 503), answer
            self.refused += 1
            if before is not None and answer.status == 404:  # after a 503 nobody knows
                self.acknowledged[name, tag] = before
            return
        self.acknowledged[name, tag] = str(Digest.of(content))
        self.broken += missing(self._service, name, tag, self.acknowledged[name, tag])

    def _blob(self, name: str, content: bytes) -> bool:
        digest, url = Digest.of(content), f"{self._service.url}/v2/{name}/blobs"
        if ask("HEAD", f"{url}/{digest}").status == 200:
            return True
        source = self._random.choice(NAMES)
        started = ask("POST", f"{url}/uploads/?mount={digest}&from={source}", timeout=120)
        if started.status == 201:
            return True
        if started.status != 202:
            return False
        patched = ask("PATCH", started.headers["Location"], content, timeout=120)
        if patched.status != 202:
            return False
        return ask("PUT", f"{patched.headers['Location']}?digest={digest}", timeout=120).status == 201


def missing(service: Service, name: str, tag: str, digest: str) -> list[str]:
    """Return what is missing of an image."""
    answer = ask("GET", f"{service.url}/v2/{name}/manifests/{tag}")
    if answer.status != 200 or str(Digest.of(answer.body)) != digest:
        return [f"{name}:{tag}: {answer.status}"]
    found = json.loads(answer.body)
    lost = []
    for entry in (found["config"], *found["layers"]):
        blob = ask("GET", f"{service.url}/v2/{name}/blobs/{entry['digest']}")
        if blob.status != 200 or str(Digest.of(blob.body)) != entry["digest"]:
            lost.append(f"{name}:{tag}: {entry['digest']}: {blob.status}")
    return lost


def collect(directory: Path, chance: random.Random, until: float) -> tuple[int, int]:
    """Collect back to back, kill every third collection, and return how many ended well and how many did
    not.
    """
    done = killed = 0
    while time.monotonic() < until:
        with (directory / "gc.log").open("ab") as log:
            process = subprocess.Popen(COLLECT, cwd=directory, stdout=log, stderr=log)
        if chance.random() < 0.33:
            time.sleep(chance.uniform(0.5, 9))
            process.send_signal(signal.SIGKILL)
        status = process.wait(120)
        assert status in (0, 1, -signal.SIGKILL), (directory / "gc.log").read_text()
        done += status == 0
        killed += status < 0
    return done, killed


def referred_to(driver: Driver) -> set[str]:
    """Return all digests that manifests of the storage refer to, and the manifests', by simple means."""
    found = set()
    for path, _ in driver.walk(ROOT + "repositories/"):
        if "/_manifests/revisions/" in path:
            digest = ":".join(path.split("/")[-3:-1])
            hexadecimal = digest.partition(":")[2]
            manifest = json.loads(driver.read(f"{ROOT}blobs/sha256/{hexadecimal[:2]}/{hexadecimal}/data"))
            found |= {digest, manifest["config"]["digest"], *(e["digest"] for e in manifest["layers"])}
    return found


@pytest.mark.long
def test_nothing_that_was_acknowledged_is_lost_and_no_garbage_stays(any_s3: S3Server, tmp_path: Path) -> None:
    seconds = SECONDS
    write_config(tmp_path, any_s3.driver_options(any_s3.new_bucket()))
    driver = Config.load(tmp_path / "config.yml").driver()
    with serving(tmp_path, "config.yml", edge=False) as service:
        pushers = [Pusher(service, number) for number in range(6)]
        until = time.monotonic() + seconds
        threads = [threading.Thread(target=pusher.work, args=(until,)) for pusher in pushers]
        for thread in threads:
            thread.start()
        done, killed = collect(tmp_path, random.Random(1), until)
        for thread in threads:
            thread.join(120)
        assert done
        assert killed

        for _ in range(3):
            time.sleep(3)
            subprocess.run(
                [
                    CFMIDDLEWARE,
                    "gc",
                    "config.yml",
                    "--grace",
                    "1s",
                    "--delete-untagged",
                    "--older-than",
                    "1s",
                ],
                cwd=tmp_path,
                check=True,
                capture_output=True,
            )
        assert not [line for pusher in pushers for line in pusher.broken]
        acknowledged = {key: digest for pusher in pushers for key, digest in pusher.acknowledged.items()}
        assert acknowledged
        for (name, tag), digest in acknowledged.items():
            assert not missing(service, name, tag, digest)
    stored = {
        ":".join((path.split("/")[-4], path.split("/")[-2])) for path, _ in driver.walk(ROOT + "blobs/")
    }
    assert stored == referred_to(driver)
