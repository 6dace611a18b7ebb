"""How the suite is spread over processes."""

from __future__ import annotations

import pytest
from lab.schedule import SLOWEST, rank, unit


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        ("tests/unit/test_edge.py::test_a[b-1]", "tests/unit/test_edge.py"),
        ("tests/contract/test_s3.py::test_a[watched_moto]", "tests/contract/test_s3.py[watched_moto]"),
        ("tests/contract/test_s3.py::test_a[watched_moto-5]", "tests/contract/test_s3.py[watched_moto]"),
        ("tests/spec/test_spec_pull.py::test_a[s3-direct-1]", "tests/spec[s3-direct-1]"),
        ("tests/spec/test_spec_base.py::test_a[s3-direct-1-x]", "tests/spec[s3-direct-1]"),
        ("tests/clients/test_images.py::test_a[s3, token authentication, 2 workers]",
         "tests/clients/test_images.py[s3, token authentication, 2 workers]"),
    ],
)  # fmt: skip
def test_a_unit_is_a_file_and_the_server_that_its_tests_share(test: str, expected: str):
    assert unit(test) == expected


def test_what_takes_longest_starts_first():
    assert rank(f"{SLOWEST[0]}]::test") == 0
    assert rank("tests/unit/test_edge.py::test_a") == len(SLOWEST)


def test_every_unit_that_starts_first_exists(request: pytest.FixtureRequest):
    root = request.config.rootpath
    for name in SLOWEST:
        assert (root / name.partition("[")[0]).exists(), name
