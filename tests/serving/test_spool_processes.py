"""The spool of notifications between processes."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from cfmiddleware.notifications.entries import Entry
from cfmiddleware.notifications.spool import Spool


def bodies(spool: Spool) -> list[str]:
    return [each.body for each in spool.waiting("a", limit=10_000)]


def adding(directory: Path, number: int, events: int, ending: str = "") -> subprocess.Popen[bytes]:
    """Start a process that adds events and then ends as it is told."""
    code = f"""
import os, signal
from pathlib import Path
from cfmiddleware.notifications.entries import Entry
from cfmiddleware.notifications.spool import Spool
spool = Spool(Path({str(directory)!r}))
for event in range({events}):
    spool.add([Entry("a", "app", "push", '{{"n":{number}}}')])
{ending}
"""
    return subprocess.Popen([sys.executable, "-c", code])


def test_an_event_that_was_added_outlives_a_process_that_is_killed(tmp_path: Path):
    killed = adding(tmp_path, 1, 2, "os.kill(os.getpid(), signal.SIGKILL)")
    assert killed.wait(60) == -signal.SIGKILL
    assert len(bodies(Spool(tmp_path))) == 2


def test_processes_share_a_spool(tmp_path: Path):
    spool = Spool(tmp_path)
    spool.add([Entry("a", "app", "push", "{}")])
    # Not forked: SQLite's locks do not survive that, and no process of the server has used it before.
    processes = [adding(tmp_path, number, 20) for number in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert len(bodies(spool)) == 61
