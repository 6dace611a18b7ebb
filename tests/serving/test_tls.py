"""`http.tls`: what is served over TLS, to whom, and what cannot be."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
import yaml
from lab.clients import ClientError, Skopeo
from lab.images import Image, blobs_in
from lab.servers import CFMIDDLEWARE, Server, eventually, free_port, running
from lab.tls import write_certificate

from cfmiddleware.config import Config
from cfmiddleware.config.tlsoptions import TLSOptions
from cfmiddleware.digest import Digest
from cfmiddleware.errors import ConfigError
from cfmiddleware.serving.certificates import Certificates, certificates_of

pytest.importorskip("gunicorn")


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with two certificates, each with its key in the same file."""
    directory = tmp_path_factory.mktemp("certificates")
    for name in ("server.pem", "client.pem"):
        write_certificate(directory / name)
    return directory


def tree(port: int, grace: int = 1, **section: Any) -> dict[str, Any]:
    return {
        "storage": {"filesystem": {"rootdirectory": "objects"}},
        "server": {"workers": 1, "uploads": 4, "uploadwait": 0, "gracefultimeout": grace},
        "http": {"addr": f"127.0.0.1:{port}", "tls": section},
    }


class Served(NamedTuple):
    """A registry that speaks TLS, and whom its clients trust."""

    server: Server
    port: int
    trusted: Path

    def ask(
        self, method: str, path: str, body: bytes | None = None, certificate: Path | None = None
    ) -> http.client.HTTPResponse:
        context = ssl.create_default_context(cafile=str(self.trusted))
        if certificate:
            context.load_cert_chain(certificate)
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=20, context=context)
        with contextlib.closing(connection):
            connection.request(method, path, body)
            answer = connection.getresponse()
            answer.body = answer.read()  # type: ignore[attr-defined]  # read while there is a connection
            return answer


@contextlib.contextmanager
def serving_tls(directory: Path, material: Path, **section: Any) -> Iterator[Served]:
    server = str(material / "server.pem")
    port = free_port()
    file = directory / "config.yml"
    file.write_text(yaml.safe_dump(tree(port, certificate=server, key=server, **section)))
    with running([CFMIDDLEWARE, "serve", str(file)], directory / "process", ports=[port]) as running_server:
        yield Served(running_server, port, material / "server.pem")


@pytest.fixture(scope="module")
def served(material: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving_tls(tmp_path_factory.mktemp("served"), material) as service:
        yield service


# What is served


def test_blobs_are_pushed_and_pulled_over_tls(served: Served):
    digest = Digest.of(b"layer")

    assert served.ask("POST", f"/v2/app/blobs/uploads/?digest={digest}", b"layer").status == 201
    answer = served.ask("GET", f"/v2/app/blobs/{digest}")
    assert (answer.status, answer.body) == (200, b"layer")  # type: ignore[attr-defined]  # see ask


def test_locations_are_https(served: Served):
    location = served.ask("POST", "/v2/app/blobs/uploads/").headers["Location"]

    assert urlsplit(location)[:2] == ("https", f"127.0.0.1:{served.port}")


def test_the_command_prints_an_https_address_and_lines_that_check_it(served: Served):
    out = served.server.stdout

    assert f"registry  https://127.0.0.1:{served.port}\n" in out
    assert f'curl -i "https://127.0.0.1:{served.port}/v2/' in out
    assert "http://" not in out
    assert "tls-verify=false" not in out


def test_a_client_that_speaks_no_tls_is_told_so(served: Served):
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as raw:
        raw.sendall(b"GET /v2/ HTTP/1.1\r\nHost: registry\r\n\r\n")
        received = b""
        while data := raw.recv(65536):
            received += data

    assert received.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"this port speaks HTTPS" in received
    assert served.ask("GET", "/v2/").status == 200
    assert "Traceback" not in served.server.stderr


def test_clients_that_go_away_at_any_point_leave_one_line_each(served: Served):
    context = ssl.create_default_context(cafile=str(served.trusted))
    digest = Digest.of(large := os.urandom(1 << 20) * 16)
    push = f"/v2/gone/blobs/uploads/?digest={digest}"
    assert served.ask("POST", push, large).status == 201
    pulling = f"GET /v2/gone/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    pushing = f"POST {push} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(large)}\r\n\r\n".encode()

    def begun(sent: bytes) -> socket.socket:
        """Return a connection below TLS, on which a request is under way."""
        raw = socket.create_connection(("127.0.0.1", served.port), timeout=20)
        secured = context.wrap_socket(raw, server_hostname="127.0.0.1")
        secured.sendall(sent)
        if sent is pulling:
            assert secured.recv(1000)
        return socket.socket(fileno=secured.detach())

    for sent in (pulling, pushing + large[:300_000]):
        begun(sent).close()
        with begun(sent) as half:
            half.shutdown(socket.SHUT_WR)
        with begun(sent) as reset:
            reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with begun(sent) as garbage:
            garbage.sendall(b"no record of TLS" * 20)
    for sent in (b"", b"\x16\x03\x01\x02", b"\x16\x03\x01" + b"x" * 600):
        with socket.create_connection(("127.0.0.1", served.port), timeout=20) as raw:
            raw.sendall(sent)

    assert eventually(lambda: served.server.stderr.count("GET /v2/gone/blobs/") == 4)
    assert eventually(lambda: served.server.stderr.count("POST /v2/gone/blobs/uploads/ 400") == 4)
    assert served.ask("GET", "/v2/").status == 200
    assert "Traceback" not in served.server.stderr


