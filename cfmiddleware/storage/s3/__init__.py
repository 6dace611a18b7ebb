"""S3, and whatever speaks its protocol, as the storage."""

from __future__ import annotations

from .driver import S3Driver
from .options import S3Options

__all__ = ["S3Driver", "S3Options"]
