"""What clients without a credential get of a private repository: a question for one, and no signed URL."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from lab.auth_material import SERVICE
from lab.client_service import sizes
from lab.client_settings import CLOSED, PASSWORD, USER, Place, Setting
from lab.clients import Buildah, ClientError, Podman, Skopeo
from lab.images import Image, blobs_in
from lab.servers import S3Server
from lab.serving import Answer, ask

pytestmark = pytest.mark.clients

#: What the clients say of a 401, each in words of its own.
REFUSED = r"(?i)denied|authentication required|unauthorized|401"


@pytest.fixture(scope="module", params=CLOSED, ids=str)
def place(
    request: pytest.FixtureRequest, s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """A registry with an edge, once with each kind of log-in."""
    setting: Setting = request.param
    with setting.running(tmp_path_factory.mktemp("place"), s3_server) as place:
        yield place


@pytest.fixture
def private(place: Place, skopeo: Skopeo, image: Image) -> str:
    """The `host:port/name:tag` of an image that not everyone may pull. Only skopeo is logged in."""
    place.let_in(skopeo)
    skopeo.push(image.layout, f"{place.registry}/private/app:1")
    return f"{place.registry}/private/app:1"


def get_blob(place: Place, digest: str, headers: dict[str, str] | None = None) -> Answer:
    return ask("GET", f"http://{place.registry}/v2/private/app/blobs/{digest}", headers=headers)


def credential(place: Place, challenge: str) -> dict[str, str]:
    """Return what a client answers to a challenge that it is asked for with."""
    basic = {"Authorization": "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}
    if place.setting.auth == "htpasswd":
        return basic
    realm = challenge.partition('realm="')[2].partition('"')[0]
    query = urlencode({"service": SERVICE, "scope": "repository:private/app:pull"})
    token = json.loads(ask("GET", f"{realm}?{query}", headers=basic).body)["token"]
    return {"Authorization": f"Bearer {token}"}


def test_without_a_credential_a_blob_is_a_401_and_no_signed_url(place: Place, private: str, image: Image):
    for digest in image.blobs:
        answer = get_blob(place, digest)

        assert answer.status == 401
        assert answer.headers["Location"] is None
        assert b"Signature" not in answer.body


def test_with_the_credential_that_is_asked_for_a_blob_is_a_signed_url(
    place: Place, private: str, image: Image
):
    challenge = get_blob(place, image.config).headers["WWW-Authenticate"]

    answer = get_blob(place, image.config, credential(place, challenge))

    assert answer.status == 307
    assert "Signature=" in answer.headers["Location"]


def test_podman_pulls_only_between_its_log_in_and_its_log_out(
    place: Place, private: str, podman: Podman, image: Image
):
    seen = len(place.service.server.stderr)
    with pytest.raises(ClientError, match=REFUSED):
        podman.pull(private)
    assert not place.service.from_edge(seen)

    podman.log_in(place.registry, USER, PASSWORD)
    assert podman.pull(private) == image.config.removeprefix("sha256:")

    podman.log_out(place.registry)
    podman.forget_images()
    with pytest.raises(ClientError, match=REFUSED):
        podman.pull(private)


def test_buildah_pulls_nothing_without_a_log_in(place: Place, private: str, buildah: Buildah):
    seen = len(place.service.server.stderr)
    with pytest.raises(ClientError, match=REFUSED):
        buildah.pull(private)

    assert not place.service.from_edge(seen)


def test_skopeo_pulls_only_until_its_log_out(
    place: Place, private: str, skopeo: Skopeo, image: Image, tmp_path: Path
):
    skopeo.pull(private, tmp_path / "before")
    assert blobs_in(tmp_path / "before") == blobs_in(image.layout)

    assert place.service.has_sent(sizes(image))
    skopeo.log_out(place.registry)
    seen = len(place.service.server.stderr)
    for attempt in (
        lambda: skopeo.pull(private, tmp_path / "after"),
        lambda: skopeo.inspect(private),
        lambda: skopeo.delete(private),
        lambda: skopeo.tags(f"{place.registry}/private/app"),
    ):
        with pytest.raises(ClientError, match=REFUSED):
            attempt()
    assert not place.service.from_edge(seen)


def test_oras_pulls_nothing_with_a_wrong_password(place: Place, private: str, tmp_path: Path):
    seen = len(place.service.server.stderr)
    with (
        contextlib.closing(place.oras(tmp_path / "oras", credential=(USER, "wrong"))) as oras,
        pytest.raises(ValueError, match=r"Unauthorized|authentication"),
    ):
        oras.pull(private, tmp_path / "back")

    assert not place.service.from_edge(seen)


def test_a_wrong_password_is_refused_when_podman_logs_in(place: Place, podman: Podman):
    with pytest.raises(ClientError, match="invalid username/password"):
        podman.log_in(place.registry, USER, "wrong")
