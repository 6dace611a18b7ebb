"""A real S3 on this machine: a monitor, a store and a RADOS Gateway of Ceph, from Debian's packages.

Unlike moto, it checks signatures and who may do what. It uses free ports of 127.0.0.1 and a directory of its
own.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lab.servers import SMALLEST_PART, S3Server, Server, free_ports

#: What `apt-get install --no-install-recommends` brings the programs with.
PACKAGES = "ceph-mon ceph-osd ceph-mgr ceph-common radosgw"
PROGRAMS = ("ceph", "ceph-authtool", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")

ACCESS_KEY, SECRET_KEY, KMS_KEY = "testsaccesskey", "testssecretkey", "testskey"

#: A storage class that the gateway has besides STANDARD.
STORAGE_CLASS = "STANDARD_IA"

#: How long one step of the start may take: far longer than any takes on a busy machine.
SECONDS = 120


class Store(NamedTuple):
    """How the gateway keeps objects.

    :param kind: Ceph's name of the store: `memstore` keeps objects in memory, `bluestore` in a sparse file.
    :param size: how many bytes of objects it takes.
    :param smallest_part: the smallest part of a multipart upload, in bytes; Amazon's is 5 MiB.
    :param placement_groups: how many groups each pool has.
    """

    kind: str = "memstore"
    size: int = 4 << 30
    smallest_part: int = SMALLEST_PART
    placement_groups: int = 1


_CONFIGURATION = """\
[global]
fsid = {fsid}
mon host = {monitor}
public addr = 127.0.0.1
keyring = {home}/keyring
mon data = {home}/mon
osd data = {home}/osd
log file = {home}/$name.log
run dir = {home}
# A socket's path has to be short, which a test's directory need not be; nobody asks these.
admin socket =
# One store, one copy, few groups: nothing to keep safe, and quick to begin.
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = {store.placement_groups}
osd pool default pgp num = {store.placement_groups}
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
# Full disks are the machine's business; the objects are in memory.
mon data avail warn = 1
mon data avail crit = 0
auth allow insecure global id reclaim = false
# Every pool that the gateway makes waits for the monitor to agree with itself, a second each time otherwise.
paxos propose interval = 0.05
paxos min wait = 0.01
[osd]
osd objectstore = {store.kind}
memstore device bytes = {store.size}
bluestore block create = true
bluestore block size = {store.size}
osd memory target = 1500000000
[client.rgw]
rgw data = {home}/rgw
# Without it each GET waits 40 ms: one end holds back the rest of an answer, the other its acknowledgement.
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw multipart min part size = {store.smallest_part}
rgw enable usage log = false
# Deleted objects give back their room when somebody asks for it, and never in the middle of something else.
rgw gc obj min wait = 1
rgw gc processor period = 86400
# Encryption with a key that the gateway has itself: 32 bytes in base64, of tests' objects alone.
rgw crypt require ssl = false
rgw crypt s3 kms backend = testing
rgw crypt s3 kms encryption keys = {key_id}=dGVzdHMgb2YgdGhlIHJlZ2lzdHJ5LCBubyBzZWNyZXQ=
"""

_ALL = "allow *"
_KEYS = {
    "mon.": {"mon": _ALL},
    "client.admin": {"mon": _ALL, "osd": _ALL, "mgr": _ALL},
    "client.rgw": {"mon": _ALL, "osd": _ALL, "mgr": _ALL},
    "osd.0": {"mon": "allow profile osd", "osd": _ALL, "mgr": "allow profile osd"},
}


def missing_programs() -> list[str]:
    """Return which of the programs are not installed."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


@contextlib.contextmanager
def running_ceph(home: Path, store: Store = Store()) -> Iterator[S3Server]:  # noqa: B008 (frozen)
    """Run a gateway until the block is left. It takes ten to twenty seconds to start.

    :param home: an empty directory; it is removed in the end.
    """
    try:
        with contextlib.ExitStack() as stack:
            yield _start(home, store, stack)
    finally:
        shutil.rmtree(home)


def _start(home: Path, settings: Store, stack: contextlib.ExitStack) -> S3Server:
    monitor_port, port = free_ports(2)
    fsid, store, monitor = str(uuid.uuid4()), str(uuid.uuid4()), f"127.0.0.1:{monitor_port}"
    for name in ("mon", "osd", "rgw"):
        (home / name).mkdir()
    (home / "ceph.conf").write_text(
        _CONFIGURATION.format(
            fsid=fsid,
            monitor=monitor,
            home=home,
            port=port,
            store=settings,
            key_id=KMS_KEY,
        )
    )
    keyring, monmap = str(home / "keyring"), str(home / "monmap")
    at = _at(home)
    for name, granted in _KEYS.items():
        caps = [word for kind, cap in granted.items() for word in ("--cap", kind, cap)]
        create = [] if Path(keyring).exists() else ["--create-keyring"]
        _call("ceph-authtool", *create, "-n", name, "--gen-key", keyring, *caps)
    _call("monmaptool", "--create", "--add", "a", monitor, "--fsid", fsid, monmap)
    _call("ceph-mon", *at, "--mkfs", "-i", "a", "--monmap", monmap)
    _daemon(stack, home, "ceph-mon", *at, "-f", "-i", "a")
    # Waits for the monitor by itself.
    _call("ceph", *at, "--connect-timeout", "60", "osd", "new", store, "0")
    _call("ceph", *at, "auth", "import", "-i", keyring)
    _call("ceph-osd", *at, "-i", "0", "--mkfs", "--osd-uuid", store)
    _daemon(stack, home, "ceph-osd", *at, "-f", "-i", "0")
    # Waits for the store by itself, and makes what the gateway needs in it.
    keys = [f"--access-key={ACCESS_KEY}", f"--secret-key={SECRET_KEY}"]
    _call("radosgw-admin", *at, "user", "create", "--uid=tests", "--display-name=tests", *keys)
    placement = ["--placement-id=default-placement", f"--storage-class={STORAGE_CLASS}"]
    _call("radosgw-admin", *at, "zonegroup", "placement", "add", "--rgw-zonegroup=default", *placement)
    pool = "--data-pool=default.rgw.buckets.other"
    _call("radosgw-admin", *at, "zone", "placement", "add", "--rgw-zone=default", *placement, pool)
    gateway = _daemon(stack, home, "radosgw", *at, "-f", "-n", "client.rgw")
    gateway.wait_for_ports([port], SECONDS)
    return S3Server(f"http://127.0.0.1:{port}", ACCESS_KEY, SECRET_KEY, kms_key=KMS_KEY)


def collect_garbage(home: Path) -> None:
    """Have the store of a gateway take back the room of deleted objects.

    :param home: the gateway's directory.
    """
    _call("radosgw-admin", *_at(home), "gc", "process", "--include-all")


def _at(home: Path) -> list[str]:
    """Return the arguments that tell each program where the gateway is."""
    return ["-c", str(home / "ceph.conf"), "--keyring", str(home / "keyring")]


def _daemon(stack: contextlib.ExitStack, home: Path, *command: str) -> Server:
    """Start a program that ends with the block; by force, for nothing of it is worth keeping."""
    # Also where the tests themselves are killed, in which case nobody leaves the block.
    bound = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
    server = Server([*bound, *command], home / f"{command[0]}-output")
    stack.callback(server.stop, 9)
    return server


def _call(*command: str) -> None:
    """Run a program of Ceph's.

    :raises AssertionError: with what it wrote, when it fails.
    """
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, f"{command[0]}: status {done.returncode}\n{done.stdout}{done.stderr}"
