"""Requests to S3 as Prometheus sees them: by operation, and by what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cfmiddleware.metrics.names import S3_REQUESTS, S3_RETRIES

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def count_requests(client: S3Client) -> None:
    """Have the requests that *client* makes from now on counted."""
    events = client.meta.events
    events.register("after-call.s3", _answered)
    events.register("after-call-error.s3", _unanswered)


def succeeded(operation: str, attempts: int) -> None:
    """Count a request that was not boto3's own."""
    S3_REQUESTS.inc(operation, "ok")
    if attempts > 1:
        S3_RETRIES.of(operation).add(attempts - 1)


def count(operation: str, answer: Any, attempts: int) -> None:
    """Count a request that was not boto3's own and has failed.

    :param answer: what S3 said; None for nothing.
    """
    S3_REQUESTS.inc(operation, "unanswered" if answer is None else _outcome(int(answer.status_code)))
    if attempts > 1:
        S3_RETRIES.of(operation).add(attempts - 1)


def _answered(model: Any, http_response: Any, parsed: dict[str, Any], **_: object) -> None:
    status = int(getattr(http_response, "status_code", 0) or 500)
    S3_REQUESTS.inc(model.name, _outcome(status))
    retries = int(parsed.get("ResponseMetadata", {}).get("RetryAttempts", 0) or 0)
    if retries:
        S3_RETRIES.of(model.name).add(retries)


def _unanswered(event_name: str, context: Mapping[str, Any] | None = None, **_: object) -> None:
    operation = event_name.rpartition(".")[2]
    S3_REQUESTS.inc(operation, "unanswered")
    attempts = int((context or {}).get("retries", {}).get("attempt", 1))
    if attempts > 1:
        S3_RETRIES.of(operation).add(attempts - 1)


def _outcome(status: int) -> str:
    if status < 400:
        return "ok"
    if status == 404:
        return "not_found"
    if status in (409, 412):
        return "exists"  # what was to be created only where nothing is, or another one was faster
    return "refused" if status < 500 else "failed"
