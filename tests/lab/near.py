"""Clients near the bucket: a presigner, and where a wrapper sends whom."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cfmiddleware.config import Config

from .apps import EDGE, KEY_PAIR_ID, App, ask, key, request, wrap

S3 = "https://registry.s3.eu-west-3.amazonaws.com/"
NEAR, FAR = "10.1.2.3", "192.0.2.7"
NETWORKS = ["10.0.0.0/8", "2001:db8::/32"]


class Presigner:
    """Gives URLs that are no real ones, and remembers for what; or raises, or gives what it is told to."""

    def __init__(self, error: Exception | None = None, end: float = float("inf"), url: str = S3) -> None:
        self.asked: list[tuple[str, int]] = []
        self.error = error
        self.end = end
        self.url = url

    def __call__(self, key: str, expires: int) -> tuple[str, int]:
        self.asked.append((key, expires))
        if self.error is not None:
            raise self.error
        expires = int(min(expires, self.end))
        return f"{self.url}{key}?X-Amz-Signature=s3s-own&Expires={expires}", expires


def near_wrap(app: Any = None, presign: Any = None, **options: Any) -> Any:
    """Wrap an app, with clients in `NETWORKS` near the bucket."""
    return wrap(
        App() if app is None else app, **{"networks": NETWORKS, "presign": presign or Presigner()} | options
    )


def location(wrapped: Any, address: str = NEAR, **more: Any) -> str:
    """Return where a client is sent for the blob."""
    answer = ask(wrapped, request(REMOTE_ADDR=address, **more))
    assert answer.code == 307
    return str(answer.location)


def ranges(*prefixes: tuple[str, str]) -> str:
    """Return a document of AWS's with these prefixes and regions."""
    return json.dumps(
        {
            "syncToken": "1",
            "prefixes": [{"ip_prefix": prefix, "region": region} for prefix, region in prefixes],
            "ipv6_prefixes": [{"ipv6_prefix": "2001:db8::/32", "region": "eu-west-3"}],
        }
    )


def config(directory: Path, storage: dict[str, Any], **options: Any) -> Config:
    """Read a file with this storage and the wrapper's *options*, in *directory*."""
    (directory / f"pk-{KEY_PAIR_ID}.pem").write_text(key(1).private_pem)
    given = {"baseurl": EDGE, "privatekey": f"pk-{KEY_PAIR_ID}.pem", **options}
    tree = {
        "version": 0.1,
        "storage": storage,
        "middleware": {"storage": [{"name": "cloudfront", "options": given}]},
    }
    file = directory / "config.yml"
    file.write_text(json.dumps(tree))
    return Config.load(file, {})


def fronts(file: Path, **options: Any) -> list[str]:
    """Return where clients in us-east-1, in eu-west-3 and outside of AWS are sent."""
    wrapped = wrap(App(), presign=Presigner(), iprangesfile=str(file), **options)
    try:
        places = [location(wrapped, address) for address in ("52.0.9.9", "35.180.1.1", FAR)]
    finally:
        wrapped.close()
    return ["s3" if place.startswith(S3) else "edge" for place in places]
