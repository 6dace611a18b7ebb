"""What keeps the other greenlets of a worker going."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


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


def test_under_gevent_a_descriptor_is_looked_up_beside_the_request_that_finds_it_due() -> None:
    program = """
from gevent import monkey
monkey.patch_all()
import gevent, threading
from cfmiddleware.digest import Digest
from cfmiddleware.registry.cache.descriptors import InMemoryDescriptorCache, Located
now = [1000.0]
digest = Digest.of(b"x")
descriptors = InMemoryDescriptorCache(10, 60, lambda: now[0])
descriptors.find("app", digest, lambda: Located.of(digest, 1), later=True)
now[0] += 59.9
answers = threading.Event()
def ask():
    answers.wait(10)
    return Located.of(digest, 2)
found = [descriptors.find("app", digest, ask, later=True).size for _ in range(3)]
answers.set()
gevent.sleep(0.05)
found.append(descriptors.find("app", digest, None, later=True).size)
print(found)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.stderr == ""
    assert result.stdout == "[1, 1, 1, 2]\n", result.stderr


def test_under_gevent_others_go_on_while_a_directory_with_many_names_is_listed(tmp_path: Path) -> None:
    for number in range(100):
        folder = tmp_path / f"v2/t{number}"
        folder.mkdir(parents=True)
        (folder / "link").write_text("x")
    program = """
from gevent import monkey
monkey.patch_all()
import gevent, sys
from cfmiddleware.storage.filesystem.filesystemdriver import FilesystemDriver
driver = FilesystemDriver(sys.argv[1])
turns = []
def count():
    while True:
        turns.append(1)
        gevent.sleep(0)
other = gevent.spawn(count)
for work in driver.list, lambda prefix: list(driver.walk(prefix)):
    turns.clear()
    found = len(work("/v2/"))
    print(found, len(turns) >= 3)
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stderr == ""
    assert result.stdout == "100 True\n100 True\n", result.stderr
