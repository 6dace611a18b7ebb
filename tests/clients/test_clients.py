"""Real clients against the real command: what they push comes back, and its bytes come from the edge."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from lab.client_service import Service, sizes
from lab.clients import Buildah, ClientError, Podman, Skopeo
from lab.images import Image, Index, blob_file, blobs_in, make_docker_archive
from lab.servers import CFMIDDLEWARE, S3Server, free_port, running

pytestmark = pytest.mark.clients


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """What `cfmiddleware serve` starts without any configuration."""
    directory = tmp_path_factory.mktemp("serve")
    port, edge_port = free_port(), free_port()
    command = [CFMIDDLEWARE, "serve", "--data", str(directory / "data")]
    command += ["--addr", f"127.0.0.1:{port}", "--edge-addr", f"127.0.0.1:{edge_port}"]
    with running(command, directory / "process", ports=[port, edge_port]) as server:
        yield Service(server, f"127.0.0.1:{port}")


def test_an_image_pushed_by_skopeo_comes_back_blob_by_blob_from_the_edge(
    service: Service, skopeo: Skopeo, image: Image, tmp_path: Path
):
    skopeo.push(image.layout, f"{service.registry}/team/app:1")
    skopeo.pull(f"{service.registry}/team/app:1", tmp_path / "back")

    assert blobs_in(tmp_path / "back") == blobs_in(image.layout)
    assert service.has_sent(sizes(image))


def test_pulling_by_digest_gives_the_same_image(
    service: Service, skopeo: Skopeo, other_image: Image, tmp_path: Path
):
    skopeo.push(other_image.layout, f"{service.registry}/by-digest:1")
    skopeo.pull(f"{service.registry}/by-digest@{other_image.manifest}", tmp_path / "back")

    assert blobs_in(tmp_path / "back") == blobs_in(other_image.layout)


def test_the_registry_itself_sends_no_byte_of_a_layer(service: Service, skopeo: Skopeo, image: Image):
    skopeo.push(image.layout, f"{service.registry}/redirected:1")

    for digest in image.blobs:
        answer = get(f"http://{service.registry}/v2/redirected/blobs/{digest}")

        assert (answer.status, answer.body) == (307, b"")


def test_no_signature_is_logged(service: Service, skopeo: Skopeo, other_image: Image, tmp_path: Path):
    skopeo.push(other_image.layout, f"{service.registry}/logged:1")
    skopeo.pull(f"{service.registry}/logged:1", tmp_path / "back")
    assert service.has_sent(sizes(other_image))

    assert "Signature" not in service.server.stdout + service.server.stderr


def test_every_platform_of_an_index_is_pushed_and_pulled(
    service: Service, skopeo: Skopeo, index: Index, tmp_path: Path
):
    skopeo.push(index.layout, f"{service.registry}/multi:1", "--all")
    skopeo.pull(f"{service.registry}/multi:1", tmp_path / "back", "--all")

    assert blobs_in(tmp_path / "back") == blobs_in(index.layout)
    for image in index.images:
        assert service.has_sent(sizes(image))


def test_an_index_keeps_its_bytes(service: Service, skopeo: Skopeo, index: Index):
    skopeo.push(index.layout, f"{service.registry}/multi-raw:1", "--all")

    pushed = blob_file(index.layout, index.digest).read_text()
    assert skopeo.raw_manifest(f"{service.registry}/multi-raw:1") == pushed


def test_docker_manifests_are_pushed_and_pulled(
    service: Service, skopeo: Skopeo, image: Image, tmp_path: Path
):
    skopeo.push(image.layout, f"{service.registry}/docker:2", "--format", "v2s2")
    skopeo.copy(f"docker://{service.registry}/docker:2", f"dir:{tmp_path / 'back'}")

    manifest = json.loads(skopeo.raw_manifest(f"{service.registry}/docker:2"))
    assert manifest["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    # A `dir:` names each file after its digest.
    for digest in image.layers:
        pulled = tmp_path / "back" / digest.removeprefix("sha256:")
        assert pulled.read_bytes() == blob_file(image.layout, digest).read_bytes()


def test_inspect_names_the_digest_and_the_layers(service: Service, skopeo: Skopeo, other_image: Image):
    skopeo.push(other_image.layout, f"{service.registry}/inspected:1")

    answer = skopeo.inspect(f"{service.registry}/inspected:1")

    assert answer["Digest"] == other_image.manifest
    assert answer["Layers"] == list(other_image.layers)
    assert answer["Labels"] == {"seed": "1"}


def test_list_tags_names_every_tag(service: Service, skopeo: Skopeo, other_image: Image):
    for tag in ("v1", "latest", "v1-alpine"):
        skopeo.push(other_image.layout, f"{service.registry}/tagged:{tag}")

    assert sorted(skopeo.tags(f"{service.registry}/tagged")) == ["latest", "v1", "v1-alpine"]


def test_copying_between_two_repositories_of_the_registry(
    service: Service, skopeo: Skopeo, image: Image, tmp_path: Path
):
    skopeo.push(image.layout, f"{service.registry}/from:1")
    skopeo.copy(f"docker://{service.registry}/from:1", f"docker://{service.registry}/to/there:1")
    skopeo.pull(f"{service.registry}/to/there:1", tmp_path / "back")

    assert blobs_in(tmp_path / "back") == blobs_in(image.layout)


def test_pulling_what_was_never_pushed_says_so(service: Service, skopeo: Skopeo):
    with pytest.raises(ClientError, match=r"manifest unknown|name unknown|not known to registry"):
        skopeo.inspect(f"{service.registry}/nothing/here:1")


def test_podman_pushes_and_pulls_an_image(service: Service, podman: Podman, image: Image, tmp_path: Path):
    reference = f"{service.registry}/podman/app:1"
    make_docker_archive(image, tmp_path / "app.tar", reference)
    podman.load(tmp_path / "app.tar")
    podman.push(reference)
    podman.forget_images()
    seen = len(service.server.stderr)

    # Podman compresses layers in its own way, so that they have other digests than ours. The image's id is
    # the digest of its configuration, which names the uncompressed layers that podman has checked.
    assert podman.pull(reference) == image.config.removeprefix("sha256:")
    assert service.has_sent(manifest_sizes(service, "podman/app", "1"), seen)


def test_podman_pulls_what_skopeo_pushed(service: Service, skopeo: Skopeo, podman: Podman, image: Image):
    skopeo.push(image.layout, f"{service.registry}/mixed:1")
    seen = len(service.server.stderr)

    assert podman.pull(f"{service.registry}/mixed:1") == image.config.removeprefix("sha256:")
    assert service.has_sent(sizes(image), seen)


def test_podman_pulls_its_own_platform_from_an_index(
    service: Service, skopeo: Skopeo, podman: Podman, index: Index
):
    skopeo.push(index.layout, f"{service.registry}/multi-podman:1", "--all")

    pulled = podman.pull(f"{service.registry}/multi-podman:1", "--platform", "linux/arm64")

    assert pulled == index.images[1].config.removeprefix("sha256:")


def test_buildah_pushes_what_it_built_and_pulls_it(service: Service, buildah: Buildah, tmp_path: Path):
    reference = f"{service.registry}/buildah/app:1"
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "greeting").write_text("hello\n")
    built = buildah.build(reference, tmp_path / "files")
    buildah.push(reference)
    buildah.forget_images()
    seen = len(service.server.stderr)

    assert buildah.pull(reference) == built
    assert service.has_sent(manifest_sizes(service, "buildah/app", "1"), seen)


def manifest_sizes(service: Service, repository: str, tag: str) -> dict[str, int]:
    """Return the blobs that a manifest in the registry names, and their sizes."""
    types = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
    answer = get(f"http://{service.registry}/v2/{repository}/manifests/{tag}", {"Accept": types})
    manifest = json.loads(answer.body)
    return {blob["digest"]: blob["size"] for blob in [manifest["config"], *manifest["layers"]]}


class Answer(NamedTuple):
    """What a server answered."""

    status: int
    location: str
    body: bytes


def get(url: str, headers: Mapping[str, str] | None = None) -> Answer:
    """GET a URL, following no redirect."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    try:
        connection.request("GET", parts._replace(scheme="", netloc="").geturl(), headers=headers or {})
        answer = connection.getresponse()
        return Answer(answer.status, answer.getheader("Location", ""), answer.read())
    finally:
        connection.close()


