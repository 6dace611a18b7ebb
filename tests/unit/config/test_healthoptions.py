"""The sections ``health`` and ``http.debug``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cfmiddleware.config import Config
from cfmiddleware.config.healthoptions import HealthOptions, TCPCheckOptions
from cfmiddleware.errors import ConfigError


def read(**sections: Any) -> Config:
    return Config({"storage": {"inmemory": {}}, **sections}, "config.yml", Path("/etc/registry"))


def test_nothing_is_checked_where_nothing_is_said():
    config = read(health={"storagedriver": {"enabled": False, "interval": "10s"}, "file": None})
    assert config.settings.health == HealthOptions()
    assert config.health() is None


def test_each_check_has_distributions_name():
    config = read(
        health={
            "storagedriver": {"enabled": True, "interval": "10s", "threshold": 3},
            "file": [{"file": "down", "interval": 0, "timeout": "2s"}],
            "http": [{"uri": "http://server.example.com/alive", "headers": {"A": ["b"]}, "statuscode": 204}],
            "tcp": [{"addr": "redis:6379", "timeout": "3s", "interval": "1h30m", "threshold": 3}],
        }
    )
    health = config.health()
    assert health is not None
    assert [(c.name, c.interval, c.threshold, c.timeout) for c in health._checks] == [
        ("storagedriver_inmemory", 10, 3, 5),
        ("/etc/registry/down", 10, 1, 2),
        ("http://server.example.com/alive", 10, 1, 5),
        ("redis:6379", 5400, 3, 3),
    ]
    assert config.settings.health.tcp == (TCPCheckOptions("redis:6379", 3, 5400, 3),)


def test_a_check_is_named_without_what_is_secret_in_its_url():
    """Its name is in the answers of the debug listener, in the log and in Prometheus."""
    uris = [f"http://user:hush@a/alive?token=hush{number}" for number in (1, 2)]
    config = read(health={"http": [{"uri": uri, "headers": {"X-Key": "hush"}} for uri in uris]})
    health = config.health()
    assert health is not None
    assert [check.name for check in health._checks] == ["http://a/alive?...", "http://a/alive?... (2)"]
    assert "hush" not in repr(config.settings.health)


@pytest.mark.parametrize("uris", [["hush"], ["http://u:hush@a"] * 2, ["http://u:hush@a:port"]])
def test_no_mistake_repeats_a_url(uris: list[str]):
    with pytest.raises(ConfigError) as caught:
        read(health={"http": [{"uri": uri} for uri in uris]})
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("health", "line"),
    [
        ({"tcp": {"addr": "redis:6379"}}, "health.tcp: must be a list of sections with 'addr'"),
        ({"tcp": [{"timeout": "3s"}]}, "health.tcp[0].addr: is required"),
        ({"tcp": [{"addr": "redis"}]}, "health.tcp[0].addr: 'redis' is not an address; "),
        ({"tcp": [{"addr": "a:1"}, {"addr": "a:1"}]}, "health.tcp[1].addr: 'a:1' is checked already"),
        ({"http": [{"uri": "server/alive"}]}, "health.http[0].uri: is not a URL"),
        ({"http": [{"uri": "http://a", "headers": "b"}]}, "health.http[0].headers: must map"),
        ({"file": [{"file": "a", "intervall": 1}]}, "health.file[0].intervall: there is no such option"),
        (
            {"storagedriver": {"interval": "often"}},
            "health.storagedriver.interval: 'often' is not",
        ),
        ({"storage": {}}, "health.storage: there is no such option (did you mean 'storagedriver'?)"),
    ],
)
def test_a_mistake_is_one_line(health: dict[str, Any], line: str):
    with pytest.raises(ConfigError) as caught:
        read(health=health)
    assert str(caught.value).startswith(f"config.yml: {line}")


@pytest.mark.parametrize(
    ("debug", "line"),
    [
        ({"addr": "5001"}, "http.debug.addr: '5001' is not an address"),
        ({"prometheus": {"path": "metrics"}}, "http.debug.prometheus.path: 'metrics' is not a path"),
        ({"prometheus": {"path": "/debug/health"}}, "http.debug.prometheus.path: '/debug/health' is"),
        ({"prometheus": {"enable": True}}, "http.debug.prometheus.enable: there is no such option"),
        ({"address": ":5001"}, "http.debug.address: there is no such option (did you mean 'addr'?)"),
    ],
)
def test_a_mistake_of_the_debug_listener_is_one_line(debug: dict[str, Any], line: str):
    with pytest.raises(ConfigError) as caught:
        read(http={"debug": debug})
    assert str(caught.value).startswith(f"config.yml: {line}")
