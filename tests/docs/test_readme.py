"""The README is a shop window: short, its two commands first, and its links lead to pages that are there."""

from __future__ import annotations

import re

from lab import PROJECT

README = (PROJECT / "README.rst").read_text(encoding="utf-8")


def test_it_is_short():
    assert len(README.splitlines()) <= 150


def test_its_two_commands_come_first():
    """Before any chapter but the title's own; `.ci/run` runs them as they stand there."""
    first, test = re.findall(r"^    (\S.*)$", README, re.MULTILINE)[:2]
    assert first.endswith("cfmiddleware serve")
    assert re.search(r"\.venv/bin/pytest -n [0-9]+$", test)
    assert README.index(test) < README.index("\n---")


def test_its_links_lead_to_files():
    links = re.findall(r"<([^>:]+)>`_", README)
    assert links
    assert [link for link in links if not (PROJECT / link).is_file()] == []


def test_every_page_of_the_docs_is_in_their_index():
    index = (PROJECT / "docs" / "index.rst").read_text(encoding="utf-8")
    listed = set(re.findall(r"^   ([a-z0-9-]+)$", index, re.MULTILINE))
    assert listed == {page.stem for page in (PROJECT / "docs").glob("*.rst")} - {"index"}
