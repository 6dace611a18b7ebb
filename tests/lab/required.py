"""What happens to a test where a program that it needs is missing."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def cannot_run(reason: str) -> NoReturn:
    """Skip the test for *reason*, or fail it where the servers are required."""
    if os.environ.get("CFMIDDLEWARE_REQUIRE_SERVERS") == "1":
        pytest.fail(f"required by CFMIDDLEWARE_REQUIRE_SERVERS=1: {reason}", pytrace=False)
    pytest.skip(reason)


def require_ceph() -> None:
    """Return where a Ceph gateway can be started; skip the test, or fail it, where a program is missing."""
    from lab.ceph import PACKAGES, missing_programs

    if missing := missing_programs():
        cannot_run(f"{', '.join(missing)}: not installed; Debian has them in {PACKAGES}")
