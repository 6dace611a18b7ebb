"""What a client gets: the redirect, or the app's own response."""

from __future__ import annotations

import io
import itertools
import logging
from urllib.parse import parse_qs, urlsplit

import pytest
from lab.apps import (
    BLOB,
    CONTENT,
    DIGEST,
    EDGE,
    KEY,
    KEY_PAIR_ID,
    App,
    Body,
    Exchange,
    ask,
    key,
    request,
    wrap,
)

from cfmiddleware.digest import Digest
from cfmiddleware.middleware.pull import Pull
from cfmiddleware.signing.keys import load_public_key
from cfmiddleware.signing.verify import Refused, Verifier

SAID = ("Docker-Content-Digest", str(DIGEST))


def check(url: str, *, address: str | None = None, now: float = 1_700_000_000) -> None:
    """Check a URL as CloudFront does."""
    public = load_public_key(key(1).public_pem, "key of the test")
    Verifier({KEY_PAIR_ID: public}).check(url, now, address)


def clock() -> float:
    return 1_700_000_000


def test_the_redirect_has_its_five_headers_and_nothing_of_the_apps():
    app = App(
        headers=[
            SAID,
            ("Set-Cookie", "session=1"),
            ("ETag", '"x"'),
            ("Content-Length", "9"),
            ("Content-Type", "application/octet-stream"),
            ("Cache-Control", "max-age=31536000"),
        ]
    )
    answer = ask(wrap(app))
    assert answer.headers == [
        ("Location", answer.location),
        ("Docker-Content-Digest", str(DIGEST)),
        ("Docker-Distribution-API-Version", "registry/2.0"),
        ("Cache-Control", "private, no-store"),
        ("Content-Length", "0"),
    ]
    assert (answer.code, answer.body) == (307, b"")


@pytest.mark.parametrize("said", ["a list", "a generator", "a generator that ends at once"])
@pytest.mark.parametrize("answer", ["redirected", "handed on"])
def test_every_response_has_a_chunk_because_some_servers_send_nothing_without_one(
    said: str, answer: str, monkeypatch: pytest.MonkeyPatch
):
    bodies = {"a list": [b""], "a generator": iter([b""]), "a generator that ends at once": iter([])}
    if answer == "handed on":
        monkeypatch.setattr(Pull, "sign", lambda pull: False)
    exchange = Exchange(wrap(App(body=lambda: bodies[said])), request())
    assert list(exchange.response) == [b""]
    assert exchange.code == (307 if answer == "redirected" else 200)


@pytest.mark.parametrize("hash", ["sha1", "sha256"])
def test_the_location_is_the_blobs_url_signed_for_as_long_as_asked(hash: str):
    location = str(ask(wrap(App(), clock=clock, hash=hash, duration="10m", window=60)).location)
    assert location.startswith(f"{EDGE}/{KEY}?Expires=")
    check(location, now=clock() + 539)
    with pytest.raises(Refused):
        check(location, now=clock() + 601)


def test_repeats_within_a_window_are_the_same_url_and_one_signature():
    wrapped = wrap(App(), clock=clock)
    assert len({ask(wrapped).location for _ in range(20)}) == 1
    assert wrapped._signer.signatures == 1


def test_the_path_of_the_base_url_stays_in_front():
    answer = ask(wrap(App(), baseurl="cdn.example:8443/images/", rootdirectory="/team/prod"))
    assert str(answer.location).startswith(f"https://cdn.example:8443/images/{KEY}?")


def test_a_part_of_the_blob_is_as_good_a_yes():
    assert ask(wrap(App("206 Partial Content"))).code == 307


def test_sha512_is_a_digest_too():
    digest = Digest.of(CONTENT, "sha512")
    answer = ask(
        wrap(App(headers=[("docker-content-digest", str(digest))])), request(f"/v2/a/blobs/{digest}")
    )
    assert f"/blobs/sha512/{digest.hex[:2]}/{digest.hex}/data" in str(answer.location)


def test_what_is_handed_on_is_streamed_and_not_collected():
    app = App(headers=[], body=lambda: Body(itertools.repeat(b"endless")))
    exchange = Exchange(wrap(app), request())
    assert exchange.response is app.responses[0]
    assert app.responses[0].taken == 0


