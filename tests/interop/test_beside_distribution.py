"""What a collection does to pushes through Distribution, which does not know of announcements."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab.collecting import collect, digests_stored
from lab.docker_registry import DockerRegistry, require_docker_registry, running_with
from lab.registry_client import CONFIG, LAYER, OCI_MANIFEST
from lab.servers import S3Server
from lab.serving import Answer, ask
from lab.verifying import verify

from cfmiddleware.cli import main
from cfmiddleware.config import Config
from cfmiddleware.digest import Digest
from cfmiddleware.registry.collect.otherwriters import OtherWriter
from cfmiddleware.registry.store import paths
from cfmiddleware.registry.verify.faults import Kind

pytestmark = pytest.mark.servers

CONTENT = b"a layer"
DIGEST = Digest.of(CONTENT)


class Theirs:
    """A Distribution and its storage."""

    def __init__(self, registry: DockerRegistry, driver: Any, tick: float) -> None:
        self.url = f"http://{registry.address}/v2/app"
        self.registry = registry
        self.driver = driver
        self._tick = tick

    def start(self, content: bytes) -> str:
        """Begin an upload, send the bytes, and return its URL."""
        location = ask("POST", f"{self.url}/blobs/uploads/").headers["Location"]
        sent = ask("PATCH", location, content, {"Content-Type": "application/octet-stream"})
        assert sent.status == 202, sent
        return str(sent.headers["Location"])

    def push(self, content: bytes, media_type: str = LAYER) -> dict[str, Any]:
        """Push a blob, and return its descriptor."""
        digest = Digest.of(content)
        done = ask("PUT", f"{self.start(content)}&digest={digest}", b"")
        assert done.status == 201, done
        return {"mediaType": media_type, "digest": str(digest), "size": len(content)}

    def tag(self, config: dict[str, Any], layer: dict[str, Any]) -> Answer:
        """Push a manifest."""
        manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]}
        content = json.dumps(manifest).encode()
        return ask("PUT", f"{self.url}/manifests/v1", content, {"Content-Type": OCI_MANIFEST})

    def gives(self, digest: Digest) -> bool:
        """Return whether a client gets a blob."""
        try:
            answer = ask("GET", f"{self.url}/blobs/{digest}")
            while answer.status == 307:
                answer = ask("GET", answer.headers["Location"])
        except http.client.IncompleteRead:  # it has promised more than there is
            return False
        return answer.status == 200

    def collect(self, driver: Any = None, **rules: Any) -> Any:
        """Collect what is older than this moment."""
        time.sleep(self._tick)
        return collect(driver or self.driver, **rules)


@contextlib.contextmanager
def running(directory: Path, place: dict[str, Any], tick: float, **more: Any) -> Iterator[Theirs]:
    storage = {**place, "delete": {"enabled": True}, **more}
    with running_with(directory / "theirs", storage=storage) as registry:
        driver = Config({"version": "0.1", "storage": place}, "config.yml", directory).driver()
        yield Theirs(registry, driver, tick)


def directory_in(path: Path) -> dict[str, Any]:
    return {"filesystem": {"rootdirectory": str(path / "data")}}


@pytest.fixture(params=["filesystem", "ceph"])
def theirs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Theirs]:
    require_docker_registry()
    place, tick = directory_in(tmp_path), 0.05
    if request.param == "ceph":
        s3: S3Server = request.getfixturevalue("ceph")
        place, tick = {"s3": s3.driver_options(s3.new_bucket(), rootdirectory="/team")}, 1.1
    with running(tmp_path, place, tick) as found:
        yield found


class BeforeDelete:
    """A driver that lets something happen just before the first delete of a path."""

    def __init__(self, inner: Any, path: str, happens: Callable[[], object]) -> None:
        self._inner = inner
        self._path = path
        self._happens: Callable[[], object] | None = happens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def delete(self, doomed: Any) -> None:
        doomed = list(doomed)
        if self._path in doomed and self._happens is not None:
            happens, self._happens = self._happens, None
            happens()
        self._inner.delete(doomed)


# What is safe.


def test_what_is_younger_than_the_grace_period_is_safe_at_every_step_of_a_push(theirs: Theirs):
    def collect_beside() -> None:
        outcome = theirs.collect(grace=3600.0, deleteuntagged=True, besidedistribution=True)
        assert (outcome.layers, outcome.revisions, outcome.deleted.count) == (0, 0, 0)

    url = theirs.start(CONTENT)
    collect_beside()
    assert ask("PUT", f"{url}&digest={DIGEST}", b"").status == 201
    layer = {"mediaType": LAYER, "digest": str(DIGEST), "size": len(CONTENT)}
    collect_beside()
    config = theirs.push(b"{}", CONFIG)
    collect_beside()
    assert theirs.tag(config, layer).status == 201
    collect_beside()
    assert verify(theirs.driver, every=True).faults == []


def test_a_blob_whose_link_was_set_aside_is_uploaded_again(theirs: Theirs):
    config, layer = theirs.push(b"{}", CONFIG), theirs.push(CONTENT)
    assert theirs.collect().layers == 2

    assert ask("HEAD", f"{theirs.url}/blobs/{DIGEST}").status == 404
    assert theirs.tag(config, layer).status == 400
    assert (theirs.push(b"{}", CONFIG), theirs.push(CONTENT)) == (config, layer)
    assert theirs.tag(config, layer).status == 201
    theirs.collect()
    assert theirs.gives(DIGEST)
    assert verify(theirs.driver, every=True).faults == []


# What is not, and what is refused therefore.


def test_a_manifest_that_comes_just_before_its_layers_link_goes_has_it_back_with_the_next_collection(
    theirs: Theirs,
):
    config, layer = theirs.push(b"{}", CONFIG), theirs.push(CONTENT)
    answers: list[Answer] = []

    def push_the_manifest() -> None:
        answers.append(theirs.tag(config, layer))

    path = paths.layer_link("app", DIGEST)
    theirs.collect(BeforeDelete(theirs.driver, path, push_the_manifest), besidedistribution=True)

    assert [answer.status for answer in answers] == [201]
    assert not theirs.gives(DIGEST)
    assert {fault.kind for fault in verify(theirs.driver).faults} == {Kind.PART}
    assert theirs.collect().restored == 2
    assert theirs.gives(DIGEST)
    assert verify(theirs.driver, every=True).faults == []


def test_bytes_that_are_pushed_again_just_before_they_go_are_lost(theirs: Theirs):
    """Distribution does not write bytes that are there. Nothing brings them back but another push."""
    config, layer = theirs.push(b"{}", CONFIG), theirs.push(CONTENT)
    theirs.collect()
    pushed: list[Any] = []

    def push_the_layer() -> None:
        pushed.append(theirs.push(CONTENT))

    path = paths.blob_data(DIGEST)
    theirs.collect(BeforeDelete(theirs.driver, path, push_the_layer), besidedistribution=True)

    assert pushed == [layer]  # with 201
    assert DIGEST not in digests_stored(theirs.driver)
    theirs.push(b"{}", CONFIG)
    assert theirs.tag(config, layer).status == 400
    assert theirs.push(CONTENT) == layer
    assert theirs.tag(config, layer).status == 201
    assert theirs.gives(DIGEST)


def test_an_image_that_is_acknowledged_just_before_its_bytes_go_lacks_them(theirs: Theirs):
    theirs.push(CONTENT)
    theirs.collect()
    answers: list[Answer] = []

    def push_the_image() -> None:
        answers.append(theirs.tag(theirs.push(b"{}", CONFIG), theirs.push(CONTENT)))

    path = paths.blob_data(DIGEST)
    theirs.collect(BeforeDelete(theirs.driver, path, push_the_image), besidedistribution=True)

    assert [answer.status for answer in answers] == [201]
    assert not theirs.gives(DIGEST)
    (fault,) = verify(theirs.driver).faults
    assert fault.kind is Kind.PART
    assert f"needs {DIGEST} (layers), which is not there" in fault.says


def test_with_a_descriptor_cache_distribution_acknowledges_an_image_without_its_layers(tmp_path: Path):
    """It never asks the storage again for what it remembers, until it is started anew."""
    require_docker_registry()
    cached = {"cache": {"blobdescriptor": "inmemory"}}
    with running(tmp_path, directory_in(tmp_path), 0.05, **cached) as theirs:
        config, layer = theirs.push(b"{}", CONFIG), theirs.push(CONTENT)
        theirs.collect()
        theirs.collect()
        assert not digests_stored(theirs.driver)

        assert ask("HEAD", f"{theirs.url}/blobs/{DIGEST}").status == 200
        assert theirs.tag(config, layer).status == 201

        assert {fault.kind for fault in verify(theirs.driver).faults} == {Kind.PART}
        assert theirs.push(CONTENT) == layer
        assert theirs.gives(DIGEST)


def test_links_that_distributions_own_collector_leaves_go_with_a_collection(theirs: Theirs):
    answer = theirs.tag(theirs.push(b"{}", CONFIG), theirs.push(CONTENT))
    digest = answer.headers["Docker-Content-Digest"]
    assert ask("DELETE", f"{theirs.url}/manifests/{digest}").status == 202
    theirs.registry.collect_garbage()
    assert [fault.kind for fault in verify(theirs.driver).faults] == [Kind.LINK, Kind.LINK]

    assert theirs.collect().layers == 2

    assert verify(theirs.driver, every=True).faults == []


def test_while_distribution_uploads_nothing_goes(theirs: Theirs):
    theirs.push(b"nobody's")
    url = theirs.start(CONTENT)
    before = {path for path, _ in theirs.driver.walk("/docker/registry/v2/repositories/")}

    with pytest.raises(OtherWriter, match="/docker/registry/v2/repositories/app/_uploads/"):
        theirs.collect()

    assert {path for path, _ in theirs.driver.walk("/docker/registry/v2/repositories/")} == before
    assert theirs.collect(besidedistribution=True).layers == 1
    assert ask("PUT", f"{url}&digest={DIGEST}", b"").status == 201
    assert theirs.collect().layers == 1


def test_what_begins_to_upload_after_the_first_look_is_seen_with_the_second(theirs: Theirs):
    nobodys = theirs.push(b"nobody's")

    class WhenAnnounced(BeforeDelete):
        def write(self, path: str, content: bytes) -> None:
            self._inner.write(path, content)
            if path.startswith(paths.CONDEMNED):
                theirs.start(CONTENT)

    with pytest.raises(OtherWriter):
        theirs.collect(WhenAnnounced(theirs.driver, "", lambda: None))

    assert all(name.startswith("withdrawn-") for name in theirs.driver.list(paths.CONDEMNED))
    assert theirs.gives(Digest.parse(nobodys["digest"]))


def test_the_command_says_who_pushes_and_what_can_be_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    require_docker_registry()
    with running(tmp_path, directory_in(tmp_path), 0.05) as theirs:
        theirs.start(CONTENT)
        config = tmp_path / "config.yml"
        config.write_text(yaml.safe_dump({"version": "0.1", "storage": directory_in(tmp_path)}))

        assert main(["gc", str(config)]) == 1

    error = capsys.readouterr().err
    assert "nothing was deleted, because Distribution pushes into this storage: /docker/registry/v2" in error
    assert "stop it or make it read-only meanwhile, or give --beside-distribution" in error
    assert error.count("\n") == 1
