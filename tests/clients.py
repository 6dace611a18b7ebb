"""Container clients as people run them: skopeo, podman and buildah, each in a home of its own.

A program that is missing or cannot run here skips the test, with the reason; where the environment says
`CFMIDDLEWARE_REQUIRE_CLIENTS=1` it fails the test.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, NoReturn, Self

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
        self.policy = directory / "policy.json"
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

    def run(self, *arguments: str | Path) -> str:
        """Run the program and return what it wrote to its standard output.

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
            timeout=SECONDS,
        )
        if done.returncode:
            raise ClientError(f"{' '.join(command)}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def options(self) -> list[str]:
        """Return what stands between the program's name and its command."""
        return []


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
