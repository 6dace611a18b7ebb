"""``cfmiddleware retention``: deletes the tags that no rule keeps."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cfmiddleware import parse
from cfmiddleware.config import Config
from cfmiddleware.errors import ConfigError, StorageUnavailable
from cfmiddleware.registry.errors import RegistryError
from cfmiddleware.registry.retention.expiry import ClockDoubtful, Expired, keep_record
from cfmiddleware.registry.retention.fates import Fate

from .progress import Progress
from .sendevents import send_events
from .sigterm import sigterm_as_ctrl_c
from .storagethere import storage_there

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "retention",
        help="delete the tags that no rule of 'retention' keeps",
        description="Delete tags by the rules of the section 'retention', as a client would delete them: "
        "their manifests stay until 'gc --delete-untagged' takes them. A tag that no rule has never goes, "
        "nor does a protected one. The registry goes on meanwhile, and a tag that is pushed meanwhile stays. "
        "Run it with --dry-run first.",
        epilog="Exit status: 0 when it is done, 1 when the storage failed or a clock is wrong, 2 where the "
        "configuration cannot be used.",
    )
    parser.add_argument("config", metavar="CONFIG", help="the configuration file (config.yml)")
    parser.add_argument(
        "--dry-run", action="store_true", help="say of every tag why it stays or goes, and delete nothing"
    )
    parser.add_argument(
        "--parallel", metavar="N", default="16", help="requests to the storage at a time (default: 16)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")
    parser.set_defaults(run=run)


def run(arguments: Any) -> int:
    """Delete tags, and print which."""
    parallel = parse.integer(arguments.parallel, "--parallel", 1, 256)
    config = Config.load(arguments.config)
    if not config.settings.retention.rules:
        raise ConfigError(f"{arguments.config}: retention: there are no rules, so every tag stays")
    driver = storage_there(config)
    driver.check()
    notifier = None if arguments.dry_run else config.notifier
    progress = Progress()
    retention = config.retention(tell=notifier is not None, parallel=parallel, say=progress)
    done: Expired | None = None
    try:
        with sigterm_as_ctrl_c(), progress:
            if arguments.dry_run:
                (_print_json if arguments.json else _print_table)(progress.through(retention.survey()))
                return 0
            done = retention.apply()
            keep_record(driver, done)
    except ClockDoubtful as error:
        return _failed(arguments, str(error))
    except StorageUnavailable as error:
        return _failed(arguments, f"the storage failed: {error}; start the command again")
    except RegistryError as error:
        return _failed(arguments, f"{error.detail or error}; nothing more was deleted")
    finally:
        if done is None or done.deleted:
            send_events(notifier)
    print(json.dumps(_done_as_json(done)) if arguments.json else _report(done))
    return 0


def _failed(arguments: Any, text: str) -> int:
    print(f"cfmiddleware: {arguments.config}: {text}", file=sys.stderr)
    return 1


def _print_table(surveyed: Iterable[list[Fate]]) -> None:
    gone = kept = 0
    for decided in surveyed:
        width = max(len(fate.tag.name) for fate in decided)
        print(decided[0].repository)
        for fate in decided:
            rule = f"{fate.rule}: " if fate.rule else ""
            print(
                f"  {fate.tag.name:<{width}}  {_time(fate.tag.moved)}  {'goes' if fate.goes else 'stays'}  "
                f"{rule}{fate.why}"
            )
        gone += sum(fate.goes for fate in decided)
        kept += sum(not fate.goes for fate in decided)
    print(f"{_tags(gone)} would be deleted, {kept} stay{'s' if kept == 1 else ''}")


def _print_json(surveyed: Iterable[list[Fate]]) -> None:
    counts = {True: 0, False: 0}
    # Bit by bit, because a storage may have millions of tags.
    print('{"tags": [', end="")
    for fate in (fate for decided in surveyed for fate in decided):
        print(", " if any(counts.values()) else "", json.dumps(_as_json(fate)), sep="", end="")
        counts[fate.goes] += 1
    print(f'], "go": {counts[True]}, "stay": {counts[False]}}}')


def _as_json(fate: Fate) -> dict[str, Any]:
    return {
        "repository": fate.repository,
        "tag": fate.tag.name,
        "moved": _time(fate.tag.moved),
        "goes": fate.goes,
        "rule": fate.rule or None,
        "why": fate.why,
    }


def _report(done: Expired) -> str:
    lines = [f"{fate.repository}:{fate.tag.name} deleted ({fate.rule}: {fate.why})" for fate in done.deleted]
    left = (*done.moved, *done.broken)
    lines += [f"{fate.repository}:{fate.tag.name} is left alone: {fate.why}" for fate in left]
    stay = done.kept + len(done.moved) + len(done.broken)
    stays = f"{stay} stay{'s' if stay == 1 else ''} in the repositories that have rules"
    return "\n".join([*lines, f"{_tags(len(done.deleted))} deleted, {stays}"])


def _done_as_json(done: Expired) -> dict[str, Any]:
    return {
        "deleted": [_as_json(fate) for fate in done.deleted],
        "moved": [_as_json(fate) for fate in done.moved],
        "broken": [_as_json(fate) for fate in done.broken],
        "stay": done.kept + len(done.moved) + len(done.broken),
    }


def _tags(number: int) -> str:
    return f"{number} tag{'' if number == 1 else 's'}"


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
