"""``cfmiddleware purge``: uploads that nobody finishes, deleted once."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from cfmiddleware.config import Config
from cfmiddleware.config.purgeoptions import some_time
from cfmiddleware.errors import ConfigError, StorageUnavailable
from cfmiddleware.registry.collect.lease import LeaseTaken
from cfmiddleware.registry.purging.abandoned import Abandoned
from cfmiddleware.registry.purging.purgebyitself import named
from cfmiddleware.registry.purging.purger import Purged, Purger

from .progress import Progress
from .sigterm import sigterm_as_ctrl_c
from .storagethere import storage_there

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "purge",
        help="delete uploads that nobody finishes, while the registry goes on",
        description="Delete uploads to which nobody has written for some time, of this registry and of "
        "Distribution; parts of objects that were never finished; and what failures left. A registry does "
        "so by itself once a day (storage.maintenance.uploadpurging). It may be stopped at any moment.",
        epilog="Exit status: 0 when it is done; 1 when another process purges, when the storage failed, and "
        "when the storage does not say what is unfinished; 2 where the configuration cannot be used.",
    )
    parser.add_argument("config", metavar="CONFIG", help="the configuration file (config.yml)")
    parser.add_argument("--dry-run", action="store_true", help="say what would go, and delete nothing")
    parser.add_argument(
        "--age",
        metavar="TIME",
        help="for how long nobody must have written to what goes (default: "
        "storage.maintenance.uploadpurging.age, which is 168h unless the file says otherwise)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")
    parser.set_defaults(run=run)


def run(arguments: Any) -> int:
    """Purge, and print what is gone."""
    age = None if arguments.age is None else some_time(arguments.age, "--age")
    config = Config.load(arguments.config)
    maintenance = config.settings.storage.maintenance
    if maintenance.readonly and not arguments.dry_run:
        raise ConfigError(
            f"{arguments.config}: storage.maintenance.readonly: is enabled, so nothing is purged"
        )
    driver = storage_there(config)
    driver.check()
    progress = Progress()
    say = _nothing if arguments.json else _Printed(arguments.dry_run, progress)
    purger = Purger(driver, maintenance.uploadpurging.age if age is None else age, say, look=progress)
    try:
        with sigterm_as_ctrl_c(), progress:
            done = purger.survey() if arguments.dry_run else purger.purge()
    except LeaseTaken as taken:
        print(f"cfmiddleware: {arguments.config}: another process purges: {taken}", file=sys.stderr)
        return 1
    except StorageUnavailable as error:
        print(
            f"cfmiddleware: {arguments.config}: the storage failed: {error}; start the command again",
            file=sys.stderr,
        )
        return 1
    print(json.dumps(_as_json(done)) if arguments.json else _summary(done, arguments.dry_run))
    if done.unseen:
        print(
            f"cfmiddleware: {arguments.config}: what is unfinished cannot be seen or deleted, and stays: "
            f"{done.unseen}",
            file=sys.stderr,
        )
    return 1 if done.unseen else 0


def _nothing(each: Abandoned) -> None:
    pass


class _Printed:
    """Prints a line for each thing, as soon as it is gone."""

    def __init__(self, dryrun: bool, progress: Progress) -> None:
        self._progress = progress
        self._verb = "would go" if dryrun else "gone"

    def __call__(self, each: Abandoned) -> None:
        self._progress.end()
        kind, name = named(each)
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(each.touched))
        print(f"{self._verb}: {kind} {name}: {each.size} bytes, last written to {since}", flush=True)


def _summary(done: Purged, dryrun: bool) -> str:
    kinds = [each.kind for each in done.gone]
    uploads, others = kinds.count("upload"), len(kinds) - kinds.count("upload")
    text = (
        f"{uploads} uploads and {others} other leftovers of {done.size} bytes "
        f"{'would be deleted' if dryrun else 'deleted'}"
    )
    return f"{text}; {done.spared} came into use meanwhile, and stay" if done.spared else text


def _as_json(done: Purged) -> dict[str, Any]:
    return {
        "purged": [each._asdict() for each in done.gone],
        "bytes": done.size,
        "spared": done.spared,
        "unseen": done.unseen,
    }
