"""The page of files to take along has every file that operators are to have, and no other."""

from __future__ import annotations

import re

from lab import PROJECT

#: Where such files are, and what they end with: what a run of an example leaves there is none of them.
FOLDERS = ("deploy", "examples", "docs/grafana", "docs/prometheus")
KINDS = {".cfg", ".conf", ".json", ".py", ".rst", ".service", ".socket", ".yaml", ".yml"}
LEFT_BY_A_RUN = {"users.json"}


def test_every_file_that_operators_take_along_can_be_saved_from_the_page():
    page = (PROJECT / "docs" / "files.rst").read_text(encoding="utf-8")
    links = re.findall(r":download:`[^`]*<(.*)>`", page)
    linked = [str((PROJECT / "docs" / link).resolve().relative_to(PROJECT.resolve())) for link in links]
    there = {
        str(file.relative_to(PROJECT))
        for folder in FOLDERS
        for file in (PROJECT / folder).rglob("*")
        if file.suffix in KINDS and file.name not in LEFT_BY_A_RUN
    }
    assert sorted(linked) == sorted({"Containerfile", "compose.yaml", *there})
