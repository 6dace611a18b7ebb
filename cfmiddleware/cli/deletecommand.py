"""``cfmiddleware delete``: tags, manifests and whole repositories, at an operator's word."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from cfmiddleware.config import Config
from cfmiddleware.errors import ConfigError, StorageUnavailable
from cfmiddleware.process.step import Step
from cfmiddleware.registry.deletes import Deletes, Doomed, NotDeletedHere
from cfmiddleware.registry.errors import RegistryError
from cfmiddleware.registry.repositorydelete import RepositoryDeleted

from .progress import Progress
from .sendevents import send_events
from .sigterm import sigterm_as_ctrl_c
from .storagethere import storage_there
from .terminaltext import printable

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

# How many of the things that are to go are shown before somebody is asked.
_SHOWN = 20


def add_parser(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "delete",
        help="delete tags, manifests or whole repositories, while the registry goes on",
        description="Delete what is named: NAME:TAG, the tag alone; NAME@DIGEST, a manifest and the tags "
        "that name it; NAME, a whole repository, but not those nested in it. In names and tags * stands for "
        "any letters and ? for one; put them in quotes. Bytes go with the next collection of garbage (gc). "
        "Protected tags and what they need stay. It may be stopped at any moment, and started again.",
        epilog="Exit status: 0 when all of it is gone; 1 when something stays or is not there, or the "
        "storage failed; 2 for what cannot be used, and where nobody says yes.",
    )
    parser.add_argument("config", metavar="CONFIG", help="the configuration file (config.yml)")
    parser.add_argument("names", metavar="NAME[:TAG|@DIGEST]", nargs="+", help="what goes")
    parser.add_argument("--dry-run", action="store_true", help="say what would go, and delete nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")
    parser.set_defaults(run=run)


def run(arguments: Any) -> int:
    """Delete what is named, and say what became of it."""
    wanted = [_parsed(name) for name in arguments.names]
    config = Config.load(arguments.config)
    if config.is_readonly() and not arguments.dry_run:
        raise ConfigError(
            f"{arguments.config}: storage.maintenance.readonly: is enabled, so nothing is deleted"
        )
    storage_there(config).check()
    notifier = None if arguments.dry_run else config.notifier
    deletes = config.deletes(tell=not arguments.dry_run)
    rows: list[dict[str, Any]] = []
    progress = Progress()
    try:
        with sigterm_as_ctrl_c(), progress:
            doomed = list(dict.fromkeys(each for one in wanted for each in deletes.expand(one)))
            if not doomed:
                print("cfmiddleware: nothing has such a name", file=sys.stderr)
                return 1
            if not arguments.dry_run and not arguments.yes and not _agreed(doomed):
                return 2
            for number, each in enumerate(doomed):
                progress(Step(str(each), number, len(doomed), "done"))
                rows.append(_done(deletes, each, dryrun=arguments.dry_run))
                if not arguments.json:
                    progress.end()
                    print(printable(_line(rows[-1], arguments.dry_run)), flush=True)
    except (StorageUnavailable, RegistryError) as error:
        print(
            f"cfmiddleware: {arguments.config}: {error}; {len(rows)} were done; start the command again",
            file=sys.stderr,
        )
        return 1
    finally:
        if rows:
            send_events(notifier)
    if arguments.json:
        print(json.dumps({"deleted": rows}))
    return 1 if any(row["stays"] for row in rows) else 0


def _parsed(text: str) -> Doomed:
    try:
        return Doomed.parse(text)
    except ValueError as error:
        raise ConfigError(f"{text!r}: {error}") from None


def _agreed(doomed: list[Doomed]) -> bool:
    """Return whether somebody at the terminal says yes."""
    if not sys.stdin.isatty():
        raise ConfigError("there is no terminal to ask at; say --yes, or --dry-run to see what goes")
    for each in doomed[:_SHOWN]:
        print(printable(f"  {each}{'' if each.tag or each.digest else ' (the whole repository)'}"))
    if len(doomed) > _SHOWN:
        print(f"  and {len(doomed) - _SHOWN} more")
    try:
        return input("Delete this? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _done(deletes: Deletes, doomed: Doomed, *, dryrun: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"name": str(doomed), "stays": ""}
    try:
        found: RepositoryDeleted = (deletes.survey if dryrun else deletes.delete)(doomed)
    except NotDeletedHere as error:
        return {**row, "stays": str(error)}
    if not doomed.tag and doomed.digest is None:
        counts = {"manifests": len(found.manifests), "tags": len(found.tags), "blobs": len(found.blobs)}
        row |= {**counts, "kept": found.kept}
    return row


def _line(row: dict[str, Any], dryrun: bool) -> str:
    if row["stays"]:
        return f"{row['name']} is left alone: {row['stays']}"
    line = f"{row['name']} {'would be deleted' if dryrun else 'deleted'}"
    if "manifests" in row:
        line += f": {row['manifests']} manifests, {row['tags']} tags, {row['blobs']} blobs"
        if row["kept"]:
            line += f"; {row['kept']} objects were pushed meanwhile, and stay"
    return line
