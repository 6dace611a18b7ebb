"""Each configuration that a page shows is one that the registry takes."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from lab import PROJECT

from cfmiddleware.config import Config
from cfmiddleware.config.settings import Settings

#: What a page's block must begin with to be a configuration, or a part of one.
SECTIONS = {
    *("auth", "catalog", "edge", "health", "http", "log", "metrics", "middleware", "notifications", "redis"),
    *("retention", "server", "storage", "tags", "tracing", "validation", "version"),
}
DRIVERS = {"filesystem", "inmemory", "s3"}

BLOCK = re.compile(r"::(?: yaml)?\n((?: +:\w+:.*\n)*)\n((?:(?: {3,}.*)?\n)+)")


def shown() -> Iterator[tuple[str, dict[str, object]]]:
    """Yield each configuration with the name of its page."""
    for page in sorted((PROJECT / "docs").glob("*.rst")):
        for _, block in BLOCK.findall(page.read_text(encoding="utf-8") + "\n"):
            try:
                tree = yaml.safe_load(textwrap.dedent(block))
            except yaml.YAMLError:
                continue
            if isinstance(tree, dict) and set(map(str, tree)) <= SECTIONS:
                yield page.stem, tree


CONFIGURATIONS = list(shown())


def test_there_are_configurations():
    assert len(CONFIGURATIONS) > 30
    assert {"authentication", "configuration", "pulp", "start-aws"} <= {page for page, _ in CONFIGURATIONS}


@pytest.mark.parametrize(("page", "tree"), CONFIGURATIONS, ids=[page for page, _ in CONFIGURATIONS])
def test_a_configuration_of_a_page_is_taken(page: str, tree: dict[str, object], tmp_path: Path):
    """A part of one is given a storage and whatever file it names as that of a secret."""
    storage = tree.get("storage") or {}
    assert isinstance(storage, dict)
    if not storage.keys() & DRIVERS:
        storage = {**storage, "filesystem": {"rootdirectory": "data"}}
    text = yaml.safe_dump({"version": 0.1, **tree, "storage": storage})
    for secret in re.findall(r"/run/secrets/\w+", text):
        (tmp_path / Path(secret).name).write_text("secret\n")
        text = text.replace(secret, str(tmp_path / Path(secret).name))
    (tmp_path / "config.yml").write_text(text)
    assert isinstance(Config.load(tmp_path / "config.yml", {}).settings, Settings)
