"""A registry with all of its metrics on, a Prometheus that scrapes it, and a day in the life of both."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from cfmiddleware.digest import Digest
from cfmiddleware.signing.keys import generate
from lab.dashboard import RULES
from lab.event_receiver import receiving
from lab.prometheus_server import Prometheus, require_prometheus, running_prometheus
from lab.redis_server import RedisServer, running_redis
from lab.s3_proxy import Fault, refuse, unheard
from lab.servers import CFMIDDLEWARE, Server, eventually, free_ports, running
from lab.serving import ask, wait_for_greeting
from lab.watched_s3 import WatchedS3
from lab.wsgi_server import running_app

#: The header of a client that may do everything, and of one whose password is wrong.
ALICE = {"Authorization": "Basic " + base64.b64encode(b"alice:secret").decode()}
MALLORY = {"Authorization": "Basic " + base64.b64encode(b"alice:guess").decode()}

#: A client in AWS, as the proxy in front of the registry names it.
NEAR = {**ALICE, "X-Forwarded-For": "3.5.0.9"}

_ENTRY = {"region": "eu-west-1", "service": "AMAZON", "network_border_group": "eu-west-1"}


class Day:
    """What happens to a registry, step by step.

    :param registry: its process.
    :param port: where it listens.
    :param debug: where its metrics are.
    :param prometheus: what scrapes it.
    :param directory: where its configuration is.
    :param s3: its storage.
    :param redis: its cache.
    """

    def __init__(
        self,
        registry: Server,
        port: int,
        debug: int,
        prometheus: Prometheus,
        directory: Path,
        s3: WatchedS3,
        redis: RedisServer,
    ) -> None:
        self.registry, self.port, self.debug, self.prometheus = registry, port, debug, prometheus
        self.url = f"http://127.0.0.1:{port}"
        self._directory, self._s3, self._redis = directory, s3, redis
        self._random = random.Random(1)
        self._repositories = ["team/api", "team/web", "base/python"]
        self._blobs: list[Digest] = []
        self._small = Digest.of(b"small")
        self._keys = itertools.count(2)

    def metrics(self) -> bytes:
        """Return what Prometheus gets."""
        return ask("GET", f"http://127.0.0.1:{self.debug}/metrics").body

    def push(self, content: bytes) -> int:
        """Push a blob, and return the status."""
        digest = Digest.of(content)
        repository = self._repositories[len(self._blobs) % len(self._repositories)]
        url = f"{self.url}/v2/{repository}/blobs/uploads/?digest={digest}"
        status = ask("POST", url, content, ALICE).status
        if status == 201 and len(content) > 100:
            self._blobs.append(digest)
        return status

    def begin(self) -> None:
        """Push what is pulled later."""
        assert self.push(b"small") == 201
        for size in (20_000, 50_000, 100_000, 200_000, 400_000, 800_000):
            assert self.push(self._random.randbytes(size)) == 201

    def quiet(self, seconds: float, pulls: float = 25) -> None:
        """Let clients do for a while what they do all day.

        :param pulls: about how many of them there are in a second.
        """
        end = time.monotonic() + seconds
        with contextlib.ExitStack() as stack:
            for number in range(3):
                thread = threading.Thread(target=self._client, args=(end, pulls / 3, number))
                thread.start()
                stack.callback(thread.join)

    def _client(self, end: float, pulls: float, seed: int) -> None:
        chance = random.Random(seed + time.monotonic_ns())
        while time.monotonic() < end:
            began = time.monotonic()
            with contextlib.suppress(OSError):
                self._request(chance)
            time.sleep(max(0.0, chance.uniform(0.5, 1.5) / pulls - (time.monotonic() - began)))

    def _request(self, chance: random.Random) -> None:
        number = chance.randrange(100)
        place = chance.randrange(len(self._blobs))
        digest = self._blobs[place]
        # Each blob is in the repository that it was pushed to.
        blob = f"{self.url}/v2/{self._repositories[place % len(self._repositories)]}/blobs/{digest}"
        if number < 70:
            ask("GET", blob, headers=ALICE)
        elif number < 78:
            ask("GET", blob, headers=NEAR)
        elif number < 82:
            ask("GET", blob, headers={**ALICE, "Range": "bytes=0-99"})
        elif number < 86:
            ask("GET", f"{self.url}/v2/{self._repositories[0]}/blobs/{self._small}", headers=ALICE)
        elif number < 89:
            ask("GET", f"{self.url}/v2/")
        elif number < 93:
            ask("GET", f"{self.url}/v2/team/api/manifests/latest", headers=ALICE)
        elif number < 95:
            ask("GET", f"{self.url}/v2/team/api/tags/list", headers=ALICE)
        else:
            self.push(chance.randbytes(chance.randrange(2_000, 300_000)))

    @contextlib.contextmanager
    def beside(self, action: Callable[[threading.Event], None]) -> Iterator[None]:
        """Do something again and again in a thread of its own while the block runs."""
        over = threading.Event()
        thread = threading.Thread(target=action, args=(over,))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def wrong_passwords(self, seconds: float) -> None:
        """Let somebody guess."""

        def guess(over: threading.Event) -> None:
            while not over.wait(0.1):
                with contextlib.suppress(OSError):
                    ask("GET", f"{self.url}/v2/team/api/tags/list", headers=MALLORY)

        with self.beside(guess):
            self.quiet(seconds)

    def slow_clients(self, seconds: float) -> None:
        """Let clients hold all places for uploads, while others push, and begin requests that do not end."""
        location = ask("POST", f"{self.url}/v2/team/api/blobs/uploads/", b"", ALICE).headers["Location"]
        path = location.removeprefix(self.url)
        head = f"PATCH {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999\r\n"
        head += f"Authorization: {ALICE['Authorization']}\r\n\r\n"

        def begin(over: threading.Event) -> None:
            while not over.wait(0.2):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)) as slow:
                    slow.sendall(b"GET /v2/ HT")
                    over.wait(1.2)

        with contextlib.ExitStack() as stack:
            for _ in range(8):
                upload = stack.enter_context(socket.create_connection(("127.0.0.1", self.port)))
                upload.sendall(head.encode() + b"x" * 50_000)
            stack.enter_context(self.beside(begin))
            self.quiet(seconds)

    def storage_fails(self, seconds: float, fault: Fault, until: Callable[[], bool] | None = None) -> None:
        """Let the storage be in a bad way.

        :param until: what is to be seen of it at least, so that Prometheus sees it too.
        """

        def push(over: threading.Event) -> None:
            while not over.wait(0.1):
                with contextlib.suppress(OSError):
                    self.push(random.randbytes(2000))

        with self._s3.failing(fault), self.beside(push):
            self.quiet(seconds)
            if until is not None and eventually(until, 20):
                self.quiet(2)

    def redis_stops(self, seconds: float) -> None:
        """Let Redis be gone for a while."""
        self._redis.kill()
        self.quiet(seconds)
        self._redis.start()

    def keys(self) -> None:
        """Bring a new key, and a file that is none."""
        aside = self._directory / "aside"
        aside.write_text(generate("ecdsa").private_pem)
        aside.rename(self._directory / "keys" / f"pk-K{next(self._keys)}.pem")
        self.quiet(2.5)
        (self._directory / "keys" / f"pk-K{next(self._keys)}.pem").write_text("this is not a key")
        self.quiet(2.5)

    def _is_unwell(self) -> bool:
        return b'failing{check="storagedriver_s3"} 1.0' in self.metrics()

    def live(self, unit: float) -> None:
        """Let all of it happen, each thing for *unit* seconds."""
        self.begin()
        self.quiet(unit)
        self.slow_clients(unit)
        self.quiet(unit)
        self.wrong_passwords(unit)
        self.keys()
        self.redis_stops(unit)
        self.quiet(unit)
        self.storage_fails(unit, refuse("503 Slow Down", "SlowDown"))
        self.quiet(unit / 2)
        self.storage_fails(unit, refuse("403 Forbidden", "AccessDenied"))
        self.quiet(unit / 2)
        self.storage_fails(1.5 * unit, unheard, until=self._is_unwell)
        self.quiet(unit)


@contextlib.contextmanager
def observed(directory: Path, s3: WatchedS3, interval: str = "1s") -> Iterator[Day]:
    """Run a registry with everything that has a metric, and a Prometheus that scrapes it.

    :param interval: how often it does.
    """
    require_prometheus()
    port, debug = free_ports(2)
    (directory / "keys").mkdir()
    (directory / "keys" / "pk-K1.pem").write_text(generate("ecdsa").private_pem)
    from lab.auth_material import htpasswd

    (directory / "htpasswd").write_bytes(htpasswd({"alice": "secret"}))
    published = str(int(time.time()) - 3 * 86400)
    ranges = {"syncToken": published, "prefixes": [{"ip_prefix": "3.5.0.0/16", **_ENTRY}]}
    ranges["ipv6_prefixes"] = [{"ipv6_prefix": "2600:1f00::/24", **_ENTRY}]
    served = json.dumps(ranges).encode()

    def feed(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", str(len(served)))])
        return [served]

    with (
        running_redis(directory / "redis") as redis,
        running_app(feed) as feed_port,
        receiving("close", "500", "400", "400", "400", "400", "500") as receiver,
    ):
        tree = _configuration(port, debug, s3, redis, feed_port)
        tree["notifications"] = _notifications(receiver.url)
        (directory / "config.yml").write_text(yaml.safe_dump(tree))
        with (
            running([CFMIDDLEWARE, "serve", "config.yml"], directory, ports=[port, debug]) as registry,
            running_prometheus(directory / "prometheus", [debug], RULES, interval=interval) as prometheus,
        ):
            wait_for_greeting(registry)
            assert eventually(prometheus.is_scraping, 30)
            yield Day(registry, port, debug, prometheus, directory, s3, redis)


def _notifications(url: str) -> dict[str, Any]:
    """Return a section with an endpoint that refuses its first events, and one that is gone."""
    audit = {"name": "audit", "url": url, "threshold": 3, "backoff": "100ms"}
    gone = {"name": "gone", "url": "http://127.0.0.1:9/", "threshold": 3, "backoff": "5s"}
    return {"endpoints": [audit, gone], "spool": {"directory": "spool"}}


def _configuration(
    port: int, debug: int, s3: WatchedS3, redis: RedisServer, feed_port: int
) -> dict[str, Any]:
    wrapper = {
        "baseurl": "https://d111111abcdef8.cloudfront.net",
        "privatekey": "keys",
        "minimumsize": 1000,
        "probecache": "2s",
        "trustedproxies": 1,
        "ipfilteredby": "aws",
        "iprangesurl": f"http://127.0.0.1:{feed_port}/ip-ranges.json",
    }
    bucket = {
        "bucket": s3.bucket,
        "regionendpoint": s3.endpoint,
        "accesskey": s3.server.access_key,
        "secretkey": s3.server.secret_key,
        "maxattempts": 2,
    }
    return {
        "storage": {
            "s3": bucket,
            "cache": {"blobdescriptor": "redis", "blobdescriptorttl": "3s"},
            # What is pushed here is referred to by nothing, and young.
            "maintenance": {
                "garbagecollect": {"enabled": True, "interval": "10s"},
                "uploadpurging": {"interval": "10s"},
                "retention": {"enabled": True, "interval": "10s"},
            },
        },
        "retention": [{"repositories": "*", "keep": {"last": 1}}],
        "redis": {"addr": redis.address},
        "auth": {"htpasswd": {"realm": "registry", "path": "htpasswd"}},
        "http": {
            "addr": f"127.0.0.1:{port}",
            "debug": {"addr": f"127.0.0.1:{debug}", "prometheus": {"enabled": True}},
        },
        "health": {"storagedriver": {"enabled": True, "interval": "500ms", "threshold": 4}},
        "server": {"workers": 2, "uploads": 2, "uploadwait": 0, "headtimeout": "500ms"},
        "metrics": {"repositories": ["*"]},
        "middleware": {"storage": [{"name": "cloudfront", "options": wrapper}]},
    }
