"""What requests to S3 cost, at Amazon's list price, and how many a collection will make."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import ceil
from typing import TYPE_CHECKING

from cfmiddleware.storage.requestmeter import KINDS

if TYPE_CHECKING:
    from .collector import Survey

#: Which prices these are: S3 Standard, without any discount. In other regions they are up to twice as high.
PRICE_LIST = "us-east-1, November 2026"

# In US dollars for a thousand requests.
_PRICES = {"list": 0.005, "put": 0.005, "get": 0.0004, "head": 0.0004, "delete": 0.0}

# How many objects one request deletes, and how many lines one object of announcements, or of links that were
# set aside, has.
_DELETED = 1000
_LINES = 10_000


def price(counts: Mapping[str, int]) -> float:
    """Return what requests cost, in US dollars.

    :param counts: how many there were of each kind.
    """
    return sum(count * _PRICES[kind] / 1000 for kind, count in counts.items())


def forecast(survey: Survey, made: Mapping[str, int]) -> Mapping[str, int]:
    """Return how many requests of each kind a collection will make that finds what a dry run has found.

    A collection of more than ten seconds says in each ten that it still runs, which is one ``put`` more.

    :param made: the requests that the dry run has made.
    """
    counts, spent = Counter(made), survey.spent
    # Whatever the dry run has read of manifests is kept now, and is read with what was kept before.
    counts.subtract(spent.saving)
    before, after = spent.objects
    unreadable = sum(len(verdict.unreadable) for verdict in survey.verdicts.values())
    counts["get"] += after - before + unreadable - survey.read
    # The lease, a look at what collections have left that were killed, and the record of this one.
    counts.update({"put": 2, "delete": 1, "list": 1, "get": 1})
    counts["delete"] += ceil(spent.expired / _DELETED)
    for verdict in survey.verdicts.values():
        back = len(verdict.restored)
        if back:
            counts.update({"list": 1, "get": spent.aside, "head": 2 * back, "put": back})
            counts["get"] += sum(link.kind == "manifest" for link in verdict.restored)
    counts["list"] += spent.uploading
    lines = sum(1 for _ in survey.lines())
    if lines:
        counts.update(_second_look(survey))
        counts["list"] += spent.uploadingagain
        deletes, lists = 0, 0
        for links in (survey.manifests_aside(), survey.layers_aside()):
            full, rest = divmod(sum(1 for _ in links), _LINES)
            lists += full + bool(rest)
            deletes += full * (_LINES // _DELETED) + ceil(rest / _DELETED)
        for verdict in survey.verdicts.values():
            if verdict.revisions:  # their types and the lists of referrers
                counts["list"] += 2
                deletes += ceil(len(verdict.revisions) / _DELETED)
        deletes += ceil(len(survey.data) / _DELETED)
        # Before each request that deletes, the announcement is looked at. At the end it is withdrawn. What
        # was set aside is read again.
        counts.update({"put": ceil(lines / _LINES) + lists + 1, "delete": deletes + 1})
        counts.update({"list": deletes + 2, "get": spent.aside + lists})
    return {kind: max(counts[kind], 0) for kind in KINDS}


def _second_look(survey: Survey) -> Mapping[str, int]:
    """Return what another look takes, in the storage itself: at all repositories where bytes go, and else at
    those that lose something.
    """
    spent = survey.spent
    looked_at = [
        verdict for verdict in survey.verdicts.values() if survey.data or verdict.layers or verdict.revisions
    ]
    counts = spent.naming + spent.look if survey.data else Counter(spent.losers)
    if survey.report is not None:
        # The first look has asked for nothing. Each repository is two lists, if it is not large.
        counts["list"] += (3 if survey.data else 2) * len(looked_at)
        counts["head"] += len(survey.data)
    counts["get"] += sum(len(verdict.unreadable) for verdict in looked_at)
    return counts
