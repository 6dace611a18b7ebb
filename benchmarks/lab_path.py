"""Makes `tests/lab` importable, whose servers, proxy and gateway the benchmarks share with the tests.

Every module here that uses the lab imports this one first.
"""

from __future__ import annotations

import sys
from pathlib import Path

_TESTS = str(Path(__file__).parents[1] / "tests")
if _TESTS not in sys.path:
    sys.path.append(_TESTS)
