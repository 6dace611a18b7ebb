"""nginx, HAProxy and Apache in front of the registry, each with the file that ships."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from lab import PROJECT
from lab.clients import Skopeo
from lab.images import Image, blobs_in
from lab.required import cannot_run
from lab.servers import CFMIDDLEWARE, Server, eventually, free_port, free_ports, running
from lab.serving import wait_for_greeting
from lab.tls import write_certificate
from lab.wire import Wire, running_wire
from lab.wrapped import block
from lab.wsgi_server import running_app

from cfmiddleware.signing.keys import generate

pytestmark = pytest.mark.servers

DEPLOY = PROJECT / "deploy"
HOST = "registry.example.com"

#: Seconds that anything here may take on a busy machine; it takes far less.
SOON = 30
PROGRAMS = {"PATH": f"{os.environ['PATH']}:/usr/sbin"}

#: Those that the file names, and those that Debian has on anyway.
APACHE_MODULES = (
    *("ssl", "headers", "reqtimeout", "proxy", "proxy_http", "proxy_balancer", "proxy_hcheck"),
    *("lbmethod_bybusyness", "mpm_event", "authz_core", "socache_shmcb", "slotmem_shm"),
)


class Kind(NamedTuple):
    """A proxy, and how its file becomes a server of a test.

    :param main: the configuration that includes the file, as Debian's does; nothing where the file is whole.
    :param command: what runs it in a directory; with `check`, what only looks at its configuration.
    """

    name: str
    file: str
    main: str
    command: Callable[[Path, bool], list[str]]

    def __str__(self) -> str:
        return self.name


def nginx(here: Path, check: bool) -> list[str]:
    return ["nginx", "-p", f"{here}/", "-c", "main.conf", "-e", "stderr", *(["-t"] if check else [])]


def haproxy(here: Path, check: bool) -> list[str]:
    return ["haproxy", "-f", "haproxy.cfg", *(["-c"] if check else [])]


def apache(here: Path, check: bool) -> list[str]:
    # It does not run as root. So root becomes another user, in its own eyes, who has the same files.
    as_another = ["unshare", "--map-user=1000", "--map-group=1000"] if os.getuid() == 0 else []
    return [*as_another, "apache2", "-f", f"{here}/main.conf", "-t" if check else "-DFOREGROUND"]


NGINX = """
daemon off; pid nginx.pid; error_log stderr warn;
events { worker_connections 512; }
http {
  client_body_temp_path body; proxy_temp_path proxy;
  fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  include registry.conf;
}
"""

APACHE = (
    'ServerRoot "{here}"\nDefaultRuntimeDir "{here}"\nServerName localhost\nPidFile httpd.pid\n'
    "Listen 127.0.0.1:{port}\nErrorLog /dev/stderr\nLogLevel warn\n"
    + "".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n" for name in APACHE_MODULES)
    + "Include registry.conf\n"
)

KINDS = (
    Kind("nginx", "nginx/registry.conf", NGINX, nginx),
    Kind("haproxy", "haproxy/haproxy.cfg", "", haproxy),
    Kind("apache2", "apache/registry.conf", APACHE, apache),
)


class Proxy(NamedTuple):
    """A proxy that runs, with the registry behind it."""

    kind: Kind
    here: Path
    port: int
    certificate: Path
    wire: Wire
    server: Server
    registry: Server

    @contextlib.contextmanager
    def connection(self) -> Iterator[http.client.HTTPSConnection]:
        context = ssl.create_default_context(cafile=self.certificate)
        with contextlib.closing(
            http.client.HTTPSConnection("127.0.0.1", self.port, timeout=SOON, context=context)
        ) as connection:
            yield connection

    def asked(self, method: str, path: str, **headers: str) -> http.client.HTTPResponse:
        with self.connection() as connection:
            named = {
                name.replace("-", "_") if name.isupper() else name: text for name, text in headers.items()
            }
            connection.request(method, path, headers={"Host": HOST, **named})
            answer = connection.getresponse()
            answer.read()
            return answer


def placed(text: str, here: Path, port: int, behind: int, debug: int, certificate: Path) -> str:
    """Return a file that ships with this test's ports and paths in place of those in it."""
    for old, new in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("bind :443", f"bind 127.0.0.1:{port}"),
        ("*:443", f"127.0.0.1:{port}"),
        ("127.0.0.1:5000", f"127.0.0.1:{behind}"),
        ("port 5001", f"port {debug}"),
        ("/etc/ssl/registry/fullchain.pem", str(certificate)),
        ("/etc/ssl/registry/privkey.pem", str(certificate)),
        ("/etc/haproxy/registry.pem", str(certificate)),
    ):
        text = text.replace(old, new)
    return text


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trusted") / "registry.crt"
    write_certificate(path)
    return path


