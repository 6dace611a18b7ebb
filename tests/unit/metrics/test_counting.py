"""Counts in files that processes share: nothing is lost or counted twice when one dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cfmiddleware import metrics
from cfmiddleware.metrics import names
from cfmiddleware.metrics.cells import STATE, VARIABLE, File
from cfmiddleware.metrics.httpcount import Counted, handler_of
from cfmiddleware.metrics.kinds import Counter, Gauge, Histogram, Metric
from cfmiddleware.middleware.misses import REASONS

prometheus_client = pytest.importorskip("prometheus_client")


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Metrics, on."""
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    metrics.turn_on()
    STATE.begin()
    yield tmp_path
    STATE.forget()
    STATE.directory = None


def value(name: str, **labels: str) -> float | None:
    from cfmiddleware.metrics.exposition import registry

    found: float | None = registry().get_sample_value(name, labels)
    return found


def in_child(action: Callable[[], None], number: int = signal.SIGKILL) -> None:
    """Do something in a process that then dies."""
    pid = os.fork()
    if pid == 0:
        try:
            STATE.begin()
            action()
        finally:
            os.kill(os.getpid(), number)
    os.waitpid(pid, 0)


def test_counting_does_nothing_while_metrics_are_off():
    names.PULLS.inc("edge")
    names.REQUEST_SECONDS.of("blob", "get").observe(1)

    answer: list[Any] = []
    body = b"".join(metrics.app({"REQUEST_METHOD": "GET"}, lambda *given: answer.append(given)))
    assert answer[0][0].startswith("503 ")
    assert b"http.debug.prometheus.enabled" in body


@pytest.mark.parametrize(
    ("method", "status"), [("GET", "200"), ("HEAD", "200"), ("POST", "405"), ("OPTIONS", "405")]
)
def test_the_counts_are_for_get_and_head(directory: Path, method: str, status: str):
    answer: list[Any] = []
    body = b"".join(metrics.app({"REQUEST_METHOD": method}, lambda *given: answer.append(given)))
    assert answer[0][0][:3] == status
    assert bool(body) == (method == "GET")


def test_a_scrape_at_the_moment_in_which_a_file_is_made_reads_the_others(
    directory: Path, monkeypatch: pytest.MonkeyPatch
):
    names.PULLS.inc("edge")
    reserve, found = os.posix_fallocate, []

    def scrape_and_reserve(*given: int) -> None:
        found.append(value("cfmiddleware_pulls_total", sent="edge"))
        reserve(*given)

    monkeypatch.setattr(os, "posix_fallocate", scrape_and_reserve)
    File(directory / "counter_another.db")

    assert found == [value("cfmiddleware_pulls_total", sent="edge")]


def test_what_a_killed_process_counted_stays_and_its_gauges_go(directory: Path):
    def work() -> None:
        names.PULLS.inc("edge")
        names.UPLOADS.of().inc()

    before = value("cfmiddleware_pulls_total", sent="edge")
    for number in range(1, 6):
        in_child(work)
        assert value("cfmiddleware_pulls_total", sent="edge") == (before or 0) + number
        assert value("cfmiddleware_uploads_in_flight") == 0
    # This process and one that came and went five times.
    assert len(list(directory.glob("counter_*.db"))) == 2


def test_processes_count_for_themselves(directory: Path):
    names.PULLS.inc("s3")

    def work() -> None:
        names.PULLS.inc("s3")
        names.REQUEST_SECONDS.of("blob", "get").observe(0.02)

    in_child(work, signal.SIGTERM)
    names.PULLS.inc("s3")
    names.REQUEST_SECONDS.of("blob", "get").observe(0.002)

    assert value("cfmiddleware_pulls_total", sent="s3") == 3
    name = "registry_http_request_duration_seconds"
    for bound, count in (("0.005", 1), ("0.01", 1), ("0.025", 2), ("60.0", 2), ("+Inf", 2)):
        assert value(f"{name}_bucket", handler="blob", method="get", le=bound) == count
    assert value(f"{name}_count", handler="blob", method="get") == 2
    assert value(f"{name}_sum", handler="blob", method="get") == pytest.approx(0.022)


