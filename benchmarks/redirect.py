"""Ask for blobs, and compare how fast servers redirect: this registry, Distribution, and a constant redirect.

Run it as ``python benchmarks/redirect.py``; ``--help`` shows what can be left out. README.rst beside this
file says what is measured, how, and what is fair about it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any

import ceph_gateway
import redirect_load
import registries
from programs import MissingProgram
from redirect_drives import DRIVES, Bench
from redirect_load import WrongAnswer
from redirect_servers import Place

_RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Run what was asked for, and write what came out."""
    arguments = _parser().parse_args()
    try:
        ceph_gateway.check()
        registries.check()
        redirect_load.check()
    except MissingProgram as missing:
        print(f"redirect: {missing}", file=sys.stderr)
        return 2
    quick = arguments.quick
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    home = Path(tempfile.mkdtemp(prefix="redirect-"))
    try:
        with ceph_gateway.running(home / "ceph", store="memstore", size=8 << 30) as gateway:
            bench = Bench(
                gateway=gateway,
                place=Place(home, gateway.endpoint, gateway.new_bucket("benchmark")),
                rounds=arguments.rounds or (3 if quick else 5),
                seconds=2 if quick else 5,
                say=lambda line: print(line, file=sys.stderr, flush=True),
            )
            results: dict[str, Any] = {"load_average": os.getloadavg(), "unfinished": {}}
            for name in arguments.only or DRIVES:
                try:
                    results[name] = DRIVES[name](bench)
                except (WrongAnswer, RuntimeError, OSError) as error:
                    print(f"redirect: {name}: {error}", file=sys.stderr)
                    results["unfinished"][name] = str(error)
    except KeyboardInterrupt:
        print("redirect: interrupted", file=sys.stderr)
        return 130
    finally:
        shutil.rmtree(home, ignore_errors=True)
    for name in DRIVES:
        for part in results.get(name, {}).values():
            for each in part["ratios"]:
                print(f"{name}: {each['of']} / {each['to']}: {each['ratio']:.2f}, wanted {each['wanted']}")
    return 1 if results["unfinished"] else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="redirect", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--only", action="append", choices=list(DRIVES), metavar="DRIVE",
        help=f"run this drive alone; may be given again. There are {', '.join(DRIVES)}",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="shorter turns, fewer rounds and blobs")
    parser.add_argument("--rounds", type=int, help="turns of each server (default: 5, or 3 with --quick)")
    return parser


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
