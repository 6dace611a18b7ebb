"""What a million pulls cost: from list prices (``docs/_data/prices.yml``) and from the requests that the
registry makes (``docs/s3-requests.rst``, which a test compares with what is sent).

``python docs/_ext/costrows.py`` prints the table. It needs nothing but the package.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

DOCS = Path(__file__).parent.parent
PULLS = 1_000_000
#: Of the blobs that CloudFront is asked for, those that it has. The rest are requests to S3.
HITS = 0.95


class Image(NamedTuple):
    """What is pulled: its layers, beside which there is one configuration, and their bytes."""

    name: str
    layers: int
    mebibytes: int


IMAGES = (Image("small", 3, 20), Image("middle", 8, 200), Image("large", 15, 2048))


class Cost(NamedTuple):
    """What one way costs, in dollars."""

    s3_requests: float
    edge_requests: float
    transfer: float

    @property
    def total(self) -> float:
        """All of it."""
        return sum(self)


def prices() -> dict[str, Any]:
    """Return the file of prices."""
    loaded: dict[str, Any] = yaml.safe_load((DOCS / "_data" / "prices.yml").read_text(encoding="utf-8"))
    return loaded


def requests() -> Counter[str]:
    """Return how many requests to S3 each request of a client costs, such as ``GET blob``."""
    page = (DOCS / "s3-requests.rst").read_text(encoding="utf-8")
    table = page.partition(".. csv-table::")[2].partition("\nThat is")[0]
    lines = [line.strip() for line in table.splitlines() if line.strip().startswith('"')]
    return Counter(row[0] for row in csv.reader(lines, skipinitialspace=True))


def tiered(gigabytes: float, tiers: list[list[Any]]) -> float:
    """Return what so many bytes out cost where the price falls with their number."""
    cost = 0.0
    for most, price in tiers:
        taken = min(gigabytes, math.inf if most is None else most)
        cost, gigabytes = cost + taken * price, gigabytes - taken
    return cost


def ways(image: Image) -> dict[str, Cost]:
    """Return what a million pulls of *image* cost on each way, by its name."""
    price, per = prices(), requests()
    get = price["s3"]["GET and HEAD, 1000"] / 1000
    edge = price["cloudfront"]["https requests, 10000"] / 10_000
    blobs = (image.layers + 1) * PULLS
    looked = blobs * per["GET blob"] + PULLS * per["GET manifest"]
    gigabytes = image.mebibytes * PULLS / 1024
    internet = tiered(gigabytes, price["s3"]["bytes out, GB"])
    return {
        "registry": Cost((looked + blobs) * get, 0, internet),
        "presigned": Cost((looked + blobs) * get, 0, internet),
        "cloudfront": Cost(
            (looked + blobs * (1 - HITS)) * get,
            blobs * edge,
            tiered(gigabytes, price["cloudfront"]["bytes out, GB"]),
        ),
        "near": Cost((looked + blobs) * get, 0, 0),
    }


NAMES = {
    "registry": "through the registry",
    "presigned": "presigned URLs of S3",
    "cloudfront": "CloudFront",
    "near": "presigned, clients in the bucket's region",
}


def dollars(amount: float) -> str:
    """Return an amount as the table shows it."""
    return f"{amount:,.2f}" if amount < 10 else f"{amount:,.0f}"


def rows() -> Iterator[tuple[str, ...]]:
    """Yield the rows of the table: image, way, requests to S3, requests to CloudFront, bytes, sum."""
    for image in IMAGES:
        for way, cost in ways(image).items():
            first = f"{image.name}: {image.layers} layers, {image.mebibytes:,} MiB"
            yield first if way == "registry" else "", NAMES[way], *map(dollars, cost), dollars(cost.total)


HEADER = ("Image", "Way", "Requests to S3", "Requests to CloudFront", "Bytes out", "Together")


if __name__ == "__main__":
    for row in (HEADER, *rows()):
        print("{:34} {:42} {:>15} {:>23} {:>12} {:>12}".format(*row))