def test_what_a_process_that_begins_does_not_tell_any_more_is_0(directory: Path):
    """A key and a version of an earlier configuration would be seen, and warned of, for as long as the
    directory stays.
    """

    def tell(key: str, version: str) -> Callable[[], None]:
        def work() -> None:
            names.SIGNING_KEY.of(key).set(1000)
            names.INFO.of(version).set(1)

        return work

    def begin(*tellers: Callable[[], None]) -> None:
        STATE.forget()
        STATE._tellers = [lambda each=each: each for each in tellers]
        STATE.begin()
        os._exit(0)

    for tellers in ([tell("K1", "1")], [tell("K2", "2"), tell("K3", "2")]):
        pid = os.fork()
        if pid == 0:
            begin(*tellers)
        os.waitpid(pid, 0)
    keys = {key: value("cfmiddleware_signing_key_timestamp_seconds", id=key) for key in ("K1", "K2", "K3")}
    assert keys == {"K1": 0, "K2": 1000, "K3": 1000}
    assert {version: value("cfmiddleware_info", version=version) for version in "12"} == {"1": 0, "2": 1}


def test_gauges_of_what_is_no_longer_configured_go(directory: Path):
    """Those of what another process looks after stay, and come again when that one tells them."""

    def set_all() -> None:
        names.NOTIFICATIONS_PENDING.of("one").set(3)
        names.NOTIFICATIONS_DEAD.of("one").set(2)
        names.NOTIFICATIONS_PENDING.of("two").set(4)
        names.CHECKS_FAILING.of("port").set(1)
        names.ADDRESS_RANGES.of().set(1000)
        names.COLLECTION_INTERVAL.of().set(60)

    def claim() -> None:
        names.NOTIFICATIONS_PENDING.claim("two")
        names.ADDRESS_RANGES.claim()

    def begin(*tellers: Callable[[], None]) -> None:
        pid = os.fork()
        if pid == 0:
            STATE.forget()
            STATE._tellers = [lambda each=each: each for each in tellers]
            STATE.begin()
            os._exit(0)
        os.waitpid(pid, 0)

    def shown() -> list[float | None]:
        return [
            value("registry_notifications_pending_total", endpoint="one"),
            value("cfmiddleware_notifications_dead", endpoint="one"),
            value("registry_notifications_pending_total", endpoint="two"),
            value("cfmiddleware_health_check_failing", check="port"),
            value("cfmiddleware_address_ranges_timestamp_seconds"),
            value("cfmiddleware_collection_interval_seconds"),
        ]

    begin(set_all)
    assert shown() == [3, 2, 4, 1, 1000, 60]
    begin(claim)
    assert shown() == [None, None, 4, None, 1000, 0]
    begin()
    assert shown() == [None, None, None, None, 0, 0]
    begin(set_all)
    assert shown() == [3, 2, 4, 1, 1000, 60]


def test_requests_that_come_while_a_process_begins_to_count_are_counted(
    directory: Path, monkeypatch: pytest.MonkeyPatch
):
    """Threads that count before the files are there would lose it, and leave requests in flight for ever."""
    import threading

    STATE.forget()
    is_binding, go_on = threading.Event(), threading.Event()
    begin = Counter.begin

    def slowly(metric: Counter) -> None:
        is_binding.set()
        go_on.wait(10)
        begin(metric)

    monkeypatch.setattr(Counter, "begin", slowly)

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b""]

    first = threading.Thread(target=run, args=(app, "GET", "/v2/"))
    others = [threading.Thread(target=run, args=(app, "GET", "/v2/")) for _ in range(5)]
    first.start()
    assert is_binding.wait(10)
    for thread in others:
        thread.start()
    made = threading.Thread(target=lambda: names.REPOSITORY_PULLS.inc("late", "edge"))
    made.start()
    others[0].join(0.2)
    go_on.set()
    for thread in (first, *others, made):
        thread.join()
    assert value("registry_http_requests_total", handler="base", method="get", code="200") == 6
    assert value("registry_http_in_flight_requests", handler="base") == 0
    assert value("cfmiddleware_repository_pulls_total", repository="late", sent="edge") is not None


