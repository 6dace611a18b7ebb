"""The section ``retention``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cfmiddleware.config import Config
from cfmiddleware.errors import ConfigError
from cfmiddleware.registry.retention.tagrules import Keep, TagRule


def read(section: Any) -> tuple[TagRule, ...]:
    tree = {"storage": {"inmemory": {}}, "retention": section}
    return Config(tree, "config.yml", Path("/etc/registry")).settings.retention.rules


def test_the_section_is_a_list_of_rules():
    text = """
    - repositories: "*"
      protect: ["release-*"]
      immutable: v*, V*
    - repositories: ["team/*", other]
      tags: "ci-*"
      keep: {last: 20, younger: 30d}
    - {repositories: a, keep: {last: "5"}}
    - {repositories: a, tags: [1, x], keep: ALL}
    - {protect: 7}
    """
    assert read(yaml.safe_load(text)) == (
        TagRule("retention[0]", ("*",), ("*",), None, ("release-*",), ("v*", "V*")),
        TagRule("retention[1]", ("team/*", "other"), ("ci-*",), Keep(20, 30 * 86400)),
        TagRule("retention[2]", ("a",), ("*",), Keep(5, None)),
        TagRule("retention[3]", ("a",), ("1", "x"), Keep()),
        TagRule("retention[4]", ("*",), ("*",), None, ("7",)),
    )


@pytest.mark.parametrize("section", [None, []])
def test_without_rules_nothing_goes(section: Any):
    assert read(section) == ()


def test_a_variable_changes_a_rule():
    tree: dict[str, Any] = {"retention": [{"repositories": "*", "keep": {"last": 5}}]}
    from cfmiddleware.config.tree import override

    override(tree, {"REGISTRY_RETENTION_0_KEEP_LAST": "7"}, "config.yml")
    assert tree["retention"][0]["keep"] == {"last": 7}


RULE = {"repositories": "*", "tags": "ci-*", "keep": {"last": 1}}


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ({"protect": ["x"]}, "retention: must be a list of entries"),
        ("team/*", "retention: must be a list of entries"),
        (["team/*"], "retention[0]: must be a section"),
        ([RULE, {}], "retention[1]: has neither keep, protect nor immutable"),
        ([{"repositories": "*"}], "retention[0]: has neither keep"),
        ([{**RULE, "kep": 1}], "retention[0].kep: there is no such option (did you mean 'keep'?)"),
        ([{**RULE, "keep": {}}], "retention[0].keep: is empty"),
        ([{**RULE, "keep": None}], "retention[0].keep: is empty"),
        ([{**RULE, "keep": 20}], "retention[0].keep: must be all, or a section"),
        ([{**RULE, "keep": "none"}], "retention[0].keep: must be all, or a section"),
        ([{**RULE, "keep": {"first": 1}}], "retention[0].keep.first: there is no such option"),
        ([{**RULE, "keep": {"last": None}}], "retention[0].keep.last: is empty"),
        ([{**RULE, "keep": {"last": 0}}], "retention[0].keep.last: 0 is not a whole number of at least 1"),
        ([{**RULE, "keep": {"last": -3}}], "retention[0].keep.last: -3 is not a whole number of at least 1"),
        ([{**RULE, "keep": {"last": 1.5}}], "retention[0].keep.last: 1.5 is not a whole number"),
        ([{**RULE, "keep": {"last": True}}], "retention[0].keep.last: True is not a whole number"),
        ([{**RULE, "keep": {"younger": 30}}], "retention[0].keep.younger: 30 has no unit; write it like 30d"),
        ([{**RULE, "keep": {"younger": "30"}}], "retention[0].keep.younger: '30' has no unit"),
        ([{**RULE, "keep": {"younger": "-5d"}}], "retention[0].keep.younger: '-5d' is not a period"),
        ([{**RULE, "keep": {"younger": "0d"}}], "retention[0].keep.younger: '0d' must be at least 1s"),
        ([{**RULE, "keep": {"younger": "a month"}}], "retention[0].keep.younger: 'a month' is not a period"),
        ([{**RULE, "keep": {"younger": ["1d"]}}], "retention[0].keep.younger: ['1d'] is not a period"),
        ([{"keep": {"last": 1}}], "retention[0].repositories: is required with keep"),
        ([{**RULE, "repositories": ""}], "retention[0].repositories: is empty"),
        ([{**RULE, "repositories": " , "}], "retention[0].repositories: is empty"),
        ([{**RULE, "tags": []}], "retention[0].tags: is empty"),
        ([{**RULE, "tags": None}], "retention[0].tags: is empty"),
        ([{**RULE, "tags": 1.10}], "retention[0].tags: 1.1 is not text; put it in quotes"),
        ([{**RULE, "tags": ["^ci-.*$"]}], "retention[0].tags: '^ci-.*$' fits nothing"),
        ([{**RULE, "tags": ["ci-[0-9]"]}], "retention[0].tags: 'ci-[0-9]' fits nothing"),
        ([{**RULE, "tags": ["ci-*\n"]}, {}], "retention[1]: has neither"),
        ([{**RULE, "tags": ["a b"]}], "retention[0].tags: 'a b' fits nothing"),
        ([{**RULE, "tags": ["a/b"]}], "retention[0].tags: 'a/b' fits nothing"),
        ([{**RULE, "tags": [".x"]}], "retention[0].tags: '.x' fits nothing"),
        ([{**RULE, "tags": ["é*"]}], "retention[0].tags: 'é*' fits nothing"),
        ([{**RULE, "tags": ["x" * 200]}], "retention[0].tags: '" + "x" * 60 + "' fits nothing"),
        ([{**RULE, "repositories": "Team/*"}], "retention[0].repositories: 'Team/*' fits nothing"),
        ([{"repositories": "*", "tags": "v*", "protect": True}], "retention[0].tags: is about keep"),
        ([{"protect": True}], "retention[0].protect: True is not text"),
        ([{"protect": [["x"]]}], "retention[0].protect[0]: ['x'] is not text"),
        ([{"immutable": {"a": 1}}], "retention[0].immutable[0]:"),
    ],
)
def test_what_could_not_be_meant_is_one_line(section: Any, line: str):
    with pytest.raises(ConfigError) as raised:
        read(section)
    text = str(raised.value)
    assert text.startswith("config.yml: " + line)
    assert "\n" not in text
