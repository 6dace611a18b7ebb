"""The section `log` of a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cfmiddleware.config import Config
from cfmiddleware.errors import ConfigError
from cfmiddleware.logs import LogOptions


def log_options(**section: Any) -> LogOptions:
    return Config({"log": section}, "config.yml", Path()).log_options()


def test_without_the_section_requests_are_logged_as_text():
    assert log_options() == LogOptions(level="INFO", json=False, access=True, fields={})


def test_the_section_says_all_of_it():
    read = log_options(
        level="warn", formatter="json", fields={"service": "registry"}, accesslog={"disabled": True}
    )

    assert read == LogOptions(level="WARNING", json=True, access=False, fields={"service": "registry"})


def test_logstash_is_json_and_says_so(caplog: pytest.LogCaptureFixture):
    assert log_options(formatter="logstash").json
    assert "log.formatter: logstash: lines are objects as 'json' has them" in caplog.text


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            {"formatter": "jsn"},
            "formatter: 'jsn' is none of text, json, logstash, auto (did you mean",
        ),
        ({"accesslog": True}, "accesslog: must be a section with 'disabled'"),
        ({"accesslog": {"disable": True}}, "accesslog.disable: there is no such option (did you mean 'disab"),
        ({"accesslog": {"disabled": "perhaps"}}, "accesslog.disabled: 'perhaps' is neither true nor false"),
        ({"fields": ["a"]}, "fields: must map names to values"),
        ({"fields": {"a b": 1}}, "fields: 'a b' is not a name; use letters, digits"),
        ({"fields": {"status": 1}}, "fields.status: lines have a 'status' of their own; choose another name"),
        ({"fields": {"a": [1]}}, "fields.a: must be text, a number or a truth value"),
        ({"fields": {"a": float("nan")}}, "fields.a: must be text, a number or a truth value"),
    ],
)
def test_a_mistake_in_the_section_is_told_in_one_line(section: dict[str, Any], message: str):
    with pytest.raises(ConfigError) as caught:
        log_options(**section)

    assert str(caught.value).startswith(f"config.yml: log.{message}")


@pytest.mark.parametrize(
    ("tree", "level"),
    [
        ({"loglevel": "error"}, "ERROR"),
        ({"loglevel": "error", "log": {"level": "debug"}}, "DEBUG"),
        ({"loglevel": None}, "INFO"),
    ],
)
def test_the_older_name_of_the_level_counts_where_the_newer_is_absent(tree: dict[str, Any], level: str):
    assert Config(tree, "config.yml", Path()).log_options().level == level


def test_a_mistake_in_the_older_name_is_told_too():
    with pytest.raises(ConfigError, match=r"^config\.yml: loglevel: 'loud' is none of error"):
        Config({"loglevel": "loud"}, "config.yml", Path())


@pytest.mark.parametrize("is_terminal", [True, False])
def test_auto_writes_text_on_a_terminal_and_objects_elsewhere(
    is_terminal: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sys.stderr.isatty", lambda: is_terminal)
    assert log_options(formatter="auto").json is not is_terminal
