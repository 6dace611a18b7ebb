"""Retries that are the operator's number, whatever happened to other requests.

boto3 has a budget for the retries of a client: after a few requests that failed with all their attempts, all
further ones fail at their first, until others succeed. That is meant for a program that makes requests of its
own; the requests here are those of clients, who repeat them at once, and after an outage they would go on
failing while S3 answers again. The modes ``standard`` and ``adaptive`` both have it, and boto3 has no option
for it. Its event ``needs-retry`` lets a handler of one's own decide where boto3's own has decided not to.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ConnectionError, HTTPClientError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# The most seconds that boto3 waits after the first attempt, and where S3 asks to slow down. Each further
# attempt doubles them.
_FIRST_WAIT = 0.05
_FIRST_SLOW_WAIT = 1.0
_SLOW_DOWN = (429, 503)
_LONGEST_WAIT = 20

# What boto3 says in an answer's metadata of a retry for which its budget had nothing left.
_REFUSED = "RetryQuotaReached"


def wait_after(attempts: int, status: int) -> float:
    """Return how many seconds to wait after so many attempts; the last got *status*, or 0 for no answer."""
    first = _FIRST_SLOW_WAIT if status in _SLOW_DOWN else _FIRST_WAIT
    return random.uniform(0, min(first * 2.0 ** (attempts - 1), _LONGEST_WAIT))  # noqa: S311


def retry_beyond_the_budget(client: S3Client, most: int) -> None:
    """Let every request of *client* be sent *most* times, if all attempts before fail."""

    def decide(
        response: tuple[Any, dict[str, Any]] | None,
        attempts: int,
        caught_exception: Exception | None = None,
        **_: object,
    ) -> float | None:
        if attempts >= most:
            return None
        if response is None:
            # boto3 has no other reason to give up on these. What it retries itself is not decided here: of
            # several handlers the first that has an answer counts.
            wanted, status = isinstance(caught_exception, ConnectionError | HTTPClientError), 0
        else:
            metadata = response[1].get("ResponseMetadata", {})
            wanted = bool(metadata.pop(_REFUSED, False))
            status = int(metadata.get("HTTPStatusCode", 0))
        return wait_after(attempts, status) if wanted else None

    client.meta.events.register_last("needs-retry.s3", decide)  # type: ignore[arg-type]  # it may return a delay
