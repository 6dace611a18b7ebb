"""Compare garbage collections: how long one takes over S3, and how many requests it makes.

Run it as ``python benchmarks/collect.py``; README.rst beside this file says what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ceph_gateway
import collect_report
import lab_path  # noqa: F401
from collect_beside import redirects_beside
from collect_growth import growth
from collect_images import images
from machine import cores, end_as_by_ctrl_c, processor
from programs import MissingProgram
from registries import DISTRIBUTION, OURS, check, version

_RESULTS = Path(__file__).parent / "results"
# The parts that are about both collectors, and how many seconds S3 takes longer to answer in each.
_BOTH = {"images": 0.0, "slow": 0.015, "slower": 0.04}
_PARTS = (*_BOTH, "growth", "redirects")


def main() -> int:
    """Run what is asked for, print what came out, and write it down."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=_PARTS, help="run this part; may be repeated")
    parser.add_argument(
        "--images",
        type=int,
        nargs="+",
        default=[25, 50, 100, 200, 400],
        help="how many images there are, in ascending order (default: 25 50 100 200 400)",
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each (default: 3)")
    parser.add_argument(
        "--growth",
        type=int,
        nargs="+",
        default=[10_000, 100_000, 1_000_000],
        help="how many manifests there are in the S3 server in memory (default: 10000 100000 1000000)",
    )
    parser.add_argument("--seconds", type=int, default=20, help="how long redirects are counted each time")
    parser.add_argument("--quick", action="store_true", help="a smoke test of a minute; nothing is written")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.images, arguments.growth = [10, 20], [300, 600]
        arguments.rounds, arguments.seconds = 1, 3
    parts = arguments.only or _PARTS
    try:
        check([OURS, DISTRIBUTION] if _BOTH.keys() & {*parts} else [OURS])
        if _BOTH.keys() & {*parts}:
            ceph_gateway.check()
    except MissingProgram as missing:
        print(f"collect: {missing}", file=sys.stderr)
        return 2
    end_as_by_ctrl_c()
    results = _run(parts, arguments)
    file = _RESULTS / "collect.json"
    if not arguments.quick:
        # A part that was not run this time keeps what it was.
        kept = json.loads(file.read_text()) if file.exists() else {}
        results = {**kept, **results}
        file.write_text(json.dumps(results, indent=1) + "\n")
        (_RESULTS / "collect.md").write_text(collect_report.markdown(results))
        collect_report.draw(results, _RESULTS)
    print(collect_report.markdown(results))
    return 0


def _run(parts: Sequence[str], arguments: argparse.Namespace) -> dict[str, Any]:
    results: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "machine": {"cpu": processor(), "cores": cores()},
        "versions": {OURS: version(OURS)},
    }
    home = Path(tempfile.mkdtemp(prefix="collect-"))
    began = time.monotonic()
    try:
        if _BOTH.keys() & {*parts}:
            results["versions"][DISTRIBUTION] = version(DISTRIBUTION)
            with ceph_gateway.running(home / "ceph") as gateway:
                wanted = {part: delay for part, delay in _BOTH.items() if part in parts}
                results.update(images(home, gateway, arguments.images, wanted, arguments.rounds))
        if "growth" in parts:
            results["growth"] = growth(home, arguments.growth)
        if "redirects" in parts:
            results["redirects"] = redirects_beside(home, arguments.seconds)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print(f"{time.monotonic() - began:.0f} seconds", file=sys.stderr)
    return results


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        os._exit(130)
