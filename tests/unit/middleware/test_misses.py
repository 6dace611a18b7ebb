"""A wrapper that never redirects says why: once for each reason, with the option to set, and counts it."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import pytest
from lab.apps import BLOB, DIGEST, App, Body, ask, request, wrap

from cfmiddleware.middleware import misses
from cfmiddleware.process.throttle import Throttle

SAID = ("Docker-Content-Digest", str(DIGEST))
QUERY = "?X-Amz-Expires=60&X-Amz-Signature=5ec2e7"
AWS = "https://images.s3.eu-west-3.amazonaws.com"


def redirect(location: str, *headers: tuple[str, str]) -> App:
    return App("302 Found", [("Location", location + QUERY), *headers], lambda: Body([b"elsewhere"]))


def declining(environ: dict[str, Any], start_response: Any) -> Any:
    environ["cfmiddleware.probe"].decline()
    start_response("200 OK", [SAID])
    return [b"x"]


#: A reason, the app, the wrapper's options, and what the line says of both.
CASES: list[tuple[str, Any, dict[str, Any], list[str]]] = [
    ("no-digest", App(headers=[]), {}, ["without Docker-Content-Digest", "requiredigest: false"]),
    ("other-digest", App(headers=[("Docker-Content-Digest", "sha256:0")]), {}, ["Docker-Content-Digest"]),
    ("html", App(headers=[SAID, ("Content-Type", "text/html; charset=utf-8")]), {}, ["text/html", "prefix"]),
    (
        "no-bucket",
        redirect(f"{AWS}/docker/x"),
        {},
        ["'images.s3.eu-west-3.amazonaws.com' (bucket 'images', it seems)", "set bucket"],
    ),
    (
        "no-bucket",
        redirect("https://s3.eu-west-3.amazonaws.com/images/x"),
        {},
        ["(bucket 'images', it seems)"],
    ),
    ("no-bucket", redirect("http://minio:9000/images/x"), {}, ["'minio:9000', and bucket is not set"]),
    ("other-bucket", redirect(f"{AWS}/docker/x"), {"bucket": "imags"}, ["'images', and bucket is 'imags'"]),
    (
        "other-bucket",
        redirect("https://s3.amazonaws.com/images/x"),
        {"bucket": "imags"},
        ["'images', and bucket is 'imags'"],
    ),
    (
        "other-bucket",
        redirect("http://minio:9000/images/x"),
        {"bucket": "imags", "regionendpoint": "http://minio:9000"},
        ["'images', and bucket is 'imags'"],
    ),
    (
        "other-bucket",
        redirect("http://images.minio:9000/x"),
        {"bucket": "imags", "regionendpoint": "http://minio:9000"},
        ["'images', and bucket is 'imags'"],
    ),
    (
        "no-endpoint",
        redirect("http://minio:9000/images/x"),
        {"bucket": "images"},
        ["'minio:9000'", "set regionendpoint"],
    ),
    (
        "other-endpoint",
        redirect("https://s3.example.com/images/x"),
        {"bucket": "images", "regionendpoint": "http://minio:9000"},
        ["'s3.example.com', and regionendpoint is 'minio:9000'", "set regionendpoint"],
    ),
    (
        "other-endpoint",
        redirect("https://minio/images/x"),
        {"bucket": "images", "regionendpoint": "http://minio"},
        ["'minio:443', and regionendpoint is 'minio:80'", "set regionendpoint"],
    ),
    (
        "other-endpoint",
        redirect("http://minio:9001/images/x"),
        {"bucket": "images", "regionendpoint": "http://minio:9000"},
        ["'minio:9001', and regionendpoint is 'minio:9000'"],
    ),
    ("other-endpoint", redirect(f"{AWS}/x"), {"bucket": "images", "regionendpoint": "http://minio:9000"}, []),
    ("own-redirect", redirect("/login"), {"bucket": "images"}, ["to itself"]),
    (
        "unclear-redirect",
        redirect(f"{AWS}/x?versionId=1&"),
        {"bucket": "images"},
        ["bucket 'images', but not"],
    ),
    ("unclear-redirect", redirect("https://a@images.s3.amazonaws.com/x"), {"bucket": "images"}, []),
    ("unclear-redirect", redirect("https://["), {"bucket": "images"}, []),
    ("unclear-redirect", App("302 Found", []), {"bucket": "images"}, ["0 Location headers"]),
    ("other-digest", redirect(f"{AWS}/x", ("Docker-Content-Digest", "x")), {"bucket": "images"}, []),
    (
        "origin-path",
        redirect(f"{AWS}/other/x"),
        {"bucket": "images", "rootdirectory": "/team"},
        ["'other/x' is not below the Origin Path '/team'", "set originpath"],
    ),
    ("rewritten-path", (App(), {"RAW_URI": f"/x%2F{BLOB}"}), {}, ["letter by letter"]),
    ("other-prefix", (App(), {"PATH_INFO": f"/registry{BLOB}"}), {}, ["below '/registry'", "set prefix"]),
    ("other-prefix", App(), {"prefix": "/registry"}, ["below '', and prefix is '/registry'"]),
    (
        "ipv6-client",
        (App(), {"REMOTE_ADDR": "::1"}),
        {"bindip": True},
        ["(::1, which may be a proxy's: trustedproxies is 0)"],
    ),
    ("ipv6-client", (App(), {"REMOTE_ADDR": "2001:db8::1"}), {"bindip": True}, ["IPv6"]),
    (
        "unknown-client",
        (App(), {"REMOTE_ADDR": ""}),
        {"bindip": True},
        ["REMOTE_ADDR is ''", "trustedproxies"],
    ),
    (
        "unknown-client",
        App(),
        {"bindip": True, "trustedproxies": 1},
        ["X-Forwarded-For has fewer than 1 values"],
    ),
    (
        "unknown-client",
        (App(), {"HTTP_X_FORWARDED_FOR": '"1.2.3.4"'}),
        {"bindip": True, "trustedproxies": 1},
        ["'\"1.2.3.4\"' stands where X-Forwarded-For should have it"],
    ),
]

QUIET = [
    ("declined", declining, {}),
    ("small", App(headers=[SAID, ("Content-Length", "9")]), {"minimumsize": 10}),
]


def counted(wrapped: Any) -> dict[str, int]:
    return {reason: count for reason, count in wrapped.not_redirected.items() if count}


@pytest.mark.parametrize("probe", ["get", "head"])
@pytest.mark.parametrize(("reason", "app", "options", "said"), CASES)
def test_each_reason_is_said_once_with_the_option_to_set_and_counted(
    reason: str,
    app: Any,
    options: dict[str, Any],
    said: list[str],
    probe: str,
    caplog: pytest.LogCaptureFixture,
):
    app, more = app if isinstance(app, tuple) else (app, {})
    wrapped = wrap(app, probe=probe, **options)
    caplog.clear()
    for _ in range(3):
        assert ask(wrapped, request(**more)).code != 307
    assert counted(wrapped) == {reason: 3}
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    line = record.getMessage()
    assert [
        part for part in ("not redirected: ", reason, misses.REASONS[reason], *said) if part not in line
    ] == []
    assert "5ec2e7" not in line


@pytest.mark.parametrize(("reason", "app", "options"), QUIET)
def test_what_the_operator_or_the_app_asked_for_is_counted_and_not_said(
    reason: str, app: Any, options: dict[str, Any], caplog: pytest.LogCaptureFixture
):
    wrapped = wrap(app, **options)
    assert ask(wrapped).code == 200
    assert (counted(wrapped), caplog.records) == ({reason: 1}, [])


def test_each_reason_has_a_test():
    tested = {case[0] for case in (*CASES, *QUIET)} | {"signing", "presigning", "key-segments", "too-large"}
    assert tested == set(misses.REASONS)


def test_a_reason_is_said_again_after_a_while(caplog: pytest.LogCaptureFixture):
    now = [0.0]
    told = misses.Misses()
    told._told().throttles = {"html": Throttle(misses.INTERVAL, lambda: now[0])}
    for seconds in (0, 1, misses.INTERVAL - 1, misses.INTERVAL, misses.INTERVAL + 1):
        now[0] = seconds
        told.tell(misses.Miss("html", "a page"))
    assert [record.getMessage()[-7:-1] for record in caplog.records] == ["pull 1", "pull 4"]


@pytest.mark.parametrize(
    "status", ["304 Not Modified", "401 Unauthorized", "404 Not Found", "416 Range", "500 X"]
)
def test_what_the_app_refuses_is_not_counted(status: str, caplog: pytest.LogCaptureFixture):
    wrapped = wrap(App(status, [("Location", "http://elsewhere/x")]))
    for more in ({}, {"RAW_URI": "/x"}, {"PATH_INFO": f"/x{BLOB}"}):
        ask(wrapped, request(**more))
    assert (counted(wrapped), caplog.records) == ({}, [])


def test_a_redirect_leaves_nothing_to_say(caplog: pytest.LogCaptureFixture):
    wrapped = wrap(redirect(f"{AWS}/x"), bucket="images")
    assert ask(wrapped).code == 307
    assert (counted(wrapped), caplog.records) == ({}, [])


def test_the_origin_path_is_said_where_nobody_has_set_up_logging():
    """As under Flask and Django, where Python's handler of last resort shows warnings alone."""
    program = (
        "from cfmiddleware import CloudFrontMiddleware\n"
        "from cfmiddleware.signing.keys import generate\n"
        "CloudFrontMiddleware(None, baseurl='d1.cloudfront.net', privatekey=generate('rsa').private_pem,"
        " keypairid='K1', rootdirectory='/team')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.startswith(
        "the Origin Path of the CloudFront distribution must be '/team'; if it is blank"
    )