def test_the_end_of_a_connection_is_said(served: Served):
    context = ssl.create_default_context(cafile=str(served.trusted))
    with (
        socket.create_connection(("127.0.0.1", served.port), timeout=20) as raw,
        context.wrap_socket(raw, server_hostname="127.0.0.1", suppress_ragged_eofs=False) as secured,
    ):
        secured.sendall(b"GET /v2/ HTTP/1.1\r\nHost: registry\r\nConnection: close\r\n\r\n")
        received = b""
        while data := secured.recv(65536):  # raises where the connection is merely cut
            received += data

    assert received.startswith(b"HTTP/1.1 200 OK")


def test_a_client_that_says_nothing_does_not_keep_the_server_from_stopping(material: Path, tmp_path: Path):
    with (
        serving_tls(tmp_path, material, grace=30) as service,
        socket.create_connection(("127.0.0.1", service.port)) as silent,
        socket.create_connection(("127.0.0.1", service.port)) as begun,
    ):
        begun.sendall(b"\x16\x03\x01\x02")
        assert service.ask("GET", "/v2/").status == 200  # the others have been accepted before
        service.server.process.send_signal(signal.SIGTERM)
        silent.settimeout(12)  # a handshake has 20 seconds

        assert silent.recv(1) == b""
        assert service.server.process.wait(12) == 0
        assert "were cut" not in service.server.stderr


def test_slow_pushes_beyond_the_limit_are_told_so_and_keep_nobody_waiting(served: Served):
    context = ssl.create_default_context(cafile=str(served.trusted))
    location = urlsplit(served.ask("POST", "/v2/app/blobs/uploads/").headers["Location"]).path

    def slow() -> ssl.SSLSocket:
        raw = socket.create_connection(("127.0.0.1", served.port), timeout=20)
        secured = context.wrap_socket(raw, server_hostname="127.0.0.1")
        head = f"PATCH {location} HTTP/1.1\r\nHost: r\r\nContent-Length: 99999\r\n\r\n"
        secured.sendall(head.encode() + b"x" * 20_000)
        return secured

    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(slow())
        assert eventually(lambda: b" 429 " in answer_of(stack.enter_context(slow())))
        surplus = [stack.enter_context(slow()) for _ in range(40)]

        assert all(b" 429 " in answer_of(upload) for upload in surplus)
        for _ in range(5):
            assert served.ask("GET", "/v2/").status == 200


