"""Multipart uploads that nobody has completed: which there are, and when their last part came."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import ClientError

from .errors import code_of, translated

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class OpenUpload(NamedTuple):
    """A multipart upload.

    :param key: the key of the object that it would make.
    :param upload_id: what S3 calls it.
    :param size: how many bytes its parts have, as far as they were looked at.
    :param touched: when the last of them came, or the upload began, in Unix seconds.
    """

    key: str
    upload_id: str
    size: int
    touched: float


def open_uploads(client: S3Client, bucket: str, prefix: str, before: float) -> Iterator[OpenUpload]:
    """Yield the multipart uploads of keys below *prefix*.

    :param before: the parts of those that began before this time are looked at: an upload may be long.
    :raises StorageUnavailable: when S3 refuses or does not answer.
    """
    wanted: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix}
    pages = iter(client.get_paginator("list_multipart_uploads").paginate(**wanted))
    while True:
        with translated("/" + prefix):
            page = next(pages, None)
        if page is None:
            return
        for upload in page.get("Uploads", ()):
            # Not every server may know the prefix, and what is not below it belongs to others.
            if not upload["Key"].startswith(prefix):
                continue
            found = OpenUpload(upload["Key"], upload["UploadId"], 0, upload["Initiated"].timestamp())
            looked = _with_parts(client, bucket, found) if found.touched < before else found
            if looked is not None:
                yield looked


def _with_parts(client: S3Client, bucket: str, upload: OpenUpload) -> OpenUpload | None:
    """Return an upload with what its parts say, or None if it has ended since it was listed."""
    size, touched = 0, upload.touched
    pages = iter(
        client.get_paginator("list_parts").paginate(Bucket=bucket, Key=upload.key, UploadId=upload.upload_id)
    )
    while True:
        with translated("/" + upload.key):
            try:
                page = next(pages, None)
            except ClientError as error:
                if code_of(error) == "NoSuchUpload":
                    return None
                raise
        if page is None:
            return upload._replace(size=size, touched=touched)
        for part in page.get("Parts", ()):
            size += part["Size"]
            touched = max(touched, part["LastModified"].timestamp())
