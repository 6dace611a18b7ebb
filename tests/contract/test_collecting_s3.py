"""What a collection asks of S3: how many requests, what they cost, and what becomes of those that fail."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab.collecting import collector, digests_stored
from lab.registry_client import RegistryClient, descriptor, image_manifest
from lab.s3_proxy import S3Proxy, always, refuse
from lab.servers import S3Server

from cfmiddleware.cli.commands import run
from cfmiddleware.registry.collect import condemned
from cfmiddleware.registry.store import paths
from cfmiddleware.storage.requestmeter import RequestMeter
from cfmiddleware.storage.s3 import S3Driver, S3Options


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[S3Proxy]:
    with S3Proxy(s3_server.endpoint) as proxy:
        yield proxy


@pytest.fixture
def options(s3_server: S3Server, proxy: S3Proxy) -> dict[str, Any]:
    given = s3_server.driver_options(s3_server.new_bucket(), forcepathstyle=True)
    return {**given, "regionendpoint": proxy.endpoint}


@pytest.fixture
def client(options: dict[str, Any]) -> RegistryClient:
    return RegistryClient(S3Driver(S3Options(**options)))


@pytest.fixture
def config(options: dict[str, Any], tmp_path: Path) -> str:
    path = tmp_path / "config.yml"
    storage = {"s3": options, "delete": {"enabled": True}}
    path.write_text(yaml.safe_dump({"version": 0.1, "storage": storage, "http": {}}))
    return str(path)


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(condemned, "SETTLE", 0.0)
    monkeypatch.setattr("cfmiddleware.storage.s3.plainclient.wait_after", lambda *_: 0.001)


def fill(client: RegistryClient) -> None:
    """Images that stay and one that goes with what is about it, blobs of nobody, and odd links."""
    for number in range(5):
        client.push_image(f"team/app{number % 2}", f"v{number}", b"%d" % number)
    subject = client.push_image("team/app0", "gone", b"gone")
    config = client.push_blob("team/app0", b"{}signature")
    about = image_manifest(config, [], subject=descriptor(subject))
    assert client.push_manifest("team/app0", "about", about).status_code == 201
    for tag in ("gone", "about"):
        client.delete(f"/v2/team/app0/manifests/{tag}")
    for number in range(20):
        client.push_blob("team/app1", b"nobody's %d" % number)
    grow_older()


def grow_older() -> None:
    """Wait until all that is there is older than a moment: S3's times are whole seconds."""
    time.sleep(1.1)


def gc(capsys: pytest.CaptureFixture[str], config: str, *arguments: str) -> Any:
    options = ["--grace", "0", "--delete-untagged", "--older-than", "0", "--json"]
    status = run(["gc", config, *options, *arguments])
    if "--dry-run" not in arguments:
        grow_older()
    return {**json.loads(capsys.readouterr().out), "status": status}


def sent(proxy: S3Proxy) -> dict[str, int]:
    kinds = {"ListObjectsV2": "list", "GetObject": "get", "HeadObject": "head", "PutObject": "put"}
    found = dict.fromkeys(("list", "put", "get", "head", "delete"), 0)
    for operation, count in proxy.counts().items():
        found[kinds.get(operation, "delete")] += count
    return found


