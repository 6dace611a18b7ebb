"""YAML of a CloudFormation template, written as text so that it can have comments."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable


def quoted(text: str) -> str:
    """Return a scalar that YAML reads as exactly *text*, in one line."""
    return f'"{"".join(map(_escaped, text))}"'


def literal(text: str) -> str:
    """Return *text* for a place in ``Fn::Sub`` where nothing in it is to be replaced."""
    return text.replace("${", "${!")


def in_resource(text: str) -> str:
    """Return *text* for the ``Resource`` of a policy, in ``Fn::Sub``: IAM reads ``*``, ``?`` and ``$``."""
    return "".join(f"${{!{character}}}" if character in "*?$" else character for character in text)


def substituted(text: str) -> str:
    """Return what gives *text* with each ``${Name}`` replaced: ``Fn::Sub``, if there is any."""
    return f"!Sub {quoted(text)}" if _has_names(text) else quoted(text.replace("${!", "${"))


def substituted_block(text: str, indent: int) -> str:
    """Return the same as a literal block scalar.

    :param indent: how many spaces stand in front of each of its lines.
    """
    if _has_names(text):
        return f"!Sub {block(text, indent)}"
    return block(text.replace("${!", "${"), indent)


def block(text: str, indent: int) -> str:
    """Return a literal block scalar (``|``), from the indicator on.

    :param indent: how many spaces stand in front of each of its lines.
    """
    return "|\n" + indented(text.rstrip("\n"), indent)


def indented(text: str, indent: int) -> str:
    """Return *text* with spaces in front of each line that is not empty."""
    return textwrap.indent(text, " " * indent)


def listed(items: Iterable[str], indent: int) -> str:
    """Return a list, one item in each line."""
    return "\n".join(f"{' ' * indent}- {item}" for item in items)


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if character.isprintable() else f"\\U{ord(character):08x}"


def _has_names(text: str) -> bool:
    return "${" in text.replace("${!", "")
