"""`cfmiddleware purge` as an operator meets it, and purging by the server itself."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import yaml
from lab.docker_registry import require_docker_registry, running_with
from lab.purging import DAY, HOUR, make_older, of_uploads
from lab.registry_client import RegistryClient
from lab.servers import CFMIDDLEWARE, eventually, free_port, running
from lab.serving import ask

from cfmiddleware.cli import main
from cfmiddleware.registry.collect.lease import Lease
from cfmiddleware.registry.store import paths
from cfmiddleware.storage.filesystem import FilesystemDriver


def configure(directory: Path, address: str = "127.0.0.1:5000", **maintenance: object) -> FilesystemDriver:
    storage = {"filesystem": {"rootdirectory": str(directory / "data")}, "maintenance": maintenance}
    tree = {"version": "0.1", "storage": storage, "http": {"addr": address}}
    (directory / "config.yml").write_text(yaml.safe_dump(tree))
    return FilesystemDriver(directory / "data")


def abandoned(driver: FilesystemDriver, name: str = "app", age: float = 8 * DAY) -> str:
    client = RegistryClient(driver, inline_limit=10)
    url = client.patch(client.start(name), data=b"0123456789" * 5).headers["Location"]
    make_older(driver, age)
    return url.rpartition("/")[2]


def purge(directory: Path, *options: str) -> int:
    return main(["purge", str(directory / "config.yml"), *options])


def test_a_dry_run_lists_and_a_run_deletes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    driver = configure(tmp_path)
    uuid = abandoned(driver)

    assert purge(tmp_path, "--dry-run") == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith(f"would go: upload app: {uuid}: ")
    assert out[1].startswith("1 uploads and 0 other leftovers of ")
    assert of_uploads(driver)

    assert purge(tmp_path) == 0
    assert capsys.readouterr().out.startswith("gone: upload app: ")
    assert not of_uploads(driver)


def test_the_age_is_the_files_or_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    driver = configure(tmp_path, uploadpurging={"enabled": False, "age": "2h"})
    uuid = abandoned(driver, age=HOUR)
    assert purge(tmp_path, "--json") == 0
    assert json.loads(capsys.readouterr().out)["purged"] == []
    assert purge(tmp_path, "--json", "--age", "30m") == 0
    (gone,) = json.loads(capsys.readouterr().out)["purged"]
    assert (gone["kind"], gone["repository"], gone["name"]) == ("upload", "app", uuid)


@pytest.mark.parametrize("age", ["0", "soon", "-1h", "7"])
def test_an_age_that_is_none_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], age: str
) -> None:
    configure(tmp_path)
    assert purge(tmp_path, f"--age={age}") == 2
    assert capsys.readouterr().err.startswith("cfmiddleware: --age: ")


def test_a_read_only_registry_purges_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    driver = configure(tmp_path, readonly={"enabled": True})
    abandoned(driver)
    assert purge(tmp_path) == 2
    assert "storage.maintenance.readonly: is enabled" in capsys.readouterr().err
    assert purge(tmp_path, "--dry-run") == 0
    assert of_uploads(driver)


def test_a_purge_beside_another_one_ends_with_who_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    driver = configure(tmp_path)
    driver.check()
    with Lease(driver, path=paths.PURGE_LEASE).held():
        assert purge(tmp_path) == 1
    assert "another process purges: process" in capsys.readouterr().err


def test_uploads_of_distribution_go_and_the_one_that_goes_on_stays(tmp_path: Path) -> None:
    require_docker_registry()
    driver = configure(tmp_path)
    storage = {"filesystem": {"rootdirectory": str(tmp_path / "data")}}
    with running_with(tmp_path, storage=storage) as distribution:
        url = f"http://{distribution.address}/v2/app/blobs/uploads/"
        silent, written = (ask("POST", url).headers["Location"] for _ in range(2))
        silent, written = (ask("PATCH", each, b"0" * 1000).headers["Location"] for each in (silent, written))
        make_older(driver, 8 * DAY)
        written = ask("PATCH", written, b"1" * 1000).headers["Location"]
        assert {path.split("/")[3] for path in of_uploads(driver)} == {"data", "hashstates", "startedat"}

        assert purge(tmp_path) == 0

        assert len({path.split("/")[2] for path in of_uploads(driver)}) == 1
        assert ask("GET", silent).status == 404
        assert ask("PATCH", written, b"2" * 1000).status == 202


def test_a_server_purges_by_itself_and_stops_at_once(tmp_path: Path) -> None:
    port = free_port()
    driver = configure(tmp_path, f"127.0.0.1:{port}", uploadpurging={"age": "1h", "interval": "1s"})
    abandoned(driver)
    with running(
        [CFMIDDLEWARE, "serve", str(tmp_path / "config.yml")], tmp_path / "serve", ports=[port]
    ) as server:
        assert eventually(lambda: not of_uploads(driver), 30)
        assert ask("GET", f"http://127.0.0.1:{port}/v2/").status == 200
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 10
    assert "Traceback" not in server.stderr