def answer_of(connection: ssl.SSLSocket) -> bytes:
    connection.settimeout(2)
    try:
        return connection.recv(65536)
    except TimeoutError:
        return b""


@pytest.mark.clients
def test_skopeo_pushes_and_pulls_an_image_and_checks_the_certificate(
    served: Served, skopeo: Skopeo, image: Image, tmp_path: Path
):
    (tmp_path / "trusted").mkdir()
    (tmp_path / "trusted" / "ca.crt").write_bytes(x509_only(served.trusted))
    reference = f"127.0.0.1:{served.port}/team/app:1"
    checked = [str(tmp_path / "trusted"), "--dest-tls-verify=true", "--src-tls-verify=true"]

    skopeo.copy(f"oci:{image.layout}", f"docker://{reference}", "--dest-cert-dir", *checked)
    skopeo.copy(f"docker://{reference}", f"oci:{tmp_path / 'back'}", "--src-cert-dir", *checked)

    assert blobs_in(tmp_path / "back") == blobs_in(image.layout)
    with pytest.raises(ClientError):
        skopeo.copy(f"docker://{reference}", f"oci:{tmp_path / 'untrusted'}", "--src-tls-verify=true")


def x509_only(file: Path) -> bytes:
    """Return the certificate of a file that has its key as well."""
    text = file.read_bytes()
    return text[text.index(b"-----BEGIN CERTIFICATE") :]


# Who must show a certificate, which versions and suites are spoken


def handshake(options: TLSOptions, client: ssl.SSLContext) -> ssl.SSLObject:
    """Return the client's end of a connection, once each side has heard what the other says."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = options.context().wrap_bio(to_server, to_client, server_side=True)
    theirs = client.wrap_bio(to_client, to_server, server_hostname="127.0.0.1")
    for _ in range(5):
        for side in (theirs, ours):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    with contextlib.suppress(ssl.SSLWantReadError):
        ours.read(1)
    with contextlib.suppress(ssl.SSLWantReadError):
        theirs.read(1)
    assert ours.version() == theirs.version() is not None
    return theirs


def options_of(material: Path, **section: Any) -> TLSOptions:
    pair = {"certificate": "server.pem", "key": "server.pem"}
    tls = Config({"http": {"tls": {**pair, **section}}}, "config.yml", material).tls_options()
    assert tls is not None
    return tls


def client_of(material: Path, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(material / "server.pem"))
    context.maximum_version = newest
    return context


def test_tls_1_2_is_the_oldest_that_is_spoken(material: Path):
    options = options_of(material)

    assert handshake(options, client_of(material)).version() == "TLSv1.3"
    assert handshake(options, client_of(material, ssl.TLSVersion.TLSv1_2)).version() == "TLSv1.2"
    assert options.context().minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("section", [{"minimumtls": "tls1.3"}, {"ciphersuites": ["TLS_AES_128_GCM_SHA256"]}])
def test_clients_of_tls_1_2_are_refused_where_the_file_leaves_1_3_alone(
    material: Path, section: dict[str, Any]
):
    options = options_of(material, **section)

    assert handshake(options, client_of(material)).version() == "TLSv1.3"
    with pytest.raises(ssl.SSLError):
        handshake(options, client_of(material, ssl.TLSVersion.TLSv1_2))


@pytest.mark.parametrize(
    ("suite", "name"),
    [
        ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"),
        ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"),
        ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"),
    ],
)
def test_only_the_suites_of_the_file_are_spoken(material: Path, suite: str, name: str):
    options = options_of(material, ciphersuites=[suite, "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"])
    connection = handshake(options, client_of(material, ssl.TLSVersion.TLSv1_2))

    assert connection.cipher()[0] == name  # type: ignore[index]  # there is one after a handshake
    other = client_of(material, ssl.TLSVersion.TLSv1_2)
    other.set_ciphers("ECDHE-ECDSA-AES128-SHA256")
    with pytest.raises(ssl.SSLError):
        handshake(options, other)


@pytest.mark.parametrize(
    ("mode", "with_none", "with_another"),
    [
        (None, False, False),
        ("require-and-verify-client-cert", False, False),
        ("verify-client-cert-if-given", True, False),
    ],
)
def test_clients_show_a_certificate_of_an_authority_that_the_file_names(
    material: Path, mode: str | None, with_none: bool, with_another: bool
):
    options = options_of(material, clientcas=["client.pem"], **({"clientauth": mode} if mode else {}))

    def is_served(certificate: str | None) -> bool:
        client = client_of(material)
        if certificate:
            client.load_cert_chain(material / certificate)
        try:
            handshake(options, client)
        except ssl.SSLError:
            return False
        return True

    assert is_served("client.pem")
    assert is_served(None) is with_none
    assert is_served("server.pem") is with_another


def test_a_client_without_a_certificate_gets_no_answer(material: Path, tmp_path: Path):
    with serving_tls(tmp_path, material, clientcas=[str(material / "client.pem")]) as served:
        assert served.ask("GET", "/v2/", certificate=material / "client.pem").status == 200
        with pytest.raises((ssl.SSLError, ConnectionError)):
            served.ask("GET", "/v2/")


# Renewed certificates


def served_certificate(certificates: Certificates) -> bytes:
    """Return the certificate that a client sees, trusting anyone."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = certificates.context().wrap_bio(to_server, to_client, server_side=True)
    theirs = client.wrap_bio(to_client, to_server)
    for _ in range(4):
        for side in (theirs, ours):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return theirs.getpeercert(binary_form=True) or b""