def test_a_second_start_finds_the_same_images_and_keys(skopeo: Skopeo, other_image: Image, tmp_path: Path):
    port, edge_port = free_port(), free_port()
    command = [CFMIDDLEWARE, "serve", "--data", str(tmp_path / "data")]
    command += ["--addr", f"127.0.0.1:{port}", "--edge-addr", f"127.0.0.1:{edge_port}"]
    with running(command, tmp_path / "first", ports=[port, edge_port]) as server:
        skopeo.push(other_image.layout, f"127.0.0.1:{port}/app:1")
        signed = get(f"http://127.0.0.1:{port}/v2/app/blobs/{other_image.config}").location
        # As Ctrl-C in a terminal: to every process of the group.
        assert server.stop(signal.SIGINT) != -signal.SIGKILL

    with running(command, tmp_path / "second", ports=[port, edge_port]):
        skopeo.pull(f"127.0.0.1:{port}/app:1", tmp_path / "back")
        assert blobs_in(tmp_path / "back") == blobs_in(other_image.layout)
        assert get(signed).status == 200


# From configuration files.


class Configured(NamedTuple):
    """A configuration file, the ports that it names and the variables to run it with."""

    file: Path
    port: int
    edge_port: int
    env: dict[str, str]

    @contextlib.contextmanager
    def running(self) -> Iterator[Service]:
        """Run `cfmiddleware serve` with it."""
        command = [CFMIDDLEWARE, "serve", str(self.file)]
        directory = self.file.parent / "serve"
        with running(command, directory, ports=[self.port, self.edge_port], env=self.env) as server:
            yield Service(server, f"127.0.0.1:{self.port}")


