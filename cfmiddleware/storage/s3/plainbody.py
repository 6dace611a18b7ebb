"""The body of an object that is compared with its checksum when it is at its end, as boto3 does."""

from __future__ import annotations

import base64
import zlib
from typing import Any

from botocore.exceptions import FlexibleChecksumError


def checked(body: Any, expected: str) -> Any:
    """Return a body that compares what is read of it.

    :param expected: the CRC-32 of all of it, as S3 writes it; empty where S3 says none.
    """
    return CheckedBody(body, expected) if expected else body


class CheckedBody:
    """A body with a checksum."""

    def __init__(self, body: Any, expected: str) -> None:
        self._body = body
        self._expected = expected
        self._checksum = 0

    def read(self, amt: int | None = None) -> bytes:
        """Return the next bytes.

        :raises FlexibleChecksumError: at the end, if they were not what they should be.
        """
        chunk = bytes(self._body.read(amt))
        self._checksum = zlib.crc32(chunk, self._checksum)
        if amt is None or (not chunk and amt > 0):
            found = base64.b64encode(self._checksum.to_bytes(4, "big")).decode()
            if found != self._expected:
                raise FlexibleChecksumError(
                    error_msg=f"Expected checksum {self._expected} did not match calculated checksum: {found}"
                )
        return chunk

    def close(self) -> None:
        """Close the body."""
        self._body.close()
