"""The container image: built on a base that is made from Debian's packages, started, and used as a registry.

It runs as a container that may do nothing, on a root that is read-only.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from lab import PROJECT
from lab.clients import Buildah, Podman, Skopeo
from lab.images import make_image
from lab.required import cannot_run
from lab.servers import eventually, free_ports
from lab.serving import ask

pytestmark = [pytest.mark.clients, pytest.mark.long]

#: The extras of the image, as the Containerfile has them.
EXTRAS = "[server,auth,redis,metrics,tracing]"
BASE, IMAGE = "localhost/base:test", "localhost/cfmiddleware:test"

#: How many seconds a container may take to start or to end. podman copies the whole image for each, where its
#: store has no overlay.
PATIENCE = 240

#: What Debian's Python has wheels for: that of the base.
PYTHON = "/usr/bin/python3"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Podman:
    """An image store with a base of Debian's packages in it."""
    if os.getuid():
        cannot_run("only root can make a base of Debian's packages, and run it")
    for program in ("mmdebstrap", "runc", "podman", "buildah"):
        if shutil.which(program) is None:
            cannot_run(f"{program} is not installed; Debian has it: apt-get install {program}")
    directory = tmp_path_factory.mktemp("store")
    podman = Podman.ready(directory / "podman")
    base = directory / "base.tar"
    suite = platform.freedesktop_os_release()["VERSION_CODENAME"]
    packages = "--include=python3,python3-venv,ca-certificates"
    subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=minbase", packages, suite, str(base)],
        check=True,
        timeout=900,
        stdin=subprocess.DEVNULL,
    )
    podman.run("import", "--quiet", base, BASE)
    base.unlink()
    return podman


@pytest.fixture(scope="module")
def image(store: Podman, tmp_path_factory: pytest.TempPathFactory) -> Podman:
    """The store with the image in it, built without a package index."""
    context = tmp_path_factory.mktemp("context")
    for name in ("Containerfile", "setup.cfg", "setup.py", "README.rst", "pyproject.toml", "LICENSE"):
        if (PROJECT / name).exists():
            shutil.copy(PROJECT / name, context)
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("cfmiddleware", "deploy"):
        shutil.copytree(PROJECT / name, context / name, ignore=ignored)
    wheels, tools = context / "wheels", tmp_path_factory.mktemp("tools")
    subprocess.run([PYTHON, "-m", "venv", str(tools)], check=True)
    pip = [str(tools / "bin" / "pip"), "wheel", "--quiet", "--wheel-dir", str(wheels)]
    subprocess.run([*pip, f"{context}{EXTRAS}", "setuptools", "wheel"], check=True, timeout=900)
    for own in wheels.glob("cfmiddleware-*.whl"):
        own.unlink()
    buildah = Buildah(tmp_path_factory.mktemp("buildah") / "buildah")
    buildah.env["CONTAINERS_STORAGE_CONF"] = store.env["CONTAINERS_STORAGE_CONF"]
    options = "--no-index --find-links /src/wheels"
    build = [
        *(buildah.path, "bud", "--quiet", "--isolation", "chroot", "--network", "host", "--format", "docker"),
        *("--build-arg", f"BASE={BASE}", "--build-arg", f"PIP_OPTIONS={options}"),
        *("--file", str(context / "Containerfile"), "--tag", IMAGE, str(context)),
    ]
    done = subprocess.run(build, env=buildah.env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return store


class Container:
    """A container of the image, running."""

    def __init__(
        self, podman: Podman, directory: Path, port: int, debug: int, variables: Mapping[str, str]
    ) -> None:
        self._podman = podman
        self.url, self.debug = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{debug}"
        self.address = f"127.0.0.1:{port}"
        data, self.log = directory / "data", directory / "log"
        data.mkdir(exist_ok=True)
        os.chown(data, 10001, 10001)
        given = {
            "REGISTRY_HTTP_ADDR": f"127.0.0.1:{port}",
            "REGISTRY_HTTP_DEBUG_ADDR": f"127.0.0.1:{debug}",
            **variables,
        }
        options = [option for name, value in given.items() for option in ("--env", f"{name}={value}")]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    *(
                        "podman",
                        "--runtime",
                        "runc",
                        "run",
                        "--rm",
                        "--network",
                        "host",
                        "--name",
                        "registry",
                    ),
                    *("--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges"),
                    *("--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096"),
                    *("--volume", f"{data}:/var/lib/registry", *options, IMAGE),
                ],
                env=podman.env,
                stdout=log,
                stderr=log,
            )

    def is_ready(self) -> bool:
        try:
            return ask("GET", f"{self.debug}/debug/ready").status == 200
        except OSError:
            return False

    def stop(self) -> int:
        """Send the signal that the image names for that, and return the exit status."""
        self._podman.run("kill", "--signal", "TERM", "registry")
        return self.process.wait(PATIENCE)


