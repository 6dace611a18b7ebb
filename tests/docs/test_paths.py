"""Every file and folder that a page names is there."""

from __future__ import annotations

import re

import pytest
from lab import PROJECT

PAGES = [
    *sorted((PROJECT / "docs").glob("*.rst")),
    *sorted(PROJECT.glob("*.rst")),
    PROJECT / "benchmarks" / "README.rst",
]

#: The folders of the repository that a path may begin with; a page may leave out the package's own name.
TOP = ("cfmiddleware", "tests", "docs", "benchmarks", "scripts", ".ci")
ROOMS = sorted(entry.name for entry in (PROJECT / "cfmiddleware").iterdir() if entry.is_dir())

#: Files that an example would make.
EXAMPLES = {"storage/sqlitedriver.py"}

#: A path between backquotes that begins with a folder of ours, up to a space or the end.
PATH = re.compile(rf"`((?:{'|'.join(map(re.escape, (*TOP, *ROOMS)))})/[A-Za-z0-9_./-]*)[ `:]")


def named(page: str) -> set[str]:
    return set(PATH.findall(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_that_a_page_names_is_there(page):
    missing = [
        path
        for path in sorted(named(page.read_text(encoding="utf-8")) - EXAMPLES)
        if not (PROJECT / path).exists() and not (PROJECT / "cfmiddleware" / path).exists()
    ]
    assert missing == []


def test_paths_are_found():
    assert named("see ``storage/s3/options.py``, `docs/a.rst <docs/a.rst>`_ and ``tests/unit``") == {
        "storage/s3/options.py",
        "docs/a.rst",
        "tests/unit",
    }