@pytest.mark.parametrize("size", [5, 5000])
def test_a_wrapper_by_itself_counts_from_its_first_pull(directory: Path, size: int):
    """Also where it never redirects, which is what an operator must see."""
    from cfmiddleware import CloudFrontMiddleware
    from cfmiddleware.digest import Digest
    from cfmiddleware.signing.keys import generate

    digest = str(Digest.of(b""))

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Docker-Content-Digest", digest), ("Content-Length", str(size))])
        return [b"x" * size]

    key = generate("ecdsa").private_pem
    where = {"baseurl": "https://d1.cloudfront.net", "privatekey": key, "keypairid": "K1"}
    wrapped = CloudFrontMiddleware(app, minimumsize=10, **where)  # type: ignore[arg-type]
    path = f"/v2/a/blobs/{digest}"
    before = [
        value("cfmiddleware_probe_seconds_count"),
        value("cfmiddleware_signatures_total", outcome="made"),
    ]
    small = value("cfmiddleware_pulls_not_redirected_total", reason="small")
    STATE.forget()
    given = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "REMOTE_ADDR": "192.0.2.7",
        "wsgi.url_scheme": "http",
    }
    wrapped(given, lambda *_: print)
    after = [
        value("cfmiddleware_probe_seconds_count"),
        value("cfmiddleware_signatures_total", outcome="made"),
    ]
    assert after == [before[0] + 1, before[1] + (size > 10)]  # type: ignore[operator]
    now = value("cfmiddleware_pulls_not_redirected_total", reason="small")
    assert now == small + (size < 10)  # type: ignore[operator]


def test_names_that_clients_invent_are_one_beyond_a_bound(directory: Path, monkeypatch: pytest.MonkeyPatch):
    """With ``probe: none`` nobody says whether a repository is there, and ``*`` matches any."""
    monkeypatch.setattr("cfmiddleware.metrics.kinds._MOST", 20)
    monkeypatch.setattr(names.REPOSITORY_PULLS, "_cells", {})

    def series() -> int:
        found = STATE.found("counter", "cfmiddleware_repository_pulls")
        return sum(labels["repository"].startswith("invented") for labels, _, _ in found)

    def work() -> None:
        for number in range(100):
            names.REPOSITORY_PULLS.inc(f"invented-{os.getpid()}-{number}", "edge")

    for _ in range(3):  # the second and the third go on with the first one's file
        in_child(work)
    assert 0 < series() <= 20
    assert value("cfmiddleware_repository_pulls_total", repository="other", sent="edge") == 300 - series()


def test_labels_are_bounded(directory: Path):
    for number in range(1000):
        names.REQUESTS.inc(f"handler-{number}", f"method-{number}", f"{number + 1000}")
    assert value("registry_http_requests_total", handler="other", method="other", code="other") == 1000
    assert len(names.REQUESTS._cells) < 50

    free = {name for name, metric in STATE.metrics.items() if None in metric.labels.values()}
    # Keys, checks, endpoints and repositories are those of the operator.
    assert {name for name in free if "_notifications_" not in name} == {
        "cfmiddleware_signing_key_timestamp_seconds",
        "cfmiddleware_health_check_failing",
        "cfmiddleware_repository_pulls",
        "cfmiddleware_info",
    }
    for name in free:
        if "_notifications_" in name:
            labels = STATE.metrics[name].labels.items()
            assert [label for label, known in labels if known is None] == ["endpoint"]


