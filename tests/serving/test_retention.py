"""``cfmiddleware retention`` beside a registry that serves, over S3."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import yaml
from lab.registry_client import image_manifest
from lab.serving import CFMIDDLEWARE, Service, ask, serving

from cfmiddleware.digest import Digest

RULES = [
    {"repositories": "*", "protect": ["release-*"], "immutable": ["v*"]},
    {"repositories": "team/*", "tags": "ci-*", "keep": {"last": 2}},
]


def push(service: Service, tag: str, seed: bytes = b"") -> int:
    config, layer = (service.push("team/app", content + seed) for content in (b"{}", b"layer"))
    content = json.dumps(image_manifest(config, [layer], annotations={"for": tag})).encode()
    return ask("PUT", f"{service.url}/v2/team/app/manifests/{tag}", content).status


def test_tags_that_were_just_pushed_go_and_protected_ones_stay(any_s3, tmp_path: Path) -> None:
    storage = {"s3": any_s3.driver_options(any_s3.new_bucket()), "delete": {"enabled": True}}
    tree = {"version": "0.1", "storage": storage, "retention": RULES, "http": {}}
    (tmp_path / "config.yml").write_text(yaml.safe_dump(tree))
    command = [CFMIDDLEWARE, "retention", "config.yml"]
    with serving(tmp_path, "config.yml", edge=False) as service:
        # Each a second after the other, because S3's times may be whole seconds.
        for number in range(1, 6):
            assert push(service, f"ci-{number}") == 201
            time.sleep(1.1)
        assert push(service, "release-1") == push(service, "v1") == 201

        dry = subprocess.run([*command, "--dry-run", "--json"], cwd=tmp_path, check=True, capture_output=True)
        told = json.loads(dry.stdout)
        done = subprocess.run([*command, "--json"], cwd=tmp_path, check=True, capture_output=True)

        gone = [fate["tag"] for fate in json.loads(done.stdout)["deleted"]]
        assert gone == [fate["tag"] for fate in told["tags"] if fate["goes"]] == ["ci-1", "ci-2", "ci-3"]
        listed = json.loads(ask("GET", f"{service.url}/v2/team/app/tags/list").body)["tags"]
        assert listed == ["ci-4", "ci-5", "release-1", "v1"]
        manifests = f"{service.url}/v2/team/app/manifests"
        digest = Digest.of(ask("GET", f"{manifests}/v1").body)
        answers = [
            ask("DELETE", f"{manifests}/release-1"),
            ask("DELETE", f"{manifests}/{digest}"),
            ask("DELETE", f"{service.url}/v2/team/app/blobs/{Digest.of(b'layer')}"),
        ]
        assert [answer.status for answer in answers] == [405, 405, 405]
        assert push(service, "v1", b"other") == 403
        assert push(service, "v1") == 201
        assert push(service, "release-1", b"other") == 201
