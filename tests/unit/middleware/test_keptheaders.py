"""Headers of the app that the operator names are on the redirect; what would do harm there never is."""

from __future__ import annotations

import pytest
from lab.apps import DIGEST, App, ask, request, wrap

from cfmiddleware.errors import ConfigError

SAID = ("Docker-Content-Digest", str(DIGEST))
WANTED = "Access-Control-*, X-Request-Id, Correlation-ID"

HARMFUL = [
    *("Location", "Refresh", "Retry-After", "Link", "Content-Length", "Content-Type", "Content-Location"),
    *(
        "Content-Encoding",
        "Content-Range",
        "Transfer-Encoding",
        "Connection",
        "Keep-Alive",
        "Trailer",
        "Date",
    ),
    *("Upgrade", "TE", "Server", "Status", "Set-Cookie", "Set-Cookie2", "Cookie", "Authorization"),
    *("X-Authorization", "Authentication-Info", "WWW-Authenticate", "Proxy-Authenticate", "X-Auth-Token"),
    *(
        "X-CSRF-Token",
        "X-Api-Key",
        "X-Session-Id",
        "X-Amz-Security-Token",
        "X-JWT-Assertion",
        "Cache-Control",
    ),
    *(
        "Surrogate-Control",
        "CDN-Cache-Control",
        "Cloudflare-CDN-Cache-Control",
        "Expires",
        "X-Accel-Redirect",
    ),
    *("X-Accel-Expires", "X-Sendfile", "X-LIGHTTPD-send-file", "X-Reproxy-URL", "ETag", "Last-Modified"),
    *("Accept-Ranges", "Digest", "Repr-Digest", "Docker-Content-Digest", "Clear-Site-Data", "Alt-Svc"),
]


def test_those_that_are_named_are_kept_as_the_app_sent_them():
    kept = [
        ("Access-Control-Allow-Origin", "https://ui.example"),
        ("access-control-expose-headers", "Docker-Content-Digest"),
        ("X-Request-ID", "abc"),
        ("Correlation-ID", "0f"),
        ("Correlation-ID", "1f"),
    ]
    app = App(headers=[SAID, *kept, ("X-Other", "1"), ("Set-Cookie", "s=1"), ("ETag", '"x"')])
    answer = ask(wrap(app, keepheaders=WANTED))
    assert answer.code == 307
    assert answer.headers[5:] == kept


def test_none_is_kept_that_is_not_named():
    answer = ask(wrap(App(headers=[SAID, ("Access-Control-Allow-Origin", "*")])))
    assert len(answer.headers) == 5


@pytest.mark.parametrize("name", HARMFUL)
def test_a_name_that_would_do_harm_is_refused(name: str):
    with pytest.raises(ConfigError, match=r"^keepheaders: '.*' cannot be kept"):
        wrap(App(), keepheaders=[name])


def test_a_name_with_a_star_keeps_nothing_that_would_do_harm():
    beginnings = sorted({f"{name.partition('-')[0]}-*" for name in HARMFUL} - {"Content-*", "Docker-*"})
    allowed = []
    for beginning in beginnings:
        try:
            wrap(App(), keepheaders=beginning)
        except ConfigError:
            continue
        allowed.append(beginning)
    assert {"X-*", "Set-*", "Cache-*"} <= set(allowed)
    app = App(headers=[SAID, *((name, "x") for name in HARMFUL), ("X-Request-Id", "7")])
    app._headers = [header for header in app._headers if header != ("Docker-Content-Digest", "x")]
    assert ask(wrap(app, keepheaders=allowed)).headers[5:] == [("X-Request-Id", "7")]


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: s=1", "a\nb", "\x00", "", "\u20ac"])
def test_a_value_that_no_header_can_have_is_left_out(value: str):
    app = App(headers=[SAID, ("X-Request-Id", value)])
    assert len(ask(wrap(app, keepheaders=WANTED)).headers) == 5


def test_redirects_of_the_app_keep_them_too():
    location = "https://images.s3.amazonaws.com/x?X-Amz-Signature=0"
    app = App("302 Found", [("Location", location), ("Correlation-ID", "0f")])
    answer = ask(wrap(app, bucket="images", keepheaders=WANTED))
    assert (answer.code, answer.headers[5:]) == (307, [("Correlation-ID", "0f")])


def test_what_is_handed_on_is_as_the_app_sent_it():
    headers = [("Set-Cookie", "s=1"), ("Correlation-ID", "0f")]
    answer = ask(wrap(App("404 Not Found", headers), keepheaders=WANTED))
    assert answer.headers == headers


def test_a_remembered_yes_brings_only_what_holds_for_later_answers():
    app = App(headers=[SAID, ("X-Request-Id", "1"), ("Access-Control-Allow-Origin", "*")])
    wrapped = wrap(app, keepheaders=WANTED, probecache="30s")
    assert [name for name, _ in ask(wrapped, request()).headers[5:]] == [
        "X-Request-Id",
        "Access-Control-Allow-Origin",
    ]
    assert ask(wrapped, request()).headers[5:] == [("Access-Control-Allow-Origin", "*")]
    assert len(app.environs) == 1