class Behind(NamedTuple):
    """The registry behind them."""

    server: Server
    wire: Wire
    debug: int


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    """A registry as the page configures it, and the wire to it."""
    here = tmp_path_factory.mktemp("registry")
    port, debug, edge = free_ports(3)
    (here / "key.pem").write_text(generate("ecdsa").private_pem)
    page = block("proxies", "http:").replace(":5000", f":{port}").replace(":5001", f":{debug}")
    tree = yaml.safe_load(page)
    tree["http"]["draintimeout"] = "1s"  # which the last test waits for
    options = tree["middleware"]["storage"][0]["options"]
    options.update(baseurl=f"http://127.0.0.1:{edge}", privatekey="key.pem", keypairid="K1")
    tree["storage"] = {"filesystem": {"rootdirectory": "objects"}}
    tree["edge"] = {"addr": f"127.0.0.1:{edge}"}
    (here / "config.yml").write_text(yaml.safe_dump(tree))
    with running([CFMIDDLEWARE, "serve", "config.yml"], here, ports=[port, debug, edge]) as server:
        wait_for_greeting(server)
        with running_wire(port) as wire:
            yield Behind(server, wire, debug)


def write(kind: Kind, here: Path, port: int, behind: int, debug: int, certificate: Path) -> None:
    if shutil.which(kind.name, path=PROGRAMS["PATH"]) is None:
        cannot_run(f"{kind.name} is not installed")
    shipped = (DEPLOY / kind.file).read_text()
    (here / Path(kind.file).name).write_text(placed(shipped, here, port, behind, debug, certificate))
    main = kind.main.replace("{here}", str(here)).replace("{port}", str(port))
    (here / "main.conf").write_text(main)


@pytest.fixture(scope="module", params=KINDS, ids=str)
def proxy(
    request: pytest.FixtureRequest,
    behind: Behind,
    certificate: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Proxy]:
    """Each of them."""
    kind: Kind = request.param
    here, port = tmp_path_factory.mktemp(kind.name), free_port()
    write(kind, here, port, behind.wire.port, behind.debug, certificate)
    with running(kind.command(here, False), here, ports=[port], env=PROGRAMS) as server:
        proxy = Proxy(kind, here, port, certificate, behind.wire, server, behind.server)
        assert eventually(lambda: proxy.asked("GET", "/v2/").status == 200), server.stderr
        yield proxy


def test_the_server_finds_nothing_wrong_with_the_file(proxy: Proxy):
    done = subprocess.run(
        proxy.kind.command(proxy.here, True),
        cwd=proxy.here,
        env={**os.environ, **PROGRAMS},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if "warn" in line.lower() or "AH0" in line] == []


def test_an_image_is_pushed_and_pulled(proxy: Proxy, skopeo: Skopeo, image: Image, tmp_path: Path):
    reference, trusted = f"127.0.0.1:{proxy.port}/{proxy.kind}/app:1", str(proxy.certificate.parent)
    skopeo.push(image.layout, reference, "--dest-tls-verify=true", "--dest-cert-dir", trusted)
    skopeo.pull(reference, tmp_path / "back", "--src-tls-verify=true", "--src-cert-dir", trusted)

    assert blobs_in(tmp_path / "back") == blobs_in(image.layout)
    answer = proxy.asked("GET", f"/v2/{proxy.kind}/app/blobs/{image.config}")
    assert answer.status == 307
    assert "Signature=" in answer.headers["Location"]


