"""Pulp behind the wrapper, started as `docs/pulp.rst` says: pushes, pulls, and where the blobs come from."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest
from lab.clients import Skopeo
from lab.images import Image, blob_file, make_image
from lab.pulp import PASSWORD, running_pulp
from lab.required import require_ceph
from lab.servers import S3Server
from lab.serving import Answer, ask
from lab.wrapped import DISTRIBUTION, KEY_PAIR_ID, block, edge, environment_of

PAGE = "pulp"


class Pulp(NamedTuple):
    """A Pulp with an image in it."""

    port: int
    edge: str
    image: Image
    skopeo: Skopeo

    def ask(self, method: str, digest: str, token: str | None) -> Answer:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return ask(method, f"http://127.0.0.1:{self.port}/v2/team/app/blobs/{digest}", headers=headers)

    def token(self) -> str:
        basic = base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
        query = f"service=127.0.0.1:{self.port}&scope=repository:team/app:pull"
        answer = ask(
            "GET", f"http://127.0.0.1:{self.port}/token/?{query}", headers={"Authorization": f"Basic {basic}"}
        )
        token: str = json.loads(answer.body)["token"]
        return token


@pytest.fixture(scope="module")
def pulp(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Pulp]:
    programs = environment_of("pulp")
    require_ceph()
    here = tmp_path_factory.mktemp("pulp")
    here.chmod(0o755)
    skopeo = Skopeo.ready(here / "skopeo")
    s3: S3Server = request.getfixturevalue("ceph")
    bucket = s3.new_bucket()
    image = make_image(here / "image")
    with edge(here, s3, bucket, "/pulp-prod") as url:
        config = block(PAGE, "middleware:").replace("/etc/pulp", str(here)).replace(DISTRIBUTION, url)
        config = config.replace("bucket: pulp3 ", f"regionendpoint: {s3.endpoint}\n        bucket: {bucket} ")
        (here / "cloudfront.yml").write_text(config)
        command = block(PAGE, "CFMIDDLEWARE_CONFIG=").strip().replace("/etc/pulp", str(here))
        with running_pulp(programs, here, s3, bucket, f"env {command}", {}) as port:
            skopeo.log_in(f"127.0.0.1:{port}", "admin", PASSWORD)
            skopeo.push(image.layout, f"127.0.0.1:{port}/team/app:1")
            yield Pulp(port, url, image, skopeo)


def test_every_blob_is_redirected_to_cloudfront_which_has_its_bytes(pulp: Pulp):
    token = pulp.token()
    for digest in pulp.image.blobs:
        answer = pulp.ask("GET", digest, token)

        assert answer.status == 307
        location = answer.headers["Location"]
        assert location.startswith(f"{pulp.edge}/artifact/")
        assert parse_qs(urlsplit(location).query)["Key-Pair-Id"] == [KEY_PAIR_ID]
        assert ask("GET", location).body == blob_file(pulp.image.layout, digest).read_bytes()


def test_a_real_client_pulls_what_it_pushed(pulp: Pulp, tmp_path: Path):
    pulp.skopeo.pull(f"127.0.0.1:{pulp.port}/team/app:1", tmp_path / "pulled")

    for digest in (pulp.image.manifest, *pulp.image.blobs):
        assert (
            blob_file(tmp_path / "pulled", digest).read_bytes()
            == blob_file(pulp.image.layout, digest).read_bytes()
        )


def test_what_pulp_refuses_is_handed_on(pulp: Pulp):
    nothing = "sha256:" + "0" * 64

    assert pulp.ask("GET", nothing, pulp.token()).status == 404
    for digest in (pulp.image.config, nothing):
        refused = pulp.ask("GET", digest, "no.token.at-all")
        assert refused.status in {401, 403}
        assert "Location" not in refused.headers


def test_a_head_goes_to_s3_as_before(pulp: Pulp):
    answer = pulp.ask("HEAD", pulp.image.config, pulp.token())

    assert answer.status == 302
    assert "X-Amz-Signature" in answer.headers["Location"]
