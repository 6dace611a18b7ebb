"""How pytest-xdist spreads the suite over processes: `pytest -n 4`.

A unit of work is a file, so that what a file shares (a server, a module's fixture) is made once. Where tests
are repeated for several servers, the unit is the file and the server; the suite of the specification is one
unit for each registry. The units that take longest start first, so that no process is left alone with one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest
    from xdist.scheduler import LoadFileScheduling

#: Parameters that name a server: tests with the same one share what runs.
_SERVER = re.compile(
    r"\[((?:inmemory|filesystem|s3)-(?:direct|wrapped)-\d"
    r"|watched_\w+"
    r"|(?:filesystem|s3), \w+ authentication, \d workers"
    r"|at the root|in a directory"
    r"|s3_server|ceph)(?=[-\]])"
)

#: The units that take longest, the longest first, by the beginning of their names. Only the duration of a run
#: depends on it.
SLOWEST = (
    "tests/cloudfront/test_faults.py",
    "tests/cloudfront/test_rotation.py",
    "tests/contract/test_driver.py",
    "tests/contract/test_s3.py",
    "tests/spec[s3",
    "tests/redirects/test_bounds.py",
    "tests/serving/test_redis.py",
    "tests/interop",
    "tests/contract",
    "tests/clients",
    "tests/redirects/test_lifetimes.py",
    "tests/serving",
    "tests/spec",
    "tests/redirects",
)


def unit(test: str) -> str:
    """Return the unit of work that a test belongs to.

    :param test: its node id.
    """
    file, _, name = test.partition("::")
    server = _SERVER.search(name)
    if server is None:
        return file
    return f"{'tests/spec' if file.startswith('tests/spec/') else file}[{server[1]}]"


def rank(test: str) -> int:
    """Return the place of a test's unit among those that start first."""
    name = unit(test)
    return next((number for number, start in enumerate(SLOWEST) if name.startswith(start)), len(SLOWEST))


def scheduler(config: pytest.Config, log: object) -> LoadFileScheduling:
    """Return the scheduler of a run, for the hook `pytest_xdist_make_scheduler`."""
    from xdist.scheduler import LoadFileScheduling

    class Schedule(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return unit(nodeid)

    # The processes collect the tests in the order of their ranks, which must stand: by default the units with
    # the most tests come first, and here these do not take longest.
    config.option.loadscopereorder = False
    return Schedule(config, log)
