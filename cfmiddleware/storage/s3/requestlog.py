"""A line in the log for every request to S3.

A line names the operation, the key, the status, the attempts and the time. It has no header, no query and no
body, and so neither a credential nor a signature.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_log = logging.getLogger(__name__)

# Where a request's notes lie in the context that botocore carries through its events.
_NOTES = "cfmiddleware.requestlog"


def log_requests(client: S3Client) -> None:
    """Have every request that *client* makes from now on logged, at level INFO, when it is answered."""
    events = client.meta.events
    events.register("before-parameter-build.s3", _begin)
    events.register("request-created.s3", _count)
    events.register("after-call.s3", _end)
    events.register("after-call-error.s3", _fail)


def _begin(params: dict[str, Any], context: dict[str, Any], **_: object) -> None:
    target = params.get("Key", params.get("Prefix", ""))
    context[_NOTES] = {"target": target, "attempts": 0, "start": time.monotonic()}


def _count(request: Any, **_: object) -> None:
    notes = request.context.get(_NOTES)
    if notes is not None:
        notes["attempts"] += 1


def _end(model: Any, http_response: Any, context: dict[str, Any], **_: object) -> None:
    _write(model.name, context, str(http_response.status_code))


def _fail(event_name: str, exception: Exception, context: dict[str, Any], **_: object) -> None:
    _write(event_name.rpartition(".")[2], context, type(exception).__name__)


def _write(operation: str, context: dict[str, Any], outcome: str) -> None:
    notes = context.get(_NOTES)
    if notes is None:
        return
    milliseconds = (time.monotonic() - notes["start"]) * 1000
    # As Python would write it: a key may hold what ends a line.
    _log.info(
        "S3 %s %r: %s, attempt %d, %.0f ms",
        operation,
        notes["target"],
        outcome,
        notes["attempts"],
        milliseconds,
    )
