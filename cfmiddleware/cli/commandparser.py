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
            self._refuse(options, unknown[0])
        return options  # type: ignore[no-any-return]

    def _refuse(self, options: argparse.Namespace, word: str) -> NoReturn:
        name = getattr(options, "command", None)
        parser = self.commands()[name] if name else self
        if not word.startswith("-"):
            parser.error(f"{word!r} is one argument too many")
        option = word.partition("=")[0]
        known = [*options_of(parser), *options_of(self)]
        parser.error(f"there is no option {option}{nearest(option, known)}")

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
        meant = nearest(str(value), choices) or f"; there are: {', '.join(choices)}"
        what = "there is no command" if isinstance(action, argparse._SubParsersAction) else "it cannot be"
        raise argparse.ArgumentError(_told(action), f"{what} {value!r}{meant}")


def _told(action: argparse.Action) -> argparse.Action | None:
    """Return the argument that a message names; a command needs no name."""
    return None if isinstance(action, argparse._SubParsersAction) else action


def options_of(parser: argparse.ArgumentParser) -> Iterable[str]:
    """Return the options that a parser knows, as they are written."""
    return [name for action in parser._actions for name in action.option_strings]
