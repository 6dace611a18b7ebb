"""`compose.yaml`, started by podman-compose in a network of its own, with images that are made here."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from lab import PROJECT
from lab.clients import Buildah, Podman, Skopeo, cannot_run, find_program

#: What compose.yaml starts; each service with its image.
SERVICES: dict[str, Any] = yaml.safe_load((PROJECT / "compose.yaml").read_text())["services"]

#: podman as it runs without systemd, and where limits cannot be raised.
_SETTINGS = """
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[network]
network_backend = "netavark"
network_config_dir = "{networks}"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
tmp_dir = "{tmp}"
"""

_MOTO = """
FROM {base}
COPY . /wheels
RUN python3 -m venv /opt/moto && /opt/moto/bin/pip install --quiet --no-index --find-links /wheels "{moto}"
ENTRYPOINT ["/opt/moto/bin/moto_server"]
CMD ["-H", "0.0.0.0"]
"""

_PROMETHEUS = """
FROM {servers}
ENTRYPOINT ["/usr/bin/prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/tmp/prometheus"]
"""


def image_of(service: str) -> str:
    """Return the name of a service's image, whole."""
    name: str = SERVICES[service]["image"]
    return name if "/" in name else f"localhost/{name}:latest"


def make_images(
    podman: Podman, buildah: Buildah, directory: Path, *, base: str, servers: Path, python: str
) -> None:
    """Make the images of the other services under the names that compose.yaml has.

    :param base: an image with Python.
    :param servers: a root file system with a Redis and a Prometheus of Debian's.
    :param python: what makes the wheels; of the base's version.
    """
    redis = image_of("redis")
    # As in Redis's own image, it answers others than its own machine.
    entry = 'ENTRYPOINT ["sh", "-c", "exec \\"$@\\" --protected-mode no", "--"]'
    podman.run("import", "--quiet", "--change", entry, servers, redis, seconds=600)
    moto = f"moto[s3,server]=={image_of('s3').rpartition(':')[2]}"
    wheels = directory / "wheels"
    subprocess.run([python, "-m", "venv", str(directory / "tools")], check=True)
    pip = [str(directory / "tools/bin/pip"), "wheel", "--quiet", "--wheel-dir", str(wheels)]
    subprocess.run([*pip, moto], check=True, timeout=900)
    for name, text in (
        (image_of("s3"), _MOTO.format(base=base, moto=moto)),
        (image_of("prometheus"), _PROMETHEUS.format(servers=redis)),
    ):
        file = directory / "Containerfile"
        file.write_text(text)
        options = ["--isolation", "chroot", "--network", "host", "--format", "docker", "--tag", name]
        command = [buildah.path, "bud", "--quiet", *options, "--file", str(file), str(wheels)]
        done = subprocess.run(command, env=buildah.env, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stdout + done.stderr


class Project:
    """What compose.yaml starts, in a network that nobody else is in.

    :param podman: a store with the images.
    :param directory: for what podman writes.
    """

    def __init__(self, podman: Podman, directory: Path) -> None:
        self._program = Path(sys.executable).parent / "podman-compose"
        if not self._program.exists():
            cannot_run("podman-compose is not installed; .ci/compose brings it")
        self.name = f"compose{os.getpid()}"
        self.directory = directory
        settings = directory / "compose.conf"
        networks = directory / "networks"
        networks.mkdir()
        settings.write_text(_SETTINGS.format(networks=networks, tmp=directory / "tmp"))
        self._env = {**podman.env, "CONTAINERS_CONF": str(settings)}
        self._podman = podman.path

    def inside(self, *command: str) -> list[str]:
        """Return a command that runs in the network."""
        return ["nsenter", f"--net=/run/netns/{self.name}", *command]

    def run(self, *command: str, seconds: float = 120) -> str:
        """Run a command in the network and return what it printed."""
        done = subprocess.run(
            self.inside(*command),
            cwd=PROJECT,
            env=self._env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def podman(self, *arguments: str) -> str:
        """Run podman."""
        return self.run(self._podman, *arguments)

    def compose(self, *arguments: str) -> str:
        """Run podman-compose."""
        return self.run(str(self._program), "--project-name", self.name, *arguments, seconds=300)

    def container(self, service: str) -> str:
        """Return the name of a service's container."""
        return f"{self.name}_{service}_1"

    def get(self, url: str) -> Any:
        """Return what an HTTP GET in the network answers, which is JSON; None where nothing answers yet."""
        with contextlib.suppress(AssertionError):
            return json.loads(self.run("curl", "-sf", "--max-time", "10", url))
        return None

    def skopeo(self, directory: Path) -> Skopeo:
        """Return a skopeo in the network."""
        skopeo = Skopeo.ready(directory)
        script = directory / "inside"
        script.write_text(f'#!/bin/sh\nexec {" ".join(self.inside(skopeo.path))} "$@"\n')
        script.chmod(0o755)
        skopeo.path = str(script)
        return skopeo

    @contextlib.contextmanager
    def started(self) -> Iterator[Project]:
        """Start all services, and take them away when the block is left."""
        for program in ("ip", "nsenter", "curl"):
            find_program(program)
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        try:
            self.run("ip", "link", "set", "lo", "up")
            try:
                self.compose("up", "--detach", "--no-build")
                yield self
            finally:
                self.compose("down", "--timeout", "20")
        finally:
            subprocess.run(["ip", "netns", "delete", self.name], check=True)
