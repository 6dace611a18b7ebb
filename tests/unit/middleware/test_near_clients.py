"""Clients near the bucket: presigned URLs of S3 for them, CloudFront's for everyone else."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.apps import CONTENT, DIGEST, EDGE, KEY, App, ask, request, wrap
from lab.near import FAR, NEAR, NETWORKS, S3, Presigner, config, fronts, location, near_wrap, ranges

from cfmiddleware.errors import ConfigError, StorageUnavailable
from cfmiddleware.middleware.presigned import PresignedURLs, Unusable
from cfmiddleware.middleware.probe import PROBE
from cfmiddleware.signing.windows import ExpiryWindow
from cfmiddleware.wsgi.accessrecord import ACCESS, AccessRecord


class TestWhoIsNear:
    @pytest.mark.parametrize(
        "address", [NEAR, "::ffff:10.1.2.3", "2001:db8::1", "2001:0DB8:0::1", "10.255.255.255"]
    )
    def test_a_client_in_a_network_is_sent_to_s3(self, address: str):
        assert location(near_wrap(), address).startswith(f"{S3}{KEY}?")

    @pytest.mark.parametrize(
        "address",
        [FAR, "::ffff:192.0.2.7", "2001:db9::1", "11.0.0.0", "", "unix:", "10.1.2.3:", "010.1.2.3"],
    )
    def test_everyone_else_is_sent_to_cloudfront(self, address: str):
        presign = Presigner()
        assert location(near_wrap(presign=presign), address).startswith(EDGE)
        assert presign.asked == []

    def test_networks_may_be_written_with_commas(self):
        wrapped = near_wrap(networks="192.168.0.0/16, 10.1.2.3")
        assert location(wrapped).startswith(S3)
        assert location(wrapped, "192.168.255.1").startswith(S3)
        assert location(wrapped, "10.1.2.4").startswith(EDGE)

    def test_what_a_client_says_of_itself_is_not_believed(self):
        assert location(near_wrap(), FAR, HTTP_X_FORWARDED_FOR=NEAR).startswith(EDGE)

    @pytest.mark.parametrize(
        ("forwarded", "front"),
        [
            (f"{FAR}, {NEAR}", S3),
            (f"{NEAR}, {FAR}", EDGE),
            (NEAR, S3),
            ("", EDGE),
            (f'"{NEAR}"', EDGE),
            (f"{NEAR}:80", S3),
            (f"{NEAR}:", EDGE),
            ("::ffff:10.1.2.3", S3),
            ("2001:db8::7", S3),
        ],
    )
    def test_behind_a_proxy_the_client_is_whom_it_saw_and_else_unknown_and_not_near(
        self, forwarded: str, front: str
    ):
        assert location(near_wrap(trustedproxies=1), NEAR, HTTP_X_FORWARDED_FOR=forwarded).startswith(front)

    def test_with_fewer_proxies_than_there_should_be_nobody_is_near(self):
        assert location(near_wrap(trustedproxies=2), NEAR, HTTP_X_FORWARDED_FOR=NEAR).startswith(EDGE)


class TestWhatIsAskedFirst:
    @pytest.mark.parametrize(
        "status", ["401 Unauthorized", "403 Forbidden", "404 Not Found", "304 Not Modified"]
    )
    @pytest.mark.parametrize("probe", ["get", "head"])
    def test_whoever_the_app_refuses_gets_no_url_of_s3_either(self, status: str, probe: str):
        presign = Presigner()
        answer = ask(near_wrap(App(status), presign, probe=probe), request(REMOTE_ADDR=NEAR))
        assert (answer.code, answer.location) == (int(status[:3]), None)
        assert presign.asked == []

    def test_nor_for_another_digest_or_a_page_for_people(self):
        for headers in ([("Docker-Content-Digest", "sha256:" + "0" * 64)], [("Content-Type", "text/html")]):
            assert ask(near_wrap(App(headers=headers)), request(REMOTE_ADDR=NEAR)).code == 200

    def test_small_blobs_are_served_by_the_app(self):
        headers = [("Docker-Content-Digest", str(DIGEST)), ("Content-Length", str(len(CONTENT)))]
        wrapped = near_wrap(App(headers=headers), minimumsize=len(CONTENT) + 1)
        assert ask(wrapped, request(REMOTE_ADDR=NEAR)).body == CONTENT

    def test_other_methods_reach_the_app(self):
        answer = ask(near_wrap(), request(REMOTE_ADDR=NEAR, method="HEAD"))
        assert answer.code == 200

    def test_the_app_is_asked_once(self):
        app = App()
        location(near_wrap(app))
        assert app.methods == ["GET"]
        assert app.responses[0].closed == 1

    @pytest.mark.parametrize("probe", ["head", "none"])
    def test_however_the_app_is_asked_near_clients_are_sent_to_s3(self, probe: str):
        assert location(near_wrap(probe=probe)).startswith(S3)
        assert location(near_wrap(probe=probe), FAR).startswith(EDGE)


class TestWhichObject:
    def test_the_key_is_the_whole_key_whatever_the_origin_path(self):
        for originpath in ("/team/prod", "/team", ""):
            wrapped = near_wrap(rootdirectory="/team/prod", originpath=originpath)
            assert location(wrapped).startswith(f"{S3}team/prod/{KEY}?")

    def test_an_object_that_the_app_named_need_not_be_below_the_origin_path(self):
        def app(environ: dict[str, Any], start_response: Any) -> Any:
            environ[PROBE].key = "elsewhere/data"
            start_response("200 OK", [("Docker-Content-Digest", str(DIGEST))])
            return [CONTENT]

        wrapped = near_wrap(app, rootdirectory="/team")
        assert location(wrapped).startswith(f"{S3}elsewhere/data?")
        assert ask(wrapped, request(REMOTE_ADDR=FAR)).body == CONTENT

    @pytest.mark.parametrize("named", ["a/../b", "a//b", "./a", "a/"])
    def test_a_key_that_clients_would_fold_is_served_by_the_app(self, named: str):
        def app(environ: dict[str, Any], start_response: Any) -> Any:
            environ[PROBE].key = named
            start_response("200 OK", [("Docker-Content-Digest", str(DIGEST))])
            return [CONTENT]

        presign = Presigner()
        assert ask(near_wrap(app, presign), request(REMOTE_ADDR=NEAR)).body == CONTENT
        assert presign.asked == []

    def test_the_apps_own_redirect_into_the_bucket_becomes_one_that_is_reused(self):
        own = "https://images.s3.amazonaws.com/some/key?X-Amz-Signature=apps-own"
        app = App("307 Temporary Redirect", [("Location", own)])
        assert location(near_wrap(app, bucket="images")).startswith(f"{S3}some/key?X-Amz-Signature=s3s-own")

    def test_the_answer_says_what_a_redirect_to_cloudfront_says(self):
        near, far = (ask(near_wrap(), request(REMOTE_ADDR=address)) for address in (NEAR, FAR))
        assert [header for header in near.headers if header[0] != "Location"] == [
            header for header in far.headers if header[0] != "Location"
        ]

    def test_the_access_log_learns_where_the_pull_was_sent(self):
        failing = near_wrap(presign=Presigner(StorageUnavailable("no credentials")))
        cases = [(near_wrap(), NEAR, "s3"), (near_wrap(), FAR, "edge"), (failing, NEAR, "edge")]
        for wrapped, address, expected in cases:
            record = AccessRecord()
            location(wrapped, address, **{ACCESS: record})
            assert record.sent == expected


class TestWhereNothingCanBePresigned:
    def test_the_client_is_sent_to_cloudfront_and_the_log_says_so_once(self, caplog):
        wrapped = near_wrap(presign=Presigner(StorageUnavailable("there are no credentials")))
        for _ in range(5):
            assert location(wrapped).startswith(EDGE)
        assert caplog.text.count("could not be presigned: there are no credentials") == 1

    def test_the_words_of_a_foreign_error_are_not_logged(self, caplog):
        assert location(near_wrap(presign=Presigner(RuntimeError("secret=hush")))).startswith(EDGE)
        assert "could not be presigned: RuntimeError" in caplog.text
        assert "hush" not in caplog.text

    @pytest.mark.parametrize(
        "presign", [lambda key, expires: None, lambda key, expires: (b"https://x/", expires)]
    )
    def test_a_presigner_that_gives_something_else_sends_clients_to_cloudfront(self, presign: Any):
        assert location(near_wrap(presign=presign)).startswith(EDGE)

    @pytest.mark.parametrize("url", ["https://x/\r\nSet-Cookie: a=b", "javascript:", "https://x/ä", ""])
    def test_what_is_no_url_never_gets_into_a_header(self, url: str):
        assert location(near_wrap(presign=Presigner(url=url))).startswith(EDGE)

    def test_a_url_that_outlives_its_time_is_not_sent(self):
        wrapped = near_wrap(presign=lambda key, expires: (f"{S3}{key}", expires + 1))
        assert location(wrapped).startswith(EDGE)

    def test_an_object_that_cloudfront_cannot_reach_is_served_by_the_app(self):
        app = App("307 Temporary Redirect", [("Location", "https://images.s3.amazonaws.com/x")])
        wrapped = near_wrap(app, Presigner(OSError()), bucket="images", rootdirectory="/team")
        assert location(wrapped) == "https://images.s3.amazonaws.com/x"


class TestBoundUrls:
    def test_urls_of_s3_are_not_bound_and_those_of_cloudfront_are(self):
        wrapped = near_wrap(bindip=True)
        assert location(wrapped).startswith(f"{S3}{KEY}?X-Amz-Signature=")
        assert "Policy=" in location(wrapped, FAR)

    def test_a_near_client_with_ipv6_is_sent_to_s3(self):
        assert location(near_wrap(bindip=True), "2001:db8::1").startswith(S3)

    def test_a_near_client_with_ipv6_never_gets_an_unbound_url_of_cloudfront(self):
        for probe in ("get", "head", "none"):
            wrapped = near_wrap(presign=Presigner(OSError()), bindip=True, probe=probe)
            assert ask(wrapped, request(REMOTE_ADDR="2001:db8::1")).body == CONTENT
            assert wrapped.signing_failures == 0  # it was not even tried

    def test_a_near_client_with_ipv4_gets_a_bound_one_where_nothing_can_be_presigned(self):
        wrapped = near_wrap(presign=Presigner(OSError()), bindip=True, networks="198.51.100.0/24")
        assert "Policy=" in location(wrapped, "198.51.100.1")


class TestReuse:
    def test_a_url_is_presigned_once_in_a_window_whatever_the_number_of_pulls(self):
        presign, now = Presigner(), [1_700_000_000.0]
        wrapped = near_wrap(presign=presign, duration=1200, window=300, clock=lambda: now[0])
        for _ in range(100):
            now[0] += 6
            location(wrapped)
        # 600 seconds touch two windows or three.
        assert len(presign.asked) == len({expires for _, expires in presign.asked})
        assert 2 <= len(presign.asked) <= 3

    def test_both_ways_expire_on_the_same_grid(self):
        wrapped = near_wrap(clock=lambda: 1_700_000_000)
        ends = {parse_qs(urlsplit(location(wrapped, address)).query)["Expires"][0] for address in (NEAR, FAR)}
        assert len(ends) == 1

    @given(
        duration=st.integers(4, 10_000),
        now=st.floats(1e9, 2e9),
        ages=st.lists(st.floats(0, 5000), max_size=5),
        end=st.floats(-100, 20_000),
    )
    def test_no_url_outlives_its_time_or_dies_too_soon(
        self, duration: int, now: float, ages: list[float], end: float
    ):
        """Whatever the credentials' end, and whatever was remembered before."""
        moment = [now]
        window = ExpiryWindow(duration)
        urls = PresignedURLs(Presigner(end=now + end), window, clock=lambda: moment[0])
        for age in [0.0, *sorted(ages)]:
            moment[0] = now + age
            try:
                url = urls.url(KEY, DIGEST.hex)
            except Unusable:
                assert end - age < 60 + 1
                continue
            left = int(parse_qs(urlsplit(url).query)["Expires"][0]) - moment[0]
            assert min(60, duration - window.window) <= left <= min(duration, end - age + 1)

    def test_renewed_credentials_take_over_before_the_old_ones_end(self):
        now, presign = [1_700_000_000.0], Presigner(end=1_700_000_200)
        urls = PresignedURLs(presign, ExpiryWindow(4000, 2000), clock=lambda: now[0])
        first = urls.url(KEY, "0" * 64)
        now[0] += 100
        assert urls.url(KEY, "0" * 64) == first
        presign.end = 1_700_009_999
        now[0] += 50
        assert urls.url(KEY, "0" * 64) != first
        assert len(presign.asked) == 2

    def test_memory_is_bounded_and_the_least_recently_used_is_forgotten(self):
        presign = Presigner()
        urls = PresignedURLs(presign, ExpiryWindow(1200), cache_size=3, clock=lambda: 1_700_000_000)
        for name in ("a", "b", "c", "a", "d", "a"):
            urls.url(name, "0" * 64)
        assert [name for name, _ in presign.asked] == ["a", "b", "c", "d"]
        urls.url("b", "0" * 64)
        assert [name for name, _ in presign.asked] == ["a", "b", "c", "d", "b"]

    def test_a_process_forked_while_another_thread_remembers_does_not_wait_for_it(self):
        urls = PresignedURLs(Presigner(), ExpiryWindow(1200), clock=lambda: 1_700_000_000)
        urls.url("a", "0" * 64)
        with urls._made._memory().lock:
            process = os.fork()
            if process == 0:
                signal.alarm(5)  # ends it if it waits
                urls.url("a", "0" * 64)
                os._exit(0)
        assert os.waitpid(process, 0)[1] == 0

    def test_each_object_has_its_own_url(self):
        urls = PresignedURLs(Presigner(), ExpiryWindow(1200), clock=lambda: 1_700_000_000)
        assert len({urls.url(name, "0" * 64) for name in ("a", "b", "a")}) == 2


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"networks": "10.0.0.0/33"}, "networks: '10.0.0.0/33' is not a network"),
            ({"networks": ["10.0.0.1/8"]}, "networks: '10.0.0.1/8' is not a network: bits"),
            ({"networks": [None]}, "networks[0]: None is not text"),
            ({"networks": {"a": 1}}, "networks: "),
            ({"ipfilteredby": "awz"}, "did you mean 'aws'?"),
            ({"ipfilteredby": "awsregion"}, "awsregion: this option is required"),
            ({"ipfilteredby": "awsregion", "awsregion": " , "}, "awsregion: this option is required"),
            ({"ipfilteredby": "awsregion", "awsregion": "eu-west-3; us"}, "awsregion: "),
            ({"ipfilteredby": "aws", "iprangesurl": "http://ip-ranges.example/"}, "iprangesurl: only https"),
            ({"ipfilteredby": "aws", "iprangesurl": "ip-ranges.example"}, "iprangesurl: it is not a URL"),
            ({"ipfilteredby": "aws", "iprangesfile": "/no/such/file"}, "iprangesfile: /no/such/file: cannot"),
            ({"ipfilteredby": "aws", "updatefrequency": "often"}, "updatefrequency: "),
            ({"ipfilteredby": "aws", "updatefrenquency": "0s"}, "updatefrenquency: "),
        ],
    )
    def test_one_that_cannot_work_is_named_in_one_line(self, options: dict[str, Any], said: str):
        with pytest.raises(ConfigError) as caught:
            wrap(App(), presign=Presigner(), **options)
        assert said in str(caught.value)
        assert str(caught.value).isprintable()

    @pytest.mark.parametrize("options", [{"networks": "10.0.0.0/8"}, {"ipfilteredby": "aws"}])
    def test_without_anything_that_presigns_the_error_says_what_is_needed(self, options: dict[str, str]):
        with pytest.raises(ConfigError, match=r"storage\.s3 in a config\.yml, or presign=") as caught:
            wrap(App(), **options)
        assert str(caught.value).startswith(next(iter(options)))

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"ipfilteredby": "none"},
            {"ipfilteredby": ""},
            {"ipfilteredby": " None ", "networks": ""},
            {"networks": []},
        ],
    )
    def test_where_nobody_is_near_nothing_has_to_presign(self, options: dict[str, Any]):
        assert location(wrap(App(), **options)).startswith(EDGE)

    def test_a_misspelling_of_distributions_is_understood_with_a_warning(self, caplog):
        wrap(App(), presign=Presigner(), ipfilteredby="aws", updatefrenquency="1h")
        assert "updatefrenquency: is taken for updatefrequency" in caplog.text

    def test_a_region_that_has_no_effect_is_named(self, caplog):
        wrap(App(), presign=Presigner(), ipfilteredby="aws", awsregion="eu-west-3")
        assert "awsregion: has no effect" in caplog.text

    def test_constructing_starts_no_thread(self):
        before = threading.active_count()
        wrap(App(), presign=Presigner(), ipfilteredby="aws")
        assert threading.active_count() == before


