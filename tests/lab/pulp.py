"""A Pulp on this machine: PostgreSQL, the API and a worker, over an S3."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from lab.required import cannot_run
from lab.servers import S3Server, free_port, running
from lab.wrapped import call

PASSWORD = "a-password-of-tests"

_SETTINGS = """
DATABASES = {{"default": {{"ENGINE": "django.db.backends.postgresql", "NAME": "pulp", "USER": "pulp",
                         "HOST": "127.0.0.1", "PORT": {database}}}}}
SECRET_KEY = "not-secret-at-all-and-fifty-letters-long-for-tests-"
DB_ENCRYPTION_KEY = "{here}/database.key"
CONTENT_ORIGIN = "http://127.0.0.1:{port}"
TOKEN_SERVER = "http://127.0.0.1:{port}/token/"
TOKEN_SIGNATURE_ALGORITHM = "ES256"
PUBLIC_KEY_PATH = "{here}/token.pub"
PRIVATE_KEY_PATH = "{here}/token.pem"
DEPLOY_ROOT = "{here}"
MEDIA_ROOT = ""
STATIC_ROOT = "{here}/assets"
WORKING_DIRECTORY = "{here}/tmp"
FILE_UPLOAD_TEMP_DIR = "{here}/tmp"
STORAGES = {{
    "default": {{
        "BACKEND": "storages.backends.s3boto3.S3Boto3Storage",
        "OPTIONS": {{"bucket_name": "{bucket}", "location": "pulp-prod", "access_key": "{s3.access_key}",
                    "secret_key": "{s3.secret_key}", "endpoint_url": "{s3.endpoint}",
                    "region_name": "us-east-1", "addressing_style": "path",
                    "signature_version": "s3v4", "default_acl": None}},
    }},
    "staticfiles": {{"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}},
}}
ANALYTICS = False
"""


def postgresql() -> Path:
    """Return where PostgreSQL's programs are; skip the test, or fail it, where there are none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return found[-1] if found else cannot_run("PostgreSQL is not installed; Debian has it in postgresql")


@contextlib.contextmanager
def running_postgresql() -> Iterator[int]:
    """Run a PostgreSQL with the role and the database `pulp`, and yield its port."""
    with tempfile.TemporaryDirectory() as home:
        yield from _database(Path(home))


def _database(home: Path) -> Iterator[int]:
    programs, port = postgresql(), free_port()
    user = []
    # It refuses to run as root, and its user may not look into the tests' own directories.
    if os.getuid() == 0:
        user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        shutil.chown(home, "postgres", "postgres")
    data = home / "data"
    call(
        *user,
        str(programs / "initdb"),
        "-D",
        str(data),
        "-U",
        "postgres",
        "-A",
        "trust",
        "-E",
        "UTF8",
        cwd=home,
    )
    command = [*user, str(programs / "postgres"), "-D", str(data), "-p", str(port), "-k", str(home), "-F"]
    with running([*command, "-c", "listen_addresses=127.0.0.1"], home, ports=[port]):
        for name in ("createuser", "createdb"):
            owner = ["-O", "pulp"] if name == "createdb" else ["-s"]
            call(
                str(programs / name),
                "-h",
                "127.0.0.1",
                "-p",
                str(port),
                "-U",
                "postgres",
                *owner,
                "pulp",
                cwd=home,
            )
        yield port


@contextlib.contextmanager
def running_pulp(
    programs: Path, here: Path, s3: S3Server, bucket: str, command: str, variables: Mapping[str, str]
) -> Iterator[int]:
    """Run a Pulp until the block is left, and yield the port of its API.

    :param programs: where those of Pulp's virtual environment are.
    :param command: what starts its API; the address to bind is added.
    """
    port = free_port()
    (here / "tmp").mkdir()
    with running_postgresql() as database:
        settings = here / "settings.py"
        settings.write_text(_SETTINGS.format(here=here, port=port, database=database, s3=s3, bucket=bucket))
        call("sh", "-c", "openssl rand -base64 32 > database.key", cwd=here)
        call("sh", "-c", "openssl ecparam -genkey -name prime256v1 -noout -out token.pem", cwd=here)
        call("sh", "-c", "openssl ec -in token.pem -pubout -out token.pub", cwd=here)
        env = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PULP_SETTINGS": str(settings),
            "DJANGO_SETTINGS_MODULE": "pulpcore.app.settings",
            **variables,
        }
        manager = str(programs / "pulpcore-manager")
        call(manager, "migrate", "--noinput", cwd=here, env=env)
        call(manager, "reset-admin-password", "--password", PASSWORD, cwd=here, env=env)
        with (
            running([str(programs / "pulpcore-worker")], here / "worker", ports=[], env=env),
            running(
                ["sh", "-c", f"exec {command} --bind 127.0.0.1:{port}"],
                here / "api",
                ports=[port],
                env=env,
                seconds=90,
            ),
        ):
            yield port
