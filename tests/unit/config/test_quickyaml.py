"""libyaml's parser, where it stands in for PyYAML's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from lab import PROJECT
from lab.examples import examples

from cfmiddleware.config import quickyaml
from cfmiddleware.config.configtext import as_text, nodes, parse_yaml
from cfmiddleware.config.inforce import in_force
from cfmiddleware.config.quickyaml import YAML_ERRORS, quick_nodes
from cfmiddleware.errors import ConfigError

WITH_LIBYAML = pytest.mark.skipif(not yaml.__with_libyaml__, reason="this PyYAML was built without libyaml")

PARTS = [
    *":,-[]{}#&*|>'\"@`?!%\t ~",
    *("\n", "\n", "\n  ", "\n    ", ": ", ": ", "- ", "\n- ", "\n  - ", "\na: ", "\nb: ", "\n  c: "),
    *(
        "a",
        "b",
        "1",
        "0x1F",
        "1e3",
        "1:30",
        "2001-01-01",
        "true",
        "null",
        "<<",
        "=",
        "\\",
        "\\x41",
        "é",
        "\U0001f600",
    ),
    *(
        "&a ",
        "*a",
        "<<: *a",
        "''",
        '""',
        "[]",
        "{}",
        "[a, b]",
        "{a: b, c: [d]}",
        "|\n  ",
        ">-\n  ",
        "|2+\n    ",
    ),
    *("---\n", "\n...\n", "%YAML 1.1\n---\n", "!!str ", "? a", "\ufeff", "\x85", "\u2028", "\r\n", " #x"),
]
TEXTS = st.lists(st.sampled_from(PARTS), max_size=30).map("".join)


def shape(node: yaml.Node | None, seen: dict[int, int]) -> Any:
    """Return all of a node that is used of it: tags, values, and the lines of keys and of entries."""
    if node is None or id(node) in seen:
        return node and seen[id(node)]
    seen[id(node)] = len(seen)
    if isinstance(node, yaml.MappingNode):
        pairs = [(key.start_mark.line, shape(key, seen), shape(value, seen)) for key, value in node.value]
        return node.tag, pairs
    if isinstance(node, yaml.SequenceNode):
        return node.tag, [(entry.start_mark.line, shape(entry, seen)) for entry in node.value]
    return node.tag, node.value


@WITH_LIBYAML
@settings(max_examples=examples(10_000))
@given(TEXTS)
def test_what_it_takes_is_what_pyyaml_makes_of_it(text: str):
    found = quick_nodes(text)
    if found is not None:
        assert shape(found, {}) == shape(yaml.compose(text, Loader=yaml.SafeLoader), {})


@WITH_LIBYAML
def test_an_ordinary_configuration_is_its_own():
    text = (PROJECT / "deploy" / "kubernetes" / "config.yml").read_text(encoding="utf-8")
    assert quick_nodes(text) is not None


MISTAKES = [
    "a: 1\nb: 2\na: 3",
    "a: {b: 1, b: 2}\na: 1",
    "a: [1, 2",
    "a: b: c",
    "a:\n- b\nc",
    "a:\tb",
    "\ta: 1",
    "a: *b",
    "a: !x 1",
    "a: &b 1\nc: &b 2",
    "a: 2001-02-31",
    "{[a]: 1}",
    "a: 'x",
    "a: |\n x\n  y\n z: 1\n- 2",
    "a: 1\n---\nb: 2",
    "[" * 3000,
    "[" * 60 + "]" * 60,
    "- " * 700 + "a",
    "a: \x07",
    "a: %x",
    "<<: 1",
]


def outcome(text: str) -> tuple[str, Any]:
    try:
        return "", parse_yaml(text, "config.yml")
    except ConfigError as error:
        return str(error), None


@pytest.mark.parametrize("text", MISTAKES, ids=lambda text: repr(text[:20]))
def test_a_mistake_is_said_in_the_same_words(text: str, monkeypatch: pytest.MonkeyPatch):
    said = outcome(text)
    monkeypatch.setattr(quickyaml, "_Loader", None)  # as in a PyYAML that was built without libyaml
    assert outcome(text) == said


def test_a_key_that_stands_twice_is_found_wherever_it_stands():
    text = "".join(f"k{number}: [{{a: 1, b: 2}}]\n" for number in range(50))
    with pytest.raises(ConfigError, match=r"config\.yml, line 51: 'k7' stands in line 8 already"):
        parse_yaml(text + "k7: 1\n", "config.yml")


@settings(max_examples=examples(1500))
@given(TEXTS)
def test_texts_are_what_stands_there(text: str):
    try:
        expected = yaml.load(text, Loader=yaml.BaseLoader)
        shown = shape(yaml.compose(text, Loader=yaml.SafeLoader), {})
        parse_yaml(text, "config.yml")
    except (*YAML_ERRORS, ConfigError):
        return
    assert as_text(text) == expected
    assert shape(nodes(text), {}) == shown


def test_a_large_configuration_is_read_as_a_small_one(tmp_path: Path):
    headers = "".join(f"    X-Header-{number}: [value-{number}]\n" for number in range(2000))
    file = tmp_path / "config.yml"
    file.write_text("version: 0.1\nstorage: {inmemory: }\nhttp:\n  headers:\n" + headers)
    found = {each.place: each for each in in_force(file, {})}
    assert found["http.headers.X-Header-1999"][1:] == ("[value-1999]", "line 2004")


@pytest.mark.parametrize(
    "entries",
    [
        ["a"],
        ["yes"],
        ["On", "b"],
        ["1"],
        ["a b"],
        ["a:b"],
        ["~"],
        ["null"],
        [],
        ["x" * 9000, "y" * 9000],
        [1, "a"],
    ],
    ids=lambda entries: str(entries)[:20],
)
def test_a_list_is_shown_as_yaml_has_it_on_one_line(entries: list[Any], tmp_path: Path):
    file = tmp_path / "config.yml"
    tree = {"storage": {"inmemory": {}}, "metrics": {"repositories": entries}}
    file.write_text(yaml.safe_dump(tree))
    (shown,) = [each.value for each in in_force(file, {}) if each.place == "metrics.repositories"] or ["[]"]
    assert "\n" not in shown
    assert yaml.safe_load(shown) == entries
