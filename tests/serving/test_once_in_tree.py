"""Of the processes of a server, one is told that it is the first."""

from __future__ import annotations

import subprocess
import sys

_ASK = """
import os, sys
from cfmiddleware.process.onceintree import once_in_tree
print(once_in_tree("it"), once_in_tree("it"), once_in_tree("other"), flush=True)
child = os.fork()
if child == 0:
    print(once_in_tree("it"), flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""


def test_the_first_of_a_group_is_told_and_the_next_group_has_its_own():
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", _ASK], capture_output=True, text=True, start_new_session=True, check=True
        )
        assert done.stdout.split() == ["True", "False", "True", "False"]


def test_workers_that_are_forked_first_share_it():
    forked = _ASK.split("print")[0] + (
        "for _ in range(3):\n"
        "    if os.fork() == 0:\n"
        # In one write: lines of several processes may mix otherwise.
        "        os.write(1, f'{once_in_tree(\"it\")}\\n'.encode()); sys.stdin.read(); os._exit(0)\n"
        "sys.stdin.read()\n"
        "for _ in range(3): os.wait()\n"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", forked],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert server.stdout is not None
    said = [server.stdout.readline().strip() for _ in range(3)]
    server.communicate("", timeout=20)
    assert sorted(said) == ["False", "False", "True"]
