"""The table of costs is reckoned from the prices of one file and from requests that are counted."""

from __future__ import annotations

import subprocess
import sys

import pytest
from lab import PROJECT

SCRIPT = PROJECT / "docs" / "_ext" / "costrows.py"


@pytest.fixture(scope="module")
def costs():
    """Return the script as a module; `python docs/_ext/costrows.py` runs the same file."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("costrows", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_counts_are_those_of_the_page_that_a_test_compares_with_what_is_sent(costs):
    per = costs.requests()
    assert (per["GET blob"], per["GET manifest"]) == (1, 3)


def test_a_price_that_falls_with_the_bytes_falls_for_those_beyond(costs):
    tiers = [[10, 0.5], [20, 0.25], [None, 0.1]]
    assert costs.tiered(5, tiers) == 2.5
    assert costs.tiered(30, tiers) == 10
    assert costs.tiered(40, tiers) == pytest.approx(11)


def test_the_way_by_cloudfront_by_hand(costs):
    """A million pulls of 2 layers of 1 MiB together: 3 million blobs with the configuration, 976.56 GB."""
    cost = costs.ways(costs.Image("by hand", 2, 1))["cloudfront"]
    assert cost.s3_requests == pytest.approx((3e6 + 3e6 + 0.05 * 3e6) * 0.0004 / 1000)
    assert cost.edge_requests == pytest.approx(3.0)
    assert cost.transfer == pytest.approx(1e6 / 1024 * 0.085)


def test_the_prices_have_a_date_and_a_source_each(costs):
    found = costs.prices()
    services = [priced for priced in found.values() if isinstance(priced, dict)]
    assert found["read"].isoformat() > "2026"
    assert len(services) == 3
    assert all(priced["source"].startswith("https://") for priced in services)


def test_the_script_prints_the_table():
    printed = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=True).stdout
    assert printed.count("CloudFront  ") >= 3
