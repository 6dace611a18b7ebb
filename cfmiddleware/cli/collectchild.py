"""The process of a collection that has begun by itself: ``python -m cfmiddleware.cli.collectchild``.

It is for the server alone, which gives it the configuration on the standard input. What it has done is one
line of JSON on the standard output.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import signal
import sys
import threading
from dataclasses import asdict
from typing import Any

from cfmiddleware.config import Config
from cfmiddleware.errors import ConfigError, StorageUnavailable
from cfmiddleware.registry.collect.collector import Collector
from cfmiddleware.registry.collect.journal import collect_on_record, read_record
from cfmiddleware.registry.collect.lease import LeaseTaken
from cfmiddleware.registry.collect.otherwriters import OtherWriter
from cfmiddleware.registry.collect.told import Told
from cfmiddleware.storage.requestmeter import RequestMeter

# Below everything else that the machine has to do.
_NICE = 19


def main() -> None:
    """Collect, say what was done, and end at once: threads may still wait for a storage."""
    signal.signal(signal.SIGTERM, _interrupt)
    os.nice(_NICE)
    stdin = sys.stdin.buffer
    given: tuple[Any, ...] = pickle.loads(stdin.read(int(stdin.readline())))  # noqa: S301 (of the server)
    threading.Thread(target=_follow, daemon=True).start()
    # The server has said what there is to say of the configuration.
    logging.disable(logging.WARNING)
    try:
        said = _collect(Config(*given))
    except KeyboardInterrupt:
        said = {}
    except ConfigError as error:
        said = {"error": str(error)}
    print(json.dumps(said), flush=True)
    os._exit(0)


def _collect(config: Config) -> dict[str, Any]:
    options = config.settings.storage.maintenance.garbagecollect
    meter = RequestMeter(options.parallel, options.requestspersecond)
    driver = config.driver().metered(meter)
    collector = Collector(driver, options.rules(), options.parallel, meter=meter, tell=Told(config.notifier))
    said: dict[str, Any] = {}
    try:
        collect_on_record(driver, collector, meter)
    except OtherWriter as other:
        return {"taken": f"Distribution pushes into the storage: {other}"}
    except LeaseTaken as taken:
        return {"taken": f"another one runs: {taken}"}
    except StorageUnavailable as error:
        said["error"] = str(error)
    except KeyboardInterrupt:
        pass
    try:
        said["record"] = asdict(read_record(driver, 0))
    except StorageUnavailable as error:
        said["error"] = str(error)
    return said


def _interrupt(number: int, frame: object) -> None:
    # Once: what it then does is to withdraw what it has announced.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _follow() -> None:
    """End when the server does, however it does."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
