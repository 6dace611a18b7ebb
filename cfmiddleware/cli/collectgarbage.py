"""``cfmiddleware gc``: garbage collection while the registry serves."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from cfmiddleware import parse
from cfmiddleware.config import Config
from cfmiddleware.digest import Digest
from cfmiddleware.errors import ConfigError, StorageUnavailable
from cfmiddleware.registry.collect.collector import Collector, Outcome, Survey
from cfmiddleware.registry.collect.journal import collect_on_record
from cfmiddleware.registry.collect.lease import LeaseTaken
from cfmiddleware.registry.collect.otherwriters import OtherWriter
from cfmiddleware.registry.collect.price import PRICE_LIST, forecast, price
from cfmiddleware.registry.collect.told import Told
from cfmiddleware.registry.collect.verdict import Rules
from cfmiddleware.registry.collect.why import why
from cfmiddleware.storage.driver import Driver
from cfmiddleware.storage.requestmeter import RequestMeter

from .progress import Progress
from .sendevents import send_events
from .sigterm import sigterm_as_ctrl_c
from .sizetext import size_text as _size
from .storagethere import storage_there
from .terminaltext import printable

if TYPE_CHECKING:
    from cfmiddleware.notifications.notifier import Notifier
    from cfmiddleware.registry.collect.inventory import Inventory

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


# How many of the objects that were not deleted are named.
_NAMED = 10


def add_parser(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "gc",
        help="delete what nothing refers to any more, while the registry goes on",
        description="Collect garbage: blobs that no manifest refers to leave their repository first, and the "
        "storage when nothing has named them for the grace period. Pushes, pulls and deletes go on "
        "meanwhile. It may be stopped at any moment, and the next run goes on. Run it again after the grace "
        "period, or every day.",
        epilog="Exit status: 0 when it is done, 1 when there is more to do (another collection runs, or the "
        "storage failed), 2 where the configuration cannot be used.",
    )
    parser.add_argument("config", metavar="CONFIG", help="the configuration file (config.yml)")
    parser.add_argument("--dry-run", action="store_true", help="say what would go, and delete nothing")
    parser.add_argument(
        "--grace",
        metavar="TIME",
        default="24h",
        help="touch nothing younger, and let this much time pass between the two steps (default: 24h)",
    )
    parser.add_argument(
        "--delete-untagged",
        action="store_true",
        help="delete manifests that no tag leads to, but not the children of an index that stays, nor what "
        "is about a manifest that stays",
    )
    parser.add_argument(
        "--older-than",
        metavar="TIME",
        help="with --delete-untagged: leave younger manifests (default: 7d)",
    )
    parser.add_argument("--why", metavar="DIGEST", help="say why this digest stays or goes, and do nothing")
    parser.add_argument(
        "--parallel",
        metavar="N",
        default="16",
        help="requests to the storage at a time, at the most; fewer while S3 is too busy (default: 16)",
    )
    parser.add_argument(
        "--requests-per-second",
        metavar="N",
        default="0",
        help="requests to S3 in a second, at the most (default: 0, any number)",
    )
    parser.add_argument(
        "--inventory",
        metavar="REPORT",
        help="look where this report of S3 Inventory says, instead of listing the bucket: a directory, a "
        "manifest.json or an s3:// URL of one, with files of CSV or Parquet",
    )
    parser.add_argument(
        "--beside-distribution",
        action="store_true",
        help="collect although Distribution may push into the same storage, which may cost an image that it "
        "has just acknowledged; without this nothing goes while it does",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")
    parser.set_defaults(run=run)


def run(arguments: Any) -> int:
    """Collect, and print what became of it."""
    if arguments.older_than is not None and not arguments.delete_untagged:
        raise ConfigError("--older-than: is about --delete-untagged, without which no manifest goes")
    rules = Rules(
        grace=parse.period(arguments.grace, "--grace"),
        deleteuntagged=arguments.delete_untagged,
        olderthan=parse.period(
            "7d" if arguments.older_than is None else arguments.older_than, "--older-than"
        ),
        besidedistribution=arguments.beside_distribution,
    )
    parallel = parse.integer(arguments.parallel, "--parallel", 1, 256)
    wanted = None if arguments.why is None else _digest(arguments.why)
    persecond = parse.integer(arguments.requests_per_second, "--requests-per-second")
    config = Config.load(arguments.config)
    if config.settings.registry.required.collectable and not (
        rules.besidedistribution or arguments.dry_run or wanted is not None
    ):
        raise ConfigError(
            f"{arguments.config}: validation.manifests.mediatypes: says that Distribution uses this storage "
            "too, whose pushes a collection may break; stop it or make it read-only meanwhile, and give "
            "--beside-distribution"
        )
    meter = RequestMeter(parallel, persecond)
    driver = storage_there(config).metered(meter)
    driver.check()
    progress = Progress()
    notifier = None if arguments.dry_run or wanted is not None else _notifier(config)
    if wanted is not None and arguments.inventory is not None:
        raise ConfigError("--why: looks at the storage itself; leave out --inventory")
    try:
        with sigterm_as_ctrl_c(), progress, _inventory(arguments.inventory, driver) as inventory:
            collector = Collector(
                driver,
                rules,
                parallel,
                say=progress,
                inventory=inventory,
                meter=meter,
                tell=Told(notifier),
            )
            if wanted is not None:
                _print_why(wanted, why(driver, wanted, rules), json_wanted=arguments.json)
                return 0
            if arguments.dry_run:
                survey = collector.survey()
                progress.end()
                made = meter.counts()
                # A directory gets no requests.
                foretold = forecast(survey, made) if any(made.values()) else {}
                if arguments.json:
                    costs = {"made": _cost(made), "run": _cost(foretold)}
                    print(json.dumps({**_as_json(survey), "requests": costs}))
                else:
                    print(_table(survey, "would be"))
                    _print_cost("requests to S3 now", made)
                    _print_cost("of a run", foretold)
                return 0
            outcome = collect_on_record(driver, collector, meter)
    except OtherWriter as other:
        print(
            f"cfmiddleware: {arguments.config}: nothing was deleted, because Distribution pushes into this "
            f"storage: {other}; stop it or make it read-only meanwhile, or give --beside-distribution",
            file=sys.stderr,
        )
        return 1
    except LeaseTaken as taken:
        print(f"cfmiddleware: {arguments.config}: a collection runs: {taken}", file=sys.stderr)
        return 1
    except StorageUnavailable as error:
        print(
            f"cfmiddleware: {arguments.config}: the storage failed: {error}; start the command again",
            file=sys.stderr,
        )
        return 1
    finally:
        progress.end()
    if outcome.layers or outcome.revisions:
        send_events(notifier)
    if arguments.json:
        print(json.dumps({**_outcome_as_json(outcome), "requests": _cost(meter.counts())}))
    else:
        print(_report(outcome))
        _print_cost("requests to S3", meter.counts())
    return 1 if outcome.unfinished or outcome.refused else 0


@contextlib.contextmanager
def _inventory(where: str | None, driver: Driver) -> Iterator[Inventory | None]:
    if where is None:
        yield None
        return
    # Here, because few collections have a report.
    from cfmiddleware.registry.collect.inventory import open_inventory
    from cfmiddleware.storage.s3 import S3Driver

    if not isinstance(driver, S3Driver):
        raise ConfigError("--inventory: the storage is not a bucket")
    with open_inventory(where, driver, driver.options.bucket) as inventory:
        yield inventory


def _notifier(config: Config) -> Notifier | None:
    """Return what is told of what goes, where a server of this configuration keeps events. Where none does,
    the command makes no spool that may be another user's.
    """
    if all("delete" in each.ignore.actions for each in config.settings.notifications.enabled):
        return None
    if config.spool().exists():
        return config.notifier
    print(
        f"cfmiddleware: {config.source}: no endpoint of notifications is told of what goes, because no "
        "server of this configuration has run on this machine",
        file=sys.stderr,
    )
    return None


def _digest(text: str) -> Digest:
    try:
        return Digest.parse(text)
    except ValueError as error:
        raise ConfigError(f"--why: {text!r}: {error}") from None


def _print_why(digest: Digest, lines: Iterable[str], *, json_wanted: bool) -> None:
    if json_wanted:
        print(json.dumps({"digest": str(digest), "why": list(lines)}))
        return
    for line in lines:
        print(line)


def _rows(survey: Survey) -> list[tuple[str, int, int]]:
    return [
        (verdict.name, len(verdict.layers), len(verdict.revisions))
        for verdict in survey.verdicts.values()
        if verdict.layers or verdict.revisions
    ]


def _table(survey: Survey, done: str) -> str:
    rows = _rows(survey)
    lines = []
    if rows:
        width = max(len("repository"), *(len(name) for name, _, _ in rows))
        lines = [f"{'repository':<{width}}  {'blobs':>8}  {'manifests':>9}"]
        lines += [f"{name:<{width}}  {layers:>8}  {revisions:>9}" for name, layers, revisions in rows]
    layers, revisions = sum(row[1] for row in rows), sum(row[2] for row in rows)
    if survey.report is not None:
        written = datetime.fromtimestamp(survey.report, UTC)
        lines.append(f"as the inventory report of {written:%Y-%m-%d %H:%M} UTC says:")
    lines += [
        f"{survey.stored.count} blobs of {_size(survey.stored.size)}, {survey.manifests} manifests in "
        f"{len(survey.verdicts)} repositories, {survey.read} of them read now",
        f"{layers} links of blobs and {revisions} manifests {done} set aside; {survey.loosened.count} blobs "
        f"of {_size(survey.loosened.size)} go after the grace period",
        f"{survey.waiting.count} blobs of {_size(survey.waiting.size)} without a link wait for its end",
        f"{len(survey.data)} blobs of {_size(sum(survey.data.values()))} {done} deleted",
    ]
    return "\n".join([*lines, *_unreadable(survey)])


def _unreadable(survey: Survey) -> list[str]:
    lines = []
    for verdict in survey.verdicts.values():
        lines += [
            f"{verdict.name}: {digest} cannot be read as a manifest; nothing of the repository goes"
            for digest in verdict.unreadable
        ]
        lines += [
            f"{verdict.name}: the tag {printable(tag)} holds no digest; no untagged manifest of the "
            "repository goes"
            for tag in verdict.broken
        ]
    return lines


def _report(outcome: Outcome) -> str:
    survey = outcome.survey
    lines = [
        f"{survey.manifests} manifests in {len(survey.verdicts)} repositories, {survey.read} of them read "
        "now",
        f"{outcome.layers} links of blobs and {outcome.revisions} manifests set aside, "
        f"{outcome.restored} links brought back",
        f"{outcome.deleted.count} blobs of {_size(outcome.deleted.size)} deleted",
    ]
    if outcome.spared:
        lines.append(f"{outcome.spared} links and blobs came into use meanwhile, and stay")
    if outcome.unfinished:
        lines.append("not everything was deleted in time; the next run goes on")
    if outcome.refused:
        lines.append(f"{len(outcome.refused)} objects were not deleted:")
        lines += [f"  {path}: {code}" for path, code in islice(outcome.refused.items(), _NAMED)]
        if len(outcome.refused) > _NAMED:
            lines.append("  ...")
    return "\n".join([*lines, *_unreadable(survey)])


def _as_json(survey: Survey) -> dict[str, Any]:
    return {
        "repositories": [
            {
                "name": verdict.name,
                "blobs": [str(digest) for digest in verdict.layers],
                "manifests": [str(digest) for digest in verdict.revisions],
                "unreadable": [str(digest) for digest in verdict.unreadable],
                "broken": verdict.broken,
            }
            for verdict in survey.verdicts.values()
            if verdict.layers or verdict.revisions or verdict.unreadable or verdict.broken
        ],
        "report": survey.report,
        "manifests": survey.manifests,
        "read": survey.read,
        "stored": {"blobs": survey.stored.count, "bytes": survey.stored.size},
        "later": {"blobs": survey.loosened.count, "bytes": survey.loosened.size},
        "waiting": {"blobs": survey.waiting.count, "bytes": survey.waiting.size},
        "deleted": {str(digest): size for digest, size in survey.data.items()},
    }


def _outcome_as_json(outcome: Outcome) -> dict[str, Any]:
    survey = outcome.survey
    return {
        "manifests": survey.manifests,
        "read": survey.read,
        "aside": {"blobs": outcome.layers, "manifests": outcome.revisions},
        "restored": outcome.restored,
        "deleted": {"blobs": outcome.deleted.count, "bytes": outcome.deleted.size},
        "spared": outcome.spared,
        "unfinished": outcome.unfinished,
        "refused": outcome.refused,
        "unreadable": [
            {"repository": verdict.name, "digest": str(digest)}
            for verdict in survey.verdicts.values()
            for digest in verdict.unreadable
        ],
        "broken": [
            {"repository": verdict.name, "tag": tag}
            for verdict in survey.verdicts.values()
            for tag in verdict.broken
        ],
    }


def _cost(counts: Mapping[str, int]) -> dict[str, Any] | None:
    """Return how many requests there are and what they cost, or None where the storage gets none."""
    if not any(counts.values()):
        return None
    return {**counts, "usd": round(price(counts), 6), "prices": PRICE_LIST}


def _print_cost(what: str, counts: Mapping[str, int]) -> None:
    if any(counts.values()):
        listed = ", ".join(f"{count} {kind.upper()}" for kind, count in counts.items())
        print(f"{what}: {listed}: ${price(counts):.4f} at Amazon's list price ({PRICE_LIST})")
