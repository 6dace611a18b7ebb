"""Each configuration that a page shows is one that the registry takes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab.pageblocks import all_pages, literals

from cfmiddleware.config import Config
from cfmiddleware.config.settings import Settings

DRIVERS = {"filesystem", "inmemory", "s3"}


def shown() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each configuration with the name of its page."""
    for page in all_pages():
        for block in literals(page):
            tree = block.configuration()
            if tree is not None:
                yield page, tree


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
