"""A Ceph gateway of one's own: a monitor, a store and an S3 endpoint on 127.0.0.1, gone when done.

It checks signatures and enforces S3's rules for parts. Its store is a file in the temporary directory, so
that it holds more than the machine's memory does.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import boto3
from botocore.config import Config
from programs import MissingProgram, Program, free_ports

ACCESS_KEY, SECRET_KEY, REGION = "benchmark", "benchmark-secret", "us-east-1"

#: The Debian packages that bring what is needed here.
PACKAGES = "ceph-mon ceph-osd ceph-common radosgw"
_PROGRAMS = ("ceph", "ceph-authtool", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")

_CONFIGURATION = """\
[global]
fsid = {fsid}
mon host = {monitor}
public addr = 127.0.0.1
osd pool default size = 1
osd pool default min size = 1
osd crush chooseleaf type = 0
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon warn on pool no redundancy = false
mon data avail warn = 1
mon data avail crit = 0
auth allow insecure global id reclaim = false
log file = {home}/log/$name.log
admin socket = {home}/$name.asok
run dir = {home}
keyring = {home}/keyring
mon data = {home}/mon
osd data = {home}/osd
[osd]
osd objectstore = {store}
memstore device bytes = {size}
bluestore block create = true
bluestore block size = {size}
osd memory target = 1500000000
[client.rgw]
rgw data = {home}/rgw
# Without it each GET takes 40 ms of waiting (Nagle's algorithm against delayed acknowledgements), which S3
# does not do, and which would decide every figure of small objects.
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw enable usage log = false
# What is deleted is collected between the runs, on demand, and never during one.
rgw gc obj min wait = 1
rgw gc processor period = 86400
"""

_ALL = "allow *"
_KEYS = {
    "mon.": {"mon": _ALL},
    "client.admin": {"mon": _ALL, "osd": _ALL, "mgr": _ALL},
    "client.rgw": {"mon": _ALL, "osd": _ALL, "mgr": _ALL},
    "osd.0": {"mon": "allow profile osd", "osd": _ALL, "mgr": "allow profile osd"},
}


class Gateway:
    """A gateway that runs.

    :param home: where everything of it lies.
    :param endpoint: the URL of its S3 endpoint.
    """

    def __init__(self, home: Path, endpoint: str) -> None:
        self.home = home
        self.endpoint = endpoint
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name=REGION,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            config=Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def new_bucket(self, name: str) -> str:
        """Make an empty bucket and return its name."""
        self.client.create_bucket(Bucket=name)
        return name

    def objects(self, bucket: str) -> list[str]:
        """Return the keys of a bucket, and those of its unfinished uploads."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
        unfinished = self.client.list_multipart_uploads(Bucket=bucket).get("Uploads", ())
        return keys + [item["Key"] for item in unfinished]

    def empty(self, bucket: str) -> None:
        """Delete all that a bucket holds, and have the store take back the room."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        for page in pages:
            if items := page.get("Contents"):
                keys = [{"Key": item["Key"]} for item in items]
                self.client.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
        for item in self.client.list_multipart_uploads(Bucket=bucket).get("Uploads", ()):
            self.client.abort_multipart_upload(Bucket=bucket, Key=item["Key"], UploadId=item["UploadId"])
        time.sleep(1)  # what the collector waits at the least before it takes an object
        _call(self.home, "radosgw-admin", *_at(self.home), "gc", "process", "--include-all")

    def version(self) -> str:
        """Return Ceph's version."""
        answer = subprocess.run(["ceph", "--version"], capture_output=True, text=True, check=True).stdout
        return answer.split()[2]


def check() -> None:
    """See that every program is there.

    :raises MissingProgram: when one is not.
    """
    for name in _PROGRAMS:
        if shutil.which(name) is None:
            raise MissingProgram(f"{name} is not installed; Debian has it: apt-get install {PACKAGES}")


@contextlib.contextmanager
def running(home: Path, *, store: str = "bluestore", size: int = 48 << 30) -> Iterator[Gateway]:
    """Run a gateway until the block is left; it takes about 15 seconds to start.

    :param home: an empty directory with a short path, for sockets lie in it.
    :param store: Ceph's name of the store: ``bluestore`` is a sparse file, ``memstore`` memory.
    :param size: what the store holds at the most, in bytes.
    """
    monitor_port, port = free_ports(2)
    fsid, store_id = str(uuid.uuid4()), str(uuid.uuid4())
    monitor = f"127.0.0.1:{monitor_port}"
    for name in ("mon", "osd", "rgw", "log"):
        (home / name).mkdir(parents=True)
    (home / "ceph.conf").write_text(
        _CONFIGURATION.format(fsid=fsid, monitor=monitor, home=home, size=size, port=port, store=store)
    )
    keyring = str(home / "keyring")
    for number, (name, caps) in enumerate(_KEYS.items()):
        granted = [word for kind, cap in caps.items() for word in ("--cap", kind, cap)]
        create = ["--create-keyring"] if number == 0 else []
        _call(home, "ceph-authtool", *create, "-n", name, "--gen-key", keyring, *granted)
    monmap = str(home / "monmap")
    _call(home, "monmaptool", "--create", "--add", "a", monitor, "--fsid", fsid, monmap)
    at = _at(home)
    with contextlib.ExitStack() as stack:
        _call(home, "ceph-mon", *at, "--mkfs", "-i", "a", "--monmap", monmap)
        stack.enter_context(Program(["ceph-mon", *at, "-f", "-i", "a"], home / "log" / "mon"))
        _call(home, "ceph", *at, "--connect-timeout", "30", "osd", "new", store_id, "0")
        _call(home, "ceph", *at, "auth", "import", "-i", keyring)
        _call(home, "ceph-osd", *at, "-i", "0", "--mkfs", "--osd-uuid", store_id)
        stack.enter_context(Program(["ceph-osd", *at, "-f", "-i", "0"], home / "log" / "osd"))
        _wait_for_store(home)
        endpoint = Program(["radosgw", *at, "-n", "client.rgw", "-f"], home / "log" / "rgw")
        stack.enter_context(endpoint)
        endpoint.wait_for_port(port, 120)
        user = ["user", "create", "--uid=benchmark", "--display-name=benchmark"]
        keys = [f"--access-key={ACCESS_KEY}", f"--secret-key={SECRET_KEY}"]
        _call(home, "radosgw-admin", *at, *user, *keys)
        yield Gateway(home, f"http://127.0.0.1:{port}")


def _at(home: Path) -> list[str]:
    return ["-c", str(home / "ceph.conf"), "--keyring", str(home / "keyring")]


def _wait_for_store(home: Path) -> None:
    for _ in range(120):
        state = json.loads(_call(home, "ceph", *_at(home), "osd", "stat", "--format", "json"))
        if state["num_up_osds"] == 1:
            return
        time.sleep(0.25)
    raise RuntimeError("the store of the gateway did not come up in 30 seconds")


def _call(home: Path, *command: str) -> str:
    """Run a command and return what it writes to its standard output.

    :raises RuntimeError: with its last line, when it fails.
    """
    errors: IO[bytes]
    with (home / "log" / "commands").open("ab+") as errors:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, timeout=180
        )
        if done.returncode:
            errors.seek(0)
            lines = errors.read().decode(errors="replace").splitlines() or [""]
            raise RuntimeError(f"{command[0]} failed: {lines[-1]}")
    return done.stdout.decode()