class TestAws:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        file = tmp_path / "ip-ranges.json"
        file.write_text(ranges(("52.0.0.0/16", "us-east-1"), ("35.180.0.0/16", "eu-west-3")))
        return file

    def test_all_of_its_regions(self, file: Path):
        assert fronts(file, ipfilteredby="aws") == ["s3", "s3", "edge"]

    @pytest.mark.parametrize("named", ["eu-west-3", "EU-West-3, ap-south-1", ["eu-west-3"]])
    def test_some_of_its_regions(self, file: Path, named: Any):
        assert fronts(file, ipfilteredby="awsregion", awsregion=named) == ["edge", "s3", "edge"]

    def test_its_regions_and_networks_of_ones_own(self, file: Path):
        own = {"networks": [f"{FAR}/32"]}
        assert fronts(file, ipfilteredby="aws", **own) == ["s3", "s3", "s3"]
        assert fronts(file, ipfilteredby="none", **own) == ["edge", "edge", "s3"]


class TestFromAConfigurationFile:
    def s3(self, **more: Any) -> dict[str, Any]:
        keys = {"accesskey": "AKIDTEST", "secretkey": "a-very-secret-key"}
        return {"s3": {"region": "eu-west-3", "bucket": "registry", **keys, **more}}

    def test_the_storage_presigns_with_its_root_directory(self, tmp_path):
        wrapped = config(tmp_path, self.s3(rootdirectory="/team"), networks=NETWORKS).wrap(App())
        parts = urlsplit(location(wrapped))
        assert parts.hostname == "registry.s3.eu-west-3.amazonaws.com"
        assert unquote(parts.path) == f"/team/{KEY}"
        assert "X-Amz-Signature" in parts.query
        assert location(wrapped, FAR).startswith(EDGE)

    def test_the_snapshot_is_looked_for_beside_the_file(self, tmp_path):
        (tmp_path / "ranges.json").write_text(ranges(("10.0.0.0/8", "eu-west-3")))
        given = {"ipfilteredby": "aws", "iprangesfile": "ranges.json"}
        wrapped = config(tmp_path, self.s3(), **given).wrap(App())
        try:
            assert "X-Amz-Signature" in location(wrapped)
        finally:
            wrapped.close()

    def test_a_storage_that_cannot_presign_is_an_error(self, tmp_path):
        with pytest.raises(ConfigError, match=r"config\.yml: middleware\.storage\[0\]\.options\.networks: "):
            config(tmp_path, {"inmemory": {}}, networks=NETWORKS)

    def test_another_bucket_than_the_storages_is_an_error(self, tmp_path):
        with pytest.raises(ConfigError, match=r"options\.bucket: must be that of storage\.s3"):
            config(tmp_path, self.s3(), networks=NETWORKS, bucket="images")
        assert config(tmp_path, self.s3(), networks=NETWORKS, bucket="registry").wrap(App())

    @pytest.mark.parametrize("name", ["presign", "clock"])
    def test_what_only_python_can_give_is_no_option_of_the_file(self, tmp_path, name: str):
        with pytest.raises(ConfigError, match=f"options.{name}: there is no such option"):
            config(tmp_path, self.s3(), **{name: "x"})