def test_a_dry_run_foretells_the_requests_of_the_run_and_their_price(
    proxy: S3Proxy, client: RegistryClient, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(client)
    for _ in range(3):  # links, then bytes, then nothing
        proxy.counts()
        dry = gc(capsys, config, "--dry-run")["requests"]
        made, foretold = dry["made"], dry["run"]
        found = sent(proxy)
        assert {kind: made[kind] for kind in found} == found
        outcome = gc(capsys, config)
        assert outcome["status"] == 0
        assert foretold == outcome["requests"]
        found = sent(proxy)
        assert {kind: outcome["requests"][kind] for kind in found} == found
        dollars = 0.000005 * (found["list"] + found["put"]) + 0.0000004 * (found["get"] + found["head"])
        assert outcome["requests"]["usd"] == pytest.approx(dollars, abs=1e-6)
        assert "us-east-1" in outcome["requests"]["prices"]


def test_the_table_says_what_the_requests_cost(
    client: RegistryClient, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(client)
    assert run(["gc", config, "--dry-run"]) == 0
    now, later = capsys.readouterr().out.splitlines()[-2:]
    assert now.startswith("requests to S3 now: ")
    assert later.startswith("of a run: ")
    assert "LIST" in later
    assert "$0.00" in later
    assert "list price (us-east-1, " in later


def test_an_object_that_s3_does_not_delete_is_named_and_keeps_no_other(
    proxy: S3Proxy, client: RegistryClient, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(client)
    gc(capsys, config)
    kept: list[bytes] = []

    def keep_one(environ: Any, start_response: Any, app: Any) -> Any:
        body = environ["wsgi.input"].read()
        environ["wsgi.input"] = io.BytesIO(body)
        doomed = re.findall(rb"<Key>([^<]*/blobs/[^<]*)</Key>", body)
        if not doomed or kept:
            return None
        kept.append(doomed[0])

        answer = b"<DeleteResult><Error><Key>%s</Key><Code>AccessDenied</Code></Error></DeleteResult>"
        answer %= doomed[0]
        start_response("200 OK", [("Content-Length", str(len(answer)))])
        return [answer]

    with proxy.failing(keep_one):
        outcome = gc(capsys, config)

    assert outcome["status"] == 1
    assert list(outcome["refused"].values()) == ["AccessDenied"]
    assert next(iter(outcome["refused"])).endswith(kept[0].decode())
    assert outcome["deleted"]["blobs"] == 24
    outcome = gc(capsys, config)
    assert (outcome["status"], outcome["refused"]) == (0, {})
    assert len(digests_stored(client.driver)) == 5 * 3


def test_a_collection_goes_on_when_s3_asks_it_to_slow_down(
    proxy: S3Proxy, client: RegistryClient, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(client)
    count = iter(range(10_000))
    busy = always(
        refuse("503 Slow Down", "SlowDown"),
        lambda e: "max-keys=1&" not in e["QUERY_STRING"] and next(count) % 3 == 0,
    )
    with proxy.failing(busy):
        for _ in range(2):
            assert gc(capsys, config)["status"] == 0
    assert len(digests_stored(client.driver)) == 5 * 3


@pytest.mark.parametrize("command", ["gc", "purge"])
def test_the_error_that_is_told_is_the_first_one(
    proxy: S3Proxy, client: RegistryClient, config: str, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """That the lease cannot be given up either says nothing."""
    fill(client)
    failing = [False]

    def is_failing(environ: Any) -> bool:
        failing[0] |= "repositories" in environ["QUERY_STRING"]
        return failing[0]

    with proxy.failing(always(refuse("403 Forbidden", "AccessDenied"), is_failing)):
        assert run([command, config]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "the storage failed: S3 refused ListObjectsV2 of /docker/registry/v2/repositories/: " in line


def test_what_was_read_of_manifests_is_kept_when_a_collection_is_ended(
    client: RegistryClient, options: dict[str, Any]
) -> None:
    fill(client)

    def end(line: str) -> None:
        raise KeyboardInterrupt

    ended = collector(client.driver)
    ended._say = end
    with pytest.raises(KeyboardInterrupt):
        ended.collect()

    assert client.driver.list(paths.REMEMBERED)
    assert collector(client.driver).survey().read < 7


def test_a_run_makes_no_more_requests_at_a_time_than_it_is_told(
    client: RegistryClient, config: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(client)
    most = [0]
    begin = RequestMeter.begin

    def noted(self: RequestMeter, kind: str) -> int:
        number = begin(self, kind)
        most[0] = max(most[0], self._under_way)
        return number

    monkeypatch.setattr(RequestMeter, "begin", noted)
    gc(capsys, config, "--parallel", "3")
    assert most[0] <= 3


@pytest.mark.parametrize("word", ["-1", "many"])
def test_a_limit_that_cannot_be_is_one_line(
    config: str, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["gc", config, f"--requests-per-second={word}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--requests-per-second" in line
