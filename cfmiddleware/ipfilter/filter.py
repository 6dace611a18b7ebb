"""The address filter: which clients are near the bucket, so that S3 itself serves them best."""

from __future__ import annotations

import functools
from collections.abc import Iterable

from .awsranges import URL, read_ranges
from .feed import RangeFeed
from .networks import Networks, place_of


class AddressFilter:
    """Answers whether a client is in the operator's networks or in AWS's.

    Safe to share between threads and to carry over a fork.

    :param own: the operator's networks.
    :param feed: AWS's networks, if they count.
    """

    def __init__(self, own: Networks, feed: RangeFeed | None = None) -> None:
        self._own = own
        self._feed = feed

    def matches(self, address: str) -> bool:
        """Return whether the client with this address is near; text that is not a bare address is not."""
        # The feed is asked first, so that a process fetches the ranges with its first request, whatever the
        # client.
        aws = self._feed.current() if self._feed is not None else None
        place = place_of(address)
        if place is None:
            return False
        return self._own.has(place) or (aws is not None and aws.has(place))

    def close(self) -> None:
        """End what runs in the background of this process."""
        if self._feed is not None:
            self._feed.close()


class Everybody(AddressFilter):
    """Answers that every client is near the bucket, for those that are all to be sent to S3."""

    def __init__(self) -> None:
        super().__init__(Networks(()))

    def matches(self, address: str) -> bool:
        """Return True."""
        return True


def aws_feed(regions: Iterable[str] | None, url: str, file: str, interval: float) -> RangeFeed:
    """Return the feed of AWS's address ranges.

    :param regions: the regions whose addresses count, in lower case; None for all.
    :param url: where the ranges are fetched from; empty for where AWS publishes them, or for nowhere if there
        is a *file*, because a machine that has a copy may have no way out.
    :param file: the path of a copy; empty for none.
    :param interval: seconds between two fetches.
    :raises ConfigError: for a file that cannot be used.
    """
    return RangeFeed(
        functools.partial(read_ranges, regions=None if regions is None else frozenset(regions)),
        url=url or (None if file else URL),
        file=file or None,
        interval=interval,
    )
