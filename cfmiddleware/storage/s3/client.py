"""The boto3 client of a process."""

from __future__ import annotations

import os
from threading import Lock
from typing import TYPE_CHECKING

import boto3.session
from botocore.config import Config

from .options import S3Options

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class ClientPerProcess:
    """Makes one client for each process that asks, at the first time it asks.

    Connections must not cross a fork: two processes would read each other's answers.
    """

    def __init__(self, options: S3Options) -> None:
        self._options = options
        self._lock = Lock()
        self._made: tuple[int, S3Client] | None = None

    def __call__(self) -> S3Client:
        """Return the client of this process, which its threads share."""
        made = self._made
        if made is None or made[0] != os.getpid():
            with self._lock:
                made = self._made
                if made is None or made[0] != os.getpid():
                    made = self._made = (os.getpid(), make_client(self._options))
        return made[1]


def make_client(options: S3Options, *, attempts: int = 5, connect_timeout: float = 10) -> S3Client:
    """Return a new client, without connecting.

    :param attempts: how often a request is sent at the most.
    :param connect_timeout: seconds that an attempt waits for a connection.
    """
    session = boto3.session.Session(
        aws_access_key_id=options.accesskey or None,
        aws_secret_access_key=options.secretkey or None,
        aws_session_token=options.sessiontoken or None,
        # Other servers mostly do not care, but the signature needs one.
        region_name=options.region or "us-east-1",
    )
    config = Config(
        # Without it, some regions and all other servers get signatures of version 2.
        signature_version="s3v4",
        # By default boto3 sends checksums as trailers, which other servers do not understand.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        retries={"mode": "standard", "total_max_attempts": attempts},
        max_pool_connections=options.maxconnections,
        connect_timeout=connect_timeout,
        s3={"addressing_style": "path" if options.path_style else "virtual"},
    )
    return session.client(
        "s3",
        endpoint_url=options.endpoint,
        use_ssl=options.secure,
        verify=False if options.skipverify else None,
        config=config,
    )
