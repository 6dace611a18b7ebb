"""What `compose.yaml` says is valid, and what its files and its services ask of each other is there."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from lab import PROJECT

FILE = PROJECT / "compose.yaml"
SERVICES: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"]


def test_it_is_valid():
    compose_spec = pytest.importorskip("compose_spec")
    text = FILE.read_text(encoding="utf-8")
    compose_spec.PyCompose.from_yaml(text).validate()
    for right, wrong in (("read_only: true", "read_only: perhaps"), ("tmpfs:", "tmpfss:")):
        with pytest.raises(ValueError, match=r"services\.registry"):
            compose_spec.PyCompose.from_yaml(text.replace(right, wrong))


def test_no_service_depends_on_one_that_depends_on_another():
    """podman 4.3 starts none that does: its list of what goes before is one step long."""
    first = {name for service in SERVICES.values() for name in service.get("depends_on", ())}
    assert first == {"bucket", "redis"}
    assert [name for name in first if "depends_on" in SERVICES[name]] == []


def test_each_file_that_is_mounted_is_there():
    volumes = [volume.split(":") for service in SERVICES.values() for volume in service.get("volumes", ())]
    assert len(volumes) == 2
    assert [source for source, *_ in volumes if not (PROJECT / source).exists()] == []


def test_its_prometheus_reads_the_registry_under_the_name_that_the_alerts_have():
    config = yaml.safe_load((PROJECT / "deploy/container/prometheus.yml").read_text(encoding="utf-8"))
    (job,) = config["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    own = yaml.safe_load((PROJECT / "deploy/container/config.yml").read_text(encoding="utf-8"))
    assert target == f"registry:{own['http']['debug']['addr'].rpartition(':')[2]}"
    mounted = {
        volume.split(":")[1].rstrip("/"): volume.split(":")[0] for volume in SERVICES["prometheus"]["volumes"]
    }
    (rules,) = config["rule_files"]
    folder, _, name = rules.rpartition("/")
    alerts = (PROJECT / mounted[folder] / name).read_text(encoding="utf-8")
    assert set(re.findall(r'job="(\w+)"', alerts)) == {job["job_name"]}
