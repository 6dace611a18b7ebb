"""The servers that redirect, each on 127.0.0.1, on the same bucket, with keys and options of its own."""

from __future__ import annotations

import contextlib
import http.client
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import redirect_store
import yaml
from ceph_gateway import ACCESS_KEY, REGION, SECRET_KEY
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from lab.servers import free_ports
from programs import Program
from registries import DISTRIBUTION, OURS

#: Ours by its own command, and what is there to compare with.
SERVE, BARE = "cfmiddleware serve", "constant redirect"

#: What the servers run with: the workers of all, and the threads of a gunicorn of one's own.
WORKERS, THREADS = 2, 4

#: Where the redirects lead. Nothing is there: what is measured ends with the redirect.
BASE_URL = "https://d111111abcdef8.cloudfront.net"
_KEY_PAIR_ID = "K2JCJMDEHXQW5F"

_APP = 'cfmiddleware.server:app("{}")'

_GUNICORN = """\
bind = "127.0.0.1:{port}"
worker_class = "gthread"
workers = {workers}
threads = {threads}
keepalive = 30
worker_connections = 1000
loglevel = "warning"
accesslog = None
control_socket_disable = True
worker_tmp_dir = "/dev/shm"
pythonpath = "{here}"
"""


class Setting(NamedTuple):
    """What differs from one measurement to the next.

    :param key: the kind of the key that signs, ``rsa`` or ``ecdsa``; docker-registry's is always RSA.
    :param duration: how long a signed URL lives, in seconds.
    :param window: seconds between two expiry times of a blob, or None for ours' default.
    :param life: how long ours remembers a descriptor, or None for its default, a minute. docker-registry
        remembers for ever.
    :param descriptors: how many descriptors each worker of ours remembers, or None for its default, 10,000.
        docker-registry remembers all.
    :param known: how many blobs' descriptors each worker of ours remembers from its start.
    :param debug: the port of ours' debug listener, with metrics; 0 for neither.
    :param logs: whether ours writes its access log.
    """

    key: str = "rsa"
    duration: int = 1200
    window: int | None = None
    life: str | None = "1h"
    descriptors: int | None = None
    known: int = 0
    debug: int = 0
    logs: bool = False


class Server(NamedTuple):
    """A server that runs.

    :param name: which one.
    :param port: where it listens on 127.0.0.1.
    :param program: its processes.
    :param serving: how many of its processes answer requests.
    """

    name: str
    port: int
    program: Program
    serving: int


class Place(NamedTuple):
    """Where the servers' files and blobs are.

    :param home: a directory for configurations, keys and logs.
    :param endpoint: the URL of the S3 server.
    :param bucket: the bucket.
    """

    home: Path
    endpoint: str
    bucket: str


@contextlib.contextmanager
def running(name: str, place: Place, setting: Setting = Setting()) -> Iterator[Server]:  # noqa: B008 (frozen)
    """Run a server until the block is left; one blob has been asked of it, and the redirect was signed.

    :raises RuntimeError: when it does not start, or does not redirect.
    """
    (port,) = free_ports(1)
    home = place.home / f"{name.replace(' ', '-')}-{port}"
    home.mkdir(parents=True)
    # A caller's own bundle makes docker-registry's AWS library refuse to start; no variable of Amazon's
    # command line or of the registries must change what is measured.
    foreign = ("AWS_", "REGISTRY_", "GUNICORN_")
    command = _WAYS[name](place, setting, port, home)
    with Program(command, home / "log", without=foreign) as program:
        program.wait_for_port(port)
        _check(name, port)
        yield Server(name, port, program, 1 if name == DISTRIBUTION else WORKERS)


