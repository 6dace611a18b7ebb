"""``cfmiddleware config``: what is in force, and where each value comes from."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from cfmiddleware.config.configschema import schema
from cfmiddleware.config.inforce import in_force
from cfmiddleware.errors import ConfigError


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "config",
        help="check a configuration and print what is in force, or a schema for editors",
        description="Read a configuration as 'serve' does and print every value that is in force, and "
        "whether it comes from a line of the file, from a REGISTRY_... variable or is the default. Secrets "
        "are hidden. Nothing is connected to, and no key is opened.",
        epilog="Exit status: 0 for a configuration that can be used, 2 for one that cannot, with the line "
        "that 'serve' would end with.",
    )
    parser.add_argument("config", metavar="CONFIG", nargs="?", help="the configuration file (config.yml)")
    parser.add_argument(
        "--written", action="store_true", help="leave out what is the default and nobody has written"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")
    parser.add_argument(
        "--schema", action="store_true", help="print a JSON Schema of configurations instead, for editors"
    )
    parser.set_defaults(run=run)


def run(arguments: Any) -> int:
    """Print what was asked for."""
    if arguments.schema:
        print(json.dumps(schema(), indent=2))
        return 0
    if arguments.config is None:
        raise ConfigError("config: which one? cfmiddleware config config.yml, or --schema")
    found = [
        each for each in in_force(arguments.config) if not (arguments.written and each.source == "default")
    ]
    if arguments.json:
        told = {each.place: {"value": each.value, "source": each.source} for each in found}
        print(json.dumps({"file": str(arguments.config), "options": told}, indent=2))
        return 0
    width = min(48, max((len(each.place) for each in found), default=0))
    print(f"# {Path(arguments.config)}: it can be used")
    for each in found:
        print(f"{each.place:<{width}}  {each.value}  # {each.source}")
    return 0
