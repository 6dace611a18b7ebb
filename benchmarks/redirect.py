"""Ask for blobs, and compare how fast servers redirect: this registry, Distribution, and a constant redirect.

Run it as ``python benchmarks/redirect.py``; ``--help`` shows what can be left out. README.rst beside this
file says what is measured, how, and what is fair about it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ceph_gateway
import redirect_load
import redirect_report
import redirect_servers
import registries
from machine import cores, end_as_by_ctrl_c, processor
from programs import MissingProgram
from redirect_drives import DRIVES, Bench
from redirect_load import WrongAnswer
from redirect_servers import Place

_RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Run what was asked for, and write what came out."""
    arguments = _parser().parse_args()
    if arguments.render:
        return _render(arguments.output or _RESULTS)
    try:
        ceph_gateway.check()
        registries.check()
        redirect_load.check()
    except MissingProgram as missing:
        print(f"redirect: {missing}", file=sys.stderr)
        return 2
    end_as_by_ctrl_c()
    machine = _machine()
    home = Path(tempfile.mkdtemp(prefix="redirect-"))
    try:
        with ceph_gateway.running(home / "ceph", kind="memstore", size=4 << 30) as gateway:
            bench = Bench(
                gateway=gateway,
                place=Place(home, gateway.endpoint, gateway.new_bucket("benchmark")),
                rounds=arguments.rounds or (2 if arguments.quick else 5),
                seconds=2 if arguments.quick else 4,
                quick=arguments.quick,
                ranges=arguments.ranges,
                say=lambda line: print(line, file=sys.stderr, flush=True),
            )
            results = _run(bench, arguments.only or list(DRIVES), machine)
    except KeyboardInterrupt:
        print("redirect: interrupted", file=sys.stderr)
        return 130
    finally:
        shutil.rmtree(home, ignore_errors=True)
    page = redirect_report.markdown(results)
    print(page)
    whole = not arguments.quick and not arguments.only
    output = arguments.output or (_RESULTS if whole else None)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        (output / "redirect.json").write_text(json.dumps(results, indent=1) + "\n")
        _render(output)
    for what, reached in redirect_report.judged(results):
        print(f"{'reached' if reached else 'NOT REACHED'}: {what}", file=sys.stderr)
    return 1 if results["unfinished"] else 0


def _run(bench: Bench, names: list[str], machine: dict[str, Any]) -> dict[str, Any]:
    results: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "versions": redirect_servers.versions() | {"ceph": bench.gateway.version()},
        "setting": {
            "rounds": bench.rounds,
            "seconds": bench.seconds,
            "connections": redirect_load.CONNECTIONS,
            "workers": redirect_servers.WORKERS,
            "threads": redirect_servers.THREADS,
        },
        "unfinished": {},
    }
    for name, drive in DRIVES.items():
        if name not in names:
            continue
        started = time.monotonic()
        try:
            results[name] = drive(bench)
        except (WrongAnswer, RuntimeError, OSError, subprocess.TimeoutExpired) as error:
            print(f"redirect: {name}: {error}", file=sys.stderr)
            results["unfinished"][name] = str(error)
        bench.say(f"{name} took {time.monotonic() - started:.0f} s")
    return results


def _render(directory: Path) -> int:
    """Write the page and the picture again from the JSON in *directory*."""
    source = directory / "redirect.json"
    try:
        results = json.loads(source.read_text())
    except OSError as error:
        print(f"redirect: {source}: {error.strerror}", file=sys.stderr)
        return 2
    (directory / "redirect.md").write_text(redirect_report.markdown(results))
    try:
        import redirect_plots
    except ImportError:
        print("redirect: no picture without matplotlib: pip install -e '.[bench]'", file=sys.stderr)
        return 2
    file = redirect_plots.draw(results, directory)
    print(f"redirect: wrote {file}", file=sys.stderr)
    return 0


def _machine() -> dict[str, Any]:
    return {
        "cpu": processor(),
        "cores": cores(),
        "kernel": platform.release(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load_average": os.getloadavg(),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="redirect",
        description="Ask cfmiddleware, Debian's docker-registry and an app that returns a constant redirect "
        "for blobs, on a Ceph gateway that is started for it, and print how they compare. It takes about "
        "20 minutes.",
    )
    parser.add_argument(
        "--only", action="append", choices=list(DRIVES), metavar="DRIVE",
        help=f"run this drive alone; may be given again. There are {', '.join(DRIVES)}",
    )  # fmt: skip
    parser.add_argument(
        "--quick", action="store_true", help="fewer and shorter turns, 10,000 blobs at the most"
    )
    parser.add_argument("--rounds", type=int, help="turns of each server (default: 5, or 2 with --quick)")
    parser.add_argument(
        "--ranges", type=Path, metavar="FILE",
        help="AWS's ip-ranges.json for the look-ups of addresses (default: made up, of the same shape)",
    )  # fmt: skip
    parser.add_argument(
        "--output", type=Path, metavar="DIR",
        help="where redirect.json, .md and .png go (default: benchmarks/results for a whole run, else "
        "nowhere)",
    )  # fmt: skip
    parser.add_argument(
        "--render", action="store_true", help="only write the page and the picture again, from the JSON"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