def test_a_full_disk_fails_nothing_but_the_count(
    directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    STATE.forget()

    def no_room(*given: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", no_room)
    STATE.begin()
    names.PULLS.inc("edge")
    names.REQUEST_SECONDS.of("tags", "get").observe(1)

    assert [record.getMessage() for record in caplog.records] == [
        "metrics: not everything is counted: [Errno 28] No space left on device"
    ]


def test_a_file_that_grows_goes_on(directory: Path):
    """A thousand repositories are more than a file has room for at first."""
    first = names.PULLS.of("app")
    first.inc()
    for number in range(1000):
        names.REPOSITORY_PULLS.inc(f"team/{'x' * 100}{number}", "edge")
    first.inc()

    assert value("cfmiddleware_repository_pulls_total", repository=f"team/{'x' * 100}999", sent="edge") == 1
    assert value("cfmiddleware_pulls_total", sent="app") == 2


def test_distributions_names_of_cache_questions_in_both_its_versions(directory: Path):
    for kind in ("Hit", "Hit", "Miss"):
        names.STORAGE_CACHE.inc(kind)
    assert value("registry_storage_cache_total", type="Request") == 3
    assert value("registry_storage_cache_total", type="Hit") == 2
    assert value("registry_storage_cache_requests_total") == 3
    assert value("registry_storage_cache_hits_total") == 2
    assert value("registry_storage_cache_errors_total") == 0


def test_what_an_app_counts_itself_is_there_too(directory: Path):
    app_file = prometheus_client.mmap_dict.MmapedDict(str(directory / "counter_99.db"))
    app_file.write_value(prometheus_client.mmap_dict.mmap_key("own", "own_total", [], [], "Its own."), 5, 0)
    assert value("own_total") == 5


def test_every_reason_of_the_wrapper_is_a_label():
    assert set(names.REASONS) == set(REASONS)


def test_every_metric_says_what_it_is():
    for metric in STATE.metrics.values():
        assert metric.text.endswith(".") or metric.text.endswith("1."), metric.name
        assert isinstance(metric, Metric)
        assert metric.name.startswith(("registry_", "cfmiddleware_"))


# Requests


@pytest.mark.parametrize(
    ("path", "handler"),
    [
        ("/v2/", "base"),
        ("/v2", "base"),
        ("/registry/v2/", "base"),
        ("/v2/_catalog", "catalog"),
        ("/v2/a/blobs/sha256:00", "blob"),
        ("/v2/a/b/blobs/uploads", "blob_upload"),
        ("/v2/a/b/blobs/uploads/", "blob_upload"),
        ("/v2/a/blobs/uploads/b1946ac9", "blob_upload_chunk"),
        ("/v2/a/manifests/latest", "manifest"),
        ("/v2/a/referrers/sha256:00", "referrers"),
        ("/v2/a/tags/list", "tags"),
        ("/", "other"),
        ("", "other"),
        ("/v2/a/manifests/", "other"),
    ],
)
def test_each_resource_has_distributions_name(path: str, handler: str):
    assert handler_of(path) == handler


class Body:
    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = iter(chunks)
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def close(self) -> None:
        self.closed += 1


def run(app: Any, method: str = "GET", path: str = "/v2/a/blobs/sha256:00") -> bytes:
    written: list[bytes] = []
    result = Counted(app)(
        {"REQUEST_METHOD": method, "PATH_INFO": path}, lambda *given, **more: written.append
    )
    try:
        written.extend(result)
    finally:
        if hasattr(result, "close"):
            result.close()
    return b"".join(written)


@pytest.mark.parametrize("kind", ["list", "iterable", "write"])
def test_a_blob_that_the_app_served_is_a_pull_with_its_bytes(directory: Path, kind: str):
    body = Body([b"12", b"345"])

    def app(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", [])
        if kind == "write":
            write(b"12345")
            return []
        return [b"12", b"345"] if kind == "list" else body

    assert run(app) == b"12345"
    assert value("cfmiddleware_pulls_total", sent="app") == 1
    assert value("cfmiddleware_pull_bytes_total", sent="app") == 5
    assert value("registry_http_requests_total", handler="blob", method="get", code="200") == 1
    assert value("registry_http_in_flight_requests", handler="blob") == 0
    assert body.closed == (kind == "iterable")


def test_an_app_that_fails_is_counted_as_500(directory: Path):
    def app(environ: Any, start_response: Any) -> Any:
        raise LookupError

    with pytest.raises(LookupError):
        run(app)
    assert value("registry_http_requests_total", handler="blob", method="get", code="500") == 1
    assert value("registry_http_in_flight_requests", handler="blob") == 0


def test_methods_and_codes_that_somebody_invents_are_one(directory: Path):
    for number in range(50):

        def app(environ: Any, start_response: Any, code: int = number) -> Any:
            start_response(f"{900 + code} x", [])
            return [b""]

        run(app, f"BREW{number}", "/")
    assert value("registry_http_requests_total", handler="other", method="other", code="other") == 50


def test_counts_of_threads_are_not_lost(directory: Path):
    import threading

    counter, gauge = names.PULLS.of("edge"), names.PARTS.of()

    def work() -> None:
        for _ in range(20_000):
            counter.inc()
            gauge.add(1.0)
            gauge.add(-1.0)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert value("cfmiddleware_pulls_total", sent="edge") == 80_000
    assert value("cfmiddleware_parts_in_memory") == 0


def test_a_metric_is_one_of_three_kinds():
    assert all(isinstance(metric, Counter | Gauge | Histogram) for metric in STATE.metrics.values())
