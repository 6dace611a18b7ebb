"""Expensive requests: what one of them costs, and what good clients meet meanwhile."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple
from urllib.parse import urlsplit

import boto3
import hostile_servers
from beside import beside
from docker_client import Layer
from hostile_connections import summary
from hostile_servers import Attacked, Place, Setting, Stock, large_manifest
from hostile_victims import Good, visit
from lab.s3_proxy import S3Proxy
from lab.serving import Answer, ask
from many_requests import Outcome, Wish, again_and_again, at_once

_MIB = 1 << 20
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_TIMEOUT = 120


class Trial(NamedTuple):
    """What an expensive request is tried on.

    :param name: which registry.
    :param seconds: how long what goes on for a while goes on.
    :param scale: one, or what the numbers of things are divided by for a quick run.
    """

    name: str
    place: Place
    stock: Stock
    seconds: float
    scale: int


class Finding(NamedTuple):
    """What came out.

    :param figures: what was measured, each with its unit in its name.
    :param reached: whether that is what was wanted, or None where it is for the reader to judge.
    """

    figures: dict[str, float | str]
    reached: bool | None


def manifest(trial: Trial) -> Finding:
    """Ask for a manifest that is expensive to parse, once and often."""
    pushed, path = _push_large(trial)
    if pushed.status != 201:
        return Finding({"push": f"refused with {pushed.status}"}, None)
    with hostile_servers.running(trial.name, trial.place) as server:
        first = _timed(lambda: _get(server, path, "HEAD"))[1]
        for _ in range(10):  # so that each worker has had it
            _get(server, path, "HEAD")
        later = median(_timed(lambda: _get(server, path, "HEAD"))[1] for _ in range(20))
        good = Good(server.port, blob=trial.stock.pull, pushes=0)
        looping = [Wish("HEAD", path)] * 16
        with beside(again_and_again, server.port, looping) as loopers, beside(visit, good) as visitors:
            visitors.wait()
            time.sleep(trial.seconds)
    outcome: Outcome = loopers.result
    met = summary(visitors.result)
    p99 = met["pull"]["p99"]
    figures = {
        "first, ms": first * 1000,
        "later, ms": later * 1000,
        "by 16 loopers, /s": sum(outcome.statuses.values()) / trial.seconds,
        "redirects p99 meanwhile, ms": p99 * 1000,
        "failed meanwhile": met["pull"]["failed"] + met["ping"]["failed"],
    }
    return Finding(figures, later < 0.005 and p99 < 0.1 and not figures["failed meanwhile"])


def _push_large(trial: Trial) -> tuple[Answer, str]:
    with hostile_servers.running(trial.name, trial.place) as server:
        content = large_manifest(Layer(1000, "blob"), "objects")
        answer = _put_manifest(server, trial.stock.repository, "objects", content)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return answer, f"/v2/{trial.stock.repository}/manifests/{digest}"


def manifests(trial: Trial) -> Finding:
    """Push manifests that are expensive to parse, again and again."""
    repository = trial.stock.repository
    with hostile_servers.running(trial.name, trial.place) as server:
        bodies = [large_manifest(Layer(1000, "blob"), "objects", number) for number in range(16)]
        alone = []
        for content in bodies[:3]:
            answer, seconds = _timed(lambda content=content: _put_manifest(server, repository, "1", content))
            alone.append(seconds)
            if answer.status != 201:
                return Finding({"push": f"refused with {answer.status}"}, None)
        looping = [
            Wish("PUT", f"/v2/{repository}/manifests/{number}", content, _MANIFEST)
            for number, content in enumerate(bodies)
        ]
        good = Good(server.port, blob=trial.stock.pull, pushes=0)
        with beside(again_and_again, server.port, looping) as loopers, beside(visit, good) as visitors:
            visitors.wait()
            time.sleep(trial.seconds)
    outcome: Outcome = loopers.result
    met = summary(visitors.result)
    p99, failed = met["pull"]["p99"], met["pull"]["failed"] + met["ping"]["failed"]
    figures = {
        "one alone, ms": median(alone) * 1000,
        "by 16 loopers, /s": sum(outcome.statuses.values()) / trial.seconds,
        "answers": _told(outcome),
        "redirects p99 meanwhile, ms": p99 * 1000,
        "failed meanwhile": failed,
    }
    return Finding(figures, p99 < 0.1 and not failed)


def referrers(trial: Trial) -> Finding:
    """List the referrers of a kind that none of 20 large ones has."""
    subject = {"mediaType": _MANIFEST, "digest": trial.stock.manifest.rpartition("/")[2], "size": 1}
    with hostile_servers.running(trial.name, trial.place) as server:
        for number in range(20 // trial.scale):
            more = {"subject": subject, "artifactType": f"application/vnd.kind-{number}"}
            content = large_manifest(Layer(1000, "blob"), "objects", number, **more)
            answer = _put_manifest(server, trial.stock.repository, f"referrer-{number}", content)
            if answer.status != 201:
                return Finding({"push": f"refused with {answer.status}"}, None)
    # Begun anew, so that what was parsed at the push is not remembered.
    with hostile_servers.running(trial.name, trial.place) as server:
        path: str | None = f"/v2/{trial.stock.repository}/referrers/{subject['digest']}?artifactType=none"
        slowest, total, pages = 0.0, 0.0, 0
        while path and pages < 40:
            answer, seconds = _timed(lambda path=path: _get(server, path))
            if answer.status != 200:
                return Finding({"status": answer.status}, None)
            slowest, total, pages = max(slowest, seconds), total + seconds, pages + 1
            link = answer.headers.get("Link", "")
            path = link[1:].partition(">")[0] if link.startswith("<") else None
    figures = {"slowest answer, s": slowest, "pages": pages, "all pages, s": total}
    return Finding(figures, slowest < 1)


def layers(trial: Trial) -> Finding:
    """Push a manifest whose layers are missing."""
    count = 3000 // trial.scale
    missing = [
        {"mediaType": "application/octet-stream", "digest": f"sha256:{number:064x}", "size": 1}
        for number in range(count)
    ]
    config = {"mediaType": "application/octet-stream", "digest": trial.stock.small, "size": 1000}
    content = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": config, "layers": missing}
    with hostile_servers.running(trial.name, trial.place) as server:
        put = lambda: _put_manifest(server, trial.stock.repository, "missing", json.dumps(content).encode())  # noqa: E731
        answer, seconds = _timed(put)
    errors = len(json.loads(answer.body).get("errors", ())) if answer.status == 404 or answer.body else 0
    figures = {"missing": count, "seconds": seconds, "status": answer.status, "errors in the answer": errors}
    return Finding(figures, answer.status in (400, 404) and errors <= 100)


def patches(trial: Trial) -> Finding:
    """Send a mebibyte, the end of it a byte at a time, and look how much is stored meanwhile."""
    count = 1000 // trial.scale
    pieces = [_MIB - count, *[1] * count]
    with hostile_servers.running(trial.name, trial.place) as server:
        stored = _stored(trial)
        before, highest, sent = stored(), 0, 0
        began = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=_TIMEOUT)
        with contextlib.closing(connection):
            to = _sent(connection, "POST", f"/v2/{trial.stock.repository}/blobs/uploads/", b"")
            for number, size in enumerate(pieces):
                to = _sent(connection, "PATCH", to, b"x" * size)
                sent += size
                if number % 50 == 0 or number == count:
                    highest = max(highest, stored() - before)
            seconds = time.monotonic() - began
    figures = {
        "PATCHes": len(pieces),
        "seconds": seconds,
        "sent, MiB": sent / _MIB,
        "stored at the most, MiB": highest / _MIB,
        "times": highest / sent,
    }
    return Finding(figures, highest <= 4 * sent)


def _sent(connection: http.client.HTTPConnection, method: str, url: str, body: bytes) -> str:
    """Send a piece of an upload, and return where the next one goes."""
    parts = urlsplit(url)
    to = parts._replace(scheme="", netloc="").geturl()
    connection.request(method, to, body, {"Content-Type": "application/octet-stream"})
    answer = connection.getresponse()
    answer.read()
    if answer.status != 202:
        raise RuntimeError(f"{method} of an upload: {answer.status}")
    return answer.headers["Location"]


def _stored(trial: Trial) -> Callable[[], int]:
    """Return what tells how many bytes a registry has in its storage."""
    if not trial.place.s3:
        return lambda: sum(_sizes(trial.place.objects(trial.name)))
    s3 = trial.place.s3
    client = boto3.client(
        "s3",
        endpoint_url=s3["regionendpoint"],
        region_name=s3["region"],
        aws_access_key_id=s3["accesskey"],
        aws_secret_access_key=s3["secretkey"],
    )
    pages = client.get_paginator("list_objects_v2")
    bucket = trial.place.bucket(trial.name)
    return lambda: sum(
        item["Size"] for page in pages.paginate(Bucket=bucket) for item in page.get("Contents", ())
    )


def _sizes(directory: Path) -> Iterator[int]:
    for folder, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(OSError):
                yield os.stat(os.path.join(folder, name)).st_size


def catalog(trial: Trial) -> Finding:
    """List repositories that lie deep, in a directory of their own."""
    objects = trial.place.home / f"{trial.name}-deep"
    count = 40 // trial.scale
    body = b"{}"
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    with hostile_servers.running(trial.name, trial.place, Setting(objects=objects)) as server:
        for number in range(count):
            name = "/".join([f"r{number}", *["d"] * 120])
            begun = ask("POST", f"{server.url}/v2/{name}/blobs/uploads/", timeout=_TIMEOUT)
            to = begun.headers["Location"]
            mark = "&" if "?" in to else "?"
            pushed = ask("PUT", f"{to}{mark}digest={digest}", body, timeout=_TIMEOUT)
            if pushed.status != 201:
                return Finding({"push": f"refused with {pushed.status}"}, None)
            content = {"mediaType": _MANIFEST, "digest": digest, "size": 2}
            image = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": content, "layers": [content]}
            _put_manifest(server, name, "latest", json.dumps(image).encode())
        listed, took = 0, []
        for _ in range(3):
            answer, seconds = _timed(lambda: _get(server, "/v2/_catalog?n=1000"))
            listed = len(json.loads(answer.body).get("repositories", ()))
            took.append(seconds)
    figures = {"repositories": count, "listed": listed, "first, s": took[0], "median, s": median(took)}
    return Finding(figures, listed == count and max(took) < 0.2)


def passwords(trial: Trial) -> Finding:
    """Let clients with wrong passwords ask, and see what someone meets who has logged in."""
    import bcrypt

    hashed = bcrypt.hashpw(b"open sesame", bcrypt.gensalt(10)).decode()
    setting = Setting(users=f"alice:{hashed}\n".encode())
    user = "alice:open sesame"
    with hostile_servers.running(trial.name, trial.place, setting) as server:
        # Each worker remembers her from here on.
        good = Good(server.port, pings=10, pulls=0, pushes=0, user=user, patience=30)
        with beside(visit, good) as visitors:
            visitors.wait()
            time.sleep(3)
        wrong = [Wish("GET", "/v2/", user=f"alice:wrong {number}") for number in range(200 // trial.scale)]
        with beside(again_and_again, server.port, wrong) as attackers:
            attackers.wait()
            with beside(visit, good) as visitors:
                visitors.wait()
                time.sleep(trial.seconds)
    outcome: Outcome = attackers.result
    met = summary(visitors.result)["ping"]
    figures = {
        "clients": len(wrong),
        "p50, ms": met["p50"] * 1000,
        "p99, ms": met["p99"] * 1000,
        "failed": met["failed"],
        "others": _told(outcome),
    }
    return Finding(figures, met["p99"] < 0.1 and not met["failed"])


def mount(trial: Trial) -> Finding:
    """Mount a blob from nowhere in particular, many times at once."""
    count = 100
    path = f"/v2/{trial.stock.repository}-other/blobs/uploads/?mount={trial.stock.small}"
    with contextlib.ExitStack() as stack:
        setting, proxy = Setting(), None
        if trial.place.s3:
            proxy = stack.enter_context(S3Proxy(trial.place.s3["regionendpoint"]))
            setting = Setting(endpoint=proxy.endpoint)
        server = stack.enter_context(hostile_servers.running(trial.name, trial.place, setting))
        if proxy is not None:
            proxy.counts()
        outcome = at_once(server.port, [Wish("POST", path)] * count, _TIMEOUT)
        figures: dict[str, float | str] = {"at once": count, "slowest, s": outcome.slowest}
        figures["answers"] = _told(outcome)
        if proxy is not None:
            figures["S3 requests for each"] = sum(proxy.counts().values()) / count
    return Finding(figures, None)


def _told(outcome: Outcome) -> str:
    return ", ".join(f"{count} x {status}" for status, count in sorted(outcome.statuses.items()))


def _get(server: Attacked, path: str, method: str = "GET") -> Answer:
    return ask(method, f"{server.url}{path}", headers={"Accept": _MANIFEST}, timeout=_TIMEOUT)


def _put_manifest(server: Attacked, repository: str, tag: str, content: bytes) -> Answer:
    url = f"{server.url}/v2/{repository}/manifests/{tag}"
    return ask("PUT", url, content, {"Content-Type": _MANIFEST}, timeout=_TIMEOUT)


def _timed(action: Callable[[], Answer]) -> tuple[Answer, float]:
    began = time.monotonic()
    answer = action()
    return answer, time.monotonic() - began


#: Each expensive request, what is wanted of it, and what tries it.
REQUESTS: dict[str, tuple[str, Callable[[Trial], Finding]]] = {
    "manifest": (
        'HEAD of a manifest of 4 MiB of `{"":0}`: later ones under 5 ms, redirects\' p99 under 100 ms',
        manifest,
    ),
    "manifests": ("pushes of such manifests, 16 at a time: redirects' p99 under 100 ms", manifests),
    "referrers": ("20 referrers of 4 MiB, none of the kind asked for: each answer under 1 s", referrers),
    "layers": ("a manifest that names 3,000 missing layers: ends after 100 of them", layers),
    "patches": ("1 MiB in 1,001 PATCHes: at most four times stored what was sent", patches),
    "catalog": ("40 repositories 121 folders deep, in a directory: under 0.2 s", catalog),
    "passwords": ("200 clients with wrong passwords: a user who is known waits under 100 ms", passwords),
    "mount": ("100 mounts without `from` at once: each takes a place among the uploads", mount),
}
