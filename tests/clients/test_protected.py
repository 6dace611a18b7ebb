"""What clients say of a tag that is protected or immutable: that it is denied, once, and why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from lab.clients import ClientError, Podman, Skopeo
from lab.images import Image
from lab.serving import Service, serving

pytestmark = pytest.mark.clients


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    tree = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "data")}, "delete": {"enabled": True}},
        "retention": [{"protect": ["release-*"], "immutable": ["v*"]}],
        "http": {},
        "log": {"accesslog": {"disabled": False}},
    }
    (tmp_path / "config.yml").write_text(yaml.safe_dump(tree))
    with serving(tmp_path, "config.yml", edge=False) as service:
        yield service


def reference(service: Service, tag: str) -> str:
    return f"127.0.0.1:{service.port}/app:{tag}"


def test_skopeo_says_why_and_does_not_try_again(
    service: Service, skopeo: Skopeo, image: Image, other_image: Image
):
    for tag in ("v1", "release-1"):
        skopeo.push(image.layout, reference(service, tag))
    with pytest.raises(ClientError, match="immutable and names"):
        skopeo.push(other_image.layout, reference(service, "v1"), "--retry-times", "5")
    with pytest.raises(ClientError, match=r"belongs to the protected tag|is protected"):
        skopeo.delete(reference(service, "release-1"))
    assert service.server.stderr.count(" 403 ") == 1
    skopeo.push(image.layout, reference(service, "v1"))
    skopeo.push(other_image.layout, reference(service, "release-1"))
    assert skopeo.tags(reference(service, "v1").rpartition(":")[0]) == ["release-1", "v1"]


def test_podman_says_why(
    service: Service, skopeo: Skopeo, podman: Podman, image: Image, other_image: Image, tmp_path: Path
):
    skopeo.push(image.layout, reference(service, "v1"))
    skopeo.push(other_image.layout, reference(service, "x"))
    podman.run("pull", "--tls-verify=false", reference(service, "x"))
    podman.run("tag", reference(service, "x"), reference(service, "v1"))
    with pytest.raises(ClientError, match="immutable and names"):
        podman.push(reference(service, "v1"))
