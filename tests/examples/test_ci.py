"""The jobs of `examples/ci`, their steps run by a shell against a registry over TLS that wants a password."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab import PROJECT
from lab.client_settings import CLOSED, PASSWORD, USER, Place
from lab.clients import Buildah, Skopeo, find_program
from lab.servers import S3Server
from lab.serving import ask
from lab.tls import write_certificate

pytestmark = [pytest.mark.clients, pytest.mark.long]

FILES = PROJECT / "examples" / "ci"
BIN = Path(sys.executable).parent
RETENTION = [{"repositories": "*", "tags": "main-*", "keep": {"last": 10}}]


class _Loader(yaml.SafeLoader):
    """Reads `on` as the word that it is, as both services do."""


_Loader.yaml_implicit_resolvers = {
    letter: [(kind, pattern) for kind, pattern in resolvers if kind != "tag:yaml.org,2002:bool"]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read(name: str) -> dict[str, Any]:
    tree: dict[str, Any] = yaml.load((FILES / name).read_text(), _Loader)
    return tree


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the registry's configuration and its certificate are."""
    return tmp_path_factory.mktemp("ci")


@pytest.fixture(scope="module")
def place(s3_server: S3Server, directory: Path) -> Iterator[Place]:
    write_certificate(directory / "registry.crt")
    pair = dict.fromkeys(("certificate", "key"), "registry.crt")
    with CLOSED[0].running(directory, s3_server, http={"tls": pair}, retention=RETENTION) as place:
        yield place


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository as a runner has checked it out."""
    directory = tmp_path / "checkout"
    directory.mkdir()
    (directory / "greeting").write_text("hello\n")
    (directory / "Containerfile").write_text("FROM scratch\nCOPY greeting /greeting\n")
    return directory


class Runner:
    """Runs steps as the services do: one shell each, which ends at the first command that fails."""

    def __init__(self, place: Place, directory: Path, buildah: Buildah, checkout: Path) -> None:
        self.certificate, self.configuration = directory / "registry.crt", directory / "config.yml"
        self._checkout = checkout
        # Neither service sets the variable that says where buildah keeps what it is logged in with.
        given = {name: text for name, text in buildah.env.items() if name != "REGISTRY_AUTH_FILE"}
        self._env = {
            **given,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "_CONTAINERS_ROOTLESS_UID": "1",
            "SSL_CERT_FILE": str(self.certificate),
            "CURL_CA_BUNDLE": str(self.certificate),
            "REGISTRY": place.registry,
        }

    def run(self, script: str, variables: dict[str, str]) -> str:
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", script],
            cwd=self._checkout,
            env={**variables, **self._env},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture
def runner(place: Place, directory: Path, buildah: Buildah, checkout: Path) -> Runner:
    return Runner(place, directory, buildah, checkout)


SECRETS = {"PUSH_USER": USER, "PUSH_PASSWORD": PASSWORD}


def of_github(job: str, runner: Runner, number: int, name: str) -> str:
    """Run a job of the workflow, and return what its steps wrote."""
    workflow = read("github-actions.yml")

    def filled(text: str) -> str:
        return re.sub(r"\$\{\{ secrets\.(\w+) \}\}", lambda found: SECRETS[found[1]], text)

    variables = {**workflow["env"], "NAME": name, "GITHUB_RUN_NUMBER": str(number)}
    told = ""
    for step in workflow["jobs"][job]["steps"]:
        if "run" in step:
            own = {key: filled(text) for key, text in step.get("env", {}).items()}
            assert "${{" not in step["run"]  # what stands there is not quoted for the shell
            told += runner.run(step["run"], {**variables, **own})
    return told


def of_gitlab(job: str, runner: Runner, number: int, name: str) -> str:
    """Run a job of the pipeline; what it installs is installed."""
    pipeline = read("gitlab-ci.yml")
    steps = pipeline[job]
    assert steps.get("before_script", []) in ([], ["pip install cfmiddleware"])
    variables = {**pipeline["variables"], **steps.get("variables", {}), **SECRETS}
    variables |= {"NAME": name, "CI_PIPELINE_IID": str(number), "CONFIG_FILE": str(runner.configuration)}
    return runner.run("\n".join(steps["script"]), variables)


def tag(place: Place, runner: Runner, name: str, manifest: str, numbers: Sequence[int]) -> None:
    """Give a manifest the tags of other runs, one after the other."""
    basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    headers = {"Authorization": f"Basic {basic}", "Content-Type": json.loads(manifest)["mediaType"]}
    for number in numbers:
        url = f"https://{place.registry}/v2/{name}/manifests/main-{number}"
        assert ask("PUT", url, manifest.encode(), headers, certificate=runner.certificate).status == 201


@pytest.mark.parametrize("service", [of_github, of_gitlab], ids=["GitHub", "GitLab"])
def test_a_job_pushes_what_it_built_and_another_deletes_what_is_old(
    service: Any, place: Place, runner: Runner, skopeo: Skopeo
):
    for program in ("jq", "curl"):
        find_program(program)
    place.let_in(skopeo)
    name = f"ci/{service.__name__.replace('_', '-')}"
    repository = f"{place.registry}/{name}"

    service("push", runner, 12, name)

    assert set(skopeo.tags(repository)) == {"latest", "main-12"}
    manifest = skopeo.raw_manifest(f"{repository}:latest")
    assert manifest == skopeo.raw_manifest(f"{repository}:main-12")

    tag(place, runner, name, manifest, [*range(1, 12), 13, 14, 15])
    service("clean", runner, 0, name)

    # GitHub's goes by the numbers, retention by when a tag was moved.
    kept = range(6, 16) if service is of_github else (*range(5, 12), 13, 14, 15)
    assert set(skopeo.tags(repository)) == {"latest", *(f"main-{number}" for number in kept)}


@pytest.mark.parametrize(
    ("schema", "name"), [("github-workflows", "github-actions.yml"), ("gitlab-ci", "gitlab-ci.yml")]
)
def test_the_files_are_what_the_services_read(schema: str, name: str):
    """By their schemas, which the package check-jsonschema brings."""
    command = [BIN / "check-jsonschema", "--builtin-schema", f"vendor.{schema}", FILES / name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
