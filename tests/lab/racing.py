"""What a process of its own runs: it is imported there, so it stands in no test's file."""

from __future__ import annotations

import os

from cfmiddleware.errors import ObjectExists
from cfmiddleware.storage.filesystem import FilesystemDriver


def race_to_create(root, start, results):
    driver = FilesystemDriver(root)
    won = []
    for number in range(40):
        start.wait()
        try:
            driver.create(f"/race/{number}", b"%d" % os.getpid())
            won.append(number)
        except ObjectExists:
            pass
    results.put((os.getpid(), won))
