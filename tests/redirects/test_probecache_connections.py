"""`probecache` over real connections: what an app can learn from a server's socket."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import http.client
import os
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from lab import TESTS
from lab.apps import BLOB
from lab.guarded import Environ, Guarded, cached, code
from lab.servers import free_port, running
from lab.signing_material import in_a_fork
from lab.tls import write_certificate


class Knowing(socket.socket):
    user: str


class TestConnections:
    """What an app can learn from the server's own socket."""

    @contextlib.contextmanager
    def connection(self) -> Iterator[socket.socket]:
        with (
            socket.create_server(("127.0.0.1", 0)) as listener,
            socket.create_connection(listener.getsockname(), timeout=10),
            listener.accept()[0] as connection,
        ):
            yield connection

    def test_what_is_told_of_the_client_but_its_port_counts(self, listener: socket.socket):
        app = Guarded(lambda environ: environ["gunicorn.socket"].getpeername()[0] == "127.0.0.2")
        wrapped = cached(app)
        for source, expected in [("127.0.0.2", 307), ("127.0.0.1", 401), ("127.0.0.2", 307)]:
            with (
                socket.create_connection(listener.getsockname(), 10, source_address=(source, 0)),
                listener.accept()[0] as connection,
            ):
                assert code(wrapped, **{"gunicorn.socket": connection}) == expected
        assert app.asked == 2

    def test_on_one_machine_the_clients_process_counts(self, tmp_path: Path):
        with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as stack:
            listener.bind(str(tmp_path / "socket"))
            listener.listen()

            def connect() -> str:
                client = socket.socket(socket.AF_UNIX)
                client.connect(str(tmp_path / "socket"))
                stack.enter_context(client)
                return "connected"

            def of_this_process(environ: Environ) -> bool:
                given = environ["gunicorn.socket"].getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
                return int.from_bytes(given[:4], sys.byteorder) == os.getpid()

            app = Guarded(of_this_process)
            wrapped = cached(app)
            for connecting, expected in [(connect, 307), (lambda: in_a_fork(connect), 401), (connect, 307)]:
                assert connecting() == "connected"
                mine = stack.enter_context(listener.accept()[0])
                assert code(wrapped, **{"gunicorn.socket": mine}) == expected
            assert app.asked == 2

    def test_one_that_is_closed_tells_nothing(self):
        with self.connection() as connection:
            pass
        app = Guarded(lambda environ: True)
        wrapped = cached(app)
        for _ in range(2):
            assert code(wrapped, **{"gunicorn.socket": connection}) == 307
        assert app.asked == 2

    def test_one_that_knows_more_than_others_is_an_object_like_any(self, listener: socket.socket):
        app = Guarded(lambda environ: environ["gunicorn.socket"].user == "ann")
        wrapped = cached(app)
        with socket.create_connection(listener.getsockname(), 10), listener.accept()[0] as plain:
            connection = Knowing(fileno=plain.detach())
            for user, expected in [("ann", 307), ("bob", 401)]:
                connection.user = user
                assert code(wrapped, **{"gunicorn.socket": connection}) == expected
            connection.close()

    def test_one_under_another_name_is_an_object_like_any(self):
        app = Guarded(lambda environ: True)
        wrapped = cached(app)
        with self.connection() as connection:
            for _ in range(2):
                assert code(wrapped, **{"outer.backend": connection}) == 307
        assert app.asked == 2

    def test_the_clients_certificate_counts(self, certificates: Path, listener: socket.socket):
        served = der(certificates / "ann.pem")
        app = Guarded(lambda environ: environ["gunicorn.socket"].getpeercert(binary_form=True) == served)
        wrapped = cached(app)
        for name, expected in [("ann", 307), ("bob", 401), (None, 401), ("ann", 307)]:
            with secured(listener, certificates, name) as connection:
                assert code(wrapped, **{"gunicorn.socket": connection}) == expected
        assert app.asked == 3

    def test_how_it_is_secured_counts(self, certificates: Path, listener: socket.socket):
        app = Guarded(lambda environ: environ["gunicorn.socket"].version() == "TLSv1.3")
        wrapped = cached(app)
        for newest, expected in [(ssl.TLSVersion.TLSv1_3, 307), (ssl.TLSVersion.TLSv1_2, 401)]:
            with secured(listener, certificates, "ann", newest) as connection:
                assert code(wrapped, **{"gunicorn.socket": connection}) == expected

    def test_a_mark_that_somebody_has_left_on_it_counts(self, certificates: Path, listener: socket.socket):
        """As who looks at the name that a client asks for (SNI) leaves it there for the app."""
        app = Guarded(lambda environ: environ["gunicorn.socket"].sni == "inside.example")
        wrapped = cached(app)
        for name, expected in [("inside.example", 307), ("outside.example", 401)]:
            with secured(listener, certificates, "ann") as connection:
                connection.sni = name  # type: ignore[attr-defined]
                assert code(wrapped, **{"gunicorn.socket": connection}) == expected

    def test_one_that_is_gone_is_no_object_to_warn_of(self, caplog: pytest.LogCaptureFixture):
        wrapped = cached(Guarded(lambda environ: True))
        with self.connection() as connection:
            connection.close()
            assert code(wrapped, **{"gunicorn.socket": connection}) == 307
        assert "probecache" not in caplog.text


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a server's certificate, and two of clients that differ in nothing but their keys."""
    directory = tmp_path_factory.mktemp("certificates")
    write_certificate(directory / "server.pem")
    issuer = ec.generate_private_key(ec.SECP256R1())
    (directory / "clients.pem").write_bytes(certified("the authority", issuer, issuer))
    for name in ("ann", "bob"):
        holder = ec.generate_private_key(ec.SECP256R1())
        private = holder.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (directory / f"{name}.pem").write_bytes(private + certified("a client", holder, issuer))
    return directory