def test_a_file_wrapper_of_the_server_is_handed_on_as_it_is():
    class FileWrapper(Body):
        """What a server recognises, to send the file by itself."""

    app = App(headers=[("Content-Type", "text/plain")], body=lambda: FileWrapper([b"x"]))
    exchange = Exchange(wrap(app), request(**{"wsgi.file_wrapper": FileWrapper}))
    assert type(exchange.response) is FileWrapper
    assert exchange.response is app.responses[0]


def test_a_file_of_the_app_is_closed_with_its_wrapper_when_the_pull_is_redirected(tmp_path):
    from wsgiref.util import FileWrapper

    file = io.BytesIO(CONTENT)
    assert ask(wrap(App(body=lambda: FileWrapper(file)))).code == 307
    assert file.closed


class TestWhatAnAppThatKnowsTheProbeCanSay:
    def app(self, say, headers=(SAID,)):
        def app(environ, start_response):
            say(environ["cfmiddleware.probe"])
            start_response("200 OK", list(headers))
            return Body([b"x"])

        return app

    def test_where_the_object_is(self):
        app = self.app(lambda probe: probe.located("docker/elsewhere/a b", 7))
        assert str(ask(wrap(app)).location).startswith(f"{EDGE}/docker/elsewhere/a%20b?")

    def test_where_the_object_is_below_the_origin_path(self):
        app = self.app(lambda probe: probe.located("/team/prod/docker/x"))
        assert str(ask(wrap(app, rootdirectory="team/prod")).location).startswith(f"{EDGE}/docker/x?")

    @pytest.mark.parametrize(
        "named",
        ["team/production/x", "docker/x", "team/prod", "team/prod/", "team/prod/a/../b", "team/prod//x", ""],
    )
    def test_an_object_that_cloudfront_cannot_reach_for_certain_is_served_by_the_app(self, named, caplog):
        app = self.app(lambda probe: probe.located(named))
        assert ask(wrap(app, rootdirectory="/team/prod")).code == 200
        assert "not redirected" in caplog.text

    @pytest.mark.parametrize(
        ("options", "path"),
        [
            ({}, "/docker/x"),
            ({"rootdirectory": "/team/prod"}, "/docker/x"),
            ({"rootdirectory": "/team/prod", "originpath": "/team"}, "/prod/docker/x"),
            ({"rootdirectory": "/team/prod", "originpath": ""}, "/team/prod/docker/x"),
        ],
    )
    def test_where_the_object_is_below_the_root_directory(self, options, path):
        app = self.app(lambda probe: probe.placed("/docker/x", 7))
        assert str(ask(wrap(app, **options)).location).startswith(f"{EDGE}{path}?")

    def test_that_no_redirect_is_wanted(self):
        assert ask(wrap(self.app(lambda probe: probe.decline()))).code == 200

    def test_naming_an_object_is_not_a_yes_to_the_digest(self):
        assert ask(wrap(self.app(lambda probe: probe.located("docker/x"), headers=()))).code == 200

    @pytest.mark.parametrize(("size", "code"), [(99, 200), (100, 307), (0, 200)])
    def test_how_large_the_object_is(self, size, code):
        app = self.app(lambda probe: probe.located("docker/x", size))
        assert ask(wrap(app, minimumsize="100")).code == code


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ([("Content-Length", "999")], 200),
        ([("content-length", "1000")], 307),
        ([("Content-Length", "10"), ("Content-Range", "bytes 0-9/1000")], 307),
        ([("Content-Length", "10"), ("Content-Range", "bytes 0-9/999")], 200),
        ([("Content-Length", "10"), ("Content-Range", "bytes 0-9/*")], 307),
        ([("Content-Length", "")], 307),
        ([], 307),
    ],
)
def test_a_blob_known_to_be_small_is_served_by_the_app(headers, code):
    app = App(headers=[SAID, *headers])
    assert ask(wrap(app, minimumsize="1kB")).code == code


def test_a_signature_that_cannot_be_made_costs_nothing_but_the_redirect(caplog):
    wrapped = wrap(App(body=lambda: Body([b"one ", b"two"])))

    def broken(*_):
        assert wrapped.app.responses[0].closed == 0
        raise OSError("the key is on fire")

    wrapped._signer.url = broken  # type: ignore[method-assign]  # no key breaks on demand
    answer = ask(wrapped)
    assert (answer.code, answer.headers, answer.body) == (200, [SAID], b"one two")
    assert wrapped.signing_failures == 1
    assert wrapped.app.responses[0].closed == 1
    assert len(wrapped.app.environs) == 1
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert str(DIGEST) in record.getMessage()


