"""``cfmiddleware verify``: what of the storage is broken."""

from __future__ import annotations

import argparse
import json
from threading import Lock
from typing import TYPE_CHECKING, Any

from cfmiddleware import parse
from cfmiddleware.config import Config
from cfmiddleware.errors import ConfigError, StorageNotReached, StorageUnavailable
from cfmiddleware.metrics.repositories import matcher
from cfmiddleware.registry.store.paths import OWN
from cfmiddleware.registry.verify.faults import Fault, Kind, Note
from cfmiddleware.registry.verify.repositorycheck import Rules
from cfmiddleware.registry.verify.verifier import Found, Verifier
from cfmiddleware.storage.driver import Driver

from .progress import Progress
from .sigterm import sigterm_as_ctrl_c
from .sizetext import size_text
from .storagethere import storage_there
from .terminaltext import printable

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

# How many notes are printed for people, and for programs.
_NOTES, _MOST_NOTES = 20, 10_000


def add_parser(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "verify",
        help="say what of the storage is broken, and what to do about it",
        description="Look through the storage for what is broken: links without data, data whose bytes are "
        "not their digest, manifests whose parts are missing or have another size, tags to nothing, "
        "half-written uploads, keys that no registry writes. Nothing is written. Pushes and deletes go on "
        "meanwhile: what looks broken is looked at again after five seconds.",
        epilog="Exit status: 0 where all is whole, 1 where something is broken, 2 where the configuration "
        "cannot be used, 75 where the storage does not answer.",
    )
    parser.add_argument("config", metavar="CONFIG", help="the configuration file (config.yml)")
    parser.add_argument(
        "--all", action="store_true", help="read every blob and every link, instead of some blobs"
    )
    parser.add_argument(
        "--sample",
        metavar="N",
        default="100",
        help="how many blobs are read without --all, chosen at random (default: 100)",
    )
    parser.add_argument(
        "--rate",
        metavar="SIZE",
        default="100MB",
        help="how many bytes of blobs are read in a second at the most, 0 for any (default: 100MB)",
    )
    parser.add_argument(
        "--repository",
        metavar="PATTERN",
        help="look at these repositories alone; * stands for any letters (team/*)",
    )
    parser.add_argument(
        "--parallel", metavar="N", default="16", help="requests to the storage at a time (default: 16)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")
    parser.set_defaults(run=run)


def run(arguments: Any) -> int:
    """Verify, and print what is broken as it is found."""
    sample = parse.integer(arguments.sample, "--sample")
    rate = parse.size(arguments.rate, "--rate")
    parallel = parse.integer(arguments.parallel, "--parallel", 1, 256)
    config = Config.load(arguments.config)
    driver = storage_there(config)
    rules = Rules(every=arguments.all, sample=sample, layers=config.settings.registry.required.layers)
    progress = Progress()
    output = _Json(progress) if arguments.json else _Lines(progress)
    pattern: str | None = arguments.repository
    verifier = Verifier(
        driver,
        output.fault,
        output.note,
        rules,
        None if pattern is None else matcher((pattern,)),
        "" if pattern is None else _start(pattern),
        rate,
        parallel,
        say=progress,
    )
    try:
        with sigterm_as_ctrl_c(), progress:
            _check(driver, arguments.config)
            found = verifier.verify()
    except StorageUnavailable as error:
        output.broken_off()
        kind = ConfigError if error.lasting else StorageNotReached
        raise kind(f"{arguments.config}: the storage failed: {error}; start the command again") from None
    finally:
        verifier.stop()
        progress.end()
    if pattern is not None and not found.repositories:
        raise ConfigError(f"--repository: no repository is named like {pattern!r}")
    output.end(found)
    return 1 if found.faults else 0


def _check(driver: Driver, source: str) -> None:
    """See that there is something to verify, without writing anything.

    :raises ConfigError: when there is not.
    """
    if driver.remote:
        driver.check()
    registry = "/docker/registry/v2/"
    # What commands and servers write for themselves is nothing of a registry.
    if not {*driver.list(registry)} - {OWN.removeprefix(registry)}:
        raise ConfigError(
            f"{source}: storage: nothing of a registry is in {driver.describe()}; nothing was pushed, "
            "all of it was deleted, or rootdirectory is wrong"
        )


def _start(pattern: str) -> str:
    """Return the folder that holds every repository of a pattern."""
    literal = pattern
    for special in "*?[":
        literal = literal.partition(special)[0]
    return literal.rpartition("/")[0]


class _Lines:
    """Prints for people: a line for each fault, and what to do about it below."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lock = Lock()
        self._notes: list[Note] = []

    def fault(self, fault: Fault) -> None:
        where = f"{fault.repository}: " if fault.repository else ""
        self._print(f"{fault.kind.value:<21}  {where}{fault.says}", f"{'':<21}  -> {fault.remedy}")

    def note(self, note: Note) -> None:
        with self._lock:
            if len(self._notes) < _NOTES:
                self._notes.append(note)

    def _print(self, *lines: str) -> None:
        with self._lock:
            self._progress.end()
            for line in lines:
                print(printable(line), flush=True)

    def broken_off(self) -> None:
        """Say nothing more: the error is said elsewhere."""

    def end(self, found: Found) -> None:
        for note in sorted(self._notes):
            self._print(f"{'not broken':<21}  {note.repository}: {note.says}")
        if found.notes > len(self._notes):
            self._print(f"{'not broken':<21}  and {found.notes - len(self._notes)} more like these (--json)")
        counts = found.counts
        stored = f"{found.blobs} blobs of {size_text(found.size)} stored, " if found.blobs else ""
        self._print(
            f"{found.repositories} repositories, {counts.manifests} manifests, {counts.tags} tags, "
            f"{counts.layers} links of blobs, {counts.uploads} uploads",
            f"{stored}{found.read} blobs of {size_text(found.read_size)} read",
        )
        kinds = ", ".join(f"{found.faults[kind]} {kind.value}" for kind in Kind if found.faults[kind])
        self._print(f"broken: {kinds}" if kinds else "all is whole")


class _Json:
    """Prints one JSON object, its faults as they are found, so that millions need no memory."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lock = Lock()
        self._notes: list[Note] = []
        self._between = '{"faults": ['

    def fault(self, fault: Fault) -> None:
        fields = {
            "kind": fault.kind.value,
            "repository": fault.repository,
            "says": fault.says,
            "remedy": fault.remedy,
        }
        with self._lock:
            self._progress.end()
            print(f"{self._between}\n{json.dumps(fields)}", end="", flush=True)
            self._between = ","

    def note(self, note: Note) -> None:
        with self._lock:
            if len(self._notes) < _MOST_NOTES:
                self._notes.append(note)

    def broken_off(self) -> None:
        """Leave the object unfinished: it is not the whole truth."""
        print(flush=True)

    def end(self, found: Found) -> None:
        counts = found.counts
        rest = {
            "notes": [note._asdict() for note in sorted(self._notes)],
            "whole": not found.faults,
            "broken": {kind.value: number for kind, number in found.faults.items()},
            "repositories": found.repositories,
            "manifests": counts.manifests,
            "tags": counts.tags,
            "links": counts.layers,
            "uploads": counts.uploads,
            "stored": {"blobs": found.blobs, "bytes": found.size},
            "read": {"blobs": found.read, "bytes": found.read_size},
        }
        start = "" if self._between == "," else self._between
        print(f"{start}\n], {json.dumps(rest)[1:]}", flush=True)
