"""The manifests for Kubernetes: what they say is valid, and what they promise of the registry is so."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab import PROJECT
from lab.servers import eventually, free_port
from lab.serving import Service, ask, serving
from lab.signing_material import rsa_pem

from cfmiddleware.config import Config

FOLDER = PROJECT / "deploy" / "kubernetes"
RESOURCES = sorted(set(FOLDER.glob("*.yaml")) - {FOLDER / "kustomization.yaml"})


def manifest(kind: str) -> Any:
    (found,) = (one for file in RESOURCES if (one := yaml.safe_load(file.read_text()))["kind"] == kind)
    return found


def container() -> Any:
    (found,) = manifest("Deployment")["spec"]["template"]["spec"]["containers"]
    return found


def test_each_manifest_is_valid():
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    version = kubernetes_validate.latest_version()
    for file in RESOURCES:
        if (
            file.stem != "servicemonitor"
        ):  # no schema of Kubernetes' own describes it; scripts/lint has another
            kubernetes_validate.validate(yaml.safe_load(file.read_text()), version, strict=True)


def test_the_kustomization_names_each_of_them():
    named = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    assert sorted(named) == [file.name for file in RESOURCES]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is missing")
def test_kustomize_makes_a_configuration_of_its_own_for_each_content():
    done = subprocess.run(["kubectl", "kustomize", str(FOLDER)], capture_output=True, text=True, check=True)
    made = list(yaml.safe_load_all(done.stdout))
    (configuration,) = (one for one in made if one["kind"] == "ConfigMap")
    (deployment,) = (one for one in made if one["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (volume,) = (volume for volume in pod["volumes"] if volume["name"] == "config")
    assert volume["configMap"]["name"] == configuration["metadata"]["name"] != "cfmiddleware"
    assert {one["metadata"]["namespace"] for one in made} == {"registry"}
    assert pod["containers"][0]["image"].startswith("registry.example.com/")


def test_what_selects_the_pods_and_the_ports_finds_them():
    pod = manifest("Deployment")["spec"]["template"]
    labels, ports = pod["metadata"]["labels"], {port["name"] for port in container()["ports"]}
    service = manifest("Service")
    assert service["spec"]["selector"].items() <= labels.items()
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    assert manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"].items() <= labels.items()
    monitor = manifest("ServiceMonitor")["spec"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert {one["port"] for one in monitor["endpoints"]} <= {
        port["name"] for port in service["spec"]["ports"]
    }


def configuration(keys: Path) -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load((FOLDER / "config.yml").read_text())
    tree["middleware"]["storage"][0]["options"]["privatekey"] = str(keys)
    return tree


def test_the_configuration_can_be_used_and_fits_the_pod(tmp_path: Path):
    (tmp_path / "pk-K1.pem").write_text(rsa_pem(1))
    file = tmp_path / "config.yml"
    file.write_text(yaml.safe_dump(configuration(tmp_path)))
    config = Config.load(file, {})
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    debug = config.debug_address()
    assert debug is not None
    assert (config.address()[1], debug[1]) == (ports["registry"], ports["debug"])
    stops = config.settings.http.draintimeout + config.server_options().gracefultimeout
    assert manifest("Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > stops
    given = yaml.safe_load((FOLDER / "config.yml").read_text())["middleware"]["storage"][0]["options"]
    mounts = [mount["mountPath"] for mount in container()["volumeMounts"]]
    assert given["privatekey"] in mounts
    assert Path(container()["args"][1]).parent in map(Path, mounts)


class Secret:
    """A directory as the kubelet makes and changes it: links into a directory that is switched at once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir()
        self._version = 0

    def put(self, files: dict[str, str]) -> None:
        self._version += 1
        new = self._directory / f"..{self._version}"
        new.mkdir()
        for name, text in files.items():
            (new / name).write_text(text)
        switch = self._directory / "..data_tmp"
        switch.symlink_to(new.name)
        switch.rename(self._directory / "..data")
        for name in files:
            if not (self._directory / name).is_symlink():
                (self._directory / name).symlink_to(f"..data/{name}")
        for link in self._directory.iterdir():
            if not link.name.startswith("..") and link.name not in files:
                link.unlink()


@pytest.fixture
def secret(tmp_path: Path) -> Secret:
    made = Secret(tmp_path / "secret")
    made.put({"pk-K1.pem": rsa_pem(1)})
    return made


@pytest.fixture
def debug() -> int:
    return free_port()


@pytest.fixture
def registry(tmp_path: Path, secret: Secret, debug: int) -> Iterator[Service]:
    """The registry of the manifests, over a directory."""
    tree = configuration(tmp_path / "secret")
    tree["storage"] |= {"filesystem": {"rootdirectory": str(tmp_path / "data")}}
    del tree["storage"]["s3"]
    tree["middleware"]["storage"][0]["options"] |= {"rootdirectory": "/team/prod"}
    tree["http"]["debug"]["addr"] = f"127.0.0.1:{debug}"
    tree["http"]["draintimeout"] = "1s"
    file = tmp_path / "config.yml"
    file.write_text(yaml.safe_dump(tree))
    with serving(tmp_path, str(file), edge=False) as service:
        yield service


def test_each_probe_and_the_scrape_find_what_they_ask_for(registry: Service, debug: int):
    ports = {"registry": registry.port, "debug": debug}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container()[probe]["httpGet"]
        url = f"http://127.0.0.1:{ports[asked['port']]}{asked['path']}"
        assert eventually(lambda url=url: ask("GET", url).status == 200)  # as a probe, which asks again
    for endpoint in manifest("ServiceMonitor")["spec"]["endpoints"]:
        answer = ask("GET", f"http://127.0.0.1:{ports[endpoint['port']]}{endpoint['path']}")
        assert b"registry_http_requests_total" in answer.body


def test_a_secret_that_is_replaced_signs_without_a_new_start(registry: Service, secret: Secret):
    digest = registry.push("team/app", b"layer")
    assert "Key-Pair-Id=K1" in registry.redirect("team/app", digest)
    secret.put({"pk-K2.pem": rsa_pem(2)})

    def both_workers_sign_with_it() -> bool:
        return all("Key-Pair-Id=K2" in registry.redirect("team/app", digest) for _ in range(10))

    assert eventually(both_workers_sign_with_it)
