"""What S3's clock says."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from .connection import make_client
from .options import S3Options


def server_time(options: S3Options) -> float | None:
    """Return S3's time in Unix seconds, by one cheap request, which may be refused; None if it says none."""
    answer: Mapping[str, Any]
    try:
        answer = make_client(options.for_check()).list_objects_v2(Bucket=options.bucket, MaxKeys=1)
    except ClientError as error:
        answer = error.response
    except (BotoCoreError, OSError, ValueError):
        return None
    try:
        date = str(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        return parsedate_to_datetime(date).timestamp()
    except (KeyError, ValueError, OverflowError):
        return None
