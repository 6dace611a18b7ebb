"""The container image: built on a base that is made from Debian's packages, started, and used as a registry,
alone and by `compose.yaml`.

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
from lab.compose import Project, image_of, make_images
from lab.images import blobs_in, make_image
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

#: The packages of the base.
ROOT = ("python3", "python3-venv", "ca-certificates")

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
    make_root(base, *ROOT)
    podman.run("import", "--quiet", base, BASE, seconds=600)
    base.unlink()
    return podman


def make_root(archive: Path, *packages: str) -> None:
    """Make a root file system of Debian's packages."""
    suite = platform.freedesktop_os_release()["VERSION_CODENAME"]
    subprocess.run(
        [
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            f"--include={','.join(packages)}",
            suite,
            str(archive),
        ],
        check=True,
        timeout=900,
        stdin=subprocess.DEVNULL,
    )


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
    buildah = builder(store, tmp_path_factory)
    options = "--no-index --find-links /src/wheels"
    build = [
        *(buildah.path, "bud", "--quiet", "--isolation", "chroot", "--network", "host", "--format", "docker"),
        *("--build-arg", f"BASE={BASE}", "--build-arg", f"PIP_OPTIONS={options}"),
        *("--file", str(context / "Containerfile"), "--tag", IMAGE, str(context)),
    ]
    done = subprocess.run(build, env=buildah.env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return store


def builder(store: Podman, tmp_path_factory: pytest.TempPathFactory) -> Buildah:
    """Return a buildah with the same store."""
    buildah = Buildah(tmp_path_factory.mktemp("buildah") / "buildah")
    buildah.env["CONTAINERS_STORAGE_CONF"] = store.env["CONTAINERS_STORAGE_CONF"]
    return buildah


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
    # There is no terminal. podman's own lines, such as that there is no systemd, stand between them.
    logged = container.log.read_text().splitlines()
    lines = [json.loads(line) for line in logged if not line.startswith('time="')]
    assert any(line.get("status") == 201 for line in lines)


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


# compose.yaml


@pytest.fixture(scope="module")
def project(image: Podman, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """All that compose.yaml has, started."""
    directory = tmp_path_factory.mktemp("compose")
    image.run("tag", IMAGE, image_of("registry"))
    make_root(directory / "servers.tar", *ROOT, "redis-server", "prometheus")
    make_images(
        image,
        builder(image, tmp_path_factory),
        directory,
        base=BASE,
        servers=directory / "servers.tar",
        python=PYTHON,
    )
    (directory / "servers.tar").unlink()
    with Project(image, directory).started() as project:
        assert eventually(lambda: project.get("http://127.0.0.1:5000/v2/") == {}, 60)
        yield project


@pytest.mark.composed
def test_compose_yaml_starts_a_registry_over_s3_and_redis(project: Project, tmp_path: Path):
    made = make_image(tmp_path / "image")
    skopeo = project.skopeo(tmp_path / "skopeo")
    skopeo.push(made.layout, "127.0.0.1:5000/team/app:1")
    skopeo.pull("127.0.0.1:5000/team/app:1", tmp_path / "back")
    assert blobs_in(tmp_path / "back") == blobs_in(made.layout)
    # What it kept is gone after a minute.
    asked = project.podman("exec", project.container("redis"), "redis-cli", "info", "commandstats")
    assert "cmdstat_eval:" in asked
    listed = (
        "import boto3; print(len(boto3.client('s3', endpoint_url='http://s3:9000', region_name='us-east-1',"
        " aws_access_key_id='example', aws_secret_access_key='example-secret')"
        ".list_objects_v2(Bucket='images', Prefix='docker/registry/v2/blobs/')['Contents']))"
    )
    objects = project.podman("exec", project.container("registry"), "python3", "-c", listed)
    assert int(objects) >= len(made.layers) + 2


@pytest.mark.composed
def test_its_prometheus_reads_the_registry_and_knows_the_alerts(project: Project):
    def series(query: str) -> list[Any]:
        answer = project.get(f"http://127.0.0.1:9090/api/v1/query?query={query}")
        return answer["data"]["result"] if answer else []

    def is_read() -> bool:
        return [each["value"][1] for each in series("up")] == ["1"]

    assert eventually(is_read, 60)
    assert series("cfmiddleware_s3_requests_total")
    (group,) = project.get("http://127.0.0.1:9090/api/v1/rules")["data"]["groups"]
    # The alerts ask for the job of this name, and one fires where there is none.
    assert {each["metric"]["job"] for each in series("up")} == {"cfmiddleware"}
    assert {rule["name"] for rule in group["rules"]} >= {"RegistryDown", "RegistryGone"}
    # Some are pending where it was asked before the registry was there.
    assert [rule["name"] for rule in group["rules"] if rule["state"] == "firing"] == []


@pytest.mark.composed
def test_it_ends_well(project: Project):
    """The last of these: the registry is not started again."""
    project.podman("stop", "--time", "50", project.container("registry"))
    found = json.loads(project.podman("inspect", project.container("registry")))
    assert found[0]["State"]["ExitCode"] == 0
