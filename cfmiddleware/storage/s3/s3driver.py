"""A bucket as the storage."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self, cast
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError

from cfmiddleware.errors import (
    ConfigError,
    NotDeleted,
    ObjectExists,
    ObjectNotFound,
    StorageError,
    StorageUnavailable,
)
from cfmiddleware.parse import Parser, anything, boolean, read
from cfmiddleware.process.cache import PerProcess
from cfmiddleware.process.sidebyside import SideBySide
from cfmiddleware.process.throttle import Throttle
from cfmiddleware.storage.driver import Stat, Unfinished, fingerprint, folder_mark
from cfmiddleware.storage.pathcheck import (
    InvalidPath,
    check_path,
    check_prefix,
    check_range,
    clean_root,
    sort_names,
)
from cfmiddleware.storage.requestmeter import RequestMeter

from .connection import ClientPerProcess, connect, make_client, preload
from .copyplan import Part, Source, Span, plan
from .diagnosis import config_error
from .errors import (
    code_of,
    is_lasting,
    is_unknown_here,
    status_of,
    storage_error,
    translated,
    was_retried,
)
from .keyranges import KeyRange, ranges
from .multipart import MultipartUpload, abort_upload
from .objectreader import S3Reader, first_answer, read_all
from .objectwriter import S3Writer
from .openbodies import OpenBodies
from .options import S3Options
from .partbudget import PartBudget
from .presign import Presigner
from .unfinishedparts import open_uploads
from .writecheck import check_writes

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ListObjectsV2OutputTypeDef, ObjectTypeDef

# How many keys one ListObjectsV2 returns and one DeleteObjects takes at the most.
_LARGEST_PAGE = 1000

# After its first page, and where that was not possible after each so many in turn, the rest of a listing is
# cut into parts of as many pages at the most, and so many of these are listed at a time.
_PAGES_IN_TURN = 4
_LISTS_AT_A_TIME = 8

# Attempts at a create-only write that S3 calls in conflict with another one under way.
_CONFLICTS = 5

# Attempts at the keys of one DeleteObjects, and the codes of a key for which another one may help.
_DELETES = 4
_PASSING = frozenset(("InternalError", "ServiceUnavailable", "SlowDown"))
_GONE = "NoSuchKey"

# Attempts at each request of work that has time: with SlowDown they last about a minute.
_PATIENT = 10

# Where the start tries to write, which no registry reads.
_CHECKS = "/docker/registry/v2/_cfmiddleware/"

_CONTENT_TYPE = "application/octet-stream"

# Options of Distribution that do nothing here: the registry works the same, with fewer lines in its log.
_WITHOUT_EFFECT: Mapping[str, Parser] = {"logs3apirequests": boolean, "logs3apiresponseheaders": anything}


_log = logging.getLogger(__name__)


class S3Driver:
    """Objects in a bucket of Amazon S3, or of a server that speaks its protocol.

    Every process that uses the driver gets its own client and connections with its first request.

    :param where: the place of the options in the configuration, for messages.
    :param page_size: how many keys one request lists or deletes, 1,000 at the most. Tests set it.
    :param meter: what every request passes through; None for nothing.
    """

    name = "s3"
    in_bucket = True
    shared = True
    remote = True

    def __init__(
        self,
        options: S3Options,
        *,
        where: str = "storage.s3",
        page_size: int = _LARGEST_PAGE,
        meter: RequestMeter | None = None,
    ) -> None:
        self._page_size = page_size
        self._meter = meter
        self.smallest_piece = options.smallest_part
        self.largest_piece = options.most_parts * options.chunksize
        #: What it was told.
        self.options = options
        self._where = where
        self._bucket = options.bucket
        self._root = clean_root(options.rootdirectory)
        self._client = ClientPerProcess(options, where, meter)
        self._bodies = PerProcess(OpenBodies)
        self._lists = SideBySide(_LISTS_AT_A_TIME)
        #: Signs URLs for the whole key of an object: ``(key, expires) -> (url, expires)``.
        self.presigner = Presigner(options, self._client.connection)
        self._budget = PartBudget(options.uploadbuffers)
        # What the server has turned out not to have. A process that does not know yet finds out by itself.
        self._has_conditional_writes = options.conditionalwrites != "off"
        self._has_batch_deletes = True
        self._seldom = Throttle(3600)
        self._new_object = {"ContentType": _CONTENT_TYPE, **options.new_object()}

    @classmethod
    def from_options(cls, given: Mapping[str, object], where: str, here: Path) -> Self:
        """Return the bucket that the options describe. Options that have no effect are logged."""
        parsed = read(given, {**S3Options.PARSERS, **_WITHOUT_EFFECT}, f"{where}.")
        without = [option for option in _WITHOUT_EFFECT if parsed.pop(option, None)]
        if without:
            _log.warning("%s: these options have no effect: %s", where, ", ".join(without))
        try:
            options = S3Options(**parsed)
        except ConfigError as error:
            raise ConfigError(f"{where}.{error}") from None
        for warning in options.warnings():
            _log.warning("%s.%s", where, warning)
        return cls(options, where=where)

    def metered(self, meter: RequestMeter) -> Self:
        """Return a driver of the same bucket whose requests pass through *meter*; it has time."""
        options = replace(
            self.options,
            maxattempts=max(self.options.maxattempts, _PATIENT),
            maxconnections=max(self.options.maxconnections, meter.parallel),
        )
        return type(self)(options, where=self._where, page_size=self._page_size, meter=meter)

    def identity(self) -> str:
        """Return a text that stands for the directory of the bucket."""
        options = self.options
        place = (options.bucket, options.region or "", options.regionendpoint or "", options.rootdirectory)
        return fingerprint(self.name, *(part.strip("/") for part in place))

    def describe(self) -> str:
        """Return the directory of the bucket as a URL of the scheme ``s3``."""
        return f"s3://{self._bucket}/{self._root.strip('/')}"

    def key(self, path: str) -> str:
        """Return the key of the object at *path*: the root directory and *path*."""
        return (self._root + check_path(path)).removeprefix("/")

    def check(self) -> None:
        """List one key of the bucket.

        :raises ConfigError: when S3 refuses or does not answer; the line names the option at fault.
        """
        try:
            client = connect(self.options.for_check(), self._meter).client
            client.list_objects_v2(Bucket=self._bucket, Prefix=self._key_prefix("/"), MaxKeys=1)
        except (ClientError, BotoCoreError, OSError, ValueError) as error:
            raise config_error(error, self.options, self._where) from error

    def preload(self) -> None:
        """Load boto3, which takes half a second of the processor and much memory."""
        preload(self.options)

    def prepare(self) -> None:
        """Make the client of this process, with all that its requests may need."""
        client = self._client()
        getattr(client, "whole", client)

    def check_writes(self) -> Sequence[str]:
        """Write an object only if it is not there, twice, and delete it.

        :raises ConfigError: when S3 does not answer, and for what ``conditionalwrites: required`` forbids.
        """
        return check_writes(self.options, self._where, self.key(f"{_CHECKS}{uuid4()}"), self._new_object)

    def stat(self, path: str) -> Stat:
        """Return the size and the time of the object at *path*."""
        key = self.key(path)
        with translated(path):
            head = self._client().head_object(Bucket=self._bucket, Key=key)
        return Stat(head["ContentLength"], head["LastModified"].timestamp())

    def open(self, path: str, offset: int = 0, length: int | None = None) -> S3Reader:
        """Open the object at *path*; a connection that breaks off is replaced while it is read."""
        bodies = self._bodies()
        bodies.make_room()
        try:
            reader = self._open(path, offset, length, bodies)
        except BaseException:
            bodies.failed()
            raise
        bodies.opened(reader)
        return reader

    def _open(
        self, path: str, offset: int = 0, length: int | None = None, bodies: OpenBodies | None = None
    ) -> S3Reader:
        check_range(offset, length)
        key = self.key(path)
        if length == 0:
            self.stat(path)
            return self._reader(path, key)
        wanted: dict[str, Any] = {}
        first = first_answer(bodies)
        until = length if first is None else min(length or first, first)
        if offset or until is not None:
            wanted["Range"] = f"bytes={offset}-{'' if until is None else offset + until - 1}"
        try:
            answer = self._client().get_object(Bucket=self._bucket, Key=key, **wanted)
        except (ClientError, BotoCoreError, OSError) as error:
            # The offset is the object's end or lies beyond it.
            if isinstance(error, ClientError) and status_of(error) == 416:
                return self._reader(path, key)
            raise storage_error(error, path) from error
        end = offset + answer["ContentLength"]
        if wanted and answer["ContentLength"] and not answer.get("ContentRange"):
            answer["Body"].close()
            raise StorageUnavailable(f"S3 sent all of {path} where a range was asked for")
        if bodies is not None and answer.get("ContentRange"):
            end = _size_in(answer["ContentRange"], path)
            if length is not None:
                end = min(end, offset + length)
        etag = answer.get("ETag", "")
        body = answer["Body"]
        return S3Reader(self._client(), self._bucket, key, path, body, etag, offset, end, first, bodies)

    def read(self, path: str) -> bytes:
        """Return the object at *path*."""
        return read_all(self._open(path))

    @contextlib.contextmanager
    def foreign_object(self, bucket: str, key: str) -> Iterator[IO[bytes]]:
        """Give the bytes of an object of any bucket that this one's credentials may read.

        :raises ObjectNotFound: when there is none, nor such a bucket.
        """
        with translated(f"/{bucket}/{key}"):
            body = make_client(self.options).get_object(Bucket=bucket, Key=key)["Body"]
            with contextlib.closing(body):
                yield cast("IO[bytes]", body)

    def write(self, path: str, content: bytes | bytearray) -> None:
        """Put *content* at *path*."""
        key = self.key(path)
        with translated(path):
            self._client().put_object(
                Bucket=self._bucket,
                Key=key,
                Body=content,  # type: ignore[arg-type]  # a bytearray is fine, which the stubs do not know
                **self._new_object,
            )

    def create(self, path: str, content: bytes) -> None:
        """Put *content* at *path* if nothing is there.

        A request that is sent again may be refused because of its own first success, and one that was never
        answered may have succeeded. So when what is at *path* is *content*, this call has put it there:
        callers give each attempt content of its own.
        """
        if not self._has_conditional_writes:
            self._create_after_a_look(path, content)
            return
        key = self.key(path)
        repeated = False
        for attempt in range(_CONFLICTS):
            try:
                self._client().put_object(
                    Bucket=self._bucket, Key=key, Body=content, IfNoneMatch="*", **self._new_object
                )
            except ClientError as error:
                repeated = repeated or was_retried(error)
                if status_of(error) == 409 and attempt < _CONFLICTS - 1:
                    # Nothing is decided yet: another write is under way, and either may win.
                    time.sleep(0.05 * 2**attempt)
                    continue
                if repeated and self._holds(path, content):
                    return
                if status_of(error) == 412:
                    raise ObjectExists(path) from None
                if is_unknown_here(error) and self.options.conditionalwrites == "auto":
                    self._create_after_a_look(path, content)
                    # Without the condition it is taken.
                    self._has_conditional_writes = False
                    return
                raise storage_error(error, path) from error
            except (BotoCoreError, OSError) as error:
                if self._holds(path, content):
                    return
                raise storage_error(error, path) from error
            else:
                return

    def _create_after_a_look(self, path: str, content: bytes) -> None:
        """Put *content* at *path* if nothing is there at the moment before: of two calls that race, both may
        win.
        """
        try:
            self.stat(path)
        except ObjectNotFound:
            self.write(path, content)
        else:
            raise ObjectExists(path)

    def writer(self, path: str) -> S3Writer:
        """Begin an object at *path*."""
        key = self.key(path)
        return S3Writer(
            self.options.chunksize,
            self.options.most_parts,
            self.options.maxpartsinflight,
            self._budget.share(),
            lambda content: self.write(path, content),
            lambda: self._begin(path, key),
        )

    def compose(self, path: str, sources: Sequence[str]) -> None:
        """Put the contents of *sources* at *path*; S3 copies all that is large enough for a part."""
        key = self.key(path)
        found = [Source(source, self.stat(source).size) for source in sources]
        if [*sources] == [path]:
            # S3 refuses to copy an object to itself.
            return
        if len(found) == 1 and found[0].size <= self.options.multipartcopythresholdsize:
            self._copy(key, found[0].path)
            return
        options = self.options
        parts = plan(found, options.smallest_part, options.multipartcopychunksize, equal=options.equal_parts)
        if not parts:
            self.write(path, b"")
        elif len(parts) == 1 and not parts[0].copied:
            self.write(path, self._read_spans(parts[0].spans))
        else:
            self._assemble(path, key, parts)

    def list(self, prefix: str, *, hollow: Callable[[str], bool] | None = None) -> list[str]:
        """Return the names directly below *prefix*, each of an object or with an object below."""
        below = self._key_prefix(prefix)
        names: set[str] = set()
        for page in self._pages(prefix, delimiter="/"):
            names.update(item["Prefix"][len(below) :] for item in page.get("CommonPrefixes", ()))
            names.update(item["Key"][len(below) :] for item in page.get("Contents", ()))
        # Consoles mark a folder with an empty object at the prefix itself, and other programs' keys may have
        # empty segments. Neither is a name.
        return sort_names(names - {"", "/"})

    def walk(self, prefix: str, *, odd: Callable[[str], object] | None = None) -> Iterator[tuple[str, Stat]]:
        """Yield every object below *prefix* whose key is a path. A long listing is cut into parts that are
        listed at the same time.
        """
        return self._walk(prefix, KeyRange("", ""), odd)

    def _walk(
        self, prefix: str, wanted: KeyRange, odd: Callable[[str], object] | None
    ) -> Iterator[tuple[str, Stat]]:
        first = ""
        for number, page in enumerate(self._pages(prefix, after=wanted.after), 1):
            items = page.get("Contents", ())
            yield from self._objects(items, wanted, odd)
            if not items:
                continue
            if wanted.until and items[-1]["Key"] > wanted.until:
                return
            first = first or items[0]["Key"]
            if (number == 1 or number % _PAGES_IN_TURN == 0) and page.get("IsTruncated"):
                parts = list(
                    ranges(
                        first,
                        items[-1]["Key"],
                        wanted.until,
                        pages=number,
                        at_once=_LISTS_AT_A_TIME,
                        longest=_PAGES_IN_TURN,
                    )
                )
                if len(parts) > 1 and (yield from self._walk_parts(prefix, parts, odd)):
                    return

    def _walk_parts(
        self, prefix: str, parts: Sequence[KeyRange], odd: Callable[[str], object] | None
    ) -> Generator[tuple[str, Stat], None, bool]:
        """Yield what is in *parts*, and return whether the server can begin in the middle: if it cannot,
        nothing has been yielded.
        """
        for found, rest in self._lists.map(partial(self._walk_part, prefix, odd), parts):
            if found is None:
                return False
            yield from found
            if rest is not None:
                yield from self._walk(prefix, rest, odd)
        return True

    def _walk_part(
        self, prefix: str, odd: Callable[[str], object] | None, part: KeyRange
    ) -> tuple[Sequence[tuple[str, Stat]] | None, KeyRange | None]:
        """List a part, and what of it is left when it is far larger than it seemed."""
        found: deque[tuple[str, Stat]] = deque()
        for number, page in enumerate(self._pages(prefix, after=part.after), 1):
            items = page.get("Contents", ())
            if not items:
                continue
            if items[0]["Key"] <= part.after:
                return None, None
            found += self._objects(items, part, odd)
            last = items[-1]["Key"]
            if part.until and last > part.until:
                break
            if number >= 2 * _PAGES_IN_TURN and page.get("IsTruncated"):
                return found, KeyRange(last, part.until)
        return found, None

    def _objects(
        self, items: Iterable[ObjectTypeDef], wanted: KeyRange, odd: Callable[[str], object] | None
    ) -> Iterator[tuple[str, Stat]]:
        before = len(self._key_prefix("/"))
        for item in items:
            key = item["Key"]
            if wanted.until and key > wanted.until:
                return
            try:
                path = check_path("/" + key[before:])
            except InvalidPath:
                if odd is not None and (item["Size"] or not key.endswith("/")):
                    odd("/" + key[before:])
                continue
            yield path, Stat(item["Size"], item["LastModified"].timestamp())

    def delete(self, paths: Iterable[str]) -> None:
        """Delete the objects at *paths*, a thousand in a request."""
        self._delete_keys(self.key(path) for path in paths)

    def delete_prefix(self, prefix: str) -> None:
        """Delete every object below *prefix*, and the parts of those that were never finished."""
        self._delete_keys(item["Key"] for page in self._pages(prefix) for item in page.get("Contents", ()))
        client = self._client()
        with translated(prefix):
            pages = client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._bucket, Prefix=self._key_prefix(prefix)
            )
            try:
                unfinished = [upload for page in pages for upload in page.get("Uploads", ())]
            except ClientError as error:
                if not is_lasting(error):
                    raise
                # Not every key may list them, and not every server can. A lifecycle rule aborts them as well.
                unfinished = []
                if self._seldom.allows():
                    _log.warning(
                        "%s: unfinished uploads cannot be listed (s3:ListBucketMultipartUploads): %s; "
                        "let a lifecycle rule of the bucket abort them",
                        self._where,
                        code_of(error),
                    )
        for upload in unfinished:
            abort_upload(client, self._bucket, upload["Key"], upload["UploadId"])

    def unfinished(self, prefix: str, before: float) -> Iterator[Unfinished]:
        """Yield the multipart uploads of keys below *prefix* that are neither completed nor aborted."""
        root = len(self._key_prefix("/"))
        found = open_uploads(self._client(), self._bucket, self._key_prefix(prefix), before)
        for key, upload_id, size, touched in found:
            path = "/" + key[root:]
            yield Unfinished(path, size, touched, folder_mark(path), (key, upload_id))

    def discard(self, unfinished: Unfinished) -> None:
        """Abort a multipart upload."""
        key, upload_id = unfinished.handle
        with translated(unfinished.name):
            try:
                self._client().abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload_id)
            except ClientError as error:
                if code_of(error) != "NoSuchUpload":
                    raise

    def _key_prefix(self, prefix: str) -> str:
        return (self._root + check_prefix(prefix)).removeprefix("/")

    def _reader(self, path: str, key: str) -> S3Reader:
        """Return a reader of nothing."""
        return S3Reader(self._client(), self._bucket, key, path, None, "", 0, 0)

    def _holds(self, path: str, content: bytes) -> bool:
        try:
            return self.read(path) == content
        except StorageError:
            return False

    def _begin(self, path: str, key: str) -> MultipartUpload:
        return MultipartUpload(self._client(), self._bucket, key, path, self._new_object)

    def _copy(self, key: str, source: str) -> None:
        # The content type is copied from the source, and S3 takes no other one then.
        with translated(source):
            self._client().copy_object(
                Bucket=self._bucket,
                Key=key,
                CopySource={"Bucket": self._bucket, "Key": self.key(source)},
                **self.options.new_object(),
            )

    def _assemble(self, path: str, key: str, parts: Sequence[Part]) -> None:
        upload = self._begin(path, key)
        workers = min(self.options.parallel_copies, len(parts))
        try:
            pool = ThreadPoolExecutor(workers, thread_name_prefix="s3-compose")
            try:
                # Consumed for the first error, which then stops those that have not begun.
                contexts = (copy_context() for _ in parts)
                for _ in pool.map(
                    lambda context, number, part: context.run(self._add_part, upload, number, part),
                    contexts,
                    range(1, len(parts) + 1),
                    parts,
                ):
                    pass
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
            upload.complete(sum(span.length for part in parts for span in part.spans))
        except BaseException:
            upload.abort()
            raise

    def _add_part(self, upload: MultipartUpload, number: int, part: Part) -> None:
        if part.copied:
            upload.copy(number, self.key(part.spans[0].source.path), part.spans[0])
        else:
            upload.send(number, self._read_spans(part.spans))

    def _read_spans(self, spans: Iterable[Span]) -> bytes:
        return b"".join([read_all(self.open(span.source.path, span.start, span.length)) for span in spans])

    def _pages(
        self, prefix: str, delimiter: str = "", after: str = ""
    ) -> Iterator[ListObjectsV2OutputTypeDef]:
        wanted: dict[str, Any] = {"Prefix": self._key_prefix(prefix), "MaxKeys": self._page_size}
        if delimiter:
            wanted["Delimiter"] = delimiter
        if after:
            wanted["StartAfter"] = after
        while True:
            with translated(prefix):
                page = self._client().list_objects_v2(Bucket=self._bucket, **wanted)
            # Whoever lists may delete what is not listed: a list is whole, or it is an error.
            if not page.keys() - {"ResponseMetadata"}:
                raise StorageUnavailable(f"S3 answered the list of {prefix} with something else")
            yield page
            token = page.get("NextContinuationToken")
            if not page.get("IsTruncated"):
                return
            if not token:
                raise StorageUnavailable(f"S3 lists a part of {prefix}, and does not say where the rest is")
            if token == wanted.get("ContinuationToken"):
                raise StorageUnavailable(f"S3 lists the same page of {prefix} again and again")
            wanted["ContinuationToken"] = token

    def _delete_keys(self, keys: Iterable[str]) -> None:
        remaining = iter(keys)
        left: dict[str, str] = {}
        while batch := list(islice(remaining, self._page_size)):
            if len(batch) == 1 or not self._has_batch_deletes:
                self._delete_singly(batch)
                continue
            try:
                left.update(self._delete_batch(batch))
            except ClientError as error:
                if not is_unknown_here(error):
                    raise storage_error(error, "/" + batch[0]) from error
                self._delete_singly(batch)
                # One by one they can be deleted.
                self._has_batch_deletes = False
        if left:
            paths = {"/" + key.removeprefix(self._key_prefix("/")): code for key, code in left.items()}
            raise NotDeleted("S3", paths, lasting=not _PASSING.issuperset(left.values()))

    def _delete_singly(self, keys: Sequence[str]) -> None:
        for key in keys:
            try:
                with translated("/" + key):
                    self._client().delete_object(Bucket=self._bucket, Key=key)
            except ObjectNotFound:  # which not every server takes for deleted
                continue

    def _delete_batch(self, keys: Sequence[str]) -> Mapping[str, str]:
        """Delete keys with one request, and again those that S3 had no time for; return those that are left,
        with S3's code of each.

        :raises ClientError: if S3 refuses the request as a whole.
        """
        left: dict[str, str] = {}
        for attempt in range(_DELETES):
            try:
                answer = self._client().delete_objects(
                    Bucket=self._bucket,
                    Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True},
                )
            except (BotoCoreError, OSError) as error:
                raise storage_error(error, "/" + keys[0]) from error
            failed = {error.get("Key", ""): str(error.get("Code")) for error in answer.get("Errors", ())}
            # The request succeeded, so boto3 sends nothing again; the keys that S3 had no time for are ours.
            keys = [key for key, code in failed.items() if code in _PASSING]
            left.update((key, code) for key, code in failed.items() if code not in (*_PASSING, _GONE))
            if not keys:
                return left
            if self._meter is not None:
                self._meter.busy()
            if attempt + 1 < _DELETES:
                time.sleep(0.1 * 2**attempt)
        return {**left, **{key: failed[key] for key in keys}}


def _size_in(content_range: str, path: str) -> int:
    """Return the size of an object, which ``Content-Range`` names (RFC 9110, 14.4).

    :raises StorageUnavailable: if it does not.
    """
    size = content_range.rpartition("/")[2]
    if not (size.isascii() and size.isdigit()):
        raise StorageUnavailable(f"S3 does not say how large {path} is: {content_range!r}")
    return int(size)
