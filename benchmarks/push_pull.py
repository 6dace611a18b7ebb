"""Push and pull through this registry and through Distribution, on one Ceph gateway, and compare.

Run it as ``python benchmarks/push_pull.py``; ``--help`` shows what can be left out. README.rst beside this
file says what is measured, how, and what is fair about it.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ceph_gateway
import machine
import registries
import report
from docker_client import DOCKER_CHUNK, Failed
from drives import DRIVES, Bench
from programs import MissingProgram

_MB = 1_000_000
_RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Run what was asked for, and write what came out."""
    arguments = _parser().parse_args()
    try:
        ceph_gateway.check()
        registries.check()
    except MissingProgram as missing:
        print(f"push_pull: {missing}", file=sys.stderr)
        return 2
    quick = arguments.quick
    output = arguments.output or (None if quick or arguments.only else _RESULTS)
    machine.end_as_by_ctrl_c()
    home = Path(tempfile.mkdtemp(prefix="push-pull-"))
    try:
        with ceph_gateway.running(home / "ceph", kind=arguments.store) as gateway:
            bench = Bench(
                gateway=gateway,
                home=home,
                rounds=arguments.rounds or (1 if quick else 3),
                large=(20 * _MB, 100 * _MB) if quick else (200 * _MB, 1000 * _MB),
                small=40 if quick else 200,
                deadline=time.monotonic() + arguments.limit,
                chunk=arguments.chunk,
                delay=arguments.delay / 1000,
                say=lambda line: print(line, file=sys.stderr, flush=True),
            )
            results = _run(bench, arguments.only or list(DRIVES), arguments)
    except KeyboardInterrupt:
        print("push_pull: interrupted", file=sys.stderr)
        return 130
    finally:
        shutil.rmtree(home, ignore_errors=True)
    page = report.markdown(results)
    print(page)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        (output / "push_pull.md").write_text(page)
        (output / "push_pull.json").write_text(json.dumps(results, indent=1) + "\n")
    return 1 if results["unfinished"] else 0


def _run(bench: Bench, names: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    versions = {name: registries.version(name) for name in (registries.OURS, registries.DISTRIBUTION)}
    versions |= {"ceph": bench.gateway.version(), "python": platform.python_version()}
    results: dict[str, Any] = {
        "machine": f"{machine.cores()} cores of {machine.processor()}",
        "versions": versions,
        "rounds": bench.rounds,
        "chunk": bench.chunk,
        "store": arguments.store,
        "unfinished": {},
    }
    for name, drive in DRIVES.items():
        if name not in names:
            continue
        try:
            results[name] = drive(bench)
        except (Failed, TimeoutError, RuntimeError) as error:
            print(f"push_pull: {name}: {error}", file=sys.stderr)
            results["unfinished"][name] = str(error)
    return results


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="push_pull",
        description="Push and pull large and small layers through cfmiddleware and Debian's docker-registry "
        "on a Ceph gateway that is started for it, and print how the two compare. It takes ten minutes.",
    )
    parser.add_argument(
        "--only", action="append", choices=list(DRIVES), metavar="DRIVE",
        help=f"run this drive alone; may be given again. There are {', '.join(DRIVES)}",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="one round of 20 and 100 MB and 40 small ones")
    parser.add_argument(
        "--rounds", type=int, help="rounds of the measured drives (default: 3, or 1 with --quick)"
    )
    parser.add_argument(
        "--chunk", type=int, default=DOCKER_CHUNK, metavar="BYTES",
        help="the HTTP chunks of a PATCH (default: %(default)s, as docker sends them)",
    )  # fmt: skip
    parser.add_argument(
        "--delay", type=float, default=15, metavar="MS",
        help="how long the S3 of the drive slow takes for each answer (default: %(default)s ms)",
    )  # fmt: skip
    parser.add_argument(
        "--store", choices=("bluestore", "memstore"), default="bluestore",
        help="where the gateway keeps objects: a file in the temporary directory, or memory, of which the "
        "whole takes 20 GB (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--limit", type=float, default=1800, metavar="SECONDS",
        help="begin nothing after this time (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--output", type=Path, metavar="DIR",
        help="where push_pull.md and push_pull.json go (default: benchmarks/results for a whole run, "
        "else nowhere)",
    )  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(main())
