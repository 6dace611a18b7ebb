"""What cannot work is told in one line on stderr, with status 2, and leaves nothing running."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.servers import CFMIDDLEWARE, free_port
from lab.serving import bound

WRAPPER = (
    "middleware: {storage: [{name: cloudfront, options: {baseurl: https://d.example, privatekey: no.pem}}]}"
)


def refusal(*arguments: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    """Run the command, which must refuse, and return its one line."""
    done = subprocess.run(
        [CFMIDDLEWARE, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert (done.returncode, done.stdout) == (2, ""), done
    assert done.stderr.startswith("cfmiddleware: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.endswith("\n")
    return done.stderr.removeprefix("cfmiddleware: ").removesuffix("\n")


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that something else listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def addresses(port: int, edge_port: int) -> list[str]:
    return ["--addr", f"127.0.0.1:{port}", "--edge-addr", f"127.0.0.1:{edge_port}"]


def test_a_taken_port_is_told_with_the_option_that_changes_it(tmp_path: Path, taken: int):
    line = refusal("serve", "--data", "data", *addresses(taken, free_port()), cwd=tmp_path)

    assert (
        line == f"127.0.0.1:{taken} is taken: stop what listens there, or choose another address with --addr"
    )


def test_an_edges_taken_port_is_told_and_the_registry_does_not_run(tmp_path: Path, taken: int):
    port = free_port()
    line = refusal("serve", "--data", "data", *addresses(port, taken), cwd=tmp_path)

    assert line.startswith(f"127.0.0.1:{taken} is taken")
    assert line.endswith("with --edge-addr")
    assert not bound(port)


def test_a_files_taken_port_is_told_with_the_place_in_the_file(tmp_path: Path, taken: int):
    (tmp_path / "config.yml").write_text(f"storage: {{inmemory: }}\nhttp: {{addr: '127.0.0.1:{taken}'}}")

    assert refusal("serve", "config.yml", cwd=tmp_path).endswith("another address with config.yml: http.addr")


@pytest.mark.parametrize(
    ("option", "address", "words"),
    [
        ("--addr", "foo", "--addr: 'foo' is not an address; write it like 127.0.0.1:5000"),
        (
            "--addr",
            "8.8.8.8:5000",
            "cannot listen on 8.8.8.8:5000: Cannot assign requested address; see --addr",
        ),
        ("--addr", "a..b:5000", "--addr: 'a..b:5000' is not an address; write it like 127.0.0.1:5000"),
        (
            "--addr",
            f"{'a' * 64}:5000",
            f"cannot listen on {'a' * 64}:5000: '{'a' * 64}' is not a host's name",
        ),
        ("--edge-addr", "127.0.0.1:99999", "--edge-addr: '127.0.0.1:99999' is not an address"),
        ("--edge-addr", "127.0.0.1:0", "--edge-addr: choose a port"),
    ],
)
def test_an_address_that_cannot_be_is_told_under_its_option(
    tmp_path: Path, option: str, address: str, words: str
):
    assert refusal("serve", "--data", "data", option, address, cwd=tmp_path).startswith(words)


@pytest.mark.parametrize("below", ["file/data", "file"])
def test_a_directory_that_cannot_be_made_is_told_with_what_to_do(tmp_path: Path, below: str):
    (tmp_path / "file").write_text("")
    line = refusal("serve", "--data", below, cwd=tmp_path)

    assert line.startswith(f"{tmp_path}/file")
    assert "the data cannot be kept here: Not a directory" in line
    assert line.endswith("choose a directory that you may write with --data")


def test_an_unwritable_directory_is_told(tmp_path: Path):
    """Root may write wherever there are permissions to ask; nobody makes directories in /proc."""
    line = refusal("serve", "--data", "/proc/cfmiddleware", cwd=tmp_path)

    assert line.startswith("/proc/cfmiddleware: the data cannot be kept here: ")
    assert line.endswith("choose a directory that you may write with --data")


def test_a_storage_directory_of_a_file_that_cannot_be_made_is_told(tmp_path: Path):
    (tmp_path / "file").write_text("")
    (tmp_path / "config.yml").write_text("storage: {filesystem: {rootdirectory: file/objects}}")
    line = refusal("serve", "config.yml", "--addr", f"127.0.0.1:{free_port()}", cwd=tmp_path)

    assert line.startswith("config.yml: storage.filesystem.rootdirectory: ")
    assert f"{tmp_path}/file" in line


def test_a_broken_key_of_an_earlier_start_is_told(tmp_path: Path):
    (tmp_path / "data" / "keys").mkdir(parents=True)
    (tmp_path / "data" / "keys" / "pk-KBROKEN.pem").write_text("no key")

    line = refusal("serve", "--data", "data", *addresses(free_port(), free_port()), cwd=tmp_path)

    assert "pk-KBROKEN.pem: is not PEM" in line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("storage: [", "config.yml, line 1: this is not YAML"),
        ("", "config.yml: a configuration is a mapping of sections"),
        (
            "storage: {inmemory: }\nhtpp: {}",
            "config.yml: htpp: there is no such section (did you mean 'http'?)",
        ),
        ("storage: {inmemory: }\nauth: {token: {}}", "config.yml: auth.token.realm: this option is required"),
        ("storage: {inmemory: }\nedge: {addr: x}", "config.yml: edge.addr: 'x' is not an address"),
        ("storage: {inmemory: }\nedge: {}", "config.yml: edge.publickeys: is required where there is no"),
        (f"storage: {{inmemory: }}\n{WRAPPER}", "config.yml: middleware.storage[0].options.privatekey: "),
        ("storage: {s3: {region: r}}", "config.yml: storage.s3.bucket"),
    ],
)
def test_a_bad_configuration_is_told_with_its_place(tmp_path: Path, text: str, words: str):
    (tmp_path / "config.yml").write_text(text)
    port = free_port()

    assert refusal("serve", "config.yml", "--addr", f"127.0.0.1:{port}", cwd=tmp_path).startswith(words)
    assert not bound(port)


def test_a_variable_that_cannot_be_is_told(tmp_path: Path):
    (tmp_path / "config.yml").write_text("storage: {inmemory: }")
    variables = {"REGISTRY_HTTP_ADDR": "["}

    assert "REGISTRY_HTTP_ADDR: the value is not YAML" in refusal(
        "serve", "config.yml", cwd=tmp_path, env=variables
    )


@pytest.mark.parametrize("command", ["serve", "edge"])
@pytest.mark.parametrize(
    ("file", "why"), [("none.yml", "No such file or directory"), (".", "Is a directory")]
)
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, command: str, file: str, why: str):
    line = refusal(command, file, cwd=tmp_path)

    assert line == f"{file}: the configuration cannot be read: {why}"


def test_an_edge_without_storage_or_keys_is_told(tmp_path: Path):
    (tmp_path / "config.yml").write_text("storage: {inmemory: }")

    assert refusal("edge", "config.yml", cwd=tmp_path).startswith("config.yml: edge.publickeys: is required")


def test_options_that_contradict_the_file_are_told(tmp_path: Path):
    (tmp_path / "config.yml").write_text("storage: {inmemory: }")
    port = f"127.0.0.1:{free_port()}"

    assert refusal("serve", "config.yml", "--data", "x", cwd=tmp_path).startswith(
        "--data goes without CONFIG"
    )
    assert refusal("serve", "config.yml", "--addr", port, "--edge-addr", port, cwd=tmp_path) == (
        "--edge-addr: config.yml asks for no edge; give it an 'edge' section"
    )


@pytest.mark.parametrize("command", [["serve"], ["edge", "config.yml"]])
def test_without_gunicorn_the_extra_to_install_is_told(tmp_path: Path, command: list[str]):
    program = (
        "import sys; sys.modules['gunicorn'] = None; from cfmiddleware.cli import main; sys.exit(main())"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, *command], cwd=tmp_path, capture_output=True, text=True, timeout=20
    )

    assert done.returncode == 2
    assert done.stderr == "cfmiddleware: gunicorn is not installed; install cfmiddleware[server]\n"


def test_a_gunicorn_that_is_too_old_for_the_command_is_named(tmp_path: Path):
    program = (
        "import gunicorn, sys; gunicorn.version_info, gunicorn.__version__ = (23, 0, 0), '23.0.0'; "
        "from cfmiddleware.cli import main; sys.exit(main())"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, "serve"], cwd=tmp_path, capture_output=True, text=True, timeout=20
    )

    assert done.returncode == 2
    assert done.stderr == (
        "cfmiddleware: gunicorn 23.0.0 is too old for this command: install 'gunicorn>=27.0', or start that "
        "one yourself: gunicorn -k gevent 'cfmiddleware.server:app(\"config.yml\")'\n"
    )


def test_an_edge_of_a_storage_in_memory_is_told_to_be_blind(tmp_path: Path):
    wrapper = WRAPPER.replace("no.pem", "pk-K1.pem")
    (tmp_path / "config.yml").write_text(f"storage: {{inmemory: }}\n{wrapper}\nedge: {{addr: '127.0.0.1:0'}}")
    subprocess.run([CFMIDDLEWARE, "keygen", "--out", "pk-K1"], cwd=tmp_path, check=True, capture_output=True)

    line = refusal("serve", "config.yml", "--addr", f"127.0.0.1:{free_port()}", cwd=tmp_path)

    assert line == (
        "config.yml: edge: cannot see a storage in the memory of another process; "
        "choose one that processes share"
    )


@pytest.mark.parametrize("fault", ["taken port", "taken edge port", "storage"])
def test_what_a_start_has_to_say_does_not_stand_in_front_of_why_it_failed(
    tmp_path: Path, taken: int, fault: str
):
    wrapper = WRAPPER.replace("no.pem", "pk-K1.pem, rootdirectory: /team/prod")
    subprocess.run([CFMIDDLEWARE, "keygen", "--out", "pk-K1"], cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "file").write_text("where a directory should be")
    place = "file/objects" if fault == "storage" else "objects"
    edge = taken if fault == "taken edge port" else free_port()
    (tmp_path / "config.yml").write_text(
        f"storage: {{filesystem: {{rootdirectory: {place}}}}}\n{wrapper}\n"
        "policy: {repository: {classes: [image]}}\n"
        f"edge: {{addr: '127.0.0.1:{edge}'}}"
    )

    port = taken if fault == "taken port" else free_port()
    line = refusal("serve", "config.yml", "--addr", f"127.0.0.1:{port}", cwd=tmp_path)

    assert "config.yml" in line or str(taken) in line


@pytest.mark.parametrize("address", ["0.0.0.0:15001", ":15001", "[::]:15001"])
def test_an_edge_at_every_address_is_refused_for_no_redirect_could_name_it(tmp_path: Path, address: str):
    line = refusal("serve", "--data", "data", "--edge-addr", address, cwd=tmp_path)

    assert line == "--edge-addr: choose the address that clients are to be sent to; redirects name it"