@pytest.fixture
def skopeo(tmp_path: Path) -> Skopeo:
    return Skopeo.ready(tmp_path / "skopeo")


@pytest.fixture
def variables() -> dict[str, str]:
    return {}


@pytest.fixture
def container(image: Podman, tmp_path: Path, variables: dict[str, str]) -> Iterator[Container]:
    made = Container(image, tmp_path, *free_ports(2), variables)
    try:
        assert eventually(made.is_ready, PATIENCE), made.log.read_text()
        yield made
    finally:
        if made.process.poll() is None:
            image.run("rm", "--force", "registry")
            made.process.wait(30)


def inspected(podman: Podman, image: str) -> Any:
    (found,) = json.loads(podman.run("image", "inspect", image))
    return found


def test_it_is_small_has_no_compiler_and_no_installer(image: Podman):
    size = inspected(image, IMAGE)["Size"] - inspected(image, BASE)["Size"]
    assert size < 120 * 10**6
    look = r"find / -xdev -type f -path '*bin/*' -printf '%f\n' 2>/dev/null; true"
    found = run_in(image, "sh", "-c", look).split()
    assert [name for name in found if re.fullmatch(r"python3\.\d+", name)]
    assert not [name for name in found if re.match(r"(gcc|cc1|ld|as|make|pip)\b", name)]


def test_nothing_of_it_can_be_changed(image: Podman):
    look = "find / -xdev -writable -not -type l -not -path '/proc/*' -not -path '/dev/*' 2>/dev/null; true"
    found = run_in(image, "sh", "-c", look)
    assert set(found.split()) <= {"/tmp", "/var/tmp", "/run/lock", "/var/lib/registry"}


def run_in(podman: Podman, program: str, *arguments: str) -> str:
    return podman.run(
        *("--runtime", "runc", "run", "--rm", "--network", "host", "--read-only", "--cap-drop", "all"),
        *("--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096", "--entrypoint", program, IMAGE),
        *arguments,
    )


def test_who_runs_it_is_nobody_special(image: Podman):
    found = inspected(image, IMAGE)
    assert found["Config"]["User"] == "10001:10001"
    assert found["Config"]["StopSignal"] in ("SIGTERM", "15")
    assert "healthcheck" in json.dumps(found)


def test_images_are_pushed_to_it_and_pulled_from_it(container: Container, tmp_path: Path, skopeo: Skopeo):
    make_image(tmp_path / "image")
    skopeo.push(tmp_path / "image", f"{container.address}/team/app:1")
    skopeo.pull(f"{container.address}/team/app:1", tmp_path / "back")
    assert ask("GET", f"{container.debug}/metrics").status == 200
    lines = [line for line in container.log.read_text().splitlines() if line.startswith("{")]
    assert any(json.loads(line).get("status") == 201 for line in lines)  # there is no terminal


def test_it_is_healthy_and_a_signal_drains_it(container: Container, image: Podman):
    assert image.run("exec", "registry", "python3", "/opt/cfmiddleware/bin/healthcheck") == ""
    container._podman.run("kill", "--signal", "TERM", "registry")
    began = time.monotonic()
    assert eventually(lambda: not container.is_ready())
    # It goes on for the five seconds that its file says.
    assert ask("GET", f"{container.url}/v2/").status == 200
    assert container.process.wait(PATIENCE) == 0
    assert time.monotonic() - began > 3


def test_a_mistake_ends_it_with_one_line(image: Podman, tmp_path: Path):
    made = Container(image, tmp_path, *free_ports(2), {"REGISTRY_SERVER_WRKERS": "2"})
    assert made.process.wait(PATIENCE) == 2
    assert "server.wrkers: there is no such option (did you mean 'workers'?)" in made.log.read_text()
    assert "Traceback" not in made.log.read_text()
