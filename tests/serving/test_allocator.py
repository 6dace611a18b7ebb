"""Memory that was freed goes back to the system, in each process that serves."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest
from lab.servers import eventually, free_ports, running

pytest.importorskip("gunicorn")

#: Blocks of the size of an upload's parts come and go, with a small one that stays behind each. The growth of
#: the process is printed in MiB.
MEASURE = """
import sys
from cfmiddleware.serving.allocator import give_back_large_blocks

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 >> 20

if sys.argv[1] == "with":
    give_back_large_blocks()
bytearray(20 << 20)  # glibc learns from this that blocks of such a size come and go
before = resident()
kept = []
for _ in range(3):
    blocks = []
    for _ in range(10):
        blocks.append(bytearray(8 << 20))
        kept.append(bytearray(100_000))
    del blocks
print(resident() - before)
"""

#: The command, which says in which process the allocator is set.
COMMAND = """
import os, sys
from cfmiddleware.serving import supervisor
supervisor.give_back_large_blocks = lambda: print("set in", os.getpid(), file=sys.stderr, flush=True)
from cfmiddleware.cli import main
sys.exit(main(sys.argv[1:]))
"""


def growth(argument: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, argument], capture_output=True, text=True, timeout=60, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator of glibc alone is set")
def test_large_blocks_go_back_to_the_system():
    assert growth("with") < 20 < growth("without")


def test_the_servers_of_the_command_set_the_allocator(tmp_path: Path):
    port, edge_port = free_ports(2)
    arguments = ["serve", "--data", str(tmp_path / "data")]
    arguments += ["--addr", f"127.0.0.1:{port}", "--edge-addr", f"127.0.0.1:{edge_port}"]
    command = [sys.executable, "-c", COMMAND, *arguments]
    with running(command, tmp_path / "process", ports=[port, edge_port]) as server:
        # The registry's server and the edge's.
        # Two processes write at the same time, and what they write may be mixed.
        assert eventually(lambda: server.stderr.count("set in") == 2), server.stderr
