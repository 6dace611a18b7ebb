"""The spool of notifications between processes."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from lab.required import cannot_run

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


ON_A_SMALL_DISK = """
import subprocess, sys
from pathlib import Path
from cfmiddleware.notifications.entries import Entry, SpoolError
from cfmiddleware.notifications.spool import Spool
directory = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1500k", "small", directory], check=True)
spool, adding, kept = Spool(directory), Spool(directory), 0
spool.check()

def fill():
    global kept
    for number in range(5000):
        try:
            adding.add([Entry("a", "app", "push", "x" * 700)])
        except SpoolError as error:
            return str(error)
        kept += 1

print(fill())
removed = 0
while removed < kept and (found := spool.waiting("a", limit=10)):
    for event in found:
        spool.delivered(event.seq)
        removed += 1
    if removed == 20:  # others take what was given back
        print(fill())
print(spool.counts(), removed == kept)
adding.add([Entry("a", "app", "push", "more")])
print([event.body for event in spool.waiting("a")])
"""


def test_a_full_disk_is_emptied_by_delivery(tmp_path: Path):
    """To remove an event from the database takes room first."""
    own = ["unshare", "--map-root-user", "--mount"]
    if subprocess.run([*own, "true"], capture_output=True).returncode:
        cannot_run("unshare: this user can have no mounts of its own")
    command = [*own, sys.executable, "-c", ON_A_SMALL_DISK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stderr == ""
    full = "database or disk is full"
    assert done.stdout.splitlines() == [full, full, "{} True", "['more']"]
