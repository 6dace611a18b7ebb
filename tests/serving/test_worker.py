"""The worker needs methods of gunicorn's that other versions may not have."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from lab.servers import eventually, free_ports, running

pytest.importorskip("gunicorn")

from cfmiddleware.serving.worker import missing_methods

#: The command, over a gunicorn that never asks whether a connection can stay.
COMMAND = """
import sys
from gunicorn.workers.gthread import ThreadWorker
del ThreadWorker._keepalive_after
from cfmiddleware.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_the_installed_gunicorn_has_every_method_that_the_worker_replaces():
    assert missing_methods() == []


def test_the_log_says_which_method_an_installed_gunicorn_lacks(tmp_path: Path):
    port, edge_port = free_ports(2)
    arguments = ["serve", "--data", str(tmp_path / "data")]
    arguments += ["--addr", f"127.0.0.1:{port}", "--edge-addr", f"127.0.0.1:{edge_port}"]
    command = [sys.executable, "-c", COMMAND, *arguments]
    line = " has no _keepalive_after: a slow client that is refused keeps others waiting; install "
    with running(command, tmp_path / "process", ports=[port, edge_port]) as server:
        # Once from the registry's master, and once from the edge's.
        assert eventually(lambda: server.stderr.count(line) == 2), server.stderr
