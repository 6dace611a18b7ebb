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
    """What was read from a document.

    :param networks: the networks.
    :param published: when the document was published, in Unix seconds; 0 where it does not say.
    :param missing: the regions that were asked for and have no ranges in it.
    """

    networks: Networks
    published: int = 0
    missing: tuple[str, ...] = ()


def read_ranges(content: bytes, regions: frozenset[str] | None = None) -> Ranges:
    """Read a document.

    :param content: the document.
    :param regions: the regions whose ranges are wanted, in lower case; None for all.
    :raises ValueError: for anything but a whole document, with a reason of one line.
    """
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON, or not all of it") from None
    if not isinstance(tree, dict):
        raise ValueError("it is not a list of AWS's address ranges")
    ranges: dict[str, AddressRange] = {}
    found: set[str] = set()
    for name, field in _LISTS:
        entries = tree.get(name)
        if not isinstance(entries, list) or not entries:
            raise ValueError(f"it has no {name}")
        for entry in entries:
            prefix, region = _entry(entry, name, field)
            found.add(region)
            # The same prefix stands in the list once for each service.
            if prefix not in ranges and (regions is None or region in regions):
                ranges[prefix] = _network(prefix)
    token = tree.get("syncToken")
    published = int(token) if isinstance(token, str) and _SECONDS.fullmatch(token) else 0
    return Ranges(Networks(ranges.values()), published, tuple(sorted((regions or frozenset()) - found)))


def _network(prefix: str) -> AddressRange:
    try:
        return parse_network(prefix)
    except ValueError:
        # The text may be anything, so no more of it is shown than fits a line.
        raise ValueError(f"{prefix[:50]!r} is not a network") from None


def _entry(entry: Any, name: str, field: str) -> tuple[str, str]:
    """Return the prefix and the region, in lower case, of an entry."""
    try:
        prefix, region = entry[field], entry["region"]
    except (TypeError, KeyError):
        prefix = region = None
    if not isinstance(prefix, str) or not isinstance(region, str):
        raise ValueError(f"an entry of {name} lacks {field} or region")
    return prefix, region.lower()
