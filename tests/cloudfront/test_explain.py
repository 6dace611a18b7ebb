"""`cfmiddleware explain` says why a signed URL is refused, and shows nothing that opens anything."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from lab.cloudfront_faults import FAULTS
from lab.cloudfront_play import BLOB, CONTENT, DIGEST, Play, PlayWire, Stage
from lab.edges import KEY_ID, configuration, crosses, dated, questions
from lab.servers import CFMIDDLEWARE, free_port
from lab.signing_material import ec_key, pair, rsa_pem
from lab.wsgi_server import running_app

from cfmiddleware.cloudfront.asking import Asker
from cfmiddleware.cloudfront.explain import Question, explain
from cfmiddleware.cloudfront.findings import Finding
from cfmiddleware.cloudfront.signedurl import take_apart
from cfmiddleware.config import Config
from cfmiddleware.digest import Digest
from cfmiddleware.errors import ConfigError
from cfmiddleware.signing.keys import KeyPair
from cfmiddleware.signing.url import sign

BLOB_BYTES = b"a layer"
OTHER = Digest.of(b"not there")

S3_DENIED = (
    b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message><RequestId>R"
    b"</RequestId><HostId>H</HostId></Error>"
)
DENIED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access denied</Message></Error>"


class Place(NamedTuple):
    """A configuration whose edge runs."""

    config: Config
    base: str

    def resource(self, digest: Digest = Digest.of(BLOB_BYTES)) -> str:  # noqa: B008 (a value)
        return f"{self.base}/docker/registry/v2/blobs/sha256/{digest.hex[:2]}/{digest.hex}/data"

    def url(
        self, resource: str = "", *, lives: int = 600, key: int = 1, id: str = KEY_ID, **more: Any
    ) -> str:
        return sign(resource or self.resource(), int(time.time()) + lives, pair(id, key), **more)

    def explained(self, url: str, answer: bytes | None = None, **more: Any) -> dict[str, Finding]:
        found = list(explain(Question(self.config, url, answer, **more)))
        assert_nothing_secret("\n".join(f.says + f.mend for _, f in found), url)
        return {finding.name: finding for _, finding in found}


def assert_nothing_secret(said: str, url: str) -> None:
    for name in ("Signature=", "Policy="):
        value = url.partition(name)[2].partition("&")[0]
        for start in range(0, max(0, len(value) - 12), 6):
            assert value[start : start + 12] not in said
    assert "PRIVATE" not in said


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("explain")
    with running_app(dated(lambda environ, start_response: edge(environ, start_response))) as port:
        base = f"http://127.0.0.1:{port}"
        config = configuration(directory, base, {})
        edge = config.edge()
        digest = Digest.of(BLOB_BYTES)
        config.driver().write(
            f"/docker/registry/v2/blobs/sha256/{digest.hex[:2]}/{digest.hex}/data", BLOB_BYTES
        )
        yield Place(config, base)


@pytest.mark.parametrize("more", [{}, {"hash": "sha256"}, {"address": "127.0.0.1"}], ids=str)
def test_a_url_that_is_right_is_right(place: Place, more: dict[str, Any]):
    found = place.explained(place.url(**more))

    assert (crosses(found), questions(found)) == (set(), set())
    assert "which signs now" in found["key"].says
    assert str(Digest.of(BLOB_BYTES)) in found["object"].says
    assert "team/prod/docker" in found["object"].says
    assert found["now"].says.startswith("the URL is answered with 200")


@pytest.mark.parametrize(
    ("make", "name", "said"),
    [
        (lambda place: place.url(lives=-7200), "expiry", "2 hours ago"),
        (lambda place: place.url(id="KOTHER"), "key", "KOTHER, which is not known here"),
        (lambda place: place.url(key=2), "signature", "another key signed it"),
        (lambda place: place.url().replace("http:", "https:"), "signature", "the scheme was changed"),
        (lambda place: place.url().replace("127.0.0.1", "localhost"), "signature", "the host was changed"),
        (lambda place: place.url() + "&utm_source=x", "signature", "further parameters were added"),
        (lambda place: place.url() + "&Expires=1", "parameters", "Expires"),
        (lambda place: place.url(address="127.0.0.1")[:-200], "key", "no Key-Pair-Id"),
        (lambda place: place.url(place.resource(OTHER)), "object", "no object is at its key"),
        (lambda place: place.resource(), "signature", "its query was cut off"),
        (
            lambda place: place.url(place.resource(), address="127.0.0.1").replace("Policy=", "Policy=x"),
            "expiry",
            "policy cannot be read",
        ),
    ],
)
def test_what_is_wrong_with_a_url_is_said_offline(
    place: Place, make: Callable[[Place], str], name: str, said: str
):
    url = make(place)
    found = place.explained(url, online=False)

    assert name in crosses(found), found
    assert said in found[name].says
    assert found[name].mend


@pytest.mark.parametrize(
    ("make", "answer", "said"),
    [
        (lambda place: place.url(lives=-60), DENIED, "it expired at"),
        (lambda place: place.url(key=2), DENIED, "its signature is wrong"),
        (lambda place: place.url(address="192.0.2.7"), DENIED, "another address than 192.0.2.7"),
        (lambda place: place.url(id="KOTHER"), DENIED, "KOTHER is not known here"),
        (lambda place: place.url(place.resource(OTHER)), S3_DENIED, "no object is at its key"),
        (lambda place: place.url(), S3_DENIED, "the object is there"),
        (
            lambda place: place.url(),
            b"HTTP/1.1 403 Forbidden\r\nServer: CloudFront\r\n\r\n<HTML>Request blocked.</HTML>",
            "CloudFront blocks the request",
        ),
        (lambda place: place.url(), b"HTTP/1.1 200 OK\r\n\r\nbytes", "no refusal"),
    ],
)
def test_an_answer_is_explained_by_the_url(
    place: Place, make: Callable[[Place], str], answer: bytes, said: str
):
    found = place.explained(make(place), answer, online=False)

    assert said in found["answer"].says


def test_an_answer_that_the_url_explains_is_not_mended_in_another_way(place: Place):
    found = place.explained(place.url(key=2), DENIED, online=False)

    assert "rewrites URLs" in found["signature"].mend
    assert found["answer"].mend == "see what is wrong with the URL, above"


@pytest.mark.parametrize(
    ("answer", "unknown", "said"),
    [
        (BLOB_BYTES, False, "the blob itself"),
        (b"HTTP/2 304 \r\n\r\n", False, "no refusal"),
        (b"", True, "empty"),
        (b"error pulling image: 403 Forbidden", True, "a client's own words"),
        (bytes(range(256)) * 4096, True, "bytes"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_an_answer_that_is_not_a_refusal_is_not_guessed_at(
    place: Place, answer: bytes, unknown: bool, said: str
):
    found = place.explained(place.url(), answer, online=False)

    assert said in found["answer"].says
    assert (questions(found), crosses(found)) == ({"answer"} if unknown else set(), set())


def test_a_long_answer_that_is_not_a_page_takes_no_time(place: Place):
    """A pattern that began anew at each of these would take minutes."""
    found = place.explained(place.url(), b"<style" * 150_000, online=False)

    assert "another server" in found["answer"].says


def test_of_a_policy_that_cannot_be_read_no_address_is_known(place: Place):
    url = place.url(address="127.0.0.1").replace("Policy=", "Policy=x")

    assert "address" not in place.explained(url, online=False)


def test_online_an_expired_url_is_told_from_an_object_that_is_kept_back(place: Place):
    found = place.explained(place.url(lives=-60))

    assert "it expired at" in found["now"].says
    assert "signed now is answered with 200" in found["fresh"].says


@pytest.mark.parametrize(
    "change",
    [
        lambda url: url.replace("&", "&amp;"),
        lambda url: url.replace("&", "\\u0026"),
        lambda url: f'"{url}"\n',
    ],
)
def test_a_url_is_taken_as_it_stands_in_logs_and_errors(place: Place, change: Callable[[str], str]):
    found = place.explained(change(place.url()), online=False)

    assert crosses(found) == set()


def test_a_url_of_a_log_has_no_signature(place: Place):
    url = place.url().partition("Signature=")[0] + f"Signature=...&Key-Pair-Id={KEY_ID}"
    found = place.explained(url)

    assert crosses(found) == set()
    assert questions(found) == {"signature", "now"}
    assert "fresh" in found


def test_a_presigned_url_is_known_as_one(place: Place):
    found = place.explained(
        f"{place.base}/docker/x?X-Amz-Signature=0123456789abcdef&X-Amz-Date=x", online=False
    )

    assert "presigned for S3" in found["signature"].says


@pytest.mark.parametrize(
    "url", ["", "sha256:12", "/v2/x", "ftp://a/b", "http://", "http://[", "http://a/ü", "http://a b/"]
)
def test_what_is_not_a_url_is_one_line_that_does_not_repeat_it(place: Place, url: str):
    with pytest.raises(ConfigError, match=r"^the URL "):
        place.explained(url)


@given(st.text())
def test_no_text_is_too_strange(text: str):
    with contextlib.suppress(ConfigError):
        assert take_apart("http://a/" + text).parts.hostname == "a"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("no bucket policy", "the object is there, so the bucket's policy"),
        ("the KMS key's policy lacks CloudFront", "KMS key keeps CloudFront out"),
        ("the origin's host has no region", "in another region"),
        ("disabled", "no distribution that is enabled"),
        ("the public key is another one's half", "or the public key under this id is another one"),
        ("an error is in the cache", "the object is there"),
    ],
)
def test_faults_of_cloudfronts_side_are_explained_online(stage: Stage, tmp_path: Path, fault: str, said: str):
    play = Play(stage, tmp_path)
    FAULTS[fault].make(play)
    play.stage.data.deploy()
    config = play.config()
    url = sign(
        f"{play.options['baseurl']}/{BLOB}",
        int(time.time()) + 600,
        KeyPair(play.key, ec_key()),
        address="127.0.0.1",
    )

    found = {
        finding.name: finding for _, finding in explain(Question(config, url, asker=Asker(PlayWire(play))))
    }

    assert said in found["now"].says
    assert ("cached-error" in found) == (fault == "an error is in the cache")
    assert str(DIGEST) in found["object"].says
    assert f"{len(CONTENT)} bytes" in found["object"].says


def run(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([CFMIDDLEWARE, "explain", *arguments], capture_output=True, text=True, input=text)


def test_what_the_storage_logs_is_not_said_twice(tmp_path: Path):
    configuration(tmp_path, "https://blobs.example.com", {})
    file = tmp_path / "config.yml"
    tree = yaml.safe_load(file.read_text())
    nobody = f"http://127.0.0.1:{free_port()}"
    tree["storage"] = {"s3": {"bucket": "b", "region": "eu-west-3", "regionendpoint": nobody}}
    file.write_text(yaml.safe_dump(tree))

    done = run("--config", str(file), "--offline", "https://blobs.example.com/docker/x")

    assert (done.returncode, done.stderr) == (1, "")
    assert "the storage does not say whether it is there" in done.stdout


def test_the_command_prints_what_can_be_pasted_into_a_ticket(tmp_path: Path):
    configuration(tmp_path, "https://blobs.example.com", {})
    config = str(tmp_path / "config.yml")
    resource = "https://blobs.example.com/docker/registry/v2/x"
    url = sign(resource, int(time.time()) - 60, pair(KEY_ID), address="192.0.2.7")
    answer = tmp_path / "answer.xml"
    answer.write_bytes(DENIED.replace(b"Access denied", b"Access denied: " + url.encode()))

    for given_url, text in ((url, ""), ("-", url + "\n")):
        done = run("--config", config, "--offline", "--answer", str(answer), given_url, text=text)

        assert done.returncode == 1, done.stderr
        assert_nothing_secret(done.stdout + done.stderr, url)
        assert rsa_pem().split("\n")[3] not in done.stdout
        assert "it expired at" in done.stdout
        assert "192.0.2.7" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--config", "no-such.yml", "https://a/b"], "no-such.yml"),
        (["--config", "{config}", "--answer", "no-such-file", "https://a/b"], "--answer: no-such-file"),
        (["--config", "{config}", "sha256:12?Signature=secret"], "the URL must begin with"),
        (["--config", "{config}", "-"], "the URL must begin with"),
    ],
    ids=str,
)
def test_a_mistake_is_one_line(tmp_path: Path, arguments: list[str], said: str):
    configuration(tmp_path, "https://blobs.example.com", {})
    done = run(*(argument.format(config=tmp_path / "config.yml") for argument in arguments))

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert said in done.stderr
    assert "secret" not in done.stderr