def location(port: int, number: int = 0) -> str:
    """Return where a server sends those who ask for a blob.

    :raises RuntimeError: when its answer is no redirect to a signed URL.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    with contextlib.closing(connection):
        connection.request("GET", redirect_store.path(number))
        response = connection.getresponse()
        body = response.read()
        to = response.headers.get("Location", "")
    named = redirect_store.digest(number).hex
    if response.status != 307 or f"/{named}/data?" not in to or "Signature=" not in to:
        raise RuntimeError(
            f"the answer is no redirect to a signed URL: {response.status} {to} {body[:200]!r}"
        )
    return to


def _check(name: str, port: int) -> None:
    try:
        location(port)
    except (OSError, RuntimeError) as error:
        raise RuntimeError(f"{name}: {error}") from None


def _registry(place: Place, setting: Setting, port: int, home: Path) -> dict[str, Any]:
    """Return the configuration that both registries read."""
    key = home / "key.pem"
    key.write_bytes(private_key(setting.key))
    options = {
        "baseurl": BASE_URL,
        "privatekey": str(key),
        "keypairid": _KEY_PAIR_ID,
        "duration": f"{setting.duration}s",
    }
    s3 = {
        "regionendpoint": place.endpoint,
        "region": REGION,
        "bucket": place.bucket,
        "accesskey": ACCESS_KEY,
        "secretkey": SECRET_KEY,
        "secure": False,
    }
    return {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"s3": s3, "cache": {"blobdescriptor": "inmemory"}},
        "middleware": {"storage": [{"name": "cloudfront", "options": options}]},
        "http": {"addr": f"127.0.0.1:{port}", "secret": "benchmark"},
    }


def private_key(kind: str) -> bytes:
    """Return a new key in the one form that docker-registry reads as well."""
    if kind == "rsa":
        key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey = rsa.generate_private_key(65537, 2048)
    else:
        key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def configuration(place: Place, setting: Setting, port: int, home: Path) -> dict[str, Any]:
    """Return what ours reads.

    :param home: a directory for the key, which is made anew.
    """
    tree = _registry(place, setting, port, home)
    del tree["http"]["secret"]
    if setting.window is not None:
        tree["middleware"]["storage"][0]["options"]["window"] = setting.window
    bounds = {"blobdescriptorsize": setting.descriptors, "blobdescriptorttl": setting.life}
    tree["storage"]["cache"] |= {name: value for name, value in bounds.items() if value is not None}
    if setting.debug:
        tree["http"]["debug"] = {"addr": f"127.0.0.1:{setting.debug}", "prometheus": {"enabled": True}}
    tree["log"]["accesslog"]["disabled"] = not setting.logs
    return tree


def _by_gunicorn(place: Place, setting: Setting, port: int, home: Path) -> list[str]:
    config = home / "config.yml"
    config.write_text(yaml.safe_dump(configuration(place, setting, port, home)))
    app = f'redirect_apps:knowing("{config}", {setting.known})' if setting.known else _APP.format(config)
    return _gunicorn(port, home, app)


def _by_command(place: Place, setting: Setting, port: int, home: Path) -> list[str]:
    config = home / "config.yml"
    config.write_text(yaml.safe_dump(configuration(place, setting, port, home)))
    return [str(Path(sys.executable).parent / "cfmiddleware"), "serve", str(config)]


def _distribution(place: Place, setting: Setting, port: int, home: Path) -> list[str]:
    config = home / "config.yml"
    configuration = _registry(place, setting._replace(key="rsa"), port, home)
    # It walks through the bucket in a random minute of its first hour.
    configuration["storage"]["maintenance"] = {"uploadpurging": {"enabled": False}}
    config.write_text(yaml.safe_dump(configuration))
    return [DISTRIBUTION, "serve", str(config)]


def _bare(place: Place, setting: Setting, port: int, home: Path) -> list[str]:
    key = redirect_store.digest(0).hex
    path = f"/docker/registry/v2/blobs/sha256/{key[:2]}/{key}/data"
    # 344 characters are what an RSA signature of 2048 bits takes in base64.
    constant = f"{BASE_URL}{path}?Expires=1234567890&Signature={'x' * 344}&Key-Pair-Id={_KEY_PAIR_ID}"
    return [sys.executable, str(Path(__file__).parent / "redirect_constant.py"), str(port), constant]


def _gunicorn(port: int, home: Path, app: str) -> list[str]:
    settings = home / "gunicorn.conf.py"
    here = Path(__file__).parent
    settings.write_text(_GUNICORN.format(port=port, workers=WORKERS, threads=THREADS, here=here))
    return [str(Path(sys.executable).parent / "gunicorn"), "-c", str(settings), app]


_WAYS: dict[str, Callable[[Place, Setting, int, Path], list[str]]] = {
    OURS: _by_gunicorn,
    SERVE: _by_command,
    DISTRIBUTION: _distribution,
    BARE: _bare,
}


def versions() -> dict[str, str]:
    """Return the versions of what answers, of what it stands on and of what asks."""
    from importlib.metadata import version

    import registries

    found = {name: registries.version(name) for name in (OURS, DISTRIBUTION)}
    found |= {name: version(name) for name in ("gunicorn", "cryptography", "rsa", "boto3", "werkzeug")}
    for name, package in (("wrk", "wrk"), ("hey", "hey")):
        asked = ["dpkg-query", "--show", "--showformat=${Version}", package]
        answer = subprocess.run(asked, capture_output=True, text=True, check=False)
        found[name] = answer.stdout or "unknown"
    return found
