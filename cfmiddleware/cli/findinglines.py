"""What checks find, as lines for people or as JSON for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping

from cfmiddleware.cloudfront.findings import Finding, Mark

from .terminaltext import can_print, printable

_SIGNS = {Mark.TICK: ("\N{CHECK MARK}", "+"), Mark.CROSS: ("\N{BALLOT X}", "x"), Mark.QUESTION: ("?", "?")}
_COLOURS = {Mark.TICK: "32", Mark.CROSS: "31;1", Mark.QUESTION: "33"}
_ARROWS = ("\N{RIGHTWARDS ARROW}", "->")


def print_lines(source: str, steps: Mapping[int, str], found: Iterable[tuple[int, Finding]]) -> int:
    """Print a line for each finding and one for what mends it, and return 1 where there is a cross.

    :param source: what the last line calls that which was looked at.
    :param steps: what the steps are called, by their numbers.
    """
    colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    plain = not can_print(_ARROWS[0] + _SIGNS[Mark.TICK][0] + _SIGNS[Mark.CROSS][0])
    step, counts = 0, dict.fromkeys(Mark, 0)
    for number, finding in found:
        while step < number:
            step += 1
            # Such as AWS's side, where the edge is one's own.
            left_out = "" if step == number else ": nothing to look at here"
            print(f"{step}. {steps[step]}{left_out}")
        counts[finding.mark] += 1
        sign = _SIGNS[finding.mark][plain]
        if colours:
            sign = f"\033[{_COLOURS[finding.mark]}m{sign}\033[0m"
        print(f"  {sign} {printable(f'{finding.name}: {finding.says}')}", flush=True)
        if finding.mend:
            print(f"      {_ARROWS[plain]} {printable(finding.mend)}", flush=True)
    crosses, questions = counts[Mark.CROSS], counts[Mark.QUESTION]
    print(
        f"{source}: {counts[Mark.TICK]} right, {crosses} wrong, {questions} not found out"
        if crosses or questions
        else f"{source}: all is right"
    )
    return 1 if crosses else 0


def print_json(source: str, found: Iterable[tuple[int, Finding]]) -> int:
    """Print one JSON object, and return 1 where there is a cross."""
    findings = [
        {
            "step": step,
            "check": finding.name,
            "mark": finding.mark.value,
            "says": finding.says,
            "mend": finding.mend,
        }
        for step, finding in found
    ]
    is_right = all(finding["mark"] != Mark.CROSS.value for finding in findings)
    print(json.dumps({"config": source, "ok": is_right, "findings": findings}, indent=2))
    return 0 if is_right else 1
