"""Quay's own registry app behind the wrapper, as `docs/quay.rst` says: pushes, pulls, where the blobs are."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
from lab.quay import PASSWORD, USER, checkout, running_quay
from lab.required import require_ceph
from lab.servers import S3Server
from lab.serving import Answer, ask
from lab.wrapped import DISTRIBUTION, KEY_PAIR_ID, block, edge, environment_of

PAGE, REPOSITORY = "quay", "devtable/simple"

LAYER = b"a layer" * 1000
DIGEST = "sha256:" + hashlib.sha256(LAYER).hexdigest()


class Quay(NamedTuple):
    """A Quay, running."""

    port: int
    edge: str

    def token(self, actions: str) -> str:
        basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        query = f"service=127.0.0.1:{self.port}&scope=repository:{REPOSITORY}:{actions}"
        url = f"http://127.0.0.1:{self.port}/v2/auth?{query}"
        token: str = json.loads(ask("GET", url, headers={"Authorization": f"Basic {basic}"}).body)["token"]
        return token

    def ask(self, method: str, digest: str, token: str | None) -> Answer:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return ask(
            method,
            f"http://127.0.0.1:{self.port}/v2/{REPOSITORY}/blobs/{digest}",
            headers=headers,
            timeout=60,
        )

    def push(self, layer: bytes) -> None:
        headers = {"Authorization": f"Bearer {self.token('pull,push')}"}
        url = f"http://127.0.0.1:{self.port}/v2/{REPOSITORY}/blobs/uploads/"
        begun = ask("POST", url, b"", headers, timeout=60)
        assert begun.status == 202, begun.body
        digest = "sha256:" + hashlib.sha256(layer).hexdigest()
        ended = ask(
            "PUT", urljoin(url, begun.headers["Location"]) + f"?digest={digest}", layer, headers, timeout=60
        )
        assert ended.status == 201, ended.body


@pytest.fixture(scope="module")
def quay(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Quay]:
    programs, source = environment_of("quay"), checkout()
    require_ceph()
    here = tmp_path_factory.mktemp("quay")
    (here / "conf").mkdir()
    s3: S3Server = request.getfixturevalue("ceph")
    bucket = s3.new_bucket()
    with edge(here / "conf", s3, bucket, "/datastorage") as url:
        config = block(PAGE, "middleware:").replace(DISTRIBUTION, url).replace("conf/pk-", "pk-")
        config = config.replace("bucket: quay ", f"regionendpoint: {s3.endpoint}\n        bucket: {bucket} ")
        (here / "conf/cloudfront.yml").write_text(config)
        (here / "conf/gunicorn_cloudfront.py").write_text(block(PAGE, "from conf.gunicorn_registry"))
        command = block(PAGE, "CFMIDDLEWARE_CONFIG=").strip()
        with running_quay(programs, source, here, s3, bucket, f"env {command}") as port:
            quay = Quay(port, url)
            quay.push(LAYER)
            yield quay


def test_a_blob_is_redirected_to_cloudfront_which_has_its_bytes(quay: Quay):
    answer = quay.ask("GET", DIGEST, quay.token("pull"))

    assert answer.status == 307
    location = answer.headers["Location"]
    assert location.startswith(f"{quay.edge}/sha256/{DIGEST[7:9]}/{DIGEST[7:]}?")
    assert parse_qs(urlsplit(location).query)["Key-Pair-Id"] == [KEY_PAIR_ID]
    assert ask("GET", location).body == LAYER


def test_what_quay_refuses_is_handed_on(quay: Quay):
    for token in (None, "no.token.at-all"):
        answer = quay.ask("GET", DIGEST, token)
        assert answer.status == 401
        assert "Location" not in answer.headers
    assert quay.ask("GET", "sha256:" + "0" * 64, quay.token("pull")).status == 404


def test_a_head_is_answered_by_quay(quay: Quay):
    answer = quay.ask("HEAD", DIGEST, quay.token("pull"))

    assert (answer.status, answer.headers["Docker-Content-Digest"]) == (200, DIGEST)
    assert answer.headers["Content-Length"] == str(len(LAYER))