@pytest.mark.parametrize("probe", ["head", "none"])
def test_a_signature_that_cannot_be_made_leaves_the_app_to_answer_under_every_probe(probe):
    wrapped = wrap(App(), probe=probe)
    wrapped._signer.url = lambda *_: 1 / 0  # type: ignore[method-assign]  # no key breaks on demand
    assert ask(wrapped).body == CONTENT
    assert wrapped.app.methods[-1] == "GET"


def test_the_time_a_signature_needs_is_not_taken_from_a_closed_response():
    wrapped = wrap(App())
    sign = wrapped._signer.url
    seen = []

    def signing(*arguments):
        seen.append(wrapped.app.responses[0].closed)
        return sign(*arguments)

    wrapped._signer.url = signing  # type: ignore[method-assign]  # looks at the moment of signing
    assert ask(wrapped).code == 307
    assert (seen, wrapped.app.responses[0].closed) == ([0], 1)


def test_no_signature_is_ever_logged(caplog):
    caplog.set_level(logging.DEBUG)
    location = str(ask(wrap(App())).location)
    signature = parse_qs(urlsplit(location).query)["Signature"][0]
    assert signature not in caplog.text
    assert "Signature" not in caplog.text


class TestBoundToTheClientsAddress:
    def test_the_url_serves_nobody_else(self):
        location = str(ask(wrap(App(), bindip=True, clock=clock)).location)
        check(location, address="192.0.2.7")
        for other in ("192.0.2.8", "2001:db8::7", None):
            with pytest.raises(Refused):
                check(location, address=other)

    def test_an_ipv4_client_of_an_ipv6_socket_is_one_too(self):
        environ = request(REMOTE_ADDR="::ffff:192.0.2.7")
        check(str(ask(wrap(App(), bindip="yes", clock=clock), environ).location), address="192.0.2.7")

    def test_an_ipv6_client_is_served_by_the_app(self):
        app = App()
        environ = request(REMOTE_ADDR="2001:db8::7")
        exchange = Exchange(wrap(app, bindip=True), environ)
        assert exchange.response is app.responses[0]
        assert app.environs == [environ]

    @pytest.mark.parametrize("address", ["", "unix:", '"192.0.2.7"'])
    def test_an_unknown_client_is_served_by_the_app_and_that_is_said_once(self, address, caplog):
        wrapped = wrap(App(), bindip=True)
        for _ in range(3):
            assert ask(wrapped, request(REMOTE_ADDR=address)).code == 200
        assert wrapped.not_redirected["unknown-client"] == 3
        assert len(caplog.records) == 1
        assert "set trustedproxies" in caplog.text

    @pytest.mark.parametrize(
        "address",
        [
            "10.0.3.7",
            "172.31.255.1",
            "192.168.1.1",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.1.1",
            "::ffff:10.0.3.7",
        ],
    )
    def test_a_private_loopback_or_link_local_address_is_not_bound_and_that_is_said_once(
        self, address, caplog
    ):
        wrapped = wrap(App(), bindip=True, clock=clock)
        for _ in range(3):
            environ = request(REMOTE_ADDR=address, HTTP_X_FORWARDED_FOR="203.0.113.9")
            check(str(ask(wrapped, environ).location), address="203.0.113.9")
        assert len(caplog.records) == 1
        assert "set trustedproxies" in caplog.text

    def test_an_address_with_a_port_is_read(self):
        wrapped = wrap(App(), bindip=True, trustedproxies=1, clock=clock)
        environ = request(HTTP_X_FORWARDED_FOR="203.0.113.9:4711")
        check(str(ask(wrapped, environ).location), address="203.0.113.9")

    @pytest.mark.parametrize("forged", ["198.51.100.1", '"198.51.100.1"', "2001:db8::1", "", "a, b"])
    def test_what_a_client_says_of_itself_changes_nothing(self, forged):
        environ = request(HTTP_X_FORWARDED_FOR=forged, HTTP_FORWARDED=f"for={forged}", HTTP_X_REAL_IP=forged)
        check(str(ask(wrap(App(), bindip=True, clock=clock), environ).location), address="192.0.2.7")

    def test_a_trusted_proxy_vouches_for_the_client(self):
        environ = request(HTTP_X_FORWARDED_FOR="203.0.113.9, 198.51.100.1")
        wrapped = wrap(App(), bindip=True, trustedproxies="1", clock=clock)
        check(str(ask(wrapped, environ).location), address="198.51.100.1")

    @pytest.mark.parametrize(
        "forwarded", ["198.51.100.1", '"198.51.100.1", 203.0.113.9', "198.51.100.1:x,x", ""]
    )
    def test_too_few_or_quoted_values_make_the_client_unknown(self, forwarded):
        wrapped = wrap(App(), bindip=True, trustedproxies=2)
        assert ask(wrapped, request(HTTP_X_FORWARDED_FOR=forwarded)).code == 200
        assert wrapped.not_redirected["unknown-client"] == 1

    def test_a_client_that_the_app_refuses_is_not_counted(self):
        wrapped = wrap(App("401 Unauthorized"), bindip=True)
        assert ask(wrapped, request(REMOTE_ADDR="")).code == 401
        assert set(wrapped.not_redirected.values()) == {0}

    def test_two_clients_never_share_a_url(self):
        wrapped = wrap(App(), bindip=True)
        urls = {ask(wrapped, request(REMOTE_ADDR=f"192.0.2.{n}")).location for n in range(5)}
        assert len(urls) == 5


