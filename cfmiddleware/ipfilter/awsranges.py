"""The document in which AWS publishes its address ranges (Amazon VPC User Guide, "AWS IP address ranges")."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from .networks import AddressRange, Networks, parse_network

#: Where AWS publishes it.
URL = "https://ip-ranges.amazonaws.com/ip-ranges.json"

_SECONDS = re.compile(r"[0-9]{1,15}")

_LISTS = (("prefixes", "ip_prefix"), ("ipv6_prefixes", "ipv6_prefix"))


class Ranges(NamedTuple):
    """What was read from a document: the networks, when it was published in Unix seconds (0 where it does
    not say), and the regions asked for that it has nothing of.
    """

    networks: Networks
    published: int = 0
    missing: tuple[str, ...] = ()


def read_ranges(content: bytes, regions: frozenset[str] | None = None) -> Ranges:
    """Read a document.

    :param regions: the regions whose ranges are wanted, in lower case; None for all.
    :raises ValueError: for anything but a whole document, with a reason of one line.
    """
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON, or not all of it") from None
    if not isinstance(tree, dict):
        raise ValueError("it is no list of AWS's address ranges")
    spans: dict[str, AddressRange] = {}
    found: set[str] = set()
    for name, field in _LISTS:
        entries = tree.get(name)
        if not isinstance(entries, list) or not entries:
            raise ValueError(f"it has no {name}")
        for entry in entries:
            prefix, region = _entry(entry, name, field)
            found.add(region)
            # The same prefix stands there once for each service.
            if prefix not in spans and (regions is None or region in regions):
                spans[prefix] = _network(prefix)
    token = tree.get("syncToken")
    published = int(token) if isinstance(token, str) and _SECONDS.fullmatch(token) else 0
    return Ranges(Networks(spans.values()), published, tuple(sorted((regions or frozenset()) - found)))


def _network(prefix: str) -> AddressRange:
    try:
        return parse_network(prefix)
    except ValueError:
        # Nobody knows what is in it, so no more is shown than a line holds.
        raise ValueError(f"{prefix[:50]!r} is no network") from None


def _entry(entry: Any, name: str, field: str) -> tuple[str, str]:
    """Return the prefix and the region, in lower case, of an entry."""
    try:
        prefix, region = entry[field], entry["region"]
    except (TypeError, KeyError):
        prefix = region = None
    if not isinstance(prefix, str) or not isinstance(region, str):
        raise ValueError(f"an entry of {name} lacks {field} or region")
    return prefix, region.lower()
