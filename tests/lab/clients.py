"""Container clients as people run them: skopeo, podman, buildah and oras, each in a home of its own.

A program that is missing or cannot run here skips the test, with the reason; where the environment says
`CFMIDDLEWARE_REQUIRE_CLIENTS=1` it fails the test.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Self
from urllib.parse import quote

import pytest

#: Far beyond what any of these programs takes here, so that one that hangs does not hang the tests.
SECONDS = 60


class ClientError(AssertionError):
    """A client ended with another status than 0. The message holds what it wrote."""


def cannot_run(reason: str) -> NoReturn:
    """Skip the test for *reason*, or fail it where the clients are required."""
    if os.environ.get("CFMIDDLEWARE_REQUIRE_CLIENTS") == "1":
        pytest.fail(f"required by CFMIDDLEWARE_REQUIRE_CLIENTS=1: {reason}", pytrace=False)
    pytest.skip(reason)


def find_program(name: str) -> str:
    """Return the path of a program; skip, or fail where clients are required, if there is none.

    Other tests may use it for the likes of openssl.
    """
    return shutil.which(name) or cannot_run(f"{name} is not installed (not on PATH)")


class _Client:
    """A program with its options, its files below *directory*."""

    program: str

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = find_program(self.program)
        for name in ("home", "run", "tmp"):
            (directory / name).mkdir(parents=True)
        registries = directory / "registries.conf"
        # Neither mirrors nor short names of the machine's own.
        registries.write_text("unqualified-search-registries = []\n")
        credentials = directory / "auth.json"
        credentials.write_text("{}")
        # Where it is looked for by the commands that cannot be told.
        self.policy = directory / "home/.config/containers/policy.json"
        self.policy.parent.mkdir(parents=True)
        self.policy.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory / "home"),
            "TMPDIR": str(directory / "tmp"),
            "XDG_RUNTIME_DIR": str(directory / "run"),
            "CONTAINERS_REGISTRIES_CONF": str(registries),
            "REGISTRY_AUTH_FILE": str(credentials),
        }

    @classmethod
    def ready(cls, directory: Path) -> Self:
        """Return a client that was seen to run here; skip the test, or fail it, where it does not."""
        client = cls(directory)
        try:
            client.probe()
        except ClientError as error:
            cannot_run(f"{cls.program} cannot run here: {str(error).strip().splitlines()[-1]}")
        return client

    def probe(self) -> None:
        """Do the least that shows that the program can do its work here."""
        self.run("--version")

    def run(self, *arguments: str | Path, seconds: float = SECONDS) -> str:
        """Run the program and return what it wrote to its standard output.

        :param seconds: how long it may take.
        :raises ClientError: when it ends with another status than 0.
        """
        command = [self.path, *self.options(), *map(str, arguments)]
        done = subprocess.run(
            command,
            env=self.env,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        if done.returncode:
            raise ClientError(f"{' '.join(command)}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def options(self) -> list[str]:
        """Return what stands between the program's name and its command."""
        return []

    def log_in(self, registry: str, user: str, password: str) -> None:
        """Keep a credential for a `host:port`, which the registry is asked about."""
        self.run("login", "--tls-verify=false", "--username", user, "--password", password, registry)

    def log_out(self, registry: str) -> None:
        """Forget the credential for a `host:port`."""
        self.run("logout", registry)


