"""Sets of IP networks, fast enough to be asked at every pull.

An address is a whole number, its *place* on one line that holds both families: IPv6 addresses begin at zero,
IPv4 addresses lie just below zero. A set of networks is the sorted list of the places where its networks
begin and end. An address is in the set if an odd number of these places lie at or before its own.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from socket import AF_INET, AF_INET6, inet_pton
from typing import NamedTuple

# Where IPv4 begins: 0.0.0.0 lies at minus this, 255.255.255.255 at -1.
_IPV4 = 1 << 32

# How an IPv4 address begins where it is written as an IPv6 one.
_MAPPED = bytes(10) + b"\xff\xff"
_MAPPED_BITS = 96

_LENGTH = re.compile(r"[0-9]|[1-9][0-9]{1,2}")


class AddressRange(NamedTuple):
    """Addresses next to each other: the places from *start* up to but not including *end*."""

    start: int
    end: int


def place_of(text: str) -> int | None:
    """Return the place of a bare IPv4 or IPv6 address, or None for anything else.

    It accepts what :func:`cfmiddleware.wsgi.client.parse_address` accepts, IPv4 within IPv6 included, in a
    tenth of the time: the C library's parser is as strict.
    """
    try:
        if ":" not in text:
            return int.from_bytes(inet_pton(AF_INET, text)) - _IPV4
        if "%" in text:  # some C libraries take a zone
            return None
        packed = inet_pton(AF_INET6, text)
    except (OSError, ValueError):
        return None
    if packed.startswith(_MAPPED):
        return int.from_bytes(packed[len(_MAPPED) :]) - _IPV4
    return int.from_bytes(packed)


def parse_network(text: str) -> AddressRange:
    """Read ``10.0.0.0/8``, ``2001:db8::/32`` or a bare address, which is a network of its own.

    :raises ValueError: for anything else, and for an address with bits set beyond the length.
    """
    address, slash, length = text.partition("/")
    start = place_of(address)
    if start is None:
        raise ValueError(f"{text!r} is not a network; write it like 10.0.0.0/8 or 2001:db8::/32")
    bits = 32 if start < 0 else 128
    if not slash:
        return AddressRange(start, start + 1)
    fixed = int(length) if _LENGTH.fullmatch(length) else -1
    if start < 0 and ":" in address:
        fixed -= _MAPPED_BITS
    if not 0 <= fixed <= bits:
        raise ValueError(f"{text!r} is not a network: there is no such length")
    size = 1 << (bits - fixed)
    if start % size:  # -(1 << 32) is a multiple of every size of IPv4's
        raise ValueError(f"{text!r} is not a network: bits are set beyond its length")
    return AddressRange(start, start + size)


class Networks:
    """A set of networks that never changes. Overlapping and adjacent ones are merged.

    :param ranges: the networks, in any order.
    """

    __slots__ = ("_borders",)

    def __init__(self, ranges: Iterable[AddressRange] = ()) -> None:
        borders: list[int] = []
        for start, end in sorted(ranges):
            if borders and start <= borders[-1]:
                borders[-1] = max(borders[-1], end)
            else:
                borders += (start, end)
        self._borders = borders

    def __len__(self) -> int:
        """Return how many networks there are, once merged."""
        return len(self._borders) // 2

    def holds(self, text: str) -> bool:
        """Return whether the address *text* is in one of the networks; other text is in none."""
        place = place_of(text)
        return place is not None and self.has(place)

    def has(self, place: int) -> bool:
        """Return whether the address at *place* is in one of the networks."""
        return bisect_right(self._borders, place) % 2 == 1
