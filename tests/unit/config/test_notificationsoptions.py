"""The section ``notifications``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from cfmiddleware.config import Config
from cfmiddleware.config.notificationsoptions import NotificationsOptions, read_notifications
from cfmiddleware.errors import ConfigError

SECRET = "s3cr3t"
ONE = {"name": "a", "url": f"https://u:{SECRET}@listener.example.com/x?t={SECRET}"}


def read(section: dict[str, Any], here: Path = Path("/etc/registry"), **sections: Any) -> Config:
    return Config({"storage": {"inmemory": {}}, "notifications": section, **sections}, "config.yml", here)


def test_nobody_is_told_where_nothing_is_said():
    config = read({"events": {"includereferences": False}, "endpoints": None})
    assert config.settings.notifications == NotificationsOptions()
    assert config.notifier is None


def test_a_section_of_distribution_is_read_as_there():
    config = read(
        {
            "events": {"includereferences": True},
            "endpoints": [
                {
                    **ONE,
                    "disabled": False,
                    "headers": {"Authorization": ["Bearer x"], "X-Several": ["1", "2"], "X-Text": "y"},
                    "timeout": "500ms",
                    "threshold": 5,
                    "backoff": "10s",
                    "ignoredmediatypes": ["application/octet-stream"],
                    "ignore": {"mediatypes": ["a/b"], "actions": ["pull"]},
                },
                {"name": "b", "disabled": True},
            ],
        }
    )
    first, second = config.settings.notifications.endpoints
    assert (first.timeout, first.threshold, first.backoff) == (0.5, 5, 10)
    assert first.headers == (
        ("Authorization", "Bearer x"),
        ("X-Several", "1"),
        ("X-Several", "2"),
        ("X-Text", "y"),
    )
    assert first.ignore.actions == ("pull",)
    assert config.settings.notifications.enabled == (first,)
    assert (second.timeout, second.threshold, second.backoff) == (1, 10, 1)


def test_nothing_stands_for_the_default_as_in_distribution():
    (endpoint,) = read(
        {"endpoints": [{**ONE, "timeout": 0, "threshold": 0, "backoff": "0s"}]}
    ).settings.notifications.endpoints
    assert (endpoint.timeout, endpoint.threshold, endpoint.backoff) == (1, 10, 1)


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ({"endpoints": {"a": 1}}, "endpoints: must be a list of sections with 'name' and 'url'"),
        ({"endpoints": ["a"]}, "endpoints[0]: must be a section with 'name' and 'url'"),
        ({"endpoints": [{"url": "http://a/"}]}, "endpoints[0].name: is required"),
        ({"endpoints": [{"name": "a"}]}, "endpoints[0].url: is required"),
        ({"endpoints": [ONE, ONE]}, "endpoints[1].name: there is an endpoint 'a' already"),
        *(
            (
                {"endpoints": [{"name": "a", "url": url}]},
                "endpoints[0].url: is not a URL; write it like https:",
            )
            for url in (f"ftp://{SECRET}@a/", f"{SECRET}.example.com/x", "http://", "http://a:99999/", 7)
        ),
        ({"endpoints": [{**ONE, "timeout": "-1s"}]}, "endpoints[0].timeout: '-1s' is not a duration"),
        ({"endpoints": [{**ONE, "timeout": -1}]}, "endpoints[0].timeout: -1 must be from 1ms to 24h"),
        ({"endpoints": [{**ONE, "backoff": "soon"}]}, "endpoints[0].backoff: 'soon' is not a duration"),
        ({"endpoints": [{**ONE, "threshold": -1}]}, "endpoints[0].threshold: -1 is not a whole number"),
        ({"endpoints": [{**ONE, "retryfor": 0}]}, "endpoints[0].retryfor: 0 must be whole seconds"),
        (
            {"endpoints": [{**ONE, "headers": [SECRET]}]},
            "endpoints[0].headers: must map the name of a header",
        ),
        (
            {"endpoints": [{**ONE, "headers": {"A": [{"b": SECRET}]}}]},
            "endpoints[0].headers.A: a value must be text of one line",
        ),
        (
            {"endpoints": [{**ONE, "headers": {"A": f"{SECRET}\n"}}]},
            "endpoints[0].headers.A: a value must be text of one line",
        ),
        (
            {"endpoints": [{**ONE, "headers": {"content-type": "a/b"}}]},
            "endpoints[0].headers.content-type: follows from what is sent",
        ),
        (
            {"endpoints": [{**ONE, "ignore": {"actions": ["pulls"]}}]},
            "endpoints[0].ignore.actions[0]: 'pulls' is",
        ),
        ({"endpoints": [{**ONE, "ignore": ["pull"]}]}, "endpoints[0].ignore: must be a section"),
        ({"endpoints": [{**ONE, "retries": 1}]}, "endpoints[0].retries: there is no such option"),
        ({"events": True}, "events: must be a section"),
        ({"spool": {"whenfull": "wait"}}, "spool.whenfull: 'wait' is none of drop, refuse"),
        ({"spool": {"maxbytes": "1KB"}}, "spool.maxbytes: '1KB' is not a size of at least"),
        ({"spool": {"sync": False}}, "spool.sync: False is none of changes, all, none"),
        ({"endpoint": []}, "endpoint: there is no such option (did you mean 'endpoints'?)"),
    ],
)
def test_a_mistake_is_one_line_without_a_secret(section: dict[str, Any], line: str):
    with pytest.raises(ConfigError) as caught:
        read(section)
    assert str(caught.value).startswith(f"config.yml: notifications.{line}")
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_spool_that_cannot_be_made_is_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError) as caught:
        read({"endpoints": [ONE], "spool": {"directory": "file/spool"}}, tmp_path).app()
    said = str(caught.value)
    assert said.startswith(f"config.yml: notifications.spool.directory: {tmp_path}/file/")
    assert said.endswith(": events cannot be kept there: Not a directory")


def test_a_spool_that_no_directory_is_named_for_is_said(tmp_path: Path, caplog, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for _ in range(2):
        read({"endpoints": [ONE]}, tmp_path).app()
    (made,) = tmp_path.glob("cfmiddleware-events-*")
    assert "notifications.spool.directory: is not set: events" in caplog.text
    assert f"are kept in {made}" in caplog.text


@pytest.mark.parametrize(
    ("storage", "spool", "error"),
    [
        ("filesystem", {"bucket": True, "directory": "x"}, "notifications.spool.bucket: is one place"),
        ("inmemory", {"bucket": True}, "notifications.spool.bucket: storage.inmemory is the memory of one"),
    ],
)
def test_a_spool_in_the_bucket_is_the_only_one_and_is_shared(
    tmp_path: Path, storage: str, spool: dict[str, Any], error: str
):
    options = {"rootdirectory": str(tmp_path)} if storage == "filesystem" else {}
    tree = {"storage": {storage: options}, "notifications": {"endpoints": [ONE], "spool": spool}}
    with pytest.raises(ConfigError, match=error):
        _ = Config(tree, "config.yml", tmp_path).notifier


def test_a_spool_in_the_bucket_makes_no_directory(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    tree = {"storage": {"filesystem": {"rootdirectory": str(tmp_path / "data")}}}
    notifications = {"endpoints": [ONE], "spool": {"bucket": True}}
    config = Config({**tree, "notifications": notifications}, "config.yml", tmp_path)
    assert config.notifier is not None
    assert config.notifier.spool.place.endswith("docker/registry/v2/_cfmiddleware/events/")
    assert not caplog.records


def test_an_event_names_the_machine_and_the_port(tmp_path: Path):
    import socket

    config = read({"endpoints": [ONE], "spool": {"directory": "spool"}}, tmp_path, http={"addr": ":5443"})
    assert config.notifier is not None
    assert json.loads(config.notifier._source)["addr"] == f"{socket.gethostname()}:5443"
    assert config.notifier._endpoints[0].wants("pull", "")


def calls_for(endpoints: int) -> int:
    """Return how many calls it takes to read so many endpoints."""
    section = {"endpoints": [{**ONE, "name": f"n{number}"} for number in range(endpoints)]}
    calls = 0

    def count(*event: Any) -> None:
        nonlocal calls
        calls += event[1] == "call"

    sys.setprofile(count)
    try:
        read_notifications(section, Path("/etc/registry"))
    finally:
        sys.setprofile(None)
    return calls


def test_an_endpoint_more_costs_the_same_however_many_there_are():
    assert calls_for(1200) < 5 * calls_for(300)
