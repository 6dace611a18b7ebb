"""Upload purging and retention that a server does by itself, and what it tells of them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import yaml
from lab.event_receiver import receiving
from lab.purging import DAY, make_older, of_uploads
from lab.registry_client import RegistryClient
from lab.servers import eventually, free_port
from lab.serving import ask, serving

from cfmiddleware.cli import main
from cfmiddleware.config import Config
from cfmiddleware.storage.filesystem import FilesystemDriver

LONG = 90.0


def test_what_goes_by_itself_is_counted_and_told(tmp_path: Path) -> None:
    pytest.importorskip("prometheus_client")
    driver = FilesystemDriver(tmp_path / "data")
    client = RegistryClient(driver, inline_limit=10)
    for tag in ("ci-1", "ci-2", "v1"):
        client.push_image("app", tag, tag.encode())
    client.patch(client.start("app"), data=b"0123456789" * 5)
    make_older(driver, 8 * DAY)
    port = free_port()
    with receiving() as receiver:
        tree = {
            "version": 0.1,
            "storage": {
                "filesystem": {"rootdirectory": "data"},
                "maintenance": {
                    "uploadpurging": {"interval": "1s"},
                    "retention": {"enabled": True, "interval": "1s"},
                },
            },
            "retention": [{"repositories": "*", "tags": "ci-*", "keep": {"last": 1}}],
            "notifications": {"endpoints": [{"name": "audit", "url": receiver.url}]},
            "http": {"debug": {"addr": f"127.0.0.1:{port}", "prometheus": {"enabled": True}}},
        }
        (tmp_path / "config.yml").write_text(yaml.safe_dump(tree))

        def value(name: str) -> float:
            page = ask("GET", f"http://127.0.0.1:{port}/metrics").body.decode()
            values = [line.rpartition(" ")[2] for line in page.splitlines() if line.startswith(name)]
            return float(values[0]) if values else 0.0

        with serving(tmp_path, "config.yml", edge=False) as service:
            removed = "cfmiddleware_maintenance_removed_total"
            assert eventually(lambda: value(removed + '{kind="tag"}') == 1, LONG), service.server.stderr
            assert eventually(lambda: value(removed + '{kind="upload"}') == 1, LONG)
            assert eventually(lambda: not of_uploads(driver), LONG)
            assert value("cfmiddleware_maintenance_removed_bytes_total") > 50
            for task in ("retention", "uploadpurging"):
                assert value(f'cfmiddleware_maintenance_interval_seconds{{task="{task}"}}') == 1
                done = value(f'cfmiddleware_maintenance_success_timestamp_seconds{{task="{task}"}}')
                assert abs(done - time.time()) < LONG
                counted = "cfmiddleware_maintenance_runs_total" + f'{{outcome="done",task="{task}"}}'
                assert eventually(lambda counted=counted: value(counted) >= 1, LONG)
            assert json.loads(ask("GET", f"{service.url}/v2/app/tags/list").body)["tags"] == ["ci-2", "v1"]
            assert eventually(lambda: bool(receiver.taken), LONG)
    (event,) = receiver.events()
    assert (event["action"], event["target"]["repository"], event["target"]["tag"]) == (
        "delete",
        "app",
        "ci-1",
    )
    assert event["actor"] == {"name": "retention"}


def test_the_command_keeps_when_retention_was_done(tmp_path: Path) -> None:
    driver = FilesystemDriver(tmp_path / "data")
    client = RegistryClient(driver)
    client.push_image("app", "ci-1")
    tree = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": "data"}},
        "retention": [{"repositories": "*", "keep": {"last": 1}}],
    }
    (tmp_path / "config.yml").write_text(yaml.safe_dump(tree))
    assert main(["retention", str(tmp_path / "config.yml")]) == 0
    record = json.loads(driver.read("/docker/registry/v2/_cfmiddleware/retention/last"))
    assert record == {"deleted": 0, "stay": 1}


def test_where_no_server_runs_any_more_gc_sends_its_events(tmp_path: Path) -> None:
    driver = FilesystemDriver(tmp_path / "data")
    digest = RegistryClient(driver).push_blob("app", b"nobody's")
    make_older(driver, 2 * DAY)
    with receiving() as receiver:
        tree = {
            "version": 0.1,
            "storage": {"filesystem": {"rootdirectory": "data"}},
            "notifications": {
                "endpoints": [{"name": "audit", "url": receiver.url}],
                "spool": {"directory": str(tmp_path / "spool")},
            },
        }
        (tmp_path / "config.yml").write_text(yaml.safe_dump(tree))
        notifier = Config.load(tmp_path / "config.yml").notifier
        assert notifier is not None
        assert not list(notifier.spool.all())
        assert main(["gc", str(tmp_path / "config.yml")]) == 0
        (event,) = receiver.events()
    assert (event["action"], event["target"]["digest"]) == ("delete", str(digest))
