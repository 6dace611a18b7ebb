"""The registries that are attacked, with the storage they stand on and what is in it beforehand."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import ceph_gateway
import yaml
from ceph_gateway import REGION
from docker_client import Client, Layer
from lab.servers import free_ports, running_moto
from lab.serving import ask
from lab.tls import write_certificate
from programs import Program
from redirect_servers import BASE_URL, private_key
from registries import DISTRIBUTION, OURS

#: Where the storage can be: a directory, a Ceph gateway, or moto, which only tries the benchmark out.
STORAGES = ("filesystem", "s3", "moto")

_REPOSITORY = "hostile/image"
_OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_KEY_PAIR_ID = "K2JCJMDEHXQW5F"


class Place(NamedTuple):
    """What the servers stand on.

    :param home: a directory for configurations, logs and, without an S3, objects.
    :param kind: one of :data:`STORAGES`.
    :param s3: the options of both registries' S3 storage, but for the bucket; nothing for a directory.
    :param large: the size of the blob that is served by the registry itself, in bytes.
    """

    home: Path
    kind: str
    s3: dict[str, Any]
    large: int

    @property
    def certificate(self) -> Path:
        """The key and the certificate of servers that speak TLS."""
        return self.home / "server.pem"

    def bucket(self, name: str) -> str:
        """Return the name of a registry's bucket."""
        return f"hostile-{name}"

    def objects(self, name: str) -> Path:
        """Return a registry's directory of objects."""
        return self.home / f"{name}-objects"


class Stock(NamedTuple):
    """What a registry's storage holds before it is attacked.

    :param repository: the repository that all of it is in.
    :param manifest: the path of a manifest of 4 MiB.
    :param blob: the path of a large blob that the registry serves itself where ``Setting.served`` says so.
    :param pull: the path of a blob that good clients pull.
    :param small: the digest of a small blob.
    """

    repository: str
    manifest: str
    blob: str
    pull: str
    small: str


class Setting(NamedTuple):
    """What differs from one attack to the next.

    :param tls: whether the server speaks TLS.
    :param served: whether the registry serves the large blob itself. docker-registry redirects nothing then;
        ours redirects what is larger still.
    :param users: the content of a password file, for a server that asks for passwords.
    :param objects: another directory of objects than the usual one; the storage is a directory then.
    :param endpoint: another way to the S3 server.
    :param descriptors: how many descriptors it may remember; 0 for its own number.
    """

    tls: bool = False
    served: bool = False
    users: bytes = b""
    objects: Path | None = None
    endpoint: str = ""
    descriptors: int = 0


class Attacked(NamedTuple):
    """A registry that runs.

    :param name: which of the two it is.
    :param port: where it listens on 127.0.0.1.
    :param program: its processes.
    :param certificate: its certificate, where it speaks TLS.
    """

    name: str
    port: int
    program: Program
    certificate: Path | None

    @property
    def url(self) -> str:
        """The address of one that does not speak TLS."""
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def place(kind: str, home: Path, large: int) -> Iterator[Place]:
    """Have a storage until the block is left.

    :param kind: one of :data:`STORAGES`.
    :param home: a directory for all of it.
    :param large: the size of the large blob, in bytes.
    """
    with contextlib.ExitStack() as stack:
        s3: dict[str, Any] = {}
        if kind != "filesystem":
            if kind == "s3":
                server = stack.enter_context(
                    ceph_gateway.running(home / "ceph", kind="memstore", size=4 << 30)
                )
                endpoint, keys = server.endpoint, (ceph_gateway.ACCESS_KEY, ceph_gateway.SECRET_KEY)
                client = server.client
            else:
                moto = stack.enter_context(running_moto())
                endpoint, keys, client = moto.endpoint, (moto.access_key, moto.secret_key), moto.client()
            s3 = {"region": REGION, "regionendpoint": endpoint, "secure": False}
            s3 |= {"accesskey": keys[0], "secretkey": keys[1]}
        made = Place(home, kind, s3, large)
        for name in (OURS, DISTRIBUTION) if s3 else ():
            client.create_bucket(Bucket=made.bucket(name))
        write_certificate(made.certificate)
        yield made


@contextlib.contextmanager
def running(name: str, place: Place, setting: Setting = Setting()) -> Iterator[Attacked]:  # noqa: B008 (frozen)
    """Run a registry until the block is left.

    :raises RuntimeError: when it does not start.
    """
    (port,) = free_ports(1)
    home = place.home / f"{name}-{port}"
    home.mkdir()
    tree = _configuration(name, place, setting, port, home)
    (home / "config.yml").write_text(yaml.safe_dump(tree))
    program = DISTRIBUTION if name == DISTRIBUTION else str(Path(sys.executable).parent / "cfmiddleware")
    # A caller's own bundle makes docker-registry's AWS library refuse to start; no variable of Amazon's
    # command line or of the registries must change what is measured.
    foreign = ("AWS_", "REGISTRY_", "GUNICORN_")
    with Program([program, "serve", str(home / "config.yml")], home / "log", without=foreign) as process:
        process.wait_for_port(port)
        yield Attacked(name, port, process, place.certificate if setting.tls else None)


