"""The storage middleware `redirect` and `rewrite`, as Distribution has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from lab.apps import ask, request

from cfmiddleware import CloudFrontMiddleware
from cfmiddleware.config import Config
from cfmiddleware.digest import Digest
from cfmiddleware.errors import ConfigError
from cfmiddleware.middleware.rewriteoptions import RewriteOptions
from cfmiddleware.signing.keys import generate
from cfmiddleware.storage.memory import MemoryDriver

DIGEST = Digest.of(b"layer")
DATA = f"/docker/registry/v2/blobs/sha256/{DIGEST.hex[:2]}/{DIGEST.hex}/data"
S3 = {
    "region": "eu-west-1",
    "bucket": "images",
    "accesskey": "AKIDEXAMPLE",
    "secretkey": "secret",
    "regionendpoint": "http://minio.internal:9000",
}


def entry(name: str, **options: Any) -> dict[str, Any]:
    return {"name": name, "options": options}


def cloudfront(**options: Any) -> dict[str, Any]:
    key = {"privatekey": generate("ecdsa").private_pem, "keypairid": "K1"}
    return entry("cloudfront", baseurl="https://d111111abcdef8.cloudfront.net", **key, **options)


def config(*entries: dict[str, Any], **sections: Any) -> Config:
    tree = {"storage": {"s3": S3}, "middleware": {"storage": list(entries)}, **sections}
    return Config(tree, "config.yml", Path())


def location(made: Config) -> str:
    """Return where the pull of a blob is sent. The app is another, so that no S3 is asked."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Docker-Content-Digest", str(DIGEST))])
        return [b"layer"]

    answer = ask(made.wrap(app), request(f"/v2/app/blobs/{DIGEST}"))
    assert answer.code == 307
    return dict(answer.headers)["Location"]


def refusal(*entries: dict[str, Any], **sections: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        config(*entries, **sections).app()
    return str(caught.value).removeprefix("config.yml: ")


def test_an_unsigned_url_of_another_cdn_is_what_a_pull_is_sent_to():
    assert location(config(entry("redirect", baseurl="https://cdn.example.com:5443"))) == (
        f"https://cdn.example.com:5443{DATA}"
    )


def test_the_root_directory_is_left_out_as_in_distribution():
    storage = {"s3": {**S3, "rootdirectory": "/team/prod"}}
    made = config(entry("redirect", baseurl="https://cdn.example.com/images"), storage=storage)

    assert location(made) == f"https://cdn.example.com/images{DATA}"


def test_a_registry_of_any_storage_is_redirected():
    made = config(entry("redirect", baseurl="https://cdn.example.com"), storage={"inmemory": None})
    app = made.app()
    driver = made.driver()
    assert isinstance(driver, MemoryDriver)

    assert ask(app, request(f"/v2/app/blobs/{DIGEST}")).code == 404
    assert made.wrap(app).signed_blob("app", DIGEST) == f"https://cdn.example.com{DATA}"


def test_what_only_a_signature_needs_does_not_go_with_a_redirect():
    cdn = {"baseurl": "https://cdn.example.com"}
    place = "middleware.storage[0].options."

    given: list[dict[str, Any]] = [{"privatekey": "k.pem"}, {"keypairid": "K1"}, {"bindip": True}]
    for signing in given:
        said = refusal(entry("redirect", **cdn, **signing))
        assert said == f"{place}{next(iter(signing))}: a redirect is not signed; the entry 'cloudfront' signs"
    assert refusal(entry("redirect")) == f"{place}baseurl: this option is required"
    assert "has no scheme" in refusal(entry("redirect", baseurl="cdn.example.com"))
    assert "there can be one cloudfront or redirect only" in refusal(cloudfront(), entry("redirect", **cdn))


@pytest.mark.parametrize("auth", [False, True])
def test_a_redirect_beside_auth_is_said_to_ask_for_nothing(auth: bool, caplog: pytest.LogCaptureFixture):
    sections = {"auth": {"htpasswd": {"realm": "r", "path": "p"}}} if auth else {}

    config(entry("redirect", baseurl="https://cdn.example.com"), **sections)

    said = [message for message in caplog.messages if "unsigned: whoever knows the URL" in message]
    assert len(said) == auth


def test_a_rewrite_changes_the_urls_of_what_comes_before_it():
    made = config(
        entry("redirect", baseurl="https://cdn.example.com"),
        entry("rewrite", host="mirror.example.com:8443", scheme="http", trimpathprefix="/docker/registry"),
    )

    assert location(made) == f"http://mirror.example.com:8443{DATA.removeprefix('/docker/registry')}"


def test_a_rewrite_before_cloudfront_changes_presigned_urls_alone():
    rewrite = entry("rewrite", host="s3.example.com")

    assert urlsplit(location(config(rewrite, cloudfront()))).netloc == "d111111abcdef8.cloudfront.net"
    near = config(rewrite, cloudfront(ipfilteredby="all"))
    assert urlsplit(location(near)).netloc == "s3.example.com"


def test_a_rewrite_alone_sends_every_client_to_s3_by_another_name():
    url = urlsplit(location(config(entry("rewrite", scheme="https", host="s3.example.com"))))

    assert (url.scheme, url.netloc, url.path) == ("https", "s3.example.com", f"/images{DATA}")
    assert "X-Amz-Signature" in parse_qs(url.query)


def test_two_rewrites_are_done_in_turn():
    made = config(
        entry("redirect", baseurl="https://cdn.example.com/a/b"),
        entry("rewrite", trimpathprefix="/a"),
        entry("rewrite", trimpathprefix="/b"),
    )

    assert location(made) == f"https://cdn.example.com{DATA}"


def test_a_rewrite_needs_urls_to_change():
    assert (
        "storage[0]: changes URLs of S3, or of an entry 'cloudfront' or 'redirect', and there are none"
        in refusal(entry("rewrite", host="a"), storage={"inmemory": None})
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hosts": "a"}, "hosts: there is no such option (did you mean 'host'?)"),
        ({"host": "https://a"}, "host: 'https://a' is not a host; write it like cdn.example.com"),
        ({"host": "a\nb"}, "host: 'a\\nb' is not a host"),
        ({"scheme": "ftp"}, "scheme: 'ftp' is none of http, https"),
        ({"trimpathprefix": True}, "trimpathprefix: True is not text"),
    ],
)
def test_a_mistake_in_a_rewrite_is_told(options: dict[str, Any], message: str):
    assert refusal(entry("rewrite", **options)).startswith(f"middleware.storage[0].options.{message}")


def test_a_path_that_does_not_begin_so_stays():
    assert RewriteOptions(trimpathprefix="/x")("https://a/b/c?d=e") == "https://a/b/c?d=e"
    assert RewriteOptions(trimpathprefix="/b/")("https://a/b/c?d=e") == "https://a/c?d=e"


def test_s3_alone_may_be_where_every_client_is_sent():
    made = config(entry("cloudfront", ipfilteredby="all"))

    assert location(made).startswith(f"http://minio.internal:9000/images{DATA}?")


def test_a_client_that_can_be_sent_nowhere_is_served_by_the_app(caplog: pytest.LogCaptureFixture):
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Docker-Content-Digest", str(DIGEST))])
        return [b"layer"]

    def presign(key: str, expires: int) -> tuple[str, int]:
        raise ValueError("no credentials")

    wrapped = CloudFrontMiddleware(app, ipfilteredby="all", presign=presign)

    assert ask(wrapped, request(f"/v2/app/blobs/{DIGEST}")).body == b"layer"
    assert wrapped.not_redirected["presigning"] == 1
    assert "look at the credentials of the storage" in caplog.text
