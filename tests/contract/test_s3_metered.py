"""A metered driver: what it counts is what S3 gets, and it goes as fast as S3 lets it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from lab.recording_s3 import Answer, RecordingS3, recording
from lab.s3_proxy import Request, S3Proxy, once, refuse
from lab.servers import S3Server

from cfmiddleware.errors import NotDeleted, StorageFailed
from cfmiddleware.storage.requestmeter import KINDS, RequestMeter
from cfmiddleware.storage.s3 import S3Driver, S3Options

KIND = {
    **{"ListObjectsV2": "list", "ListMultipartUploads": "list"},
    **{"GetObject": "get", "HeadObject": "head", "DeleteObject": "delete", "DeleteObjects": "delete"},
}


@pytest.fixture
def s3() -> Iterator[RecordingS3]:
    with recording() as server:
        yield server


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cfmiddleware.storage.s3.plainclient.wait_after", lambda *_: 0.001)


def metered(url: str, meter: RequestMeter, **options: object) -> S3Driver:
    keys = {"accesskey": "AKIDTEST", "secretkey": "a-very-secret-key"}
    given = {"bucket": "registry", "regionendpoint": url, "forcepathstyle": True, **keys, **options}
    return S3Driver(S3Options(**given)).metered(meter)


def test_what_is_counted_is_what_s3_gets(s3_server: S3Server) -> None:
    meter = RequestMeter()
    with S3Proxy(s3_server.endpoint) as proxy:
        keys = {"accesskey": s3_server.access_key, "secretkey": s3_server.secret_key}
        driver = metered(proxy.endpoint, meter, bucket=s3_server.new_bucket(), **keys)
        driver.check()
        driver.create("/a/1", b"1")
        driver.write("/a/2", b"2")
        with contextlib.closing(driver.open("/a/2")) as reader:
            assert b"".join(reader) == b"2"
        driver.stat("/a/1")
        driver.compose("/a/3", ["/a/1", "/a/2"])
        assert driver.list("/a/") == ["1", "2", "3"]
        with proxy.failing(once(refuse("503 Slow Down", "SlowDown"))):
            assert driver.read("/a/1") == b"1"
        driver.delete(["/a/1", "/a/2"])
        driver.delete(["/a/3"])
        driver.delete_prefix("/a/")
        noted = dict.fromkeys(KINDS, 0)
        for operation, count in proxy.counts().items():
            noted[KIND.get(operation, "put")] += count
    assert meter.counts() == noted
    assert meter.slowdowns == 1


def test_it_halves_its_requests_while_s3_is_too_busy_and_all_of_them_succeed_in_the_end(
    s3: RecordingS3,
) -> None:
    lock, under_way, most = threading.Lock(), [0], [0]
    barrier = threading.Event()

    def answer(request: Request) -> Answer | None:
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
            busy = under_way[0] > 3
        barrier.wait(0.01)
        with lock:
            under_way[0] -= 1
        return Answer(503, b"<Error><Code>SlowDown</Code></Error>") if busy else None

    s3.answer = answer
    meter = RequestMeter(16)
    driver = metered(s3.url, meter)
    with ThreadPoolExecutor(32) as threads:
        assert all(threads.map(driver.read, ["/a"] * 300))
    assert most[0] <= 16
    assert meter.slowdowns >= 1
    assert meter.counts()["get"] == len(s3.requests) >= 300
    refused = len(s3.requests) - 300
    # Without it, 13 of 16 requests at a time would be refused.
    assert refused < 300


def errors(**codes: str) -> bytes:
    listed = "".join(f"<Error><Key>{key}</Key><Code>{code}</Code></Error>" for key, code in codes.items())
    return f"<DeleteResult>{listed}</DeleteResult>".encode()


def asked_for(request: Request) -> list[str]:
    return [part.partition("</Key>")[0] for part in request.body.decode().split("<Key>")[1:]]


def test_of_a_batch_only_the_keys_that_s3_had_no_time_for_are_tried_again(s3: RecordingS3) -> None:
    answers = [errors(a="SlowDown", b="AccessDenied", c="NoSuchKey"), errors()]
    s3.answer = lambda request: Answer(200, answers.pop(0))
    meter = RequestMeter(16)

    with pytest.raises(NotDeleted, match="did not delete 1 objects, the first /b: AccessDenied") as raised:
        metered(s3.url, meter).delete(["/a", "/b", "/c", "/d"])

    assert raised.value.codes == {"/b": "AccessDenied"}
    assert raised.value.lasting
    assert list(map(asked_for, s3.requests)) == [["a", "b", "c", "d"], ["a"]]
    assert meter.slowdowns == 1


def test_what_one_batch_leaves_keeps_no_other_batch(s3: RecordingS3) -> None:
    s3.answer = lambda request: Answer(200, errors(**dict.fromkeys(asked_for(request)[:1], "AccessDenied")))
    keys = [f"/k{number:04}" for number in range(2500)]

    with pytest.raises(NotDeleted) as raised:
        metered(s3.url, RequestMeter()).delete(keys)

    assert [len(asked_for(request)) for request in s3.requests] == [1000, 1000, 500]
    assert list(raised.value.codes) == ["/k0000", "/k1000", "/k2000"]


def test_keys_that_s3_never_has_time_for_may_be_deleted_later(s3: RecordingS3) -> None:
    s3.answer = lambda request: Answer(200, errors(a="SlowDown"))
    with pytest.raises(NotDeleted) as raised:
        metered(s3.url, RequestMeter()).delete(["/a", "/b"])
    assert not raised.value.lasting
    assert len(s3.requests) == 4


def test_one_who_is_busy_for_good_is_said_to_fail(s3: RecordingS3) -> None:
    s3.refuse(503, "SlowDown")
    meter = RequestMeter()
    with pytest.raises(StorageFailed, match="SlowDown"):
        metered(s3.url, meter).read("/a")
    assert len(s3.requests) == 10
    assert meter.limit == 1
