"""The lists of the reference have everything that the code has."""

from __future__ import annotations

import json
import logging
import re
import sys

from lab import PROJECT

from cfmiddleware.cli.commands import command_line
from cfmiddleware.logs import MEMBERS, TRACE, Json
from cfmiddleware.wsgi.accesslog import Line
from cfmiddleware.wsgi.accessrecord import AccessRecord

sys.path.insert(0, str(PROJECT / "docs" / "_ext"))
from errorrows import rows

DOCS = PROJECT / "docs"
PACKAGE = PROJECT / "cfmiddleware"


def test_each_error_of_the_registry_has_a_row_that_says_when():
    made = (PACKAGE / "registry" / "errors.py").read_text(encoding="utf-8").count("return RegistryError(")
    found = list(rows())
    assert len(found) == made > 30
    assert ("``TOOMANYREQUESTS``", "429", "An upload that finds no place.") in found
    assert [row for row in found if not re.fullmatch(r"[A-Z].*\.", row[2])] == []


def test_each_code_of_the_package_is_on_the_page():
    page = (DOCS / "error-codes.rst").read_text(encoding="utf-8") + "".join(code for code, _, _ in rows())
    pattern = re.compile(r'"code": "([A-Z_]+)"|Refusal\(\s*\d+,\s*"([A-Z_]+)"')
    codes = {
        first or second
        for file in PACKAGE.rglob("*.py")
        for first, second in pattern.findall(file.read_text(encoding="utf-8"))
    }
    assert codes >= {"UNAVAILABLE", "DENIED", "REQUEST_TIMEOUT"}
    assert {code for code in codes if f"``{code}``" not in page} == set()


def test_each_member_of_a_line_has_a_row():
    record = AccessRecord("id")
    record.repository, record.user, record.sent, record.trace = "team/app", "alice", "edge", "0" * 32
    line = Line("registry", "GET", "/v2/", "127.0.0.1", record)
    line.status = 200
    always = [name for name, (lines, _) in MEMBERS.items() if lines == "each"]
    of_requests = [name for name, (lines, _) in MEMBERS.items() if lines in ("request", "both")]
    assert list(line.members()) == of_requests

    message = logging.LogRecord("cfmiddleware", logging.INFO, __file__, 0, "text", (), None)
    setattr(message, TRACE, ("0" * 32, "0" * 16))
    try:
        raise ValueError
    except ValueError:
        message.exc_info = sys.exc_info()
    of_messages = {name for name, (lines, _) in MEMBERS.items() if lines in ("message", "both")}
    assert json.loads(Json().format(message)).keys() == {*always, *of_messages}
    assert "\n.. logmembers::\n" in (DOCS / "http-and-logs.rst").read_text(encoding="utf-8")


def test_the_page_that_runs_the_registry_names_each_of_them():
    page = (DOCS / "running.rst").read_text(encoding="utf-8")
    shown = set(re.findall(r"^``cfmiddleware ([a-z]+)", page, re.MULTILINE))
    assert set(command_line().commands()) - shown <= {"completion"}
