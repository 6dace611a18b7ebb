"""Attack this registry and Distribution with slow clients and expensive requests, and see what others meet.

Run it as ``python benchmarks/hostile.py``; ``--help`` shows what can be left out. README.rst beside this
file says what is measured, how, and what is fair about it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ceph_gateway
import hostile_connections
import hostile_report
import hostile_servers
import registries
from docker_client import Failed
from hostile_connections import ATTACKS, Effort
from hostile_requests import REQUESTS, Trial
from hostile_servers import Place, Stock
from hostile_storage import FAULTS
from lab.slow_clients import raise_descriptor_limit
from machine import cores, end_as_by_ctrl_c, processor
from programs import MissingProgram
from registries import DISTRIBUTION, OURS

_RESULTS = Path(__file__).parent / "results"

_NAMES = {"serve": OURS, "distribution": DISTRIBUTION}


def main() -> int:
    """Run what was asked for, and write what came out."""
    arguments = _parser().parse_args()
    if arguments.render:
        return _render(arguments.output or _RESULTS)
    names = [_NAMES[each] for each in arguments.against or _NAMES]
    try:
        registries.check(names)
        if arguments.storage == "s3":
            ceph_gateway.check()
    except MissingProgram as missing:
        print(f"hostile: {missing}", file=sys.stderr)
        return 2
    end_as_by_ctrl_c()
    limit = raise_descriptor_limit()
    if limit < 2 * arguments.connections + 1000:
        print(f"hostile: {limit} descriptors (ulimit -Hn) may be too few", file=sys.stderr)
    home = Path(tempfile.mkdtemp(prefix="hostile-"))
    try:
        with hostile_servers.place(arguments.storage, home, arguments.large << 20) as place:
            results = _run(place, names, arguments)
    except KeyboardInterrupt:
        print("hostile: interrupted", file=sys.stderr)
        return 130
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print(hostile_report.markdown(results))
    whole = not (arguments.quick or arguments.only or arguments.against or arguments.plain or arguments.tls)
    output = arguments.output or (_RESULTS if whole else None)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        (output / "hostile.json").write_text(json.dumps(results) + "\n")
        _render(output)
    for what, reached in hostile_report.judged(results):
        print(f"{'reached' if reached else 'NOT REACHED'}: {what}", file=sys.stderr)
    return 1 if results["unfinished"] else 0


def _run(place: Place, names: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    effort = Effort(arguments.connections, arguments.seconds, 2 if arguments.quick else 5)
    results: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cpu": processor(),
            "cores": cores(),
            "kernel": platform.release(),
            "load_average": os.getloadavg(),
        },
        "versions": {name: registries.version(name) for name in names}
        | {"Python": platform.python_version()},
        "storage": place.kind,
        "effort": effort._asdict(),
        "connections": [],
        "requests": [],
        "storage_faults": [],
        "unfinished": {},
    }
    stocks: dict[str, Stock] = {}
    for name in names:
        stocks[name] = hostile_servers.stocked(name, place)
    asked = arguments.only or [*ATTACKS, *REQUESTS, *FAULTS]
    for each in asked:
        # The registries take turns, so that what else the machine does strikes both.
        for name in names:
            for part, label, act in _acts(each, name, place, stocks[name], effort, arguments):
                _tell(f"{label} ...")
                started = time.monotonic()
                try:
                    results[part].append(act())
                except (Failed, RuntimeError, OSError, AssertionError) as error:
                    line = str(error).partition("\n")[0]
                    print(f"hostile: {label}: {line}", file=sys.stderr)
                    results["unfinished"][label] = line
                _tell(f"{label} took {time.monotonic() - started:.0f} s")
    return results


def _acts(
    what: str, name: str, place: Place, stock: Stock, effort: Effort, arguments: argparse.Namespace
) -> list[tuple[str, str, Callable[[], dict[str, Any]]]]:
    """Return what is to be done for one attack: the part of the results, a label, and what does it."""
    if what in ATTACKS:
        either = arguments.plain or arguments.tls
        ways = hostile_connections.over_what(
            what,
            plain=arguments.plain or not either,
            # A quick run shows that it works, and is over soon.
            tls=arguments.tls or not (either or arguments.quick),
        )
        return [
            (
                "connections",
                f"{name}, {ATTACKS[what]}{' over TLS' if tls else ''}",
                lambda tls=tls: hostile_connections.attack(
                    name, place, stock, what, effort, tls=tls, say=_tell
                ),
            )
            for tls in ways
        ]
    label = f"{name}, {what}"
    if what in REQUESTS:
        trial = Trial(name, place, stock, min(effort.seconds, 10), 10 if arguments.quick else 1)
        return [("requests", label, lambda: _request(what, trial))]
    if not place.s3:
        _tell(f"{label}: needs --storage s3")
        return []
    act, seconds = FAULTS[what]
    took = min(seconds, effort.seconds)
    return [("storage_faults", label, lambda: {"fault": what, **act(name, place, stock, took, _tell)})]


def _request(what: str, trial: Trial) -> dict[str, Any]:
    wanted, act = REQUESTS[what]
    found = act(trial)
    return {"request": what, "wanted": wanted, "server": trial.name, **found._asdict()}


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _render(directory: Path) -> int:
    """Write the page and the pictures again from the JSON in *directory*."""
    source = directory / "hostile.json"
    try:
        results = json.loads(source.read_text())
    except OSError as error:
        print(f"hostile: {source}: {error.strerror}", file=sys.stderr)
        return 2
    pictures: list[str] = []
    try:
        import hostile_plots
    except ImportError:
        print("hostile: no pictures without matplotlib: pip install -e '.[bench]'", file=sys.stderr)
    else:
        pictures = [file.name for file in hostile_plots.draw(results, directory)]
    (directory / "hostile.md").write_text(hostile_report.markdown(results, pictures))
    print(f"hostile: wrote {', '.join(['hostile.md', *pictures])} in {directory}", file=sys.stderr)
    return 0


def _attacks(text: str) -> list[str]:
    known = [*ATTACKS, *REQUESTS, *FAULTS]
    named = {kind: letter for letter, kind in ATTACKS.items()}
    found = [named.get(word, word) for word in text.split(",")]
    if unknown := [word for word in found if word not in known]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is unknown; there are {', '.join(known)}")
    return found


def _parser() -> argparse.ArgumentParser:
    class Parser(argparse.ArgumentParser):
        def parse_args(self, *given: Any, **more: Any) -> argparse.Namespace:  # type: ignore[override]
            arguments = super().parse_args(*given, **more)
            quick = arguments.quick
            defaults = {
                "connections": 200 if quick else 2000,
                "seconds": 8 if quick else 60,
                "large": 4 if quick else 100,
            }
            for name, value in defaults.items():
                if getattr(arguments, name) is None:
                    setattr(arguments, name, value)
            return arguments

    parser = Parser(
        prog="hostile",
        description="Attack cfmiddleware and Debian's docker-registry with slow clients, expensive requests "
        "and a storage that hangs, and print what good clients meet meanwhile. A whole run takes 50 minutes.",
    )
    kinds = ", ".join(f"{letter} ({kind})" for letter, kind in ATTACKS.items())
    parser.add_argument(
        "--only", type=_attacks, metavar="A,B",
        help=f"run these alone. Connections: {kinds}. Requests: {', '.join(REQUESTS)}. "
        f"The storage: {', '.join(FAULTS)}",
    )  # fmt: skip
    parser.add_argument(
        "--against", action="append", choices=tuple(_NAMES),
        help="attack this registry alone; may be given again (default: both)",
    )  # fmt: skip
    parser.add_argument(
        "--storage", choices=hostile_servers.STORAGES, default="s3",
        help="what the registries stand on: a Ceph gateway that is started for it, a directory, or moto, "
        "which is slow and needs no other program (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--plain", action="store_true", help="attack over plain HTTP alone (default: both)")
    parser.add_argument("--tls", action="store_true", help="attack over TLS alone (default: both)")
    parser.add_argument(
        "--quick", action="store_true", help="200 connections for 8 s, over plain HTTP, and less of all else"
    )
    parser.add_argument("--connections", type=int, help="how many are held at a time (default: 2000)")
    parser.add_argument("--seconds", type=float, help="how long each attack lasts (default: 60)")
    parser.add_argument(
        "--large", type=int, metavar="MIB", help="the size of the blob that is not read (default: 100)"
    )
    parser.add_argument(
        "--render", action="store_true", help="write the page and the pictures again from hostile.json"
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR",
        help="where hostile.md, hostile.json and the pictures go (default: benchmarks/results for a whole "
        "run, else nowhere)",
    )  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(main())
