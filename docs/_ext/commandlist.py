"""The directive ``commands``: every command with its arguments, from the parsers themselves."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

from cfmiddleware.cli.commands import command_line
from cfmiddleware.config.embedded import default_directory


class Commands(Directive):
    """Show what ``--help`` of each command says."""

    def run(self) -> list[nodes.Node]:
        """Return one part for each command."""
        lines: list[str] = []
        for name, parser in parsers().items():
            lines += [f".. rubric:: cfmiddleware {name}", f"   :name: command-{name}", ""]
            lines += [_escaped(parser.description or ""), ""]
            lines += [".. list-table::", "   :widths: 34 66", "   :class: plain", ""]
            for argument, text in arguments(parser):
                lines += [f"   * - {argument}", f"     - {text}".rstrip()]
            lines += ["", _escaped(parser.epilog or ""), ""]
        node = nodes.container()
        self.state.nested_parse(StringList(lines, source="cli"), self.content_offset, node)
        return node.children


def parsers() -> dict[str, argparse.ArgumentParser]:
    """Return the parser of each command, in the order of the help."""
    for action in command_line()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def arguments(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """Yield each argument and what its help says, in reStructuredText."""
    formatter = parser._get_formatter()
    for action in parser._actions:
        if action.dest == "help" or action.help == argparse.SUPPRESS:
            continue
        value = formatter._format_args(action, (action.metavar or action.dest.upper()))
        if action.choices and not action.metavar:
            value = "|".join(map(str, action.choices))
        names = ", ".join(action.option_strings)
        shown = f"{names} {value}".strip() if action.nargs != 0 else names
        text = formatter._expand_help(action) if action.help else ""
        yield f"``{shown}``", _escaped(text)


def _escaped(text: str) -> str:
    """Return a text as it is to be shown, with the directory of any reader in place of the builder's."""
    text = text.replace(str(default_directory()), "~/.local/share/cfmiddleware")
    for mark in ("\\", "*", "`", "_", "|"):
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split()).replace("://", ":\\//")


def setup(app: Any) -> dict[str, bool]:
    """Make the directive known to Sphinx."""
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True}
