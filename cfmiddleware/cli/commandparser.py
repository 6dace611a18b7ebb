"""The parser of the command line: argparse, which names the nearest word where one is not known."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from cfmiddleware.parse import nearest


class CommandParser(argparse.ArgumentParser):
    """Parses arguments, and refuses what is not known with the word that was perhaps meant."""

    def parse_args(  # type: ignore[override]  # of two overloads, the one that is used here
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> argparse.Namespace:
        """Return the arguments. What is not known ends the process with status 2 and a line on stderr."""
        options, unknown = self.parse_known_args(args, namespace)
        if unknown:
            parser = self.commands()[options.command]
            if not unknown[0].startswith("-"):
                parser.error(f"{unknown[0]!r} is one argument too many")
            parser.error(self._no_option(unknown[0], parser))
        return options

    def parse_known_args(  # type: ignore[override]  # as above
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Return the arguments and what is not known, as argparse does."""
        self._given = [] if args is None else list(args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """End the process with status 2. Where something is missing beside an option that is not known, the
        option is what is told: it is perhaps misspelt, and its value was taken for something else.
        """
        if "are required" in message:
            known = list(options_of(self))
            for word in self._given:
                if word == "--":
                    break
                name = word.partition("=")[0]
                if word.startswith("--") and not any(option.startswith(name) for option in known):
                    message = self._no_option(word, self)
                    break
        super().error(message)

    def _no_option(self, word: str, parser: argparse.ArgumentParser) -> str:
        option = word.partition("=")[0]
        known = dict.fromkeys([*options_of(parser), *options_of(self)])
        return f"there is no option {option}{nearest(option, known)}"

    def commands(self) -> dict[str, argparse.ArgumentParser]:
        """Return the parsers of the commands by their names."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                return dict(action.choices)
        return {}

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse a value that is none of the choices.

        :raises argparse.ArgumentError: naming the nearest one.
        """
        if action.choices is None or value in action.choices:
            return
        choices = [str(choice) for choice in action.choices]
        meant = nearest(str(value).lower(), choices) or f"; there are: {', '.join(choices)}"
        what = "there is no command" if isinstance(action, argparse._SubParsersAction) else "it cannot be"
        raise argparse.ArgumentError(_told(action), f"{what} {value!r}{meant}")


def _told(action: argparse.Action) -> argparse.Action | None:
    """Return the argument that a message names; a command needs no name."""
    return None if isinstance(action, argparse._SubParsersAction) else action


def options_of(parser: argparse.ArgumentParser) -> Iterable[str]:
    """Return the options that a parser knows, as they are written."""
    return [name for action in parser._actions for name in action.option_strings]