class Skopeo(_Client):
    """Copies images between registries and directories, and looks into them."""

    program = "skopeo"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        # For root, skopeo remembers where it saw which blob in a file of the whole machine, unless it takes
        # itself to be another user's.
        self.env["_CONTAINERS_ROOTLESS_UID"] = "1"

    def options(self) -> list[str]:
        return ["--policy", str(self.policy), "--tmpdir", str(self.directory / "tmp")]

    def copy(self, source: str, destination: str, *options: str) -> None:
        """Copy an image from one place to another (`docker://`, `oci:` ...), its bytes as they are."""
        tls = ["--src-tls-verify=false", "--dest-tls-verify=false"]
        self.run("copy", "--quiet", *tls, *options, source, destination)

    def push(self, layout: Path, reference: str, *options: str) -> None:
        """Push an image layout's one image to a `host:port/name:tag`."""
        self.copy(f"oci:{layout}", f"docker://{reference}", *options)

    def pull(self, reference: str, layout: Path, *options: str) -> None:
        """Pull a `host:port/name:tag` into an image layout."""
        self.copy(f"docker://{reference}", f"oci:{layout}:latest", *options)

    def inspect(self, reference: str) -> dict[str, Any]:
        """Return what skopeo says of an image."""
        answer: dict[str, Any] = json.loads(
            self.run("inspect", "--tls-verify=false", f"docker://{reference}")
        )
        return answer

    def raw_manifest(self, reference: str) -> str:
        """Return the bytes of a manifest or an index as text."""
        return self.run("inspect", "--raw", "--tls-verify=false", f"docker://{reference}")

    def tags(self, repository: str) -> list[str]:
        """Return the tags of a `host:port/name`."""
        answer = json.loads(self.run("list-tags", "--tls-verify=false", f"docker://{repository}"))
        tags: list[str] = answer["Tags"]
        return tags

    def delete(self, reference: str) -> None:
        """Delete the manifest that a tag points to."""
        self.run("delete", "--tls-verify=false", f"docker://{reference}")

    def sync_down(self, repository: str, directory: Path) -> None:
        """Copy every tag of a `host:port/name` to `dir:` images below a directory."""
        tls = "--src-tls-verify=false"
        self.run("sync", "--all", tls, "--src", "docker", "--dest", "dir", repository, directory)

    def sync_up(self, directory: Path, repository: str) -> None:
        """Copy every `dir:` image below a directory to repositories below a `host:port/name`."""
        tls = "--dest-tls-verify=false"
        self.run("sync", "--all", tls, "--src", "dir", "--dest", "docker", directory, repository)


class _StoreClient(_Client):
    """A client with an image store: no overlay mounts, no daemon, no system bus."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        settings, storage = directory / "containers.conf", directory / "storage.conf"
        # Without systemd's cgroups and journal, and away from the run directory of the whole machine.
        engine = (
            f'cgroup_manager = "cgroupfs"\nevents_logger = "none"\ntmp_dir = "{directory / "run/libpod"}"\n'
        )
        settings.write_text(f"[engine]\n{engine}")
        # vfs copies files where overlay would mount them, which not every container may do.
        roots = f'graphroot = "{directory / "root"}"\nrunroot = "{directory / "runroot"}"\n'
        storage.write_text(f'[storage]\ndriver = "vfs"\n{roots}')
        self.env["CONTAINERS_CONF"] = str(settings)
        self.env["CONTAINERS_STORAGE_CONF"] = str(storage)

    def push(self, reference: str) -> None:
        """Push the image of that name to the registry that the name says."""
        self.run("push", "--quiet", "--tls-verify=false", "--signature-policy", self.policy, reference)

    def pull(self, reference: str, *options: str) -> str:
        """Pull an image and return its id: the hex digest of its configuration."""
        tls = ["--tls-verify=false", "--signature-policy", str(self.policy)]
        return self.run("pull", "--quiet", *tls, *options, reference).strip()

    def forget_images(self) -> None:
        """Empty the image store."""
        self.run("rmi", "--all", "--force")


class Podman(_StoreClient):
    """The daemonless docker."""

    program = "podman"

    def probe(self) -> None:
        # Where user namespaces or the like are missing, everything that opens the store fails.
        self.run("images", "--quiet")

    def load(self, archive: Path) -> None:
        """Load what `docker save` wrote."""
        self.run("load", "--quiet", "--signature-policy", self.policy, "--input", archive)

    def push_list(self, reference: str, images: Sequence[str]) -> None:
        """Make a manifest list of images in the store, and push it with them."""
        # Without saying where they are, it asks a registry.
        self.run("manifest", "create", reference, *(f"containers-storage:{image}" for image in images))
        self.run(
            "manifest", "push", "--quiet", "--all", "--tls-verify=false", reference, f"docker://{reference}"
        )

    def search(self, term: str) -> list[str]:
        """Return the names that a `host:port/part-of-a-name` finds."""
        return self.run("search", "--tls-verify=false", "--format", "{{.Name}}", term).split()


class Buildah(_StoreClient):
    """Builds images."""

    program = "buildah"

    def probe(self) -> None:
        self.run("images", "--quiet")

    def build(self, reference: str, files: Path) -> str:
        """Build an image of one layer with the contents of the directory *files*; return its id."""
        container = self.run("from", "scratch").strip()
        self.run("copy", "--quiet", container, files, "/")
        built = self.run("commit", "--quiet", "--rm", "--signature-policy", self.policy, container, reference)
        return built.strip()

    def build_from_file(self, reference: str, context: Path) -> str:
        """Build what the `Containerfile` in the directory *context* says; return the image's id."""
        tls = ["--tls-verify=false", "--signature-policy", str(self.policy)]
        return self.run("bud", "--quiet", *tls, "--tag", reference, context).strip()


