"""``cfmiddleware explain``: why a signed URL is refused."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfmiddleware import logs
from cfmiddleware.cloudfront.explain import PARTS, Question, explain
from cfmiddleware.config import Config
from cfmiddleware.errors import ConfigError, cannot_be_read

from .findinglines import print_json, print_lines

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

# What is read of an answer, in bytes.
_LARGEST = 1 << 20


def add_parser(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "explain",
        help="say what a signed URL says, and why CloudFront refuses it",
        description="Take apart a signed URL from a log or a client's error: its key, hash, expiry and bound "
        "address, whether its signature is right, and whether its object is in the bucket. Then ask "
        "CloudFront "
        "for it, and say what the answer means. No signature is printed: the output can go into a ticket.",
        epilog="Exit status: 0 where nothing is wrong, 1 where something is, 2 for what cannot be used.",
    )
    parser.add_argument("url", metavar="URL", help="the URL, in quotes; '-' reads it from standard input")
    parser.add_argument("--config", metavar="FILE", required=True, help="the configuration file (config.yml)")
    parser.add_argument(
        "--answer", metavar="FILE", help="what the client got: the body, or what 'curl -i' printed"
    )
    parser.add_argument("--offline", action="store_true", help="do not ask CloudFront")
    parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")
    parser.set_defaults(run=run)


def run(arguments: Any) -> int:
    """Explain, and return 1 where something is wrong."""
    url = _from_standard_input() if arguments.url == "-" else arguments.url
    asked = Question(
        Config.load(arguments.config), url, answer=_answer(arguments.answer), online=not arguments.offline
    )
    with logs.left_out("cfmiddleware.storage"):
        if arguments.json:
            return print_json(asked.config.source, explain(asked))
        return print_lines("the URL", PARTS, explain(asked))


def _from_standard_input() -> str:
    # What is not UTF-8 is not a URL, which is said later.
    return sys.stdin.buffer.readline(_LARGEST).decode("utf-8", "replace")


def _answer(file: str | None) -> bytes | None:
    if file is None:
        return None
    try:
        with Path(file).open("rb") as stream:
            return stream.read(_LARGEST)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--answer: {file}: {cannot_be_read(error)}") from None
