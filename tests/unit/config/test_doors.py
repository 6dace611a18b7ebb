"""Whatever door a configuration comes in by, a mistake in it gets the same line, used or not."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cfmiddleware import server
from cfmiddleware.cli import main
from cfmiddleware.config import Config
from cfmiddleware.digest import Digest
from cfmiddleware.errors import ConfigError
from cfmiddleware.paste import edge_factory, filter_factory, registry_factory
from cfmiddleware.serving import supervisor
from cfmiddleware.signing.keys import generate
from cfmiddleware.storage.factory import DRIVERS

NO_DRIVER = f"names no driver; there are {', '.join(DRIVERS)}"

WORKS = """
version: 0.1
log: {level: info}
storage:
  inmemory: {}
  redirect: {disable: true}
http: {addr: "127.0.0.1:0"}
middleware:
  storage:
    - name: cloudfront
      options: {baseurl: https://d111111abcdef8.cloudfront.net, privatekey: pk-KEXAMPLE1.pem}
edge: {addr: "127.0.0.1:0"}
"""

#: A text of `WORKS`, what takes its place, and the line.
MISTAKES = [
    ("version: 0.1", "version: 0.2", "version: 0.2 is not known; it is 0.1"),
    ("version: 0.1", "loog: {}", "loog: there is no such section (did you mean 'log'?)"),
    (
        "version: 0.1",
        "proxy: {remoteurl: https://registry-1.docker.io}",
        "proxy.remoteurl: this version is not a pull-through cache: it would be an empty registry, to which "
        "clients may push under the names of the other one; take the section out, or serve the mirror with "
        "Distribution",
    ),
    ("level: info", "level: shouting", "log.level: 'shouting' is none of error, warn, warning, info, debug"),
    ("level: info", "fields: [1]", "log.fields: must map names to values"),
    (
        "level: info",
        "fields: {time: 1}",
        "log.fields.time: lines have a 'time' of their own; choose another name",
    ),
    (
        "level: info",
        "accesslog: {disable: 1}",
        "log.accesslog.disable: there is no such option (did you mean 'disabled'?)",
    ),
    (
        'addr: "127.0.0.1:0"',
        "addr: nonsense",
        "http.addr: 'nonsense' is not an address; write it like 127.0.0.1:5000",
    ),
    (
        'addr: "127.0.0.1:0"',
        "tls: {certificat: x}",
        "http.tls.certificat: there is no such option (did you mean 'certificate'?)",
    ),
    ('addr: "127.0.0.1:0"', "tls: {certificate: x}", "http.tls.key: this option is required"),
    (
        'addr: "127.0.0.1:0"',
        "host: example",
        "http.host: 'example' is not a URL; write it like https://registry.example.com",
    ),
    (
        'addr: "127.0.0.1:0"',
        "headers: {Date: [x]}",
        "http.headers.Date: is written by the server itself, as the connection needs it",
    ),
    (
        'addr: "127.0.0.1:0"',
        "draintimeout: soon",
        "http.draintimeout: 'soon' is not a duration; write seconds (1200) or Go's form (20m, 1h30m)",
    ),
    ("inmemory: {}", "inmemory: {root: x}", "storage.inmemory.root: there is no such option"),
    (
        "inmemory: {}",
        "filesystem: {rotdirectory: x}",
        "storage.filesystem.rotdirectory: there is no such option (did you mean 'rootdirectory'?)",
    ),
    (
        "inmemory: {}",
        "s3: {region: us-east-1}",
        "storage.s3.bucket: is missing; it is the name of the bucket that holds the registry",
    ),
    ("inmemory: {}", "delete: {}", f"storage: {NO_DRIVER}"),
    (
        "inmemory: {}",
        "inmemory: {}\n  delete: {enabled: maybe}",
        "storage.delete.enabled: 'maybe' is neither true nor false",
    ),
    (
        "inmemory: {}",
        "inmemory: {}\n  maintenance: {readonly: 1}",
        "storage.maintenance.readonly: must be a section with 'enabled'",
    ),
    (
        "inmemory: {}",
        "inmemory: {}\n  cache: {blobdescriptor: disk}",
        "storage.cache.blobdescriptor: 'disk' is none of inmemory, redis (did you mean 'redis'?)",
    ),
    (
        "inmemory: {}",
        "inmemory: {}\n  cache: {blobdescriptor: redis}",
        "storage.cache.blobdescriptor: redis needs a section 'redis' with 'addr'",
    ),
    ("disable: true", "disable: perhaps", "storage.redirect.disable: 'perhaps' is neither true nor false"),
    ("version: 0.1", "redis: {adr: x}", "redis.adr: there is no such option (did you mean 'addr'?)"),
    (
        "version: 0.1",
        "redis: {addr: x}",
        "redis.addr: must be a host and a port; write it like redis.example.com:6379",
    ),
    ("version: 0.1", "catalog: {maxentries: 0}", "catalog.maxentries: 0 is not a whole number of at least 1"),
    ("version: 0.1", "tags: {maxtag: 5}", "tags.maxtag: there is no such option (did you mean 'maxtags'?)"),
    (
        "version: 0.1",
        "validation: {manifests: {layers: some}}",
        "validation.manifests.layers: 'some' is none of all, none",
    ),
    ("version: 0.1", "auth: {htpasswd: {realm: x}}", "auth.htpasswd.path: this option is required"),
    (
        "version: 0.1",
        "auth: {htpasswd: {realm: ä, path: x}}",
        "auth.htpasswd.realm: must be printable ASCII; clients get it in a header",
    ),
    (
        "version: 0.1",
        "auth: {token: {realm: r, service: s, issuer: i}}",
        "auth.token.rootcertbundle: this option or 'jwks' is required: tokens are checked with it",
    ),
    (
        "version: 0.1",
        "server: {requestline: 8}",
        "server.requestline: 8 is not a whole number from 1024 to 1048576",
    ),
    ("version: 0.1", "server: {bodytimeout: 2h}", "server.bodytimeout: '2h' must be from 1ms to 1h"),
    (
        "version: 0.1",
        "server: {worker: 1}",
        "server.worker: there is no such option (did you mean 'workers'?)",
    ),
    (
        "baseurl:",
        "basurl:",
        "middleware.storage[0].options.basurl: there is no such option (did you mean 'baseurl'?)",
    ),
    (
        "privatekey: pk",
        "duration: soon, privatekey: pk",
        "middleware.storage[0].options.duration: 'soon' is not a duration; write seconds (1200) or "
        "Go's form (20m, 1h30m)",
    ),
    (
        "privatekey: pk",
        "originpath: /other, privatekey: pk",
        "middleware.storage[0].options.originpath: no key can start with '/other'; the keys are "
        "below '/' (rootdirectory)",
    ),
    (
        "privatekey: pk",
        "networks: 10.0.0.0/8, privatekey: pk",
        "middleware.storage[0].options.networks: would send clients to S3, but nothing here signs its "
        "URLs; it needs storage.s3 in a config.yml, or presign=... in Python",
    ),
    (
        "name: cloudfront",
        "name: cloudfornt",
        "middleware.storage[0].name: 'cloudfornt' is unknown; there are 'cloudfront', 'redirect' and "
        "'rewrite'",
    ),
    (
        'edge: {addr: "127.0.0.1:0"}',
        "edge: {orginpath: /x}",
        "edge.orginpath: there is no such option (did you mean 'originpath'?)",
    ),
    (
        'edge: {addr: "127.0.0.1:0"}',
        "edge: {addr: x}",
        "edge.addr: 'x' is not an address; write it like 127.0.0.1:5000",
    ),
    (
        'edge: {addr: "127.0.0.1:0"}',
        "edge: {publickeys: []}",
        "edge.publickeys: must map a Key-Pair-Id to the file of its public key",
    ),
    (
        'edge: {addr: "127.0.0.1:0"}',
        "edge: {storage: {delete: {}}}",
        f"edge.storage: {NO_DRIVER}",
    ),
]


def command(*arguments: str) -> Callable[[Path], object]:
    """Return a door that is a command; `FILE` stands for the configuration's file."""
    return lambda file: main([argument.replace("FILE", str(file)) for argument in arguments])


def paste(factory: Callable[..., Any]) -> Callable[[Path], object]:
    """Return a door that is a factory of PasteDeploy's, which may give a filter."""

    def enter(file: Path) -> object:
        made = factory({"here": str(file.parent)}, config=file.name)
        return made(None) if factory is filter_factory else made

    return enter


DOORS: dict[str, Callable[[Path], object]] = {
    "Config.load": Config.load,
    "server.app": server.app,
    "server.registry": server.registry,
    "server.edge": server.edge,
    "paste filter": paste(filter_factory),
    "paste registry": paste(registry_factory),
    "paste edge": paste(edge_factory),
    "serve": command("serve", "FILE"),
    "edge": command("edge", "FILE"),
    "sign": command("sign", str(Digest.of(b"")), "--config", "FILE"),
    "referrers": command("referrers", "FILE"),
}


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let no command serve or keep its signal handlers, and no factory take this process for gunicorn."""
    monkeypatch.setattr(supervisor, "run", lambda *arguments: 0)
    monkeypatch.delitem(sys.modules, "gunicorn.arbiter", raising=False)
    # Whatever version is installed: nothing is served here.
    monkeypatch.setattr("cfmiddleware.cli.serve.check_gunicorn", lambda: None)
    handlers = {number: signal.getsignal(number) for number in ENDING}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


#: The signals that the commands handle.
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


def told(door: str, file: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the line that the door tells a mistake with; an empty text where it lets the file in."""
    capsys.readouterr()
    try:
        status = DOORS[door](file)
    except ConfigError as error:
        return str(error)
    if status != 2:
        return ""
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    return line.removeprefix("cfmiddleware: ").removesuffix("\n")


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("text", "mistake", "line"), MISTAKES, ids=[line for *_, line in MISTAKES])
def test_a_mistake_gets_the_same_line_at_every_door(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], door: str, text: str, mistake: str, line: str
):
    assert WORKS.count(text) >= 1
    file = tmp_path / "config.yml"
    file.write_text(WORKS.replace(text, mistake, 1))

    assert told(door, file, capsys) == f"{file}: {line}"


