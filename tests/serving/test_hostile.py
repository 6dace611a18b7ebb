"""The benchmarks of hostile clients and of a mixed load run, and say what they measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from lab import PROJECT


def run(tmp_path: Path, program: str, *arguments: str) -> tuple[str, str]:
    """Run a benchmark and return what it printed, and what it said meanwhile."""
    command = [sys.executable, str(PROJECT / "benchmarks" / program), *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode in (0, 1), done.stderr
    return done.stdout, done.stderr


@pytest.mark.long
def test_attacks_by_connections_and_requests_are_made_and_reported(tmp_path: Path):
    few = ["--connections", "50", "--seconds", "2", "--large", "1", "--quick", "--against", "serve"]
    page, said = run(
        tmp_path, "hostile.py", *few, "--storage", "filesystem",
        "--only", "a,d,e,layers", "--output", str(tmp_path),
    )  # fmt: skip

    results = json.loads((tmp_path / "hostile.json").read_text())
    assert results["unfinished"] == {}
    kinds = [each["kind"] for each in results["connections"]]
    assert kinds == ["silence", "handshake", "stalled-body"]
    for each in results["connections"]:
        assert each["attackers"]["highest"] == 50, each["kind"]
        # Good clients have a few open before the attack, too.
        assert each["descriptors"]["highest"] >= each["descriptors"]["before"] + 40, each["kind"]
        assert {what: of["count"] > 0 for what, of in each["good"].items()} == dict.fromkeys(
            ("ping", "pull", "push"), True
        )
    assert [each["request"] for each in results["requests"]] == ["layers"]
    assert (tmp_path / "hostile.md").read_text().startswith("# Slow and hostile clients")
    assert "| a silence | cfmiddleware |" in page
    assert "reached: silence: descriptors" in said


def test_an_attack_that_is_unknown_is_named(tmp_path: Path):
    command = [sys.executable, str(PROJECT / "benchmarks" / "hostile.py"), "--only", "a,z"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "'z' is unknown; there are a, b" in done.stderr


@pytest.mark.long
def test_a_short_mixed_load_ends_well_or_says_what_did_not(tmp_path: Path):
    page, said = run(tmp_path, "soak.py", "--seconds", "6", "--clients", "4", "--storage", "filesystem")

    for step in ("PUT manifest", "GET blob", "GET range", "HEAD blob", "DELETE upload"):
        assert f"| {step} | " in page
    # Memory need not have come to rest after so few seconds.
    assert "5xx" not in said or "no 5xx" in said
    assert "not as they should be" not in said
