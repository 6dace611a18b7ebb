"""The guard of this directory: no program, no port."""

from __future__ import annotations

import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest


def test_no_program_can_be_started():
    with pytest.raises(pytest.fail.Exception):
        subprocess.run([sys.executable, "-c", ""], check=True)


@pytest.mark.parametrize("method", ["bind", "connect", "connect_ex"])
def test_no_socket_can_be_bound_or_connected(method: str):
    with socket.socket() as sock, pytest.raises(pytest.fail.Exception):
        getattr(sock, method)(("127.0.0.1", 0))


def test_a_thread_that_another_test_left_behind_fails_nothing():
    with socket.socket() as sock, ThreadPoolExecutor(1) as pool:
        pool.submit(sock.bind, ("127.0.0.1", 0)).result()
