"""Reports of S3 Inventory, written as S3 writes them."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

from cfmiddleware.registry.collect.condemned import storage_time
from cfmiddleware.storage.driver import Driver

BUCKET = "images"
CSV_COLUMNS = ("Bucket", "Key", "Size", "LastModifiedDate", "ETag")
PARQUET_COLUMNS = {
    "bucket": "VARCHAR",
    "key": "VARCHAR",
    "size": "BIGINT",
    "last_modified_date": "TIMESTAMP",
    "e_tag": "VARCHAR",
}
Rows = list[tuple[str, int, float]]


def rows_of(driver: Driver) -> Rows:
    return [(driver.key(path), stat.size, stat.modified) for path, stat in driver.walk("/")]


def write_csv(file: Path, rows: Rows) -> str:
    with gzip.open(file, "wt", newline="") as out:
        writer = csv.writer(out, quoting=csv.QUOTE_ALL)
        for key, size, modified in rows:
            when = datetime.fromtimestamp(modified, UTC).isoformat(timespec="milliseconds")
            writer.writerow([BUCKET, quote_plus(key), size, when.replace("+00:00", "Z"), "0" * 32])
    return ", ".join(CSV_COLUMNS)


def write_parquet(file: Path, rows: Rows) -> str:
    import duckdb

    with duckdb.connect() as database:
        columns = ", ".join(f"{name} {kind}" for name, kind in PARQUET_COLUMNS.items())
        database.execute(f"CREATE TABLE report ({columns})")
        for key, size, modified in rows:
            when = datetime.fromtimestamp(modified, UTC).replace(tzinfo=None)
            database.execute("INSERT INTO report VALUES (?, ?, ?, ?, '')", (BUCKET, key, size, when))
        database.execute(f"COPY report TO '{file}' (FORMAT PARQUET)")
    fields = "; ".join(
        f"optional {'int64' if kind != 'VARCHAR' else 'binary'} {name} (UTF8)"
        for name, kind in PARQUET_COLUMNS.items()
    )
    return f"message s3.inventory {{ {fields}; }}"


WRITERS: dict[str, Callable[[Path, Rows], str]] = {"CSV": write_csv, "Parquet": write_parquet}


def write_report(
    directory: Path, driver: Driver, written: str = "CSV", rows: Rows | None = None, **changed: Any
) -> Path:
    """Write a report as S3 does: its files in a folder beside that of its manifest."""
    data = directory / "data"
    data.mkdir(parents=True, exist_ok=True)
    rows = rows_of(driver) if rows is None else rows
    files, schema = [], ""
    for number, part in enumerate((rows[::2], rows[1::2])):
        file = data / f"{number}.{'csv.gz' if written == 'CSV' else 'parquet'}"
        schema = WRITERS[written](file, part)
        content = file.read_bytes()
        checksum = hashlib.md5(content, usedforsecurity=False).hexdigest()
        files.append({"key": f"inventory/x/data/{file.name}", "size": len(content), "MD5checksum": checksum})
    said = {
        "sourceBucket": BUCKET,
        "destinationBucket": "arn:aws:s3:::reports",
        "version": "2016-11-30",
        "creationTimestamp": str(int(storage_time(driver) * 1000) + 1),
        "fileFormat": written,
        "fileSchema": schema,
        "files": files,
        **changed,
    }
    home = directory / "2026-11-28T01-00Z"
    home.mkdir(exist_ok=True)
    (home / "manifest.json").write_text(json.dumps(said))
    return home
