"""A test that hangs ends its process, with the stacks of all its threads. Otherwise the run would be
stopped from outside, and nobody would know why.

pytest's own `faulthandler_timeout` prints the stacks and goes on to wait. That it ends is an option that
older versions do not know.
"""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Generator

import pytest

#: How many seconds a test may take, by its mark. One of `orders` may take hours.
LIMITS = {"orders": None, "long": 1500, "pairs": 3000}
LIMIT = 300


class Hangs:
    """The plugin.

    :param stderr: a descriptor of the real standard error, which pytest keeps from the tests.
    """

    def __init__(self, stderr: int) -> None:
        self._stderr = stderr

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Watch a test with its fixtures."""
        limit = next((limit for mark, limit in LIMITS.items() if item.get_closest_marker(mark)), LIMIT)
        if limit is None:
            return (yield)
        faulthandler.dump_traceback_later(limit, exit=True, file=self._stderr)
        try:
            return (yield)
        finally:
            faulthandler.cancel_dump_traceback_later()


def watch(config: pytest.Config) -> None:
    """Watch the tests of a run."""
    # pytest-xdist would begin the same file anew, and hang again.
    if getattr(config.option, "maxworkerrestart", "") is None:
        config.option.maxworkerrestart = "0"
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is None:
        config.pluginmanager.register(Hangs(os.dup(2)), "hangs")
        return
    with capture.global_and_fixture_disabled():
        config.pluginmanager.register(Hangs(os.dup(2)), "hangs")
