"""S3, and whatever speaks its protocol, as the storage."""

from __future__ import annotations

from .options import S3Options
from .s3driver import S3Driver

__all__ = ["S3Driver", "S3Options"]