def test_a_chunked_body_goes_on_as_it_comes(proxy: Proxy):
    """The registry has the first half before the client sends the second, so no disk has it before."""
    half, piece = 4 << 20, b"x" * (1 << 16)
    location = proxy.asked("POST", f"/v2/{proxy.kind}/chunked/blobs/uploads/").headers["Location"]
    path = location.removeprefix(f"https://{HOST}")
    proxy.wire.forget()
    with proxy.connection() as connection:
        connection.putrequest("PATCH", path)
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()

        def send_half() -> None:
            for _ in range(half // len(piece)):
                connection.send(b"%x\r\n%s\r\n" % (len(piece), piece))

        send_half()
        # What is still in the buffers of sockets and of TLS is far less.
        assert eventually(lambda: proxy.wire.sent.count(b"x") > half * 0.9, SOON)
        send_half()
        connection.send(b"0\r\n\r\n")
        answer = connection.getresponse()
        answer.read()
    assert (answer.status, answer.headers["Range"]) == (202, f"0-{2 * half - 1}")


def test_a_body_may_have_any_size(proxy: Proxy):
    proxy.wire.forget()
    with proxy.connection() as connection:
        connection.putrequest("PUT", "/v2/app/blobs/uploads/none")
        connection.putheader("Content-Length", str(10**12))
        connection.endheaders(b"x" * 100_000)
        assert eventually(lambda: b": %d\r\n" % 10**12 in proxy.wire.sent, SOON)


@pytest.mark.parametrize(
    "forged",
    [
        {},
        {"X-Forwarded-Proto": "http", "X-Forwarded-Host": "forged.example"},
        {"Forwarded": "for=192.0.2.66;proto=http;host=forged.example"},
        {"SCRIPT_NAME": "/forged.example", "PATH_INFO": "/v2/forged.example/tags/list"},
    ],
    ids=["nothing", "X-Forwarded", "Forwarded", "SCRIPT_NAME"],
)
def test_urls_are_those_of_the_outside_whatever_a_client_claims(proxy: Proxy, forged: dict[str, str]):
    proxy.wire.forget()

    answer = proxy.asked("POST", "/v2/app/blobs/uploads/", **forged)

    assert answer.status == 202
    assert answer.headers["Location"].startswith(f"https://{HOST}/v2/app/blobs/uploads/")
    assert b"forged.example" not in proxy.wire.sent
    assert b"\r\nhost: %s\r\n" % HOST.encode() in proxy.wire.sent.lower()


def test_the_client_s_address_is_the_one_that_the_proxy_saw(proxy: Proxy):
    proxy.asked("GET", "/v2/", **{"X-Forwarded-For": "192.0.2.66", "X-Request-Id": f"of-{proxy.kind}"})

    def line() -> str:
        return next((one for one in proxy.registry.stderr.splitlines() if f"id=of-{proxy.kind}" in one), "")

    assert eventually(lambda: bool(line()), SOON)
    assert " 127.0.0.1 " in line()
    assert "192.0.2.66" not in line()


def test_a_token_may_have_64_kib(proxy: Proxy):
    assert proxy.asked("GET", "/v2/", Authorization="Bearer " + "a" * 65_000).status == 200


def test_a_path_goes_on_as_it_was_sent(proxy: Proxy):
    path = f"/v2/app/blobs/sha256%3A{'0' * 64}?a=%7E//b"
    proxy.wire.forget()
    proxy.asked("GET", path)
    assert b"GET %s HTTP/1.1\r\n" % path.encode() in proxy.wire.sent


def test_a_connection_to_the_registry_is_used_again(proxy: Proxy):
    proxy.wire.forget()
    for _ in range(3):
        proxy.asked("GET", "/v2/")
    assert b"connection: close" not in proxy.wire.sent.lower()


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "path"), [(KINDS[1], "/debug/ready"), (KINDS[2], "/")], ids=["haproxy", "apache2"]
)
def test_an_instance_that_is_not_well_gets_nothing(kind: Kind, path: str, certificate: Path, tmp_path: Path):
    health = ["200 OK"]

    def instance(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response(health[0] if environ["PATH_INFO"] == path else "200 OK", [("Content-Length", "0")])
        return [b""]

    context = ssl.create_default_context(cafile=certificate)

    def status() -> int:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=SOON, context=context)
        with contextlib.closing(connection):
            connection.request("GET", "/v2/", headers={"Host": HOST})
            return connection.getresponse().status

    port = free_port()
    with running_app(instance) as behind:
        write(kind, tmp_path, port, behind, behind, certificate)
        with running(kind.command(tmp_path, False), tmp_path, ports=[port], env=PROGRAMS):
            for health[0], expected in (("200 OK", 200), ("503 Not Ready", 503), ("200 OK", 200)):
                assert eventually(lambda expected=expected: status() == expected, SOON), health
