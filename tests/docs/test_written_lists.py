"""Lists that a page has by hand, because a sentence belongs to each entry, are those that the code has."""

from __future__ import annotations

import argparse
import re
from collections import defaultdict

import pytest
from lab import PROJECT

from cfmiddleware.cli.commands import command_line
from cfmiddleware.config.optionrows import rows
from cfmiddleware.config.sectionclasses import SECTION_CLASSES
from cfmiddleware.registry.verify.faults import Kind
from cfmiddleware.tracing.variables import VARIABLES, checked

DOCS = PROJECT / "docs"


def page(name: str) -> str:
    return (DOCS / f"{name}.rst").read_text(encoding="utf-8")


def parser_of(command: str) -> argparse.ArgumentParser:
    (commands,) = (each for each in command_line()._actions if isinstance(each, argparse._SubParsersAction))
    parser: argparse.ArgumentParser = commands.choices[command]
    return parser


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("garbage-collection", "gc"),
        ("verify", "verify"),
        ("retention", "retention"),
        ("cloudfront", "template"),
    ],
)
def test_the_options_of_a_command_are_those_that_it_has(name: str, command: str):
    text = page(name)
    described = set(re.findall(r"^``(--[a-z-]+)", text, re.MULTILINE))
    taken = {
        option
        for action in parser_of(command)._actions
        if action.help != argparse.SUPPRESS
        for option in action.option_strings
        if option.startswith("--") and option != "--help"
    }
    assert len(described) > 2
    assert described - taken == set()
    assert {option for option in taken if f"``{option}" not in text and f" {option}" not in text} == set()


def test_the_kinds_of_faults_are_those_that_there_are():
    table = page("verify").partition(".. csv-table::")[2].partition("\nWhat is *not broken*")[0]
    assert re.findall(r'^   "([^"]+)"', table, re.MULTILINE) == [kind.value for kind in Kind]


def test_the_servers_own_errors_have_their_status():
    source = (PROJECT / "cfmiddleware" / "serving" / "refusals.py").read_text(encoding="utf-8")
    made = defaultdict(set)
    for status, code in re.findall(r'Refusal\(\s*(\d{3}),\s*"([A-Z_]+)"', source):
        made[code].add(status)
    rows_of_page = re.findall(
        r"^   \* - ``([A-Z_]+)``\n     - ([0-9, ]+)$", page("error-codes"), re.MULTILINE
    )
    said = {code: set(statuses.split(", ")) for code, statuses in rows_of_page}
    assert len(made) > 4
    assert {code: said.get(code) for code in made} == made


DEFAULTS = {
    f"{section.place}.{row.name.strip('`')}": row.default.strip("`")
    for section in SECTION_CLASSES
    for row in rows(section.kind)
}

#: ``server.headtimeout`` (20 s)
SHOWN_DEFAULT = re.compile(r"``([a-z]+(?:\.[a-z]+)+)``\s+\(([0-9]+)\s?(s|m|h|KiB|MiB|KiB a\s+second)\b")


def shown_defaults() -> list[tuple[str, str, str]]:
    return [
        (file.stem, name, number + unit)
        for file in sorted(DOCS.glob("*.rst"))
        for name, number, unit in SHOWN_DEFAULT.findall(file.read_text(encoding="utf-8"))
    ]


@pytest.mark.parametrize(("name", "option", "value"), shown_defaults())
def test_a_default_that_a_sentence_repeats_is_the_options(name: str, option: str, value: str):
    assert DEFAULTS[option] in (value, _in_minutes(value)), f"{name}.rst"


def _in_minutes(value: str) -> str:
    seconds = value.removesuffix("s")
    return f"{int(seconds) // 60}m" if seconds.isdecimal() and int(seconds) % 60 == 0 else value


def test_defaults_are_found_in_sentences():
    assert len(shown_defaults()) > 5


def test_the_variables_of_tracing_that_are_read_are_in_the_list():
    known = {*VARIABLES, *checked()}
    named = {
        name
        for file in (PROJECT / "cfmiddleware" / "tracing").glob("*.py")
        for name in re.findall(r'"(OTEL_[A-Z_]+)"', file.read_text(encoding="utf-8"))
    }
    assert len(named) > 10
    assert named - known == set()
    assert "\n.. tracingvariables::\n" in page("tracing")


def test_the_spans_of_the_package_are_in_the_table():
    table = page("tracing").partition("The spans\n")[2].partition("\nAttributes are")[0]
    named = {
        name
        for file in (PROJECT / "cfmiddleware").rglob("*.py")
        for name in re.findall(
            r'(?:spanned|SpanBlock|child)\(\s*"([a-z]+)"', file.read_text(encoding="utf-8")
        )
    }
    assert named >= {"sign", "presign"}
    assert {name for name in named if f"``{name}``" not in table} == set()
