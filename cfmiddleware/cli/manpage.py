"""The man pages, made from the parsers: ``python -m cfmiddleware.cli.manpage DIRECTORY``.

They are written in man(7) of troff, one page for the program and one for each command. The help has the
same words.
"""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from cfmiddleware.config.embedded import default_directory
from cfmiddleware.version import __version__

from .commands import command_line
from .firststeps import FIRST_STEPS

_NAME = "cfmiddleware"
_EXIT = "Exit status: "

#: Where ``default_directory`` is for somebody with nothing in the environment.
_DIRECTORY = "~/.local/share/cfmiddleware"

#: What every command may end with.
_STATUSES = {
    "0": "It is done.",
    "1": "It is not done, or something is wrong; or nobody reads what it prints.",
    "2": "The command line or the configuration cannot be used; one line on standard error says why.",
    "74": "What it prints cannot be written, as on a full disk.",
    "75": "The storage cannot be reached. The same command may succeed later.",
    "130": "Ctrl-C has ended it.",
}

_CONFIG = {
    "config.yml": "The configuration, which may have any name: that of Distribution, with sections and "
    "options of its own."
}
_DATA = {
    _DIRECTORY: "Where 'cfmiddleware serve' without a configuration keeps its data and its keys; another "
    "directory with --data."
}

_OVERRIDES = {
    "REGISTRY_...": "Override an option of the configuration: REGISTRY_HTTP_ADDR is http.addr. They are read "
    "as YAML.",
    "AWS_...": "Credentials, profile and region, as every program that uses boto3 reads them, where the "
    "configuration has none.",
}
_DATA_HOME = {"XDG_DATA_HOME": "What is taken instead of ~/.local/share."}
_COLOUR = {"NO_COLOR": "With any value: no colours on a terminal."}
_SERVICE = {
    "LISTEN_FDS, LISTEN_FDNAMES": "Sockets that systemd has opened already.",
    "NOTIFY_SOCKET": "Where systemd is told that the server is ready.",
    "OTEL_...": "What OpenTelemetry reads, for traces.",
}


def pages(date: str) -> dict[str, str]:
    """Return the pages by the names of their files.

    :param date: what stands at the foot of each, such as ``2026-11-29``.
    """
    top = command_line()
    commands = top.commands()
    says = {name: _help(top, name) for name in commands}
    made = {f"{_NAME}.1": _top_page(top, says, date)}
    for name, parser in commands.items():
        made[f"{_NAME}-{name}.1"] = _page(name, parser, says[name], date)
    return made


def write(directory: Path, date: str) -> list[str]:
    """Write the pages that are not there as they should be, and return their names.

    A page that differs in its date alone is left. Pages of commands that are no more are removed.
    """
    made, changed = pages(date), []
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in made.items():
        file = directory / name
        if not file.exists() or undated(file.read_text(encoding="utf-8")) != undated(text):
            file.write_text(text, encoding="utf-8")
            changed.append(name)
    for file in sorted(directory.glob("*.1")):
        if file.name not in made:
            file.unlink()
            changed.append(file.name)
    return changed


def undated(page: str) -> str:
    """Return a page without its date."""
    return re.sub(r'^(\.TH \S+ 1) "[^"]*"', r"\1", page, count=1, flags=re.MULTILINE)


def _top_page(parser: argparse.ArgumentParser, says: Mapping[str, str], date: str) -> str:
    commands = {f"{_NAME}-{name}(1)": f"{text[:1].upper()}{text[1:]}." for name, text in says.items()}
    return _written(
        [
            _title(_NAME, "serve container images through CloudFront", date),
            [".SH SYNOPSIS", ".B " + _NAME, _roff("[--version] COMMAND [ARGUMENT ...]")],
            _section("DESCRIPTION", _filled(parser.description or "")),
            _section("COMMANDS", _tagged(commands)),
            _section("OPTIONS", _options(parser)),
            _section("EXIT STATUS", _tagged(_STATUSES)),
            _section("FILES", _tagged(_CONFIG | _DATA)),
            _section("ENVIRONMENT", _tagged(_OVERRIDES | _DATA_HOME | _COLOUR | _SERVICE)),
            _section("EXAMPLES", _examples()),
            _section("SEE ALSO", [_roff(", ".join(f"{_NAME}-{name}(1)" for name in says))]),
        ]
    )


def _page(name: str, parser: argparse.ArgumentParser, says: str, date: str) -> str:
    given = {action.dest for action in parser._actions}
    files: dict[str, str] = {}
    environment: dict[str, str] = {}
    if "config" in given:
        files |= _CONFIG
        environment |= _OVERRIDES
    if "data" in given:
        files |= _DATA
        environment |= _DATA_HOME
    if name in ("check", "explain"):
        environment |= _COLOUR
    if name == "serve":
        environment |= _SERVICE
    return _written(
        [
            _title(f"{_NAME}-{name}", says, date),
            _section("SYNOPSIS", _synopsis(name, parser)),
            _section("DESCRIPTION", [*_filled(parser.description or ""), *_note(parser)]),
            _section("ARGUMENTS", _tagged(_arguments(parser))),
            _section("OPTIONS", _options(parser)),
            _section("EXIT STATUS", _tagged(_STATUSES | _said(parser))),
            _section("FILES", _tagged(files)),
            _section("ENVIRONMENT", _tagged(environment)),
            _section("SEE ALSO", [_roff(f"{_NAME}(1)")]),
        ]
    )


