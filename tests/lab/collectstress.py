"""Clients of a registry whose processes are killed again and again, beside collections that are killed."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from cfmiddleware.digest import Digest
from lab.registry_client import image_manifest
from lab.servers import CFMIDDLEWARE, Server, eventually, members
from lab.serving import Answer, ask, bound, children

NAMES = ("team/one", "team/two", "three")
_SHARED = [b"shared layer %d" % number * 50 for number in range(6)]

#: A collection that takes all that it can.
COLLECT = [CFMIDDLEWARE, "gc", "config.yml", "--grace", "0s", "--delete-untagged", "--older-than", "0s"]

# What a killed server does to a request.
_CUT_OFF = (OSError, http.client.HTTPException)


class Pusher:
    """A client that pushes images under tags of its own, some of them with the same layers and manifests as
    the others', moves and deletes tags, and deletes manifests that are its own alone.

    :param urls: the registry's addresses.
    :param number: tells its tags from those of the others.
    """

    def __init__(self, urls: Sequence[str], number: int) -> None:
        self._urls = urls
        self._number = number
        self._random = random.Random(number)
        self._own: set[str] = set()
        #: What each repository's tag names, as far as that is certain.
        self.acknowledged: dict[tuple[str, str], str] = {}
        self.broken: list[str] = []
        self.pushed = 0
        self.refused = 0

    def work(self, until: float) -> None:
        """Push until the time has come."""
        count = 0
        while time.monotonic() < until:
            count += 1
            name, tag = self._random.choice(NAMES), f"p{self._number}-{self._random.randrange(3)}"
            try:
                self._choose()(name, tag, count)
            except _CUT_OFF:
                time.sleep(0.1)

    def _choose(self):  # type: ignore[no-untyped-def]
        return self._random.choices([self._push, self._retag, self._delete], [6, 2, 2])[0]

    def _ask(self, method: str, path: str, body: bytes | None = None) -> Answer:
        url = path if path.startswith("http") else self._random.choice(self._urls) + path
        return ask(method, url, body, timeout=60)

    def _push(self, name: str, tag: str, count: int) -> None:
        shared = self._random.random() < 0.5
        if shared:
            kind = self._random.randrange(3)
            layers, config = _SHARED[kind : kind + 3], b'{"kind": %d}' % kind
        else:
            layers = [*self._random.sample(_SHARED, 2), b"layer %d of %d" % (count % 5, self._number)]
            config = b'{"number": %d}' % (count % 7)
        for content in (*layers, config):
            if not self._blob(name, content):
                self.refused += 1
                return
        manifest = image_manifest(Digest.of(config), [Digest.of(layer) for layer in layers])
        content = json.dumps(manifest).encode()
        if not shared:
            self._own.add(str(Digest.of(content)))
        self._manifest(name, tag, content)

    def _manifest(self, name: str, tag: str, content: bytes) -> None:
        before = self.acknowledged.pop((name, tag), None)
        answer = self._ask("PUT", f"/v2/{name}/manifests/{tag}", content)
        if answer.status == 201:
            self.pushed += 1
            self.acknowledged[name, tag] = str(Digest.of(content))
            self.broken += missing(self._urls[0], name, tag, self.acknowledged[name, tag])
            return
        # 404: a blob that was there at the HEAD is not any more, which ends a push of docker's as well.
        assert answer.status in (404, 503), answer
        self.refused += 1
        if before is not None and answer.status == 404:  # after a 503 nobody knows
            self.acknowledged[name, tag] = before

    def _blob(self, name: str, content: bytes) -> bool:
        digest, blobs = Digest.of(content), f"/v2/{name}/blobs"
        if self._ask("HEAD", f"{blobs}/{digest}").status == 200:
            return True
        started = self._ask("POST", f"{blobs}/uploads/?mount={digest}&from={self._random.choice(NAMES)}")
        if started.status != 202:
            return started.status == 201
        patched = self._ask("PATCH", started.headers["Location"], content)
        if patched.status != 202:
            return False
        return self._ask("PUT", f"{patched.headers['Location']}?digest={digest}").status == 201

    def _retag(self, name: str, tag: str, count: int) -> None:
        digest = self.acknowledged.get((name, tag))
        found = self._ask("GET", f"/v2/{name}/manifests/{tag}")
        if digest is not None and found.status != 503:
            if found.status != 200 or str(Digest.of(found.body)) != digest:
                self.broken.append(f"{name}:{tag} is not {digest} any more: {found.status}")
            else:
                self._manifest(name, f"p{self._number}-{count % 3}", found.body)

    def _delete(self, name: str, tag: str, count: int) -> None:
        digest = self.acknowledged.pop((name, tag), None)
        if digest is None:
            return
        others = [key for key, value in self.acknowledged.items() if value == digest and key[0] == name]
        if digest in self._own and not others:
            self._ask("DELETE", f"/v2/{name}/manifests/{digest}")
        else:
            self._ask("DELETE", f"/v2/{name}/manifests/{tag}")


def missing(url: str, name: str, tag: str, digest: str) -> list[str]:
    """Return what is missing of an image."""
    answer = ask("GET", f"{url}/v2/{name}/manifests/{tag}", timeout=60)
    if answer.status != 200 or str(Digest.of(answer.body)) != digest:
        return [f"{name}:{tag}: {answer.status}"]
    found = json.loads(answer.body)
    lost = []
    for entry in (found["config"], *found["layers"]):
        blob = ask("GET", f"{url}/v2/{name}/blobs/{entry['digest']}", timeout=60)
        if blob.status != 200 or str(Digest.of(blob.body)) != entry["digest"]:
            lost.append(f"{name}:{tag}: {entry['digest']}: {blob.status}")
    return lost


class KilledServer:
    """A server that begins again when it is killed.

    :param directory: where its configuration is; its output is kept below.
    :param port: its port.
    :param env: its environment on top of this one.
    """

    def __init__(self, directory: Path, port: int, env: Mapping[str, str]) -> None:
        self._command = [CFMIDDLEWARE, "serve", str(directory / "config.yml"), "--addr", f"127.0.0.1:{port}"]
        self._directory = directory / f"server-{port}"
        self._env = env
        self._port = port
        self.url = f"http://127.0.0.1:{port}"
        self._server = self._start()

    def _start(self) -> Server:
        server = Server(self._command, self._directory, self._env)
        server.wait_for_ports([self._port], 60)
        return server

    def kill(self, chance: random.Random) -> None:
        """Kill a worker, or all processes, which then begin again."""
        masters = children(self._server.process.pid)
        workers = [worker for master in masters for worker in children(master)]
        if workers and chance.random() < 0.6:
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(workers), signal.SIGKILL)
            return
        for process in members(self._server.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._server.process.wait()
        assert eventually(lambda: not bound(self._port), 30)
        self._server = self._start()

    def stop(self) -> None:
        """End it."""
        self._server.stop()


def collect(directory: Path, chance: random.Random, until: float, env: Mapping[str, str]) -> tuple[int, int]:
    """Collect back to back, kill every third collection, and return how many ended well and how many did
    not.
    """
    done = killed = 0
    while time.monotonic() < until:
        with (directory / "gc.log").open("ab") as log:
            process = subprocess.Popen(COLLECT, cwd=directory, stdout=log, stderr=log, env=os.environ | env)
        if chance.random() < 0.35:
            time.sleep(chance.uniform(1, 6))
            process.send_signal(signal.SIGKILL)
        status = process.wait(300)
        assert status in (0, 1, -signal.SIGKILL), (directory / "gc.log").read_text()
        done += status == 0
        killed += status < 0
    return done, killed


def run_all(threads: Sequence[threading.Thread], seconds: float) -> None:
    """Run threads to their ends."""
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + 300)
        assert not thread.is_alive(), thread
