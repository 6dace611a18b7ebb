"""Which clients are near the bucket, so that S3 itself serves them best: the address filter's options."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Iterable

from cfmiddleware import parse
from cfmiddleware.errors import ConfigError

from .awsranges import URL, read_ranges
from .feed import RangeFeed
from .fetch import check_url
from .networks import Networks, Span, parse_network, place_of

_log = logging.getLogger("cfmiddleware")

_FILTERS = ("none", "aws", "awsregion")

# What is published changes a few times a week.
_FREQUENCY = 12 * 3600
_SELDOMEST = 30 * 24 * 3600

_REGION = re.compile(r"[a-z0-9-]{1,50}")


class Nearby:
    """Answers whether a client is in the operator's networks or in AWS's.

    Safe to share between threads and to carry over a fork.

    :param own: the operator's networks.
    :param feed: AWS's, if they count.
    """

    def __init__(self, own: Networks, feed: RangeFeed | None = None) -> None:
        self._own = own
        self._feed = feed

    def holds(self, text: str) -> bool:
        """Whether the client with the address *text* is near; what is no bare address is not."""
        # Asked first, so that a process fetches the ranges with its first request, whoever sends it.
        aws = self._feed.current() if self._feed is not None else None
        place = place_of(text)
        if place is None:
            return False
        return self._own.has(place) or (aws is not None and aws.has(place))

    def close(self) -> None:
        """End what runs in the background of this process."""
        if self._feed is not None:
            self._feed.close()


def nearby(
    *,
    ipfilteredby: object = "none",
    awsregion: object = None,
    iprangesurl: object = None,
    iprangesfile: object = None,
    updatefrequency: object = None,
    updatefrenquency: object = None,
    networks: object = None,
) -> Nearby | None:
    """Return what the wrapper's options of these names describe, or None where no client is near.

    :raises ConfigError: for an option that cannot work, naming it.
    """
    filtered = parse.choice(ipfilteredby or "none", "ipfilteredby", _FILTERS)
    own = Networks(_networks(networks))
    feed: RangeFeed | None = None
    regions = _regions(awsregion, filtered)
    url, file = _url(iprangesurl), parse.optional_text(iprangesfile, "iprangesfile")
    frequency = _frequency(updatefrequency, updatefrenquency)
    if filtered != "none":
        try:
            feed = RangeFeed(
                functools.partial(read_ranges, regions=regions),
                # A machine that has the file may have no way out.
                url=url or (None if file else URL),
                file=file or None,
                interval=frequency,
            )
        except ConfigError as error:
            raise ConfigError(f"iprangesfile: {error}") from None
    return Nearby(own, feed) if feed is not None or len(own) else None


def _networks(value: object) -> Iterable[Span]:
    for word in _words(value, "networks"):
        try:
            yield parse_network(word)
        except ValueError as error:
            raise ConfigError(f"networks: {error}") from None


def _regions(value: object, filtered: str) -> frozenset[str] | None:
    """Return the regions whose addresses count, or None where all do."""
    regions = frozenset(word.lower() for word in _words(value, "awsregion"))
    for region in sorted(regions):
        if not _REGION.fullmatch(region):
            raise ConfigError(f"awsregion: {region!r} is no region; write them like eu-west-3, us-east-1")
    if filtered != "awsregion":
        if regions:
            _log.warning("awsregion: has no effect without ipfilteredby: awsregion")
        return None
    if not regions:
        raise ConfigError("awsregion: this option is required where ipfilteredby is 'awsregion'")
    return regions


def _url(value: object) -> str:
    url = parse.optional_text(value, "iprangesurl")
    if url:
        try:
            check_url(url)
        except ValueError as error:
            raise ConfigError(f"iprangesurl: {error}") from None
    return url


def _frequency(value: object, misspelt: object) -> int:
    """Return the seconds between two fetches. Distribution's documentation once had it spelt otherwise."""
    name = "updatefrequency"
    if misspelt not in (None, ""):
        _log.warning("updatefrenquency: is taken for updatefrequency, which is how it is spelt")
        if value in (None, ""):
            name, value = "updatefrenquency", misspelt
    if value in (None, ""):
        return _FREQUENCY
    seconds = parse.seconds(value, name)
    if seconds > _SELDOMEST:
        raise ConfigError(f"{name}: AWS's ranges change every few days; at most 30 days (720h)")
    return seconds


def _words(value: object, name: str) -> list[str]:
    """Return the words of a list, or of a text that has commas between them."""
    if isinstance(value, list | tuple | set | frozenset):
        return [parse.text(item, name) for item in value]
    return [word.strip() for word in parse.optional_text(value, name).split(",") if word.strip()]
