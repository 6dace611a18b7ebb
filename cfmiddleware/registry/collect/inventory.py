"""What a report of S3 Inventory says the bucket holds, instead of listings.

A report may have hundreds of millions of rows. DuckDB (the extra ``inventory``) sorts and joins them on the
disk, in bounded memory. A report is a day or two old, and need not know of what was written or deleted
shortly before it. So it only says where a collection looks: what is about to go is looked at in the bucket.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfmiddleware.digest import Digest
from cfmiddleware.registry.store import paths
from cfmiddleware.storage.driver import Driver, Stat

from .condemned import storage_time
from .inventoryreport import Report, open_report, refusal

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# How much memory DuckDB may take; the rest lies on the disk.
_MEMORY = "512MB"
_ROWS = 10_000

# A report has at least what was in the bucket so many seconds before it was begun.
_SETTLED = 2 * 24 * 3600.0

# In how many folders, and at how many objects of each, the report is compared with the bucket.
_FOLDERS, _SAMPLE = 16, 1000

# By how many seconds the report's clock may be ahead of the bucket's.
_AHEAD = 300.0

_DIGEST = r"(sha256/[0-9a-f]{64}|sha512/[0-9a-f]{128})"
_DATA = rf"^{paths.BLOBS}(sha256|sha512)/[0-9a-f]{{2}}/([0-9a-f]{{64}}|[0-9a-f]{{128}})/data$"
_LINK = rf"^{paths.REPOSITORIES}(.+)/(?:_layers|_manifests/revisions)/{_DIGEST}/link$"
_TAG = rf"^{paths.REPOSITORIES}.+/_manifests/tags/[^/]+/current/link$"
_COUNTS = re.compile(f"{_DATA}|{_LINK}|{_TAG}")


class Inventory:
    """A report, sorted.

    :param created: when it was begun, in Unix seconds.
    """

    def __init__(self, database: DuckDBPyConnection, created: float) -> None:
        self._database = database
        self.created = created

    def repositories(self) -> list[str]:
        """Return the names of the repositories."""
        return [name for (name,) in self._rows("SELECT DISTINCT repository FROM links ORDER BY 1")]

    def walk(self, prefix: str) -> Iterator[tuple[str, Stat]]:
        """Yield links below *prefix*, and those of tags, in the order of their paths."""
        until = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        for path, size, modified in self._rows(
            "SELECT path, size, modified FROM objects WHERE path >= ? AND path < ? ORDER BY path",
            (prefix, until),
        ):
            yield path, Stat(size, modified)

    def stored(self) -> tuple[int, int]:
        """Return how many blobs there are, and their bytes."""
        ((count, size),) = self._rows("SELECT count(*), coalesce(sum(size), 0)::BIGINT FROM data")
        return count, size

    def orphans(self) -> Iterator[tuple[Digest, Stat]]:
        """Yield the bytes that no link has the name of."""
        for digest, size, modified in self._rows(
            "SELECT digest, size, modified FROM data ANTI JOIN links USING (digest)"
        ):
            yield Digest(*digest.split("/")), Stat(size, modified)

    def only_named_by(self, going: Iterable[tuple[str, Digest]]) -> tuple[int, int]:
        """Return how many blobs have no links but some that are going, and their bytes.

        :param going: repositories and names of links.
        """
        left = iter(going)
        self._database.execute("CREATE OR REPLACE TABLE going (repository VARCHAR, digest VARCHAR)")
        while batch := list(islice(left, _ROWS)):
            self._database.execute(
                "INSERT INTO going SELECT unnest(?), unnest(?)",
                ([name for name, _ in batch], [f"{digest.algorithm}/{digest.hex}" for _, digest in batch]),
            )
        ((count, size),) = self._rows(
            "SELECT count(*), coalesce(sum(size), 0)::BIGINT FROM data SEMI JOIN going USING (digest) "
            "ANTI JOIN (FROM links ANTI JOIN going USING (repository, digest)) AS stays USING (digest)"
        )
        return count, size

    def lacks(self, wanted: Sequence[str]) -> str | None:
        """Return one of the paths that the report does not have, or None if it has all."""
        rows = self._rows(
            "SELECT path FROM (SELECT unnest(?) AS path) ANTI JOIN objects USING (path) LIMIT 1", (wanted,)
        )
        return next((path for (path,) in rows), None)

    def _rows(self, query: str, values: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        # A connection does one thing at a time; repositories are looked at side by side.
        with contextlib.closing(self._database.cursor()) as cursor:
            cursor.execute(query, values)
            while rows := cursor.fetchmany(_ROWS):
                yield from rows


@contextlib.contextmanager
def open_inventory(where: str, driver: Driver, bucket: str) -> Iterator[Inventory]:
    """Give the report at *where*, sorted on the disk, until the block is left.

    :param where: a directory, a ``manifest.json``, or an ``s3://`` URL of one.
    :param bucket: the driver's.
    :raises ConfigError: for a report that cannot be used.
    """
    try:
        import duckdb
    except ImportError:
        raise refusal("duckdb is not installed; install cfmiddleware[inventory]") from None
    report = open_report(where, bucket, driver)
    with tempfile.TemporaryDirectory(prefix="cfmiddleware-inventory-") as name:
        directory = Path(name)
        try:
            with duckdb.connect(str(directory / "inventory.db")) as database:
                database.execute(f"SET memory_limit = '{_MEMORY}'; SET temp_directory = '{name}'")
                database.execute("SET preserve_insertion_order = false")
                _load(database, report, directory, driver)
                inventory = Inventory(database, report.created)
                _check_coverage(inventory, driver)
                yield inventory
        except duckdb.Error as error:
            line = " ".join(str(error).split())
            raise refusal(f"the report cannot be read: {line[:300]}") from None


def _load(database: DuckDBPyConnection, report: Report, directory: Path, driver: Driver) -> None:
    root = driver.key(paths.BLOBS + "x").removesuffix(paths.BLOBS.removeprefix("/") + "x")
    database.execute("CREATE TABLE found (path VARCHAR, size BIGINT, modified DOUBLE)")
    for part in report.parts:
        with report.file(part, directory) as file:
            database.execute(
                f"INSERT INTO found SELECT '/' || substr(key, ?), size, modified FROM ({_select(report)}) "  # noqa: S608
                "WHERE starts_with(key, ?)",
                (len(root) + 1, str(file), root),
            )
    database.execute(
        "CREATE TABLE objects AS SELECT path, any_value(size) AS size, max(modified) AS modified "
        "FROM found WHERE regexp_matches(path, ?) GROUP BY path ORDER BY path",
        (_COUNTS.pattern,),
    )
    database.execute(
        "CREATE TABLE links AS SELECT regexp_extract(path, ?, 1) AS repository, "
        "regexp_extract(path, ?, 2) AS digest FROM objects WHERE regexp_matches(path, ?)",
        (_LINK, _LINK, _LINK),
    )
    database.execute(
        "CREATE TABLE data AS SELECT regexp_extract(path, ?, 1) || '/' || regexp_extract(path, ?, 2) "
        "AS digest, size, modified FROM objects WHERE regexp_matches(path, ?)",
        (_DATA, _DATA, _DATA),
    )
    database.execute("DROP TABLE found")


def _select(report: Report) -> str:
    """Return the query that gives key, size in bytes and time in Unix seconds of a file's rows. What has no
    time counts as young.
    """
    if report.parquet:
        key, time, latest, marker = "key", "last_modified_date", "is_latest", "is_delete_marker"
        source = "read_parquet(?)"
    else:
        # Keys are encoded as in a form.
        key, time = "url_decode(replace(\"Key\", '+', ' '))", 'TRY_CAST("LastModifiedDate" AS TIMESTAMPTZ)'
        latest, marker = "IsLatest", "IsDeleteMarker"
        types = ", ".join(f"'{name}': 'VARCHAR'" for name in report.columns)
        source = (
            "read_csv(?, header = false, auto_detect = false, delim = ',', quote = '\"', escape = '\"', "
            f"columns = {{{types}}})"
        )
    conditions = ["TRUE"]
    if latest in report.columns:
        conditions.append(f'coalesce(CAST("{latest}" AS BOOLEAN), TRUE)')
    if marker in report.columns:
        conditions.append(f'NOT coalesce(CAST("{marker}" AS BOOLEAN), FALSE)')
    return (
        f"SELECT {key} AS key, coalesce(TRY_CAST(size AS BIGINT), 0) AS size, "  # noqa: S608
        f"coalesce(epoch({time}), 1e18) AS modified FROM {source} WHERE {' AND '.join(conditions)}"
    )


def _check_coverage(inventory: Inventory, driver: Driver) -> None:
    """Refuse a report that does not have what the bucket has had since long before it."""
    now = storage_time(driver)
    if inventory.created > now + _AHEAD:
        raise refusal("the report is of the future")
    folders = [
        f"{paths.REPOSITORIES}{name}" for name in driver.list(paths.REPOSITORIES) if name.endswith("/")
    ]
    step = max(1, len(folders) // _FOLDERS)
    for folder in (paths.BLOBS, *folders[::step]):
        known = [
            path
            for path, stat in islice(driver.walk(folder), _SAMPLE)
            if stat.modified < inventory.created - _SETTLED and _COUNTS.search(path)
        ]
        lacking = inventory.lacks(known)
        if lacking is not None:
            raise refusal(
                f"the report lacks {driver.key(lacking)}, which is older: is the report filtered by a prefix?"
            )
