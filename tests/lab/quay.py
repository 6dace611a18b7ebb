"""A Quay on this machine: its own registry app, from a checkout, with its test data, and blobs in an S3."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.servers import S3Server, free_port, running
from lab.wrapped import call

#: A user of Quay's test data, and the password.
USER, PASSWORD = "devtable", "password"

# Modules of what Quay can do besides (LDAP, billing, logs elsewhere, where clients live) are hollow. A push
# and a pull use none of them, and some are on no package index.
_HOLLOW = """
import sys
from importlib.machinery import ModuleSpec
from unittest.mock import MagicMock

class Hollow:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("bitbucket", "ldap", "maxminddb", "pyroscope", "splunklib", "stripe"):
            return ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        module = MagicMock(name=spec.name)
        module.__name__, module.__path__, module.__spec__ = spec.name, [], spec
        return module

    def exec_module(self, module):
        pass

sys.meta_path.insert(0, Hollow())
"""


def checkout() -> Path:
    """Return where Quay's source is; skip the test where nothing says so."""
    variable = "WRAPPED_QUAY_SOURCE"
    if variable not in os.environ:
        pytest.skip(f"{variable} names no checkout of Quay; .ci/quay takes one")
    return Path(os.environ[variable])


@contextlib.contextmanager
def running_quay(
    programs: Path, source: Path, here: Path, s3: S3Server, bucket: str, command: str
) -> Iterator[int]:
    """Run Quay's registry app until the block is left, and yield its port.

    :param programs: where those of Quay's virtual environment are.
    :param source: Quay's source, which is not changed.
    :param here: a directory with a folder `conf`, which comes to Quay's own.
    :param command: what starts it; the address to bind is added.
    """
    port = free_port()
    quay = here / "quay"
    shutil.copytree(source, quay, ignore=shutil.ignore_patterns(".git", "node_modules", "web"))
    shutil.copytree(here / "conf", quay / "conf", dirs_exist_ok=True)
    (here / "hollow").mkdir()
    (here / "hollow/sitecustomize.py").write_text(_HOLLOW)
    host, _, s3_port = s3.endpoint.removeprefix("http://").partition(":")
    storage = {
        "hostname": host,
        "port": int(s3_port),
        "is_secure": False,
        "storage_path": "/datastorage",
        "access_key": s3.access_key,
        "secret_key": s3.secret_key,
        "bucket_name": bucket,
    }
    settings = {
        "DISTRIBUTED_STORAGE_CONFIG": {"local_us": ["RadosGWStorage", storage]},
        "DISTRIBUTED_STORAGE_PREFERENCE": ["local_us"],
        "DISTRIBUTED_STORAGE_DEFAULT_LOCATIONS": ["local_us"],
        "SERVER_HOSTNAME": f"127.0.0.1:{port}",
        "PREFERRED_URL_SCHEME": "http",
        "INSTANCE_SERVICE_KEY_KID_LOCATION": str(here / "service.kid"),
        "INSTANCE_SERVICE_KEY_LOCATION": str(here / "service.pem"),
    }
    env = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": f"{quay}:{here / 'hollow'}",
        "TEST": "true",
        "TEST_DATABASE_URI": f"sqlite:///{here / 'quay.db'}",
        "QUAY_OVERRIDE_CONFIG": json.dumps(settings),
    }
    python = str(programs / "python")
    call(python, "initdb.py", "--simple", cwd=quay, env=env)
    # The key that signs tokens, as Quay's container makes it at its start.
    call(python, "-c", "import boot; boot.setup_instance_service_key()", cwd=quay, env=env)
    started = f"cd {quay} && exec {command} --bind 127.0.0.1:{port} --workers 2"
    with running(["sh", "-c", started], here / "gunicorn", ports=[port], env=env, seconds=90):
        yield port
