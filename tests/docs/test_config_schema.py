"""The schema that editors check configurations with: what is right passes, and a mistake is marked."""

from __future__ import annotations

import gzip
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab import PROJECT
from lab.required import cannot_run

from cfmiddleware.config.configschema import schema
from cfmiddleware.config.distributionkeys import KEYS
from cfmiddleware.config.optionrows import rows
from cfmiddleware.config.sectionclasses import SECTION_CLASSES

jsonschema = pytest.importorskip("jsonschema")

REFERENCE = Path("/usr/share/doc/docker-registry/configuration.md.gz")


@pytest.fixture(scope="module")
def validator() -> Any:
    jsonschema.Draft202012Validator.check_schema(schema())
    return jsonschema.Draft202012Validator(schema())


def mistakes(validator: Any, tree: Any) -> list[str]:
    return [f"{'.'.join(map(str, error.path))}: {error.message}" for error in validator.iter_errors(tree)]


def literal_blocks(text: str) -> Iterator[str]:
    """Yield what is indented behind ``::`` in a page."""
    for match in re.finditer(r"::\n\n( +)", text):
        lines = text[match.start(1) :].splitlines()
        indent = match[1]
        inside = itertools.takewhile(lambda line, indent=indent: not line or line.startswith(indent), lines)
        yield "\n".join(line[len(indent) :] for line in inside)


def posted() -> list[Any]:
    """Return every configuration that a page of the docs shows whole."""
    found = []
    for page in sorted((PROJECT / "docs").glob("*.rst")):
        for number, block in enumerate(literal_blocks(page.read_text(encoding="utf-8"))):
            if re.match(r"version: 0|(?:storage|http|middleware|health|notifications|redis):", block):
                found.append(pytest.param(block, id=f"{page.stem}-{number}"))
    return found


@pytest.mark.parametrize("block", posted())
def test_what_the_docs_show_is_valid(validator: Any, block: str):
    assert mistakes(validator, yaml.safe_load(block)) == []


def test_there_are_configurations_in_the_docs():
    assert len(posted()) > 5


@pytest.mark.servers
def test_the_example_of_distributions_reference_is_valid(validator: Any):
    if not REFERENCE.exists():
        cannot_run(f"{REFERENCE}: not installed; Debian has it in docker-registry")
    text = gzip.decompress(REFERENCE.read_bytes()).decode()
    (example,) = re.findall(r"^version: 0\.1\nlog:\n.*?(?=^```)", text, re.MULTILINE | re.DOTALL)[:1]
    # It has the word for a kind of value where a value stands.
    assert mistakes(validator, yaml.safe_load(example.replace("<http.Header>", "{}"))) == []


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("storge: {inmemory: }", "storge"),
        ("storage: {s3: {buckt: images}}", "buckt"),
        ("server: {worker: 2}", "worker"),
        ("middleware: {storage: [{name: cloudfront, options: {base: x}}]}", "base"),
        ("health: {tcp: [{adr: 'a:1'}]}", "adr"),
        ("notifications: {spool: {whenfull: wait}}", "wait"),
        ("http: {relativeurls: [1]}", "relativeurls"),
    ],
)
def test_a_mistake_is_marked(validator: Any, text: str, mistake: str):
    (said,) = mistakes(validator, yaml.safe_load(text))
    assert mistake in said


def at(path: str) -> Any:
    node: Any = schema()
    for step in path.split("."):
        node = node["properties"][step.removesuffix("[]")]
        if step.endswith("[]"):
            node = node["items"]
    return node


@pytest.mark.parametrize("section", SECTION_CLASSES, ids=lambda section: section.kind.__name__)
def test_each_option_is_there_with_its_text(section: Any):
    properties = at(section.place)["properties"]
    for row in rows(section.kind):
        assert properties[row.name.strip("`")].get("description")


def test_each_key_of_distributions_is_there():
    for key in KEYS:
        for name in key.names:
            if not name.startswith(("middleware.storage.", "health.", "notifications.endpoints.")):
                at(name)