@pytest.mark.parametrize("door", [door for door in DOORS if door not in ("serve", "edge")])
def test_every_door_lets_a_configuration_in_that_has_no_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], door: str
):
    (tmp_path / "pk-KEXAMPLE1.pem").write_text(generate("ecdsa").private_pem)
    file = tmp_path / "config.yml"
    # A command sees nothing of a server's memory.
    works = WORKS.replace("inmemory: {}", "filesystem: {rootdirectory: .}") if door == "referrers" else WORKS
    file.write_text(works)

    assert told(door, file, capsys) == ""


@pytest.mark.parametrize("door", ["Config.load", "server.app", "server.registry", "sign"])
def test_a_file_that_only_another_part_needs_is_not_opened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], door: str
):
    """`sign` may run as a user that cannot read the certificate's key."""
    (tmp_path / "pk-KEXAMPLE1.pem").write_text(generate("ecdsa").private_pem)
    file = tmp_path / "config.yml"
    file.write_text(WORKS.replace("http: {", "http: {tls: {certificate: none.pem, key: none.pem}, "))

    assert told(door, file, capsys) == ""


def test_the_options_of_a_disabled_middleware_are_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """As in Distribution."""
    file = tmp_path / "config.yml"
    disabled = WORKS.replace("name: cloudfront", "name: other\n      disabled: true").partition("edge:")[0]
    file.write_text(disabled.replace("baseurl", "basurl"))

    assert told("server.app", file, capsys) == ""
