"""What tests and benchmarks stand on: servers, proxies, clocks, clients, keys and apps."""

from __future__ import annotations

from pathlib import Path

#: The directory that modules of the lab are imported from, also by servers that tests start.
TESTS = Path(__file__).parents[1]

#: The project's own directory.
PROJECT = TESTS.parent