def _configuration(name: str, place: Place, setting: Setting, port: int, home: Path) -> dict[str, Any]:
    http: dict[str, Any] = {"addr": f"127.0.0.1:{port}"}
    if setting.tls:
        http["tls"] = {"certificate": str(place.certificate), "key": str(place.certificate)}
    storage: dict[str, Any] = {"delete": {"enabled": True}, "cache": {"blobdescriptor": "inmemory"}}
    if setting.descriptors:
        storage["cache"]["blobdescriptorsize"] = setting.descriptors
    in_s3 = bool(place.s3) and setting.objects is None
    if in_s3:
        storage["s3"] = place.s3 | {"bucket": place.bucket(name)}
        if setting.endpoint:
            storage["s3"]["regionendpoint"] = setting.endpoint
    else:
        storage["filesystem"] = {"rootdirectory": str(setting.objects or place.objects(name))}
    tree: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": storage,
        "http": http,
    }
    if setting.users:
        (home / "users").write_bytes(setting.users)
        tree["auth"] = {"htpasswd": {"realm": "registry", "path": str(home / "users")}}
    redirecting = True
    options: dict[str, Any] = {"baseurl": BASE_URL, "keypairid": _KEY_PAIR_ID, "duration": "1200s"}
    if name == OURS:
        options["minimumsize"] = place.large + 1
    else:
        http["secret"] = "benchmark"
        # It walks through the bucket in a random minute of its first hour.
        storage["maintenance"] = {"uploadpurging": {"enabled": False}}
        # Its middleware redirects into S3 alone.
        redirecting = in_s3 and not setting.served
        if not redirecting:
            storage["redirect"] = {"disable": True}
    if redirecting:
        key = home / "key.pem"
        key.write_bytes(private_key("rsa"))
        options["privatekey"] = str(key)
        tree["middleware"] = {"storage": [{"name": "cloudfront", "options": options}]}
    return tree


def stocked(name: str, place: Place) -> Stock:
    """Push what the attacks need, and return where it is.

    :raises Failed: when a push fails.
    """
    small, large, beyond = (Layer(size, "blob") for size in (1000, place.large, place.large + (1 << 20)))
    manifest = large_manifest(small)
    with running(name, place) as server, Client(server.port) as client:
        for layer in (small, large, *((beyond,) if name == OURS else ())):
            client.push(_REPOSITORY, layer)
        to = f"{server.url}/v2/{_REPOSITORY}/manifests/large"
        answer = ask("PUT", to, manifest, {"Content-Type": _OCI_MANIFEST}, timeout=120)
    if answer.status != 201:
        raise RuntimeError(f"{name} refuses a manifest of 4 MiB: {answer.status} {answer.body[:200]!r}")
    digest = answer.headers["Docker-Content-Digest"]
    blobs = f"/v2/{_REPOSITORY}/blobs"
    return Stock(
        repository=_REPOSITORY,
        manifest=f"/v2/{_REPOSITORY}/manifests/{digest}",
        blob=f"{blobs}/{large.digest}",
        pull=f"{blobs}/{beyond.digest if name == OURS else small.digest}",
        small=small.digest,
    )


def large_manifest(layer: Layer, filler: str = "text", number: int = 0, **more: Any) -> bytes:
    """Return a valid manifest of nearly 4 MiB, which both registries take.

    :param filler: what makes it large: ``text``, one long annotation, or ``objects``, as many of ``{"":0}``
        as there is room for.
    :param number: what makes it another manifest than the others.
    :param more: further members.
    """
    descriptor = {"mediaType": "application/octet-stream", "digest": layer.digest, "size": layer.size}
    members = {"schemaVersion": 2, "mediaType": _OCI_MANIFEST, "config": descriptor, "layers": [descriptor]}
    head = json.dumps(members | more)[:-1]
    room = (4 << 20) - 1000 - len(head)
    if filler == "text":
        rest = f'"annotations": {{"number": "{number}", "filler": "{"x" * room}"}}'
    else:
        objects = ",".join(['{"":0}'] * (room // 7))
        rest = f'"annotations": {{"number": "{number}"}}, "filler": [{objects}]'
    return f"{head}, {rest}}}".encode()
