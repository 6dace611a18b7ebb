"""AWS's address ranges, fetched from a real server and read from a file, behind the back of requests."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.range_server import Reply, Web, document
from lab.servers import eventually, free_port

from cfmiddleware.errors import ConfigError
from cfmiddleware.ipfilter.awsranges import read_ranges
from cfmiddleware.ipfilter.feed import RangeFeed, pause
from cfmiddleware.ipfilter.fetch import Fetched, FetchError, Limits, fetch
from cfmiddleware.ipfilter.trustedurl import check_url

THREAD = "cfmiddleware-ranges"


@pytest.fixture
def web() -> Iterator[Web]:
    with contextlib.closing(Web()) as server:
        yield server


@pytest.fixture
def feeds() -> Iterator[Any]:
    """Make feeds that are quick about everything; their threads end with the test."""
    with contextlib.ExitStack() as stack:

        def make(**options: Any) -> RangeFeed:
            quick = {"interval": 0.05, "retry": 0.05, "look_interval": 0.05, "limits": Limits(2, 2, 100_000)}
            regions = options.pop("regions", None)
            feed = RangeFeed(functools.partial(read_ranges, regions=regions), **{**quick, **options})
            stack.callback(feed.close)
            return feed

        yield make


def threads() -> int:
    return sum(thread.name == THREAD for thread in threading.enumerate())


class TestFetching:
    def test_nothing_runs_and_nobody_is_near_before_the_first_question(self, web, feeds):
        web.replies = [Reply(body=document("192.0.2.0/24"))]
        feed = feeds(url=web.url)
        time.sleep(0.1)
        assert (threads(), web.requests, feed.ready) == (0, [], False)

    def test_the_first_question_is_answered_at_once_and_a_later_one_from_what_was_fetched(self, web, feeds):
        web.replies = [Reply(body=document("192.0.2.0/24"), pause=0.001)]
        feed = feeds(url=web.url)
        assert len(feed.current()) == 0
        assert eventually(lambda: feed.ready)
        assert feed.current().holds("192.0.2.1")
        assert feed.current().holds("2001:db8::1")
        assert not feed.current().holds("198.51.100.1")

    def test_no_question_waits_for_a_server_that_is_silent(self, web, feeds):
        web.replies = [Reply(body=document("192.0.2.0/24"), pause=1)]
        feed = feeds(url=web.url, limits=Limits(0.2, 0.5, 1000))
        feed.current()
        assert eventually(lambda: len(web.requests) == 1)
        assert len(feed.current()) == 0

    def test_many_threads_that_ask_first_start_one_thread(self, web, feeds):
        web.replies = [Reply(body=document("192.0.2.0/24"))]
        feed = feeds(url=web.url, interval=60)
        together = threading.Barrier(16)

        def ask() -> None:
            together.wait()
            for _ in range(100):
                feed.current()

        asking = [threading.Thread(target=ask) for _ in range(16)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        assert threads() == 1
        assert eventually(lambda: feed.ready)
        assert len(web.requests) == 1

    def test_what_is_published_anew_takes_the_place_of_what_was_known(self, web, feeds):
        web.replies = [Reply(body=document("192.0.2.0/24", 1)), Reply(body=document("198.51.100.0/24", 2))]
        feed = feeds(url=web.url)
        feed.current()
        assert eventually(lambda: feed.current().holds("198.51.100.1"))
        assert not feed.current().holds("192.0.2.1")

    def test_requests_after_the_first_ask_only_for_what_has_changed(self, web, feeds):
        headers = (("ETag", '"one"'), ("Last-Modified", "Thu, 24 Feb 2022 00:23:21 GMT"))
        web.replies = [Reply(body=document("192.0.2.0/24"), headers=headers), Reply(304)]
        feed = feeds(url=web.url)
        feed.current()
        assert eventually(lambda: len(web.requests) >= 3)
        assert "if-none-match" not in web.requests[0]
        assert {request["if-none-match"] for request in web.requests[1:]} == {'"one"'}
        assert {request["if-modified-since"] for request in web.requests[1:]} == {headers[1][1]}
        assert feed.current().holds("192.0.2.1")

    def test_after_a_document_that_is_no_good_the_whole_one_is_asked_for_again(self, web, feeds):
        web.replies = [
            Reply(body=document("192.0.2.0/24"), headers=(("ETag", '"good"'),)),
            Reply(body=b"{}", headers=(("ETag", '"bad"'),)),
            Reply(304),
        ]
        feed = feeds(url=web.url)
        feed.current()
        assert eventually(lambda: len(web.requests) >= 3)
        assert [request.get("if-none-match") for request in web.requests[:3]] == [None, '"good"', '"good"']

    @pytest.mark.parametrize(
        ("reply", "said"),
        [
            (Reply(500), "the server answered 500"),
            (Reply(403, b"<Error/>"), "the server answered 403"),
            (Reply(200, b"<html>"), "not JSON"),
            (Reply(200, document("192.0.2.0/24")[:-9], (("Content-Length", "9999"),)), "not JSON"),
            (Reply(200, b"{}"), "no prefixes"),
            (Reply(200, document("nowhere")), "'nowhere' is not a network"),
            (Reply(200, b" " * 100_001), "longer than 100000 bytes"),
            (Reply(302, headers=(("Location", "http://ranges.example/x"),)), "redirected: only https"),
            (Reply(302, headers=(("Location", "http://127.0.0.1:9/x"),)), "redirected: to another host"),
            (Reply(302, headers=(("Location", "https://ranges.example/x"),)), "redirected: to another host"),
            (Reply(302, headers=(("Location", "//localhost/x"),)), "redirected: to another host"),
            (Reply(302, headers=(("Location", "file:///etc/passwd"),)), "the server answered 302"),
        ],
    )
    def test_what_was_good_stays_in_force_when_a_fetch_fails_and_the_log_says_so(
        self, web, feeds, caplog, reply, said
    ):
        web.replies = [Reply(body=document("192.0.2.0/24")), reply]
        feed = feeds(url=web.url)
        feed.current()
        assert eventually(lambda: "not taken" in caplog.text)
        assert feed.current().holds("192.0.2.1")
        line = next(record.getMessage() for record in caplog.records if record.levelno == logging.ERROR)
        assert said in line
        assert line.endswith("the ranges known before stay in force")

    def test_before_the_first_good_fetch_nobody_is_near_and_the_log_says_so(self, feeds, caplog):
        feed = feeds(url=f"http://127.0.0.1:{free_port()}/ip-ranges.json", retry=60)
        feed.current()
        assert eventually(lambda: "not taken" in caplog.text)
        assert "Connection refused; until there are ranges, every client is sent to CloudFront" in caplog.text
        assert len(feed.current()) == 0

    def test_a_failure_is_followed_by_another_try_well_before_the_interval_is_over(self, web, feeds):
        web.replies = [Reply(500), Reply(500), Reply(body=document("192.0.2.0/24"))]
        feed = feeds(url=web.url, interval=3600)
        feed.current()
        assert eventually(lambda: feed.current().holds("192.0.2.1"))
        assert len(web.requests) == 3

    def test_regions_without_ranges_are_named_in_the_log(self, web, feeds, caplog):
        web.replies = [Reply(body=document("192.0.2.0/24"))]
        feed = feeds(url=web.url, regions=frozenset(("eu-wets-3",)), interval=60)
        feed.current()
        assert eventually(lambda: "there are no ranges of eu-wets-3" in caplog.text)
        assert not feed.current().holds("192.0.2.1")

    def test_what_a_query_says_is_not_logged(self, web, feeds, caplog):
        caplog.set_level(logging.INFO)
        web.replies = [Reply(500), Reply(body=document("192.0.2.0/24"))]
        feed = feeds(url=web.url + "?token=hush")
        feed.current()
        assert eventually(lambda: feed.ready and "networks" in caplog.text)
        assert "not taken" in caplog.text
        assert "hush" not in caplog.text


class TestOneFetch:
    def test_a_document_that_trickles_in_is_given_up(self, web):
        web.replies = [Reply(body=b"x" * 1000, pause=0.02)]
        with pytest.raises(FetchError, match="takes too long"):
            fetch(web.url, limits=Limits(1, 0.1, 10_000))

    def test_a_server_that_falls_silent_is_given_up(self, web):
        web.replies = [Reply(body=b"xx", pause=0.5)]
        with pytest.raises(FetchError, match="does not answer"):
            fetch(web.url, limits=Limits(0.1, 60, 10_000))

    @pytest.mark.parametrize("whole", [True, False])
    def test_a_redirect_on_the_same_host_is_followed(self, web, whole):
        location = web.url + "/moved" if whole else "/moved"
        web.replies = [Reply(302, headers=(("Location", location),)), Reply(body=b"here")]
        assert fetch(web.url) == Fetched(b"here")

    def test_a_304_that_nobody_asked_for_is_a_failure(self, web):
        web.replies = [Reply(304)]
        with pytest.raises(FetchError, match="304"):
            fetch(web.url)

    @pytest.mark.parametrize(
        "url",
        [
            "http://ip-ranges.example/ip-ranges.json",
            "http://127.0.0.1.example/",
            "http://localhost.example/",
            "http://10.0.0.1/",
            "ftp://localhost/",
            "file:///etc/passwd",
            "https://",
            "https:///x",
            "https://user:hush@ip-ranges.example/",
            "https://ip-ranges.example:port/",
            "https://ip-ranges.example/a b",
            "https://ip-ranges.example/\r\nHost: x",
            "ip-ranges.json",
            "",
        ],
    )
    def test_a_url_that_others_could_answer_is_never_asked(self, url: str):
        with pytest.raises(ValueError, match="https") as caught:
            check_url(url)
        assert "hush" not in str(caught.value)
        with pytest.raises(FetchError):
            fetch(url)

    @pytest.mark.parametrize(
        "url", ["https://ip-ranges.example/x", "http://localhost:81/", "http://127.8.9.1/", "http://[::1]/"]
    )
    def test_https_and_this_machine_are_trusted(self, url: str):
        check_url(url)


class TestPauses:
    @given(st.floats(1, 1e6), st.floats(0.1, 60))
    def test_the_interval_is_kept_give_or_take_a_tenth(self, interval: float, retry: float):
        assert 0.89 * interval < pause(interval, retry, 0) < 1.11 * interval

    def test_no_two_machines_keep_asking_together(self):
        assert len({pause(3600, 10, 0) for _ in range(20)}) > 10

    @given(st.integers(1, 100_000))
    def test_failures_are_tried_again_ever_later_but_within_the_interval(self, failures: int):
        expected = min(3600, 10 * 2 ** min(failures - 1, 20))
        assert 0.89 * expected < pause(3600, 10, failures) < 1.11 * expected


class TestSnapshot:
    def test_a_file_is_in_force_from_the_start_without_any_thread(self, tmp_path, feeds):
        file = tmp_path / "ip-ranges.json"
        file.write_bytes(document("192.0.2.0/24"))
        feed = feeds(file=str(file))
        assert feed.ready
        assert threads() == 0
        assert feed.current().holds("192.0.2.1")

    def test_a_file_that_changes_is_read_again(self, tmp_path, feeds):
        file = tmp_path / "ip-ranges.json"
        file.write_bytes(document("192.0.2.0/24"))
        feed = feeds(file=str(file))
        feed.current()
        # Even without a change in size or in its times, which are coarse.
        times = file.stat()
        file.write_bytes(document("192.0.3.0/24"))
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert eventually(lambda: feed.current().holds("192.0.3.1"))
        assert not feed.current().holds("192.0.2.1")

    @pytest.mark.parametrize("change", ["broken", "missing"])
    def test_a_file_that_is_no_good_any_more_changes_nothing_and_is_logged_once(
        self, tmp_path, feeds, caplog, change
    ):
        file = tmp_path / "ip-ranges.json"
        file.write_bytes(document("192.0.2.0/24"))
        feed = feeds(file=str(file), look_interval=0.01)
        feed.current()
        if change == "broken":
            file.write_bytes(b"{")
        else:
            file.unlink()
        assert eventually(lambda: "not taken" in caplog.text)
        time.sleep(0.1)
        assert caplog.text.count("not taken") == 1
        assert feed.current().holds("192.0.2.1")
        file.write_bytes(document("198.51.100.0/24"))
        assert eventually(lambda: feed.current().holds("198.51.100.1"))

    @pytest.mark.parametrize(
        ("content", "said"), [(None, "No such file"), (b"{}", "it has no prefixes"), (b"", "not JSON")]
    )
    def test_a_file_that_is_no_good_at_the_start_is_refused(
        self, tmp_path: Path, content: bytes | None, said: str
    ):
        file = tmp_path / "ip-ranges.json"
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(ConfigError, match=said) as caught:
            RangeFeed(read_ranges, file=str(file))
        assert str(caught.value).startswith(f"{file}: cannot be used: ")

    def test_a_directory_or_a_pipe_is_refused(self, tmp_path: Path):
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        for path in (tmp_path, pipe):
            with pytest.raises(ConfigError, match="it is not a regular file"):
                RangeFeed(read_ranges, file=str(path))

    @pytest.mark.parametrize(("published", "newer"), [(1, "file"), (2, "web"), (3, "web")])
    def test_of_a_file_and_the_web_the_newer_is_in_force(
        self, tmp_path, web, feeds, caplog, published, newer
    ):
        caplog.set_level(logging.INFO)
        file = tmp_path / "ip-ranges.json"
        file.write_bytes(document("192.0.2.0/24", 2))
        web.replies = [Reply(body=document("198.51.100.0/24", published))]
        feed = feeds(url=web.url, file=str(file), interval=60)
        feed.current()
        assert eventually(lambda: f"{web.url}: 2 networks" in caplog.text)
        assert feed.current().holds("192.0.2.1") == (newer == "file")
        assert feed.current().holds("198.51.100.1") == (newer == "web")


def in_a_fork(ask: Any) -> bytes:
    """Return what *ask* returns in a forked process."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            os.write(writing, ask())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        said = answer.read()
    os.waitpid(process, 0)
    return said