PRESIGNED = "?X-Amz-Expires=60&X-Amz-Signature=0"
S3 = "https://images.s3.eu-west-3.amazonaws.com"


class TestRedirectsOfTheApp:
    def app(self, location, status="302 Found", *headers):
        return App(status, [("Location", location), *headers], lambda: Body([b"see elsewhere"]))

    @pytest.mark.parametrize(
        "status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"]
    )
    def test_into_the_bucket_become_signed_ones(self, status):
        app = self.app(f"{S3}/docker/x{PRESIGNED}", status)
        answer = ask(wrap(app, bucket="images"))
        assert answer.code == 307
        assert str(answer.location).startswith(f"{EDGE}/docker/x?Expires=")
        assert "X-Amz" not in str(answer.location)
        assert app.responses[0].closed == 1

    def test_as_flask_and_django_send_them_with_a_page_for_people(self):
        app = self.app(f"{S3}/docker/x", "302 FOUND", ("Content-Type", "text/html; charset=utf-8"))
        assert str(ask(wrap(app, bucket="images")).location).startswith(EDGE)

    def test_go_below_the_origin_path(self):
        app = self.app(f"{S3}/team/prod/docker/x")
        assert str(ask(wrap(app, bucket="images", rootdirectory="/team/prod")).location).startswith(
            f"{EDGE}/docker/x?"
        )

    def test_to_an_endpoint_of_ones_own_are_known(self):
        app = self.app("http://s3.local:9000/images/docker/x")
        wrapped = wrap(app, bucket="images", regionendpoint="http://s3.local:9000")
        assert str(ask(wrapped).location).startswith(f"{EDGE}/docker/x?")

    @pytest.mark.parametrize(
        ("location", "options"),
        [
            (f"{S3}/team/prod/x", {}),
            ("https://other.s3.amazonaws.com/team/prod/x", {"bucket": "images"}),
            (f"{S3}/team/prod/x?versionId=1", {"bucket": "images"}),
            (f"{S3}/team/production/x", {"bucket": "images"}),
            (f"{S3}/docker/x", {"bucket": "images"}),
            ("https://images.s3.amazonaws.com@evil/team/prod/x", {"bucket": "images"}),
            ("https://images.s3.amazonaws.com\\@evil/team/prod/x", {"bucket": "images"}),
            (f"{S3}/team/prod/../x", {"bucket": "images"}),
            ("/login?next=/v2/", {"bucket": "images"}),
            ("https://[", {"bucket": "images"}),
            ("", {"bucket": "images"}),
        ],
    )
    def test_anywhere_else_are_handed_on_as_they_are(self, location, options):
        app = self.app(location, "302 Found", ("X-Of", "the app"))
        exchange = Exchange(wrap(app, rootdirectory="/team/prod", **options), request())
        assert (exchange.status, exchange.headers) == (
            "302 Found",
            [("Location", location), ("X-Of", "the app")],
        )
        assert exchange.response is app.responses[0]

    def test_with_two_locations_are_handed_on(self):
        app = self.app(f"{S3}/a", "302 Found", ("location", f"{S3}/b"))
        assert ask(wrap(app, bucket="images")).code == 302

    def test_that_name_another_digest_are_handed_on(self):
        other = ("Docker-Content-Digest", str(Digest.of(b"other")))
        assert ask(wrap(self.app(f"{S3}/a", "302 Found", other), bucket="images")).code == 302
        assert ask(wrap(self.app(f"{S3}/a", "302 Found", SAID), bucket="images")).code == 307

    @pytest.mark.parametrize(
        "status", ["300 Multiple Choices", "304 Not Modified", "305 Use Proxy", "401 No", "201 Created"]
    )
    def test_are_told_by_their_status(self, status):
        app = self.app(f"{S3}/docker/x", status)
        assert (
            ask(wrap(app, bucket="images")).status if False else ask(wrap(app, bucket="images")).code != 307
        )

    def test_that_the_app_declines_to_have_rewritten_are_handed_on(self):
        def app(environ, start_response):
            environ["cfmiddleware.probe"].decline()
            start_response("302 Found", [("Location", f"{S3}/docker/x")])
            return []

        assert ask(wrap(app, bucket="images")).code == 302

    @pytest.mark.parametrize("origin", ["/pulp-prod", "/pulp-prod/artifact"])
    def test_go_below_an_origin_path_that_the_layout_knows_nothing_of(self, origin):
        app = self.app(f"{S3}/pulp-prod/artifact/b1/946a{PRESIGNED}")
        wrapped = wrap(app, bucket="images", originpath=origin)
        path = "/pulp-prod/artifact/b1/946a".removeprefix(origin)
        assert str(ask(wrapped).location).startswith(f"{EDGE}{path}?Expires=")

    def test_of_a_head_are_handed_on(self):
        answer = ask(wrap(self.app(f"{S3}/x{PRESIGNED}"), bucket="images"), request(method="HEAD"))
        assert (answer.code, answer.location) == (302, f"{S3}/x{PRESIGNED}")


