"""Every option of a configuration stands in exactly one table of the docs, with the text of its class.

The tables are made by ``docs/_ext/optiontable.py``. What can go wrong is an option without a text, a text
without an option, and a class or an option that no page shows.
"""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections import Counter
from pathlib import Path

import pytest
from lab import PROJECT

import cfmiddleware
from cfmiddleware.config.optionrows import FORMS, documented, options_class, rows

PACKAGE = Path(cfmiddleware.__file__).parent
PAGES = sorted((PROJECT / "docs").glob("*.rst"))

DIRECTIVE = re.compile(r"^\.\. options:: (\S+)\n(?:   :only: ((?:.+\n)(?:    +.+\n)*))?", re.MULTILINE)


def shown() -> Counter[tuple[str, str]]:
    """Return how often each option of each class stands in the tables of all pages."""
    found: Counter[tuple[str, str]] = Counter()
    for page in PAGES:
        for path, only in DIRECTIVE.findall(page.read_text(encoding="utf-8")):
            names = only.split() or [row.name.strip("`") for row in rows(options_class(path))]
            found.update((path, name) for name in names)
    return found


def classes() -> list[str]:
    """Return the path of every dataclass of options in the package."""
    found = []
    for file in sorted(PACKAGE.rglob("*options.py")):
        module = ".".join(("cfmiddleware", *file.relative_to(PACKAGE).with_suffix("").parts))
        for name, value in vars(importlib.import_module(module)).items():
            is_local = getattr(value, "__module__", "") == module
            if is_local and dataclasses.is_dataclass(value) and getattr(value, "PARSERS", None):
                found.append(f"{module}.{name}")
    return found


EACH_CLASS = pytest.mark.parametrize("path", classes())


def test_there_are_options():
    assert classes()


@EACH_CLASS
def test_each_option_stands_in_one_table(path: str):
    expected = {(path, row.name.strip("`")): 1 for row in rows(options_class(path))}
    assert {option: times for option, times in shown().items() if option[0] == path} == expected


@EACH_CLASS
def test_each_option_has_a_text(path: str):
    assert [row.name for row in rows(options_class(path)) if not row.effect] == []


@EACH_CLASS
def test_no_text_describes_what_is_not_there(path: str):
    options = options_class(path)
    names = {field.name for field in dataclasses.fields(options)} | set(options.PARSERS)
    assert set(documented(options)) <= names


@EACH_CLASS
def test_a_default_can_be_written_as_it_is_shown(path: str):
    options = options_class(path)
    fields = {field.name: field for field in dataclasses.fields(options)}
    for row in rows(options):
        name = row.name.strip("`")
        # A parser of the class's own may take a section, of which the table shows what the default means.
        if row.default.startswith("``") and options.PARSERS[name] in FORMS:
            assert options.PARSERS[name](row.default.strip("`"), name) == fields[name].default


@EACH_CLASS
def test_each_option_has_a_form(path: str):
    assert [row.name for row in rows(options_class(path)) if not row.form] == []


@EACH_CLASS
def test_each_default_can_be_written(path: str):
    """What a table quotes as the default is what the option's parser makes the default of."""
    options = options_class(path)
    fields = {field.name: field for field in dataclasses.fields(options)}
    for row in rows(options):
        name = row.name.strip("`")
        if row.default.startswith("``") and row.form != "section":
            parsed = options.PARSERS[name](row.default.strip("`"), name)
            default = fields[name].default
            assert parsed == default or str(parsed) == str(default), name


def test_a_table_shows_what_the_class_says():
    table = {row.name: row for row in rows(options_class("cfmiddleware.storage.s3.options.S3Options"))}
    chunksize = table["``chunksize``"]
    assert (chunksize.form, chunksize.default) == ("size", "``10MiB``")
    assert chunksize.effect.startswith("The size of an upload's parts")
    assert "``encrypt``" in table["``keyid``"].effect
    assert table["``readtimeout``"].default == "``1m``"
    assert table["``secure``"][1:3] == ("true or false", "``true``")
