"""A report of S3 Inventory: what its ``manifest.json`` says, and its files, on a disk or in a bucket
(Amazon S3 User Guide, "Amazon S3 Inventory").
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, Protocol

from cfmiddleware.errors import ConfigError, ObjectNotFound, StorageRefused, cannot_be_read
from cfmiddleware.storage.s3 import S3Driver

_OPTION = "--inventory"
_MANIFEST = "manifest.json"
_CHUNK = 1 << 20
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")

#: Columns that a collection needs, by what the report's own schema calls them: in CSV, and in Parquet.
COLUMNS = {"Key": "key", "Size": "size", "LastModifiedDate": "last_modified_date"}


def refusal(problem: str) -> ConfigError:
    """Return the error of a report that cannot be used."""
    return ConfigError(f"{_OPTION}: {problem}")


class Part(NamedTuple):
    """A file of a report."""

    key: str
    size: int
    md5: str


class Place(Protocol):
    """Where a report is."""

    def manifest(self) -> bytes:
        """Return the content of its ``manifest.json``."""

    def fetch(self, key: str, into: Path) -> Path:
        """Return a file of the report: where it lies, or a copy at *into*."""


@dataclass(frozen=True)
class Report:
    """What a report says of itself.

    :param created: when it was begun, in Unix seconds. What was written later may be in it or not.
    :param parquet: whether its files are Parquet; they are CSV otherwise.
    :param columns: the names of its columns, in their order.
    :param parts: its files.
    """

    place: Place
    created: float
    parquet: bool
    columns: tuple[str, ...]
    parts: tuple[Part, ...]

    @contextlib.contextmanager
    def file(self, part: Part, directory: Path) -> Iterator[Path]:
        """Give a file of the report, as long as the block lasts.

        :param directory: where it may be copied to.
        :raises ConfigError: when it is not there, or not what the report says it is.
        """
        copy = directory / "part"
        try:
            path = self.place.fetch(part.key, copy)
            size = path.stat().st_size
            if size != part.size:
                raise refusal(
                    f"{part.key} has {size} bytes, and its report says {part.size}: is it complete?"
                )
            if part.md5 and _md5_of(path) != part.md5:
                raise refusal(f"{part.key} is damaged: its MD5 is not the one of its report")
            yield path
        finally:
            copy.unlink(missing_ok=True)


def open_report(where: str, bucket: str, driver: object) -> Report:
    """Return the report at *where*.

    :param where: a directory, a ``manifest.json``, or an ``s3://`` URL of one.
    :param bucket: the bucket that it must be about.
    :param driver: the storage, with whose credentials a bucket is read.
    :raises ConfigError: when there is none that can be used.
    """
    place = _place(where, driver)
    try:
        said = json.loads(place.manifest())
        source, written = said["sourceBucket"], said["fileFormat"]
        created = int(said["creationTimestamp"]) / 1000
        parts = tuple(
            Part(str(part["key"]), int(part["size"]), str(part.get("MD5checksum", "")))
            for part in said["files"]
        )
        columns = _columns(str(said["fileSchema"]), written)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise refusal(f"{where} is not the {_MANIFEST} of an S3 Inventory report") from None
    if source != bucket:
        raise refusal(f"the report is about the bucket {source}, and the registry is in {bucket}")
    if written not in ("CSV", "Parquet"):
        raise refusal(f"the report's format is {written}; CSV and Parquet can be read")
    parquet = written == "Parquet"
    for named, column in COLUMNS.items():
        if (column if parquet else named) not in columns:
            raise refusal(f"the report has no {named}: add the field to the bucket's inventory configuration")
    if not parts or not all(re.fullmatch(r"\w+", name) for name in columns):
        raise refusal("the report names no files" if not parts else "its schema cannot be read")
    return Report(place, created, parquet, columns, parts)


def _columns(schema: str, written: str) -> tuple[str, ...]:
    if written == "CSV":
        return tuple(name.strip() for name in schema.split(","))
    return tuple(re.findall(r"(?:required|optional)\s+\w+\s+(\w+)", schema))


def _place(where: str, driver: object) -> Place:
    if where.startswith("s3://"):
        if not isinstance(driver, S3Driver):
            raise refusal("the storage is not a bucket, and has no credentials for one")
        return _InBucket(where, driver)
    return _OnDisk(Path(where))


class _OnDisk:
    """A report that was copied to a disk, as a whole or its files alone.

    :param path: its ``manifest.json``, or the directory that has it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path / _MANIFEST if path.is_dir() else path

    def manifest(self) -> bytes:
        try:
            return self._path.read_bytes()
        except OSError as error:
            raise refusal(f"{self._path} {cannot_be_read(error)}") from None

    def fetch(self, key: str, into: Path) -> Path:
        parts = PurePosixPath(key).parts
        # The folders above may have been copied or not.
        for above in list(self._path.absolute().parents)[:8]:
            for start in range(len(parts)):
                path = above.joinpath(*parts[start:])
                if ".." not in parts and path.is_file():
                    return path
        raise refusal(f"{key} is not there: the report is incomplete")


class _InBucket:
    """A report where S3 wrote it.

    :param url: of its ``manifest.json``, or of the folder that has it.
    """

    def __init__(self, url: str, driver: S3Driver) -> None:
        self._bucket, _, key = url.removeprefix("s3://").partition("/")
        if not _BUCKET.fullmatch(self._bucket):
            raise refusal(f"{url} names no bucket: it is s3://BUCKET/FOLDER")
        self._key = key if key.endswith(".json") else "/".join(filter(None, (key.rstrip("/"), _MANIFEST)))
        self._driver = driver

    def manifest(self) -> bytes:
        with self._body(self._key) as body:
            content: bytes = body.read()
            return content

    def fetch(self, key: str, into: Path) -> Path:
        with self._body(key) as body, into.open("wb") as file:
            shutil.copyfileobj(body, file, _CHUNK)
        return into

    @contextlib.contextmanager
    def _body(self, key: str) -> Iterator[Any]:
        try:
            with self._driver.foreign_object(self._bucket, key) as body:
                yield body
        except ObjectNotFound:
            raise refusal(f"s3://{self._bucket}/{key} is not there: is the report complete?") from None
        except StorageRefused as error:
            raise refusal(str(error)) from None


def _md5_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