def certificate_in(file: Path) -> bytes:
    text = file.read_text()
    return ssl.PEM_cert_to_DER_cert(text[text.index("-----BEGIN CERTIFICATE") :])


def test_a_renewed_certificate_is_served_without_a_restart(material: Path, tmp_path: Path):
    file = tmp_path / "pair.pem"
    shutil.copy(material / "server.pem", file)
    certificates = Certificates(TLSOptions(file, file), interval=0)
    assert served_certificate(certificates) == certificate_in(material / "server.pem")

    shutil.copy(material / "client.pem", tmp_path / "new.pem")
    (tmp_path / "new.pem").rename(file)

    assert served_certificate(certificates) == certificate_in(material / "client.pem")


def test_a_certificate_rewritten_in_place_with_its_size_and_times_kept_is_served(
    material: Path, tmp_path: Path
):
    pairs = [(material / name).read_bytes() for name in ("server.pem", "client.pem")]
    length = max(map(len, pairs))
    old, new = (pair.ljust(length, b"\n") for pair in pairs)
    file = tmp_path / "pair.pem"
    file.write_bytes(old)
    os.utime(file, (1_000_000_000, 1_000_000_000))
    certificates = Certificates(TLSOptions(file, file), interval=0)

    with file.open("r+b") as stream:  # as `rsync --times --inplace` writes it
        stream.write(new)
    os.utime(file, (1_000_000_000, 1_000_000_000))

    assert served_certificate(certificates) == certificate_in(material / "client.pem")


@pytest.mark.parametrize("content", [b"", b"no PEM", None])
def test_a_broken_new_file_leaves_the_old_certificate_in_force_and_is_logged(
    material: Path, tmp_path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
):
    file = tmp_path / "pair.pem"
    shutil.copy(material / "server.pem", file)
    certificates = Certificates(TLSOptions(file, file), interval=0)
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)

    for _ in range(2):
        assert served_certificate(certificates) == certificate_in(material / "server.pem")
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "http.tls: what was in force before stays in force: " in caplog.text


# What cannot be


