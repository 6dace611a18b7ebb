"""One multipart upload (Amazon S3 User Guide, "Uploading and copying objects using multipart upload")."""

from __future__ import annotations

import logging
from threading import Lock
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from .errors import code_of, is_lasting, translated, was_retried

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

    from .copyplan import Span

_log = logging.getLogger(__name__)

# How often an upload is aborted whose parts are still there.
_ABORTS = 3


class MultipartUpload:
    """An upload that has begun; its parts may be sent from several threads, in any order.

    :param bucket: the bucket of the object, and of what is copied into it.
    :param path: the logical path of the object, for messages.
    :param new_object: the arguments that every new object gets.
    """

    def __init__(
        self, client: S3Client, bucket: str, key: str, path: str, new_object: Mapping[str, Any]
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._key = key
        self._path = path
        self._lock = Lock()
        self._parts: dict[int, CompletedPartTypeDef] = {}
        with translated(path):
            self._id = client.create_multipart_upload(Bucket=bucket, Key=key, **new_object)["UploadId"]

    def send(self, number: int, content: bytes | bytearray) -> None:
        """Send part *number*, counted from 1."""
        with translated(self._path):
            answer = self._client.upload_part(
                Bucket=self._bucket,
                Key=self._key,
                UploadId=self._id,
                PartNumber=number,
                Body=content,  # type: ignore[arg-type]  # a bytearray is fine, which the stubs do not know
            )
        self._note(number, answer["ETag"])

    def copy(self, number: int, source_key: str, span: Span) -> None:
        """Have S3 copy *span* of the object at *source_key* into part *number*.

        :raises ObjectNotFound: when the source is gone.
        """
        # Without a range where none is needed: S3 takes one only for objects of more than 5 MiB.
        span_range: dict[str, Any] = {}
        if not span.whole:
            span_range["CopySourceRange"] = f"bytes={span.start}-{span.start + span.length - 1}"
        with translated(span.source.path):
            answer = self._client.upload_part_copy(
                Bucket=self._bucket,
                Key=self._key,
                UploadId=self._id,
                PartNumber=number,
                CopySource={"Bucket": self._bucket, "Key": source_key},
                **span_range,
            )
        self._note(number, answer["CopyPartResult"]["ETag"])

    def complete(self, size: int) -> None:
        """Make the object of *size* bytes visible, from all parts in the order of their numbers."""
        try:
            self._client.complete_multipart_upload(
                Bucket=self._bucket,
                Key=self._key,
                UploadId=self._id,
                MultipartUpload={"Parts": [self._parts[number] for number in sorted(self._parts)]},
            )
        except ClientError as error:
            # A request that is sent again finds no upload when the first one had completed it.
            # Path and size are enough to know it by: the path says what the content is.
            if code_of(error) == "NoSuchUpload" and was_retried(error) and self._is_there(size):
                return
            with translated(self._path):
                raise
        except (BotoCoreError, OSError):
            with translated(self._path):
                raise

    def abort(self) -> None:
        """Have S3 forget the parts; where it does not, the bucket's lifecycle rule has to."""
        abort_upload(self._client, self._bucket, self._key, self._id)

    def _note(self, number: int, etag: str) -> None:
        with self._lock:
            self._parts[number] = {"ETag": etag, "PartNumber": number}

    def _is_there(self, size: int) -> bool:
        try:
            return self._client.head_object(Bucket=self._bucket, Key=self._key)["ContentLength"] == size
        except (ClientError, BotoCoreError, OSError):
            return False


def abort_upload(client: S3Client, bucket: str, key: str, upload_id: str) -> None:
    """Have S3 forget an upload and its parts; a failure is logged, and nothing more can be done about it.

    A part whose connection broke may still be on its way inside S3 and be stored after the abort, so S3 is
    asked whether the upload is gone (Amazon S3 API Reference, "AbortMultipartUpload").
    """
    upload: dict[str, Any] = {"Bucket": bucket, "Key": key, "UploadId": upload_id}
    try:
        for _ in range(_ABORTS):
            client.abort_multipart_upload(**upload)
            client.list_parts(**upload, MaxParts=1)
    except (ClientError, BotoCoreError, OSError) as error:
        if isinstance(error, ClientError):
            # Not every key may ask, and not every server knows the question.
            unasked = error.operation_name == "ListParts" and is_lasting(error)
            if unasked or code_of(error) == "NoSuchUpload":
                return
        reason = type(error).__name__
    else:
        reason = "its parts come back"
    _log.warning("an unfinished upload of %s stays in S3: %s", key, reason)