def test_the_origin_path_is_said_where_logging_has_no_level(caplog: pytest.LogCaptureFixture):
    """As after ``logging.basicConfig()``."""
    with caplog.at_level(logging.WARNING):
        wrap(App(), rootdirectory="/team")
    assert [record.levelname for record in caplog.records if "Origin Path" in record.message] == ["WARNING"]


@pytest.mark.parametrize("when", ["before", "after"], ids="configured {} the app is wrapped".format)
def test_a_configuration_of_logging_without_the_package_does_not_silence_it(
    when: str, caplog: pytest.LogCaptureFixture
):
    """As Django's ``LOGGING`` does without ``disable_existing_loggers: False``."""
    loggers = [logging.getLogger(name) for name in ("cfmiddleware", "cfmiddleware.signing")]
    wrapped = None if when == "before" else wrap(App(headers=[]))
    for logger in loggers:
        logger.disabled = True
    ask(wrapped or wrap(App(headers=[])))
    assert "without Docker-Content-Digest" in caplog.text
    assert not any(logger.disabled for logger in loggers)


def test_the_origin_path_is_no_warning_where_logging_is_set_up(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    wrap(App(), rootdirectory="/team")
    assert [(record.levelname, "Origin Path" in record.message) for record in caplog.records] == [
        ("INFO", True)
    ]