def refusal(section: Any, here: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        certificates_of(Config({"http": {"tls": section}}, "config.yml", here))
    return str(caught.value).replace(f"{here}/", "")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"certificate": "none.pem"}, "certificate: none.pem cannot be read: No such file or directory"),
        ({"key": "none.pem"}, "key: none.pem cannot be read: No such file or directory"),
        ({"certificate": "empty.pem"}, "certificate: empty.pem holds no certificate in PEM"),
        ({"key": "empty.pem"}, "key: empty.pem holds no private key in PEM that fits server.pem"),
        ({"key": "client.pem"}, "key: client.pem is not the key of the certificate server.pem"),
        ({"key": "encrypted.pem"}, "key: encrypted.pem is encrypted; write it without a password"),
        ({"key": None}, "key: this option is required"),
        ({"certificate": ""}, "certificate: this option is required"),
        ({"certificate": "a\0b"}, "certificate: a\\x00b cannot be read: that is not a path"),
        ({"clientcas": ["empty.pem"]}, "clientcas[0]: empty.pem holds no certificate in PEM"),
        ({"clientcas": {"a": 1}}, "clientcas: must be a list"),
        ({"clientauth": "verify-client-cert-if-given"}, "clientauth: goes with 'clientcas'"),
        ({"clientauth": "request-client-cert"}, "clientauth: request-client-cert takes certificates without"),
        ({"clientauth": "perhaps"}, "clientauth: 'perhaps' is none of verify-client-cert-if-given, "),
        ({"minimumtls": "tls1.0"}, "minimumtls: tls1.0 is not safe any more (RFC 8996); choose tls1.2 or"),
        ({"minimumtls": "tls2"}, "minimumtls: 'tls2' is none of tls1.2, tls1.3"),
        (
            {"ciphersuites": ["TLS_NULL"]},
            "ciphersuites[0]: 'TLS_NULL' is not a suite; write it like TLS_ECDHE_",
        ),
        ({"ciphersuites": ["ALL:!x"]}, "ciphersuites[0]: 'ALL:!x' is not a suite"),
        ({"letsencrypt": {"hosts": ["r.example"]}}, "letsencrypt: this version fetches no certificates"),
        ({"certficate": "x"}, "certficate: there is no such option (did you mean 'certificate'?)"),
    ],
)
def test_what_cannot_be_served_is_told_in_one_line(
    material: Path, tmp_path: Path, change: dict[str, Any], line: str
):
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    for name in ("server.pem", "client.pem"):
        shutil.copy(material / name, tmp_path)
    (tmp_path / "empty.pem").touch()
    key = load_pem_private_key((material / "server.pem").read_bytes(), None)
    (tmp_path / "encrypted.pem").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password"))
    )

    told = refusal({"certificate": "server.pem", "key": "server.pem", **change}, tmp_path)

    assert told.startswith(f"config.yml: http.tls.{line}")
    assert "\n" not in told


def test_a_section_that_is_none_is_told(tmp_path: Path):
    assert refusal("yes", tmp_path) == "config.yml: http.tls: must be a section of options"


def test_a_section_of_empty_values_asks_for_nothing(tmp_path: Path):
    section = {"certificate": "", "key": None, "letsencrypt": {"cachefile": "", "hosts": []}}

    assert certificates_of(Config({"http": {"tls": section}}, "config.yml", tmp_path)) is None


def test_the_command_ends_with_one_line_and_status_2(material: Path, tmp_path: Path):
    pair = {"certificate": str(material / "server.pem"), "key": str(material / "client.pem")}
    (tmp_path / "config.yml").write_text(yaml.safe_dump(tree(free_port(), **pair)))

    done = subprocess.run(
        [CFMIDDLEWARE, "serve", "config.yml"], cwd=tmp_path, capture_output=True, text=True, timeout=20
    )

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done
    assert done.stderr.startswith("cfmiddleware: config.yml: http.tls.key: ")
    assert os.listdir(tmp_path) == ["config.yml"]


def test_another_server_is_not_left_to_serve_the_file_without_tls_unsaid(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    from cfmiddleware.server import app

    file = tmp_path / "config.yml"
    file.write_text(yaml.safe_dump(tree(5000, certificate="a.pem", key="a.pem")))

    app(file)

    assert "http.tls: is for 'cfmiddleware serve'; give this server the certificate itself" in caplog.text
