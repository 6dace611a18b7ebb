"""What keeps the other greenlets of a worker going."""

from __future__ import annotations

import subprocess
import sys


def test_under_gevent_others_go_on_meanwhile() -> None:
    program = """
from gevent import monkey
monkey.patch_all()
import threading, time, gevent
from cfmiddleware.process.offload import offload
sleep = monkey.get_original("time", "sleep")
done = []
other = gevent.spawn(lambda: (gevent.sleep(0.05), done.append("other")))
offload(sleep, 0.5)
done.append("work")
try:
    offload(int, "x")
except ValueError as error:
    done.append(type(error).__name__)
print(done, offload(monkey.get_original("threading", "get_ident")) != threading.get_ident())
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.stderr == ""
    assert result.stdout == "['other', 'work', 'ValueError'] True\n", result.stderr
