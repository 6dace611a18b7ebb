"""``cfmiddleware completion``: what a shell needs to complete commands and options, made from the parser."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_NAME = "cfmiddleware"


def add_parser(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "completion",
        help="print what bash, zsh or fish needs to complete commands and options",
        description="Print a script that has a shell complete commands, options and their values. For bash, "
        'put  eval "$(cfmiddleware completion bash)"  into ~/.bashrc; for zsh the same with zsh into '
        "~/.zshrc, after compinit; for fish, write it to ~/.config/fish/completions/cfmiddleware.fish.",
    )
    parser.add_argument("shell", choices=tuple(_SHELLS), help="the shell")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from .commands import command_line

    print(script(options.shell, command_line()), end="")
    return 0


class Option(NamedTuple):
    """An option of a command.

    :param names: as they are written, such as ``-h`` and ``--help``.
    :param says: what it does, on one line.
    :param value: what its value is called; empty if it has none.
    :param choices: its values, if they are known; otherwise it may be a file.
    """

    names: Sequence[str]
    says: str
    value: str
    choices: Sequence[str]


class Command(NamedTuple):
    """A command: its name, what it does, its options, and the words that are arguments of it."""

    name: str
    says: str
    options: Sequence[Option]
    words: Sequence[str]


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """Return the script for a shell: ``bash``, ``zsh`` or ``fish``."""
    top = _command(parser, "", "")
    return _SHELLS[shell](top, list(_commands(parser)))


def _commands(parser: argparse.ArgumentParser) -> Iterator[Command]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            says = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, command in action.choices.items():
                yield _command(command, name, _line(says.get(name, "")))


def _command(parser: argparse.ArgumentParser, name: str, says: str) -> Command:
    options, words = [], []
    for action in parser._actions:
        choices = [str(choice) for choice in action.choices or ()]
        if action.option_strings:
            value = "" if action.nargs == 0 else str(action.metavar or action.dest).upper()
            text = _line(_expanded(action, parser))
            options.append(Option(action.option_strings, text, value, choices))
        elif not isinstance(action, argparse._SubParsersAction):
            words += choices
    return Command(name, says, options, words)


def _expanded(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    return (action.help or "") % {**vars(action), "prog": parser.prog} if action.help else ""


def _line(text: str) -> str:
    """Return a text without what a shell would take for its own."""
    return re.sub(r"[^\w .,;/()<>=+-]", "", " ".join(text.split()))


def _bash(top: Command, commands: Sequence[Command]) -> str:
    chosen, free, words = [], [], []
    for command in commands:
        for option in command.options:
            patterns = "|".join(f"{command.name}/{name}" for name in option.names)
            if option.choices:
                chosen.append(f"        {patterns}) {_offer(option.choices)}; return ;;")
            elif option.value:
                free.append(patterns)
        words.append(f"        {command.name}/-*) {_offer(_names(command))} ;;")
        if command.words:
            words.append(f"        {command.name}/*) {_offer(command.words)} ;;")
    return "\n".join(
        [
            "_cfmiddleware_from() {",
            '    mapfile -t COMPREPLY < <(compgen -W "$1" -- "${COMP_WORDS[COMP_CWORD]}")',
            "}",
            "_cfmiddleware() {",
            "    COMPREPLY=()",
            "    if ((COMP_CWORD == 1)); then",
            f"        {_offer([*(command.name for command in commands), *_names(top)])}",
            "        return",
            "    fi",
            '    case "${COMP_WORDS[1]}/${COMP_WORDS[COMP_CWORD-1]}" in',
            *chosen,
            f"        {'|'.join(free)}) return ;;",
            "    esac",
            '    case "${COMP_WORDS[1]}/${COMP_WORDS[COMP_CWORD]}" in',
            *words,
            "    esac",
            "}",
            "# Where nothing is offered, bash completes files.",
            f"complete -o default -F _cfmiddleware {_NAME}",
            "",
        ]
    )


def _offer(words: Sequence[str]) -> str:
    return f"_cfmiddleware_from '{' '.join(words)}'"


def _zsh(top: Command, commands: Sequence[Command]) -> str:
    lines = [
        f"#compdef {_NAME}",
        "_cfmiddleware() {",
        "    local -a found",
        "    if (( CURRENT == 2 )); then",
        "        found=(",
        *(f"            '{command.name}:{command.says}'" for command in commands),
        *(f"            '{name}:{option.says}'" for option in top.options for name in option.names),
        "        )",
        "        _describe command found",
        "        return",
        "    fi",
        "    local name=$words[2]",
        "    shift words",
        "    (( CURRENT-- ))",
        "    case $name in",
    ]
    for command in commands:
        lines.append(f"        {command.name})")
        lines.append("            _arguments \\")
        for option in command.options:
            lines += [f"                '{spec}' \\" for spec in _zsh_option(option)]
        lines.append(f"                '*:argument:{_zsh_values(command.words)}'")
        lines.append("            ;;")
    lines += ["    esac", "}"]
    lines += [
        "if [[ ${zsh_eval_context[-1]} == loadautofunc ]]; then",
        '    _cfmiddleware "$@"',
        "else",
        f"    compdef _cfmiddleware {_NAME}",
        "fi",
        "",
    ]
    return "\n".join(lines)


def _zsh_option(option: Option) -> Iterator[str]:
    for name in option.names:
        value = f":{option.value}:{_zsh_values(option.choices)}" if option.value or option.choices else ""
        yield f"{name}[{option.says}]{value}"


def _zsh_values(words: Sequence[str]) -> str:
    return f"({' '.join(words)})" if words else "_files"


def _fish(top: Command, commands: Sequence[Command]) -> str:
    first = f"complete -c {_NAME} -f -n __fish_use_subcommand"
    lines = [f"{first} {_fish_option(option)}" for option in top.options]
    for command in commands:
        lines.append(f"{first} -a {command.name} -d '{command.says}'")
        seen = f"complete -c {_NAME} -n '__fish_seen_subcommand_from {command.name}'"
        lines += [f"{seen} {_fish_option(option)}" for option in command.options]
        if command.words:
            lines.append(f"{seen} -a '{' '.join(command.words)}'")
    return "\n".join([*lines, ""])


def _fish_option(option: Option) -> str:
    names = [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names]
    value = f" -x -a '{' '.join(option.choices)}'" if option.choices else " -r" if option.value else ""
    return f"{' '.join(names)}{value} -d '{option.says}'"


def _names(command: Command) -> list[str]:
    return [name for option in command.options for name in option.names]


_SHELLS: dict[str, Callable[[Command, Sequence[Command]], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
