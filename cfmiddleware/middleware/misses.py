"""Why pulls that the app allowed were not redirected: counted, and logged the first time and then seldom.

A wrapper that never redirects looks healthy from the outside: the app serves every pull. So each way out
without a redirect has a reason here, and the operator reads which option to set.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from cfmiddleware import logs
from cfmiddleware.metrics.cells import STATE
from cfmiddleware.metrics.names import NOT_REDIRECTED
from cfmiddleware.process.cache import PerProcess
from cfmiddleware.process.throttle import Throttle

if TYPE_CHECKING:
    from cfmiddleware.wsgi.types import ExcInfo, Headers, StartResponse, Write

_log = logging.getLogger("cfmiddleware")

#: Seconds between two lines of one reason in one process.
INTERVAL = 3600

_ALLOWED = frozenset(("200", "206", "301", "302", "303", "307", "308"))

#: Every reason, and what the operator can do about it; empty for what the operator or the app asked for,
#: which is counted and not logged.
REASONS: Mapping[str, str] = {
    "no-digest": "if the app sends that header with no blob, set requiredigest: false",
    "other-digest": "the app must answer with the digest that it was asked for",
    "html": "its route for blobs was not reached; look at prefix and at the app's routes",
    "no-bucket": "if that is the bucket behind CloudFront, set bucket (and regionendpoint, off AWS)",
    "other-bucket": "if that is the bucket behind CloudFront, set bucket to its name",
    "no-endpoint": "if that is the server of the bucket, set regionendpoint to it",
    "other-endpoint": "set regionendpoint to the URL that stands in the app's redirects",
    "own-redirect": "only blobs that lie in the bucket can come from CloudFront; look at the app's storage",
    "unclear-redirect": "only a plain or presigned URL of an object can be redirected to CloudFront",
    "origin-path": "set originpath to the Origin Path of the distribution, and rootdirectory or layout to "
    "where the app keeps its blobs",
    "key-segments": "CloudFront may fold such segments; the app must name another key",
    "signing": "look at privatekey",
    "presigning": "look at the credentials of the storage",
    "too-large": "CloudFront answers with at most 50 GB; maximumsize is the limit",
    "unknown-client": "bindip needs the client's address; set trustedproxies to the number of proxies that "
    "append to X-Forwarded-For",
    "ipv6-client": "bindip cannot bind a URL to IPv6; serve the registry by IPv4 alone, or leave bindip out",
    "rewritten-path": "the server or a proxy changes paths; an app mounted below a path needs prefix, or "
    "SCRIPT_NAME",
    "other-prefix": "set prefix to what stands in front of /v2/ in the app's paths",
    "small": "",
    "declined": "",
}


class Miss(NamedTuple):
    """A pull that the app allowed and that is not redirected.

    :param reason: one of :data:`REASONS`.
    :param said: what was found, for the log; it holds no query of a URL, which may be a signature.
    """

    reason: str
    said: str = ""


class _Told:
    """The counts of one process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.counts = dict.fromkeys(REASONS, 0)
        self.throttles = {reason: Throttle(INTERVAL) for reason in REASONS}


class Misses:
    """Takes each pull that was not redirected.

    Safe to share between threads and to carry over a fork: each process counts, and logs, for itself.
    """

    def __init__(self) -> None:
        self._told = PerProcess(_Told)

    @property
    def counts(self) -> dict[str, int]:
        """How many pulls of this process were not redirected, by each of :data:`REASONS`."""
        return dict(self._told().counts)

    def watching(self, miss: Miss, start_response: StartResponse) -> StartResponse:
        """Return a ``start_response`` for a pull that is handed on in any case.

        It tells the miss if the app allows the pull.
        """

        def start(status: str, headers: Headers, exc_info: ExcInfo | None = None) -> Write:
            if status[:3] in _ALLOWED:
                self.tell(miss)
            return start_response(status, headers, exc_info)

        return start

    def tell(self, miss: Miss) -> None:
        """Count a pull and, the first time and then seldom, log why it was not redirected."""
        told = self._told()
        with told.lock:
            told.counts[miss.reason] += 1
            count = told.counts[miss.reason]
        if not STATE.has_begun:
            STATE.begin()
        NOT_REDIRECTED.inc(miss.reason)
        advice = REASONS[miss.reason]
        if advice and told.throttles[miss.reason].allows():
            logs.enable()  # the app may have configured logging since
            level = logging.ERROR if miss.reason == "signing" else logging.WARNING
            _log.log(level, "not redirected: %s; %s (%s, pull %d)", miss.said, advice, miss.reason, count)
