"""What the tests of the commands share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from lab.servers import S3Server
from lab.watched_s3 import WatchedS3


@pytest.fixture
def s3(s3_server: S3Server) -> Iterator[WatchedS3]:
    """An S3 of the test's own, its requests noted; it can be told to fail."""
    with contextlib.closing(WatchedS3(s3_server)) as server:
        yield server
