"""What an operator can do about a request to S3 that failed, while the registry runs.

The start says it of the first request; a key that is replaced, a clock that jumps or a server that goes away
comes later. Each piece of advice is logged once a minute at the most: the line of each request that failed
has S3's code.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from cfmiddleware.process.throttle import Throttle

from .diagnosis import advice
from .options import S3Options

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_log = logging.getLogger(__name__)


def log_advice(client: S3Client, options: S3Options, where: str) -> None:
    """Have it logged from now on what can be done about requests of *client* that fail.

    :param where: the place of the options in the configuration.
    """
    throttles: dict[str, Throttle] = {}

    def consider(error: Exception) -> None:
        message = advice(error, options, where)
        # By the option at fault: the rest may have figures that change.
        kind = message.partition(": ")[0]
        if message and throttles.setdefault(kind, Throttle()).allows():
            _log.error("%s", message)

    def answered(http_response: Any, parsed: dict[str, Any], model: Any, **_: object) -> None:
        if http_response.status_code >= 300:
            consider(ClientError(parsed, model.name))  # type: ignore[arg-type]  # boto3 makes it of the same

    def failed(exception: Exception, **_: object) -> None:
        consider(exception)

    client.meta.events.register("after-call.s3", answered)
    client.meta.events.register("after-call-error.s3", failed)