class Oras:
    """The library `oras`, which pushes and pulls files as artifacts. It runs in the tests' own process.

    :param registry: the `host:port` that it talks to.
    :param backend: how it proves who it is: `token` or `basic`. It does not find that out by itself.
    """

    def __init__(self, directory: Path, registry: str, backend: str = "token") -> None:
        try:
            from oras.provider import Registry
        except ImportError:
            cannot_run("the Python package oras is not installed")

        class Provider(Registry):
            def do_request(self, *args: Any, **kwargs: Any) -> Any:
                # It keeps the first token that it gets, and asks for no other one where that is not enough:
                # one for looking whether a blob exists does not allow to push it.
                if backend == "token":
                    self.auth.token = None
                # What is wrapped; else an error is only seen after five more attempts, in two minutes.
                return Registry.do_request.__wrapped__(self, *args, **kwargs)

        directory.mkdir()
        # It finds an empty file here instead of what its user has in `~/.docker`.
        self._credentials = directory / "config.json"
        self._credentials.write_text('{"auths": {}}')
        self.registry = registry
        self.provider = Provider(registry, insecure=True, auth_backend=backend)

    def close(self) -> None:
        """Close its connections."""
        self.provider.session.close()

    def log_in(self, user: str, password: str) -> None:
        """Keep a credential; the registry is not asked about it."""
        self.provider.login(user, password, hostname=self.registry, config_path=str(self._credentials))

    def push(self, reference: str, files: Sequence[Path], **options: Any) -> Descriptor:
        """Push files as an artifact, and return what another artifact's `subject` says to refer to it."""
        answer = self.provider.push(
            reference,
            files=list(map(str, files)),
            config_path=str(self._credentials),
            disable_path_validation=True,
            quiet=True,
            **options,
        )
        sent = answer.request.body
        return Descriptor(json.loads(sent)["mediaType"], answer.headers["Docker-Content-Digest"], len(sent))

    def attach(
        self, reference: str, subject: Descriptor, kind: str, files: Sequence[Path], **options: Any
    ) -> Descriptor:
        """Push files as an artifact of a kind (a media type) that refers to another one."""
        from oras.oci import Subject

        # A name that is no file's: there is no configuration but its type.
        named = f"no-configuration:{kind}"
        return self.push(reference, files, subject=Subject(*subject), manifest_config=named, **options)

    def discover(self, repository: str, subject: Descriptor, kind: str = "") -> list[dict[str, Any]]:
        """Return the descriptors of what refers to an artifact, of one kind only if that is said."""
        url = f"{self.provider.prefix}://{self.registry}/v2/{repository}/referrers/{subject.digest}"
        if kind:
            url += f"?artifactType={quote(kind, safe='')}"
        answer = self.provider.do_request(url)
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()["manifests"]
        return found

    def pull(self, reference: str, directory: Path) -> dict[str, bytes]:
        """Pull an artifact's files into a directory; return them by name."""
        pulled = self.provider.pull(reference, config_path=str(self._credentials), outdir=str(directory))
        return {str(Path(file).relative_to(directory)): Path(file).read_bytes() for file in pulled}

    def tags(self, repository: str, number: int | None = None) -> list[str]:
        """Return the tags of a `host:port/name`."""
        found: list[str] = self.provider.get_tags(repository, number)
        return found

    def delete(self, repository: str, tag: str) -> None:
        """Delete the manifest that a tag points to."""
        assert self.provider.delete_tags(repository, [tag]) == [tag]


class Descriptor(NamedTuple):
    """What tells one manifest from all others: in the order of `oras.oci.Subject`."""

    media_type: str
    digest: str
    size: int
