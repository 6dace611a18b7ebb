"""What the wrapper costs by itself: in this process, without a server, less what the wrapped app costs."""

from __future__ import annotations

import gc
import ipaddress
import json
import random
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import redirect_store
from redirect_servers import BASE_URL

from cfmiddleware.ipfilter.awsranges import read_ranges
from cfmiddleware.middleware.wrapper import CloudFrontMiddleware
from cfmiddleware.signing.keys import generate

_Start = Callable[..., Any]
_App = Callable[[dict[str, Any], _Start], Iterable[bytes]]

#: What is wanted at the most, in microseconds.
WARM, OTHER, LOOK_UP = 15, 2, 3

_HOT = 1000
_OTHERS = (
    ("GET", "/v2/"),
    ("GET", f"/v2/{redirect_store.REPOSITORY}/manifests/latest"),
    ("PUT", f"/v2/{redirect_store.REPOSITORY}/manifests/latest"),
    ("POST", f"/v2/{redirect_store.REPOSITORY}/blobs/uploads/"),
)


def wrapper(batches: int) -> dict[str, Any]:
    """Measure the wrapper around an app that says yes at once.

    :param batches: how often each is measured; the median counts.
    :returns: for each kind of request, microseconds with the app's own taken off.
    """
    app = _yes_man([redirect_store.path(number) for number in range(_HOT)])
    wrapped = CloudFrontMiddleware(
        app, baseurl=BASE_URL, privatekey=generate("ecdsa").private_pem, keypairid="K2JCJMDEHXQW5F"
    )
    hot = [gunicorn_environ("GET", redirect_store.path(number)) for number in range(_HOT)]
    for environ in hot:
        check_redirect(wrapped, environ)
    kinds = {"warm redirect, 1 blob": (hot[:1] * _HOT, WARM), f"warm redirect, {_HOT} blobs": (hot, WARM)}
    kinds |= {
        f"{method} {path}": ([gunicorn_environ(method, path)] * _HOT, OTHER) for method, path in _OTHERS
    }
    result = {}
    for kind, (environs, wanted) in kinds.items():
        costs, alone = [], []
        for _ in range(batches):
            alone.append(microseconds(app, environs))
            costs.append(microseconds(wrapped, environs) - alone[-1])
        result[kind] = _judged(costs, wanted) | {"app": median(alone)}
    wrapped.close()
    return result


def look_ups(file: Path | None, batches: int) -> dict[str, Any]:
    """Measure look-ups of addresses, from their text, in AWS's ranges.

    :param file: AWS's ``ip-ranges.json``; ranges of the same number and shape are made up without it.
    """
    content = file.read_bytes() if file is not None else _made_up_ranges()
    started = time.perf_counter()
    networks = read_ranges(content).networks
    load = time.perf_counter() - started
    chance = random.Random(5)
    v4 = [str(ipaddress.IPv4Address(chance.getrandbits(32))) for _ in range(_HOT)]
    v6 = [str(ipaddress.IPv6Address((0x2600 << 112) + chance.getrandbits(112))) for _ in range(_HOT)]
    kinds = {"IPv4": v4, "IPv6": v6, "IPv4-mapped IPv6": [f"::ffff:{text}" for text in v4]}
    result: dict[str, Any] = {
        "ranges": "of the file" if file is not None else "made up",
        "networks": len(networks),
        "load_seconds": load,
        "look_ups": {},
    }
    for kind, addresses in kinds.items():
        costs = []
        for _ in range(batches):
            started = time.perf_counter()
            for text in addresses:
                networks.holds(text)
            costs.append((time.perf_counter() - started) * 1e6 / len(addresses))
        result["look_ups"][kind] = _judged(costs, LOOK_UP)
    return result


def _judged(costs: list[float], wanted: float) -> dict[str, Any]:
    value = median(costs)
    return {
        "microseconds": value,
        "lowest": min(costs),
        "highest": max(costs),
        "batches": len(costs),
        "wanted": wanted,
        "reached": value <= wanted,
    }


def microseconds(app: _App, environs: list[dict[str, Any]]) -> float:
    """Return what a request costs, the copying of its environ included."""
    gc.collect()
    started = time.perf_counter()
    for environ in environs:
        app(environ.copy(), _start)
    return (time.perf_counter() - started) * 1e6 / len(environs)


def _start(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> None:
    return None


def check_redirect(app: _App, environ: dict[str, Any]) -> None:
    """See that what is measured is a redirect."""
    said: list[str] = []
    app(environ.copy(), lambda status, headers, exc_info=None: said.append(status))
    if said != ["307 Temporary Redirect"]:
        raise RuntimeError(f"the wrapper answered {said}")


def _yes_man(paths: Iterable[str]) -> _App:
    """Return an app that serves every path; it does as little as can be done."""
    yes = {
        path: [
            ("Docker-Content-Digest", path.rpartition("/")[2]),
            ("Content-Type", "application/octet-stream"),
            ("Content-Length", "24"),
        ]
        for path in paths
    }
    other = [("Content-Length", "2")]
    body = [b"{}"]

    def app(environ: dict[str, Any], start_response: _Start) -> Iterable[bytes]:
        start_response("200 OK", yes.get(environ["PATH_INFO"], other))
        return body

    return app


def gunicorn_environ(method: str, path: str) -> dict[str, Any]:
    """Return what gunicorn hands an app for a request of docker's."""
    return {
        "wsgi.errors": None,
        "wsgi.version": (1, 0),
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": None,
        "wsgi.input_terminated": True,
        "wsgi.input": None,
        "wsgi.url_scheme": "http",
        "gunicorn.socket": None,
        "SERVER_SOFTWARE": "gunicorn/27.0.1",
        "REQUEST_METHOD": method,
        "QUERY_STRING": "",
        "RAW_URI": path,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "127.0.0.1:5000",
        "HTTP_USER_AGENT": "docker/27.3.1 go/go1.22.7 kernel/6.1.0 os/linux arch/amd64",
        "HTTP_ACCEPT_ENCODING": "identity",
        "HTTP_AUTHORIZATION": "Bearer abcdefghijklmnopqrstuvwxyz",
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": "50000",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "5000",
        "PATH_INFO": path,
        "SCRIPT_NAME": "",
    }


def _made_up_ranges() -> bytes:
    """Return a document of the shape of AWS's, with as many prefixes as it had in 2022."""
    chance = random.Random(7)
    tree = {
        "prefixes": [{"ip_prefix": text} | _where() for text in _prefixes(chance, 4, 6500)],
        "ipv6_prefixes": [{"ipv6_prefix": text} | _where() for text in _prefixes(chance, 6, 1300)],
    }
    return json.dumps(tree).encode()


def _where() -> dict[str, str]:
    return {"region": "us-east-1", "service": "AMAZON", "network_border_group": "us-east-1"}


def _prefixes(chance: random.Random, version: int, count: int) -> Iterator[str]:
    for _ in range(count):
        if version == 4:
            length = chance.randint(14, 28)
            start = chance.getrandbits(length) << (32 - length)
            yield f"{ipaddress.IPv4Address(start)}/{length}"
        else:
            length = chance.randint(32, 56)
            start = (0x2600 << 112) | (chance.getrandbits(length - 16) << (128 - length))
            yield f"{ipaddress.IPv6Address(start)}/{length}"