def certified(subject: str, holder: ec.EllipticCurvePrivateKey, issuer: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a certificate of *holder* by *issuer*, called "the authority", as PEM."""
    today = datetime.datetime.now(datetime.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the authority")]))
        .public_key(holder.public_key())
        .serial_number(7)
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=holder is issuer, path_length=None), critical=True)
        .sign(issuer, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.PEM)


def der(file: Path) -> bytes:
    text = file.read_text()
    return ssl.PEM_cert_to_DER_cert(text[text.index("-----BEGIN CERTIFICATE") :])


def client_context(certificates: Path, name: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificates / "server.pem"))
    if name:
        context.load_cert_chain(certificates / f"{name}.pem")
    return context


@contextlib.contextmanager
def secured(
    listener: socket.socket,
    certificates: Path,
    name: str | None,
    newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> Iterator[ssl.SSLSocket]:
    """Yield the server's end of a connection by a client who shows the certificate of that name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem")
    context.load_verify_locations(certificates / "clients.pem")
    context.verify_mode = ssl.CERT_OPTIONAL
    client = client_context(certificates, name)
    client.maximum_version = newest
    done = threading.Event()

    def connect() -> None:
        plain = socket.create_connection(listener.getsockname(), timeout=10)
        with client.wrap_socket(plain, server_hostname="127.0.0.1"):
            done.wait(10)

    thread = threading.Thread(target=connect)
    thread.start()
    try:
        with context.wrap_socket(listener.accept()[0], server_side=True) as connection:
            yield connection
    finally:
        done.set()
        thread.join()


# Under gunicorn: its own environ, its own sockets


@contextlib.contextmanager
def gunicorn(factory: str, directory: Path, *arguments: str, **variables: str) -> Iterator[tuple[int, Path]]:
    """Serve what a function of `lab.guarded` returns, and yield the port and the file of notes."""
    port, notes = free_port(), directory / "notes"
    command = [sys.executable, "-m", "gunicorn", f"lab.guarded:{factory}()"]
    command += ["--bind", f"127.0.0.1:{port}", "--worker-class", "gthread", "--graceful-timeout", "1"]
    command += ["--pythonpath", str(TESTS), *arguments]
    notes.touch()
    with running(command, directory, ports=[port], env={"TEST_NOTES": str(notes), **variables}):
        yield port, notes


def status_of(connection: http.client.HTTPConnection, **headers: str) -> int:
    with contextlib.closing(connection):
        connection.request("GET", BLOB, headers=headers)
        return connection.getresponse().status


def test_gunicorns_own_requests_are_remembered(tmp_path: Path):
    def pull(token: str, agent: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        return status_of(connection, Authorization=f"Bearer {token}", **{"User-Agent": agent})

    with gunicorn("by_token", tmp_path) as (port, notes):
        assert [pull("let-me-in", agent) for agent in ("one", "two")] == [307, 307]
        assert notes.read_text() == "asked\n"
        assert [pull("let-me-out", "one"), pull("", "one")] == [401, 401]


def test_gunicorns_clients_are_told_apart_by_their_certificates(tmp_path: Path, certificates: Path):
    def pull(name: str | None) -> int:
        context = client_context(certificates, name)
        return status_of(http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=context))

    secured = ["--certfile", str(certificates / "server.pem"), "--keyfile", str(certificates / "server.pem")]
    secured += ["--ca-certs", str(certificates / "clients.pem"), "--cert-reqs", str(int(ssl.CERT_OPTIONAL))]
    served = hashlib.sha256(der(certificates / "ann.pem")).hexdigest()
    with gunicorn("by_certificate", tmp_path, *secured, TEST_SERVED=served) as (port, notes):
        assert [pull("ann"), pull("ann")] == [307, 307]
        assert notes.read_text() == "asked\n"
        assert [pull("bob"), pull(None), pull("ann")] == [401, 401, 307]
