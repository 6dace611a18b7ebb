"""In which way S3 fails, for clients and for the log, while the registry runs."""

from __future__ import annotations

import logging
import time
from email.utils import formatdate

import pytest
from lab.recording_s3 import RecordingS3, recording
from lab.servers import free_port

from cfmiddleware.errors import (
    StorageClockWrong,
    StorageFailed,
    StorageFull,
    StorageRefused,
    StorageUnavailable,
)
from cfmiddleware.storage.s3 import S3Driver, S3Options


@pytest.fixture
def s3():
    with recording() as server:
        yield server


def driver_of(url: str) -> S3Driver:
    keys = {"accesskey": "AKIDTEST", "secretkey": "a-very-secret-key"}
    return S3Driver(
        S3Options(bucket="registry", regionendpoint=url, maxattempts=1, **keys), where="storage.s3"
    )


def advice(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]


def dated(minutes: float) -> dict[str, str]:
    return {"Date": formatdate(time.time() + 60 * minutes, usegmt=True)}


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "RequestTimeTooSkewed", StorageClockWrong),
        (403, "QuotaExceeded", StorageFull),
        (507, "XMinioStorageFull", StorageFull),
        (403, "AccessDenied", StorageRefused),
        (500, "InternalError", StorageFailed),
        (503, "SlowDown", StorageFailed),
    ],
)
def test_a_refusal_is_of_the_kind_that_its_code_says(s3: RecordingS3, status, code, kind):
    s3.refuse(status, code)
    with pytest.raises(StorageUnavailable, match=rf"{code} \({status}\)") as raised:
        driver_of(s3.url).write("/a", b"content")
    assert type(raised.value) is kind


@pytest.mark.parametrize(
    ("minutes", "kind"), [(20, StorageClockWrong), (-20, StorageClockWrong), (2, StorageRefused)]
)
def test_a_head_that_is_refused_is_told_from_a_wrong_clock_by_its_date(s3: RecordingS3, minutes, kind):
    s3.refuse(403, "", dated(minutes))
    with pytest.raises(kind):
        driver_of(s3.url).stat("/a")


@pytest.mark.parametrize(("status", "code"), [(403, "QuotaExceeded"), (507, "XMinioStorageFull")])
def test_what_can_be_done_about_a_full_storage_is_said_once(s3: RecordingS3, caplog, status, code):
    driver = driver_of(s3.url)
    s3.refuse(status, code)
    for _ in range(5):
        with pytest.raises(StorageFull):
            driver.write("/a", b"content")
    (line,) = advice(caplog)
    assert line.startswith("storage.s3.bucket: there is no room left in ")
    assert line.endswith(f"({code}); make room, or raise the quota")


def test_what_the_start_would_say_is_said_while_it_runs_and_not_with_every_request(s3: RecordingS3, caplog):
    driver = driver_of(s3.url)
    s3.refuse(403, "RequestTimeTooSkewed", dated(20))
    for _ in range(5):
        with pytest.raises(StorageClockWrong):
            driver.read("/a")
    assert advice(caplog) == [
        f"storage.s3: this machine's clock is 20 minutes behind that of {s3.url}; set the clock"
    ]
    caplog.clear()
    s3.refuse(403, "InvalidAccessKeyId")
    for _ in range(5):
        with pytest.raises(StorageRefused):
            driver.write("/a", b"content")
    assert advice(caplog) == [f"storage.s3.accesskey: {s3.url} does not know this key"]


def test_a_server_that_is_gone_is_named_with_its_option(caplog):
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(StorageUnavailable):
        driver_of(url).stat("/a")
    assert advice(caplog) == [f"storage.s3.regionendpoint: {url} cannot be reached"]


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, "NoSuchKey"), (412, "PreconditionFailed"), (403, "AccessDenied"), (404, "NoSuchUpload")],
)
def test_there_is_no_advice_about_what_may_be_right(s3: RecordingS3, caplog, status, code):
    s3.refuse(status, code)
    driver = driver_of(s3.url)
    for request in (driver.read, driver.stat):
        with pytest.raises(Exception, match="/a"):
            request("/a")
    assert advice(caplog) == []