class TestLayoutsAndTheOriginPath:
    @pytest.mark.parametrize(
        ("options", "path"),
        [
            ({}, f"/{KEY}"),
            ({"rootdirectory": "/team/prod"}, f"/{KEY}"),
            ({"rootdirectory": "team/prod/", "originpath": "/team"}, f"/prod/{KEY}"),
            ({"rootdirectory": "/team/prod", "originpath": ""}, f"/team/prod/{KEY}"),
            ({"originpath": "/docker/registry"}, KEY.removeprefix("docker/registry")),
            ({"layout": "quay"}, f"/sha256/{DIGEST.hex[:2]}/{DIGEST.hex}"),
            ({"layout": "oci", "rootdirectory": "/x"}, f"/team/app/blobs/sha256/{DIGEST.hex}"),
            ({"layout": "{root}/z z/{hex}", "rootdirectory": "/x"}, f"/z%20z/{DIGEST.hex}"),
        ],
    )
    def test_the_path_is_the_key_below_the_origin_path(self, options, path):
        assert urlsplit(str(ask(wrap(App(), **options)).location)).path == path

    def test_a_repository_outside_the_origin_path_is_served_by_the_app(self, caplog):
        wrapped = wrap(App(), layout="oci", originpath="/team")
        assert ask(wrapped).code == 307
        assert ask(wrapped, request(f"/v2/teams/app/blobs/{DIGEST}")).code == 200
        assert "not below the Origin Path" in caplog.text

    def test_a_registry_below_a_prefix_is_found_there_and_nowhere_else(self):
        wrapped = wrap(App(), prefix="/registry/")
        assert ask(wrapped, request(f"/registry{BLOB}")).code == 307
        assert ask(wrapped, request(BLOB)).code == 200
        assert ask(wrapped, request(f"/registry2{BLOB}")).code == 200
        assert ask(wrapped, request(f"/registry/registry{BLOB}")).code == 200

    def test_a_mount_outside_needs_nothing(self):
        assert ask(wrap(App()), request(SCRIPT_NAME="/registry", RAW_URI=f"/registry{BLOB}")).code == 307


@pytest.mark.parametrize(("slowly", "first", "lines"), [(True, True, 1), (True, False, 0), (False, True, 0)])
def test_a_wrapper_that_signs_slowly_says_so_if_it_is_the_first(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    slowly: bool,
    first: bool,
    lines: int,
):
    monkeypatch.setattr("cfmiddleware.middleware.wrapper.signs_slowly", lambda: slowly)
    monkeypatch.setattr("cfmiddleware.middleware.wrapper.once_in_tree", lambda name: first)
    ask(wrap(App()))
    assert caplog.text.count("cryptography is not installed") == lines