def write_rsa_pair(directory: Path) -> dict[str, str]:
    return write_pair(directory, rsa.generate_private_key(public_exponent=65537, key_size=2048))


def write_ecdsa_pair(directory: Path) -> dict[str, str]:
    return write_pair(directory, ec.generate_private_key(ec.SECP256R1()))


def write_pair(directory: Path, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> dict[str, str]:
    """Write `pk-KTEST.pem` and `KTEST.pub.pem`, and return their paths."""
    private, public = directory / "pk-KTEST.pem", directory / "KTEST.pub.pem"
    private.touch(mode=0o600)
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return {"private": str(private), "public": str(public)}


def configure(
    directory: Path,
    *,
    storage: dict[str, Any],
    pair: Callable[[Path], dict[str, str]] = write_rsa_pair,
    options: dict[str, Any] | None = None,
    edge: dict[str, Any] | None = None,
    env: dict[str, str] | None = None,
) -> Configured:
    """Write a configuration file that has a registry, the wrapper and an edge."""
    port, edge_port = free_port(), free_port()
    keys = pair(directory)
    cloudfront = {
        "baseurl": f"http://127.0.0.1:{edge_port}",
        "privatekey": keys["private"],
        "keypairid": "KTEST",
        "duration": "20m",
        **(options or {}),
    }
    configuration = {
        "version": 0.1,
        "storage": {**storage, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}"},
        "middleware": {"storage": [{"name": "cloudfront", "options": cloudfront}]},
        "edge": {
            "addr": f"127.0.0.1:{edge_port}",
            "publickeys": {"KTEST": keys["public"]},
            **(edge or {}),
        },
    }
    file = directory / "config.yml"
    file.write_text(yaml.safe_dump(configuration))
    return Configured(file, port, edge_port, env or {})


def on_filesystem(directory: Path) -> dict[str, Any]:
    return {"filesystem": {"rootdirectory": str(directory / "data")}}


def on_s3_below_a_root_directory(directory: Path, s3: S3Server) -> Configured:
    storage = {"s3": s3.driver_options(s3.new_bucket(), rootdirectory="/team/prod")}
    return configure(directory, storage=storage, edge={"originpath": "/team/prod"})


def with_an_ecdsa_key(directory: Path, s3: S3Server) -> Configured:
    return configure(directory, storage=on_filesystem(directory), pair=write_ecdsa_pair)


def with_sha256(directory: Path, s3: S3Server) -> Configured:
    return configure(directory, storage=on_filesystem(directory), options={"hash": "sha256"})


def with_only_rsa_installed(directory: Path, s3: S3Server) -> Configured:
    blocked = directory / "blocked"
    blocked.mkdir()
    # None in sys.modules makes every import of the package fail as if it were not there.
    (blocked / "sitecustomize.py").write_text('import sys\n\nsys.modules["cryptography"] = None\n')
    env = {"PYTHONPATH": str(blocked)}
    attempt = [sys.executable, "-c", "import cryptography"]
    assert subprocess.run(attempt, env=env, capture_output=True).returncode == 1
    return configure(directory, storage=on_filesystem(directory), env=env)


@pytest.mark.parametrize(
    ("setting", "signature_length", "names_the_hash"),
    [
        (on_s3_below_a_root_directory, 256, False),
        (with_an_ecdsa_key, 72, False),
        (with_sha256, 256, True),
        (with_only_rsa_installed, 256, False),
    ],
)
def test_an_image_is_pushed_and_pulled_through_the_edge(
    setting: Callable[[Path, S3Server], Configured],
    signature_length: int,
    names_the_hash: bool,
    s3_server: S3Server,
    skopeo: Skopeo,
    image: Image,
    tmp_path: Path,
):
    with setting(tmp_path, s3_server).running() as service:
        skopeo.push(image.layout, f"{service.registry}/team/app:1")
        skopeo.pull(f"{service.registry}/team/app:1", tmp_path / "back")

        assert blobs_in(tmp_path / "back") == blobs_in(image.layout)
        assert service.has_sent(sizes(image))
        url = get(f"http://{service.registry}/v2/team/app/blobs/{image.config}").location

    query = parse_qs(urlsplit(url).query)
    signature = base64.b64decode(query["Signature"][0].translate(str.maketrans("-_~", "+=/")))
    # An ECDSA signature in DER is 70 to 72 bytes long, seldom a little less.
    assert signature_length - 6 <= len(signature) <= signature_length
    assert query.get("Hash-Algorithm") == (["SHA256"] if names_the_hash else None)


def test_on_s3_a_root_directory_stands_in_the_key_but_not_in_the_signed_path(
    any_s3: S3Server, skopeo: Skopeo, other_image: Image, tmp_path: Path
):
    configured = on_s3_below_a_root_directory(tmp_path, any_s3)
    bucket = yaml.safe_load(configured.file.read_text())["storage"]["s3"]["bucket"]
    hexadecimal = other_image.config.removeprefix("sha256:")
    path = f"docker/registry/v2/blobs/sha256/{hexadecimal[:2]}/{hexadecimal}/data"
    with configured.running() as service:
        skopeo.push(other_image.layout, f"{service.registry}/app:1")
        skopeo.pull(f"{service.registry}/app:1", tmp_path / "back")
        location = get(f"http://{service.registry}/v2/app/blobs/{other_image.config}").location

    assert blobs_in(tmp_path / "back") == blobs_in(other_image.layout)
    assert f"team/prod/{path}" in any_s3.keys(bucket)
    assert location.startswith(f"http://127.0.0.1:{configured.edge_port}/{path}?")


def test_an_edge_with_another_origin_path_finds_nothing(
    s3_server: S3Server, skopeo: Skopeo, other_image: Image, tmp_path: Path
):
    storage = {"s3": s3_server.driver_options(s3_server.new_bucket(), rootdirectory="/team/prod")}
    configured = configure(tmp_path, storage=storage, edge={"originpath": "/team/other"})
    with configured.running() as service:
        skopeo.push(other_image.layout, f"{service.registry}/app:1")

        with pytest.raises(ClientError, match=r"403|404|[Ff]orbidden|denied"):
            skopeo.pull(f"{service.registry}/app:1", tmp_path / "back")


def test_the_edge_runs_as_a_service_of_its_own(skopeo: Skopeo, image: Image, tmp_path: Path):
    whole = configure(tmp_path, storage=on_filesystem(tmp_path))
    without_edge = tmp_path / "registry.yml"
    sections = yaml.safe_load(whole.file.read_text())
    del sections["edge"]
    without_edge.write_text(yaml.safe_dump(sections))
    edge_command = [CFMIDDLEWARE, "edge", str(whole.file)]
    registry_command = [CFMIDDLEWARE, "serve", str(without_edge)]
    with (
        running(edge_command, tmp_path / "edge", ports=[whole.edge_port]) as edge,
        running(registry_command, tmp_path / "registry", ports=[whole.port]),
    ):
        registry = f"127.0.0.1:{whole.port}"
        skopeo.push(image.layout, f"{registry}/app:1")
        skopeo.pull(f"{registry}/app:1", tmp_path / "back")

        assert blobs_in(tmp_path / "back") == blobs_in(image.layout)
        assert Service(edge, registry).has_sent(sizes(image))


def test_a_deleted_image_is_gone_and_the_others_stay(
    skopeo: Skopeo, image: Image, other_image: Image, tmp_path: Path
):
    with configure(tmp_path, storage=on_filesystem(tmp_path)).running() as service:
        repository = f"{service.registry}/app"
        skopeo.push(image.layout, f"{repository}:old")
        skopeo.push(other_image.layout, f"{repository}:new")

        skopeo.delete(f"{repository}:old")

        with pytest.raises(ClientError, match="manifest unknown"):
            skopeo.inspect(f"{repository}:old")
        assert skopeo.tags(repository) == ["new"]
        skopeo.pull(f"{repository}:new", tmp_path / "back")
        assert blobs_in(tmp_path / "back") == blobs_in(other_image.layout)
