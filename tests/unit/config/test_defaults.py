"""Each default stands once: what Python gives without arguments is what an empty configuration gives."""

from __future__ import annotations

import inspect
from pathlib import Path

from werkzeug.test import Client

from cfmiddleware.config import Config
from cfmiddleware.digest import Digest
from cfmiddleware.registry.app import Registry
from cfmiddleware.storage.memory import MemoryDriver


def test_a_registry_takes_as_many_uploads_at_a_time_as_that_of_a_configuration():
    server = Config({"storage": {"inmemory": None}}, "config.yml", Path()).server_options()
    parameters = inspect.signature(Registry).parameters

    assert parameters["max_uploads"].default == server.uploads
    assert parameters["uploadwait"].default == server.uploadwait


def test_nothing_may_be_deleted_unless_it_is_asked_for():
    path = f"/v2/app/blobs/{Digest.of(b'')}"

    assert Client(Registry(MemoryDriver())).delete(path).status_code == 405
    assert Client(Registry(MemoryDriver(), delete=True)).delete(path).status_code == 404