def _help(top: argparse.ArgumentParser, name: str) -> str:
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                if choice.dest == name:
                    return " ".join((choice.help or "").split())
    raise LookupError(name)


def _title(name: str, says: str, date: str) -> list[str]:
    return [
        f'.TH {_roff(name.upper())} 1 "{date}" "{_NAME} {__version__}" "{_NAME}"',
        ".SH NAME",
        f"{_roff(name)} \\- {_roff(says)}",
    ]


def _section(name: str, lines: Iterable[str]) -> list[str]:
    found = list(lines)
    return [f'.SH "{name}"' if " " in name else f".SH {name}", *found] if found else []


def _synopsis(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    yield f".B {_roff(f'{_NAME} {name}')}"
    for action in sorted(parser._actions, key=lambda action: not action.option_strings):
        if not action.option_strings:
            yield _positional(action)
        elif action.dest != "help":
            option = f"\\fB{_roff(action.option_strings[-1])}\\fR{_value(action)}"
            yield option if action.required else f"[{option}]"


def _positional(action: argparse.Action) -> str:
    if action.choices is not None and action.metavar is None:
        word = "|".join(_roff(str(choice)) for choice in action.choices)
    else:
        word = _metavar(action)
    word = f"\\fI{word}\\fR"
    return {"?": f"[{word}]", "*": f"[{word} ...]", "+": f"{word} ..."}.get(str(action.nargs), word)


def _metavar(action: argparse.Action) -> str:
    return _roff(str(action.metavar or action.dest.upper()))


def _value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    if action.choices is not None:
        return f" \\fI{'|'.join(_roff(str(choice)) for choice in action.choices)}\\fR"
    return f" \\fI{_metavar(action)}\\fR"


def _arguments(parser: argparse.ArgumentParser) -> dict[str, str]:
    return {
        str(action.metavar or action.dest.upper()): _text(action, parser)
        for action in parser._actions
        if not action.option_strings and not isinstance(action, argparse._SubParsersAction)
    }


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if action.option_strings:
            names = ", ".join(f"\\fB{_roff(name)}\\fR" for name in action.option_strings)
            yield ".TP"
            yield names + _value(action)
            yield from _filled(_sentence(_text(action, parser)))


def _text(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    return (action.help or "") % {**vars(action), "prog": parser.prog}


def _note(parser: argparse.ArgumentParser) -> list[str]:
    """Return what the end of the help says, unless it is about the statuses."""
    text = parser.epilog or ""
    return [".PP", *_filled(text)] if text and not text.startswith(_EXIT) else []


def _said(parser: argparse.ArgumentParser) -> dict[str, str]:
    """Return what the end of the help says of each status."""
    text = " ".join((parser.epilog or "").split())
    if not text.startswith(_EXIT):
        return {}
    parts = re.split(r"(?:^|[,;] )(\d+)\b", text.removeprefix(_EXIT).rstrip("."))
    return {
        status: _sentence(said.strip().rstrip(",;") or _STATUSES[status])
        for status, said in zip(parts[1::2], parts[2::2], strict=True)
    }


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def _examples() -> Iterator[str]:
    """Yield the first steps: what each is for, and the command."""
    lines = FIRST_STEPS.splitlines()
    first = next(line for line in lines if line.endswith(":"))
    for line in lines:
        command, _, says = line.strip().partition("  ")
        if line.startswith(f"  {_NAME}"):
            yield ".TP"
            yield f".B {_roff(command)}"
            yield from _filled(_sentence(says))
        elif line.endswith(":"):
            if line is not first:
                yield ".PP"
            yield from _filled(line)


def _tagged(words: Mapping[str, str]) -> Iterator[str]:
    for word, says in words.items():
        yield ".TP"
        yield f".B {_roff(word)}"
        yield from _filled(_sentence(says))


def _filled(text: str) -> list[str]:
    """Return prose in lines that troff fills anew."""
    text = text.replace(str(default_directory()), _DIRECTORY)
    lines = textwrap.wrap(" ".join(text.split()), 76, break_on_hyphens=False, break_long_words=False)
    return [_roff(line) for line in lines]


def _roff(text: str) -> str:
    """Return text without what troff would take for its own."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("~", "\\(ti").replace("^", "\\(ha")
    text = text.replace("'", "\\(aq").replace("`", "\\(ga").replace('"', "\\(dq")
    return f"\\&{text}" if text.startswith(".") else text


def _written(sections: Iterable[Iterable[str]]) -> str:
    lines = ['.\\" Made by scripts/manpages from the parsers of cfmiddleware/cli: change those.']
    for section in sections:
        lines += section
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for changed in write(Path(sys.argv[1]), (sys.argv[2:] or [f"{datetime.now(UTC):%Y-%m-%d}"])[0]):
        print(changed)