class TestForks:
    def test_a_forked_process_fetches_for_itself(self, web, feeds):
        web.replies = [
            Reply(body=document("192.0.2.0/24", 1), headers=(("ETag", '"one"'),)),
            Reply(body=document("198.51.100.0/24", 2)),
        ]
        feed = feeds(url=web.url, interval=3600)
        feed.current()
        assert eventually(lambda: feed.ready)

        def ask() -> bytes:
            before = feed.current().holds("192.0.2.1")
            return b"%d%d" % (before, eventually(lambda: feed.current().holds("198.51.100.1")))

        assert in_a_fork(ask) == b"11"
        assert len(web.requests) == 2
        assert feed.current().holds("192.0.2.1")

    def test_a_fork_before_the_first_question_starts_its_own_thread(self, web, feeds):
        web.replies = [Reply(body=document("192.0.2.0/24"))]
        feed = feeds(url=web.url, interval=3600)

        def ask() -> bytes:
            feed.current()
            return b"%d" % eventually(lambda: feed.current().holds("192.0.2.1"))

        assert in_a_fork(ask) == b"1"
        assert threads() == 0

    def test_a_forked_process_sees_the_file_change(self, tmp_path, feeds):
        file = tmp_path / "ip-ranges.json"
        file.write_bytes(document("192.0.2.0/24"))
        feed = feeds(file=str(file))
        feed.current()

        def ask() -> bytes:
            feed.current()
            file.write_bytes(document("198.51.100.0/24"))
            return b"%d" % eventually(lambda: feed.current().holds("198.51.100.1"))

        assert in_a_fork(ask) == b"1"


def test_a_machine_without_threads_left_serves_on_and_tries_again(web, feeds, caplog, monkeypatch):
    web.replies = [Reply(body=document("192.0.2.0/24"))]
    feed = feeds(url=web.url)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(3):
            assert len(feed.current()) == 0
    assert caplog.text.count("can't start new thread") == 1
    feed.current()
    assert eventually(lambda: feed.ready)
