"""`cfmiddleware serve` without any configuration: what it says, what it keeps, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from lab.clients import find_program
from lab.servers import eventually
from lab.serving import Service, ask, is_linux, serving, workers

on_linux = pytest.mark.skipif(not is_linux(), reason="looks at processes in /proc, which only Linux has")

#: More than anything here takes, and less than the 30 seconds that requests under way would get.
SOON = 20


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serve") / "data"


@pytest.fixture(scope="module")
def service(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("process"), "--data", str(data)) as running:
        yield running


def key_id(service: Service) -> str:
    """Return the id of the key that signs a redirect."""
    digest = service.push("keys", b"signed")
    return parse_qs(urlsplit(service.redirect("keys", digest)).query)["Key-Pair-Id"][0]


# What it says


def test_it_prints_both_addresses_and_where_the_data_is(service: Service, data: Path):
    out = service.server.stdout

    assert f"registry  http://127.0.0.1:{service.port}\n" in out
    assert f"edge      http://127.0.0.1:{service.edge_port}\n" in out
    assert f"data      {data}/registry\n" in out


def test_it_says_that_anyone_may_push_and_delete(service: Service):
    assert "anyone who reaches the port may push and delete.\n" in service.server.stdout


def test_a_web_page_whose_name_leads_here_may_do_nothing(service: Service):
    digest = service.push("rebound", b"mine")
    blob = f"{service.url}/v2/rebound/blobs/{digest}"

    for headers in ({"Host": f"rebind.evil:{service.port}"}, {"Origin": "https://evil.example"}):
        assert ask("DELETE", blob, headers=headers).status == 403
        assert ask("POST", f"{service.url}/v2/rebound/blobs/uploads/", headers=headers).status == 403
    assert ask("GET", blob).status == 307


def test_it_prints_three_lines_to_try(service: Service):
    lines = service.server.stdout.partition("Try:\n")[2].splitlines()

    assert [line.split()[:2] for line in lines] == [["push", "skopeo"], ["pull", "podman"], ["look", "curl"]]
    assert all(f"127.0.0.1:{service.port}/" in line for line in lines)


def test_the_curl_that_it_prints_shows_the_redirect(service: Service):
    find_program("curl")
    config, layer = service.push("busybox", b"{}"), service.push("busybox", b"layer")
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": str(config), "size": 2},
        "layers": [
            {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": str(layer), "size": 5},
        ],
    }
    pushed = ask(
        "PUT",
        f"{service.url}/v2/busybox/manifests/latest",
        json.dumps(manifest).encode(),
        {"Content-Type": kind},
    )
    assert pushed.status == 201
    command = re.search(r"^  look  (curl .*)$", service.server.stdout, re.MULTILINE)
    assert command is not None

    shown = subprocess.run(["sh", "-c", command[1]], capture_output=True, text=True, timeout=20).stdout

    assert "307 TEMPORARY REDIRECT" in shown.splitlines()[0].upper()
    assert f"Location: http://127.0.0.1:{service.edge_port}/docker/registry/v2/blobs/sha256/" in shown
    assert layer.hex in shown


def test_it_says_nothing_on_stderr_before_the_first_request(tmp_path: Path):
    with serving(tmp_path, "--data", str(tmp_path / "data")) as running:
        assert running.server.stderr == ""


# What it keeps


def test_what_is_pushed_comes_back_from_the_edge(service: Service):
    digest = service.push("team/app", b"some layer" * 1000)

    assert urlsplit(service.redirect("team/app", digest)).port == service.edge_port
    assert service.pull("team/app", digest) == b"some layer" * 1000


def test_the_private_key_is_for_its_owner_alone(service: Service, data: Path):
    (file,) = (data / "keys").iterdir()

    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert file.name == f"pk-{key_id(service)}.pem"


def test_images_can_be_deleted_from_it(service: Service):
    digest = service.push("app", b"unwanted")

    assert ask("DELETE", f"{service.url}/v2/app/blobs/{digest}").status == 202


def test_a_second_start_finds_the_same_data_and_the_same_key(tmp_path: Path):
    data = tmp_path / "data"
    with serving(tmp_path / "first", "--data", str(data)) as first:
        digest, before = first.push("app", b"to stay"), key_id(first)
        key = next((data / "keys").iterdir()).read_bytes()
        assert first.server.stop(signal.SIGINT) == 0
    with serving(tmp_path / "second", "--data", str(data)) as second:
        assert second.pull("app", digest) == b"to stay"
        assert key_id(second) == before

    assert [file.read_bytes() for file in (data / "keys").iterdir()] == [key]


@pytest.mark.parametrize(
    ("variable", "below"), [("XDG_DATA_HOME", "cfmiddleware"), ("HOME", ".local/share/cfmiddleware")]
)
def test_without_options_the_data_is_in_the_users_own_place(tmp_path: Path, variable: str, below: str):
    with serving(tmp_path / "process", env={variable: str(tmp_path / "mine")}) as running:
        digest = running.push("app", b"mine")

        assert f"data      {tmp_path}/mine/{below}/registry\n" in running.server.stdout
    assert list((tmp_path / "mine" / below / "registry").rglob(digest.hex))


def test_a_relative_data_directory_is_where_the_command_was_started(tmp_path: Path):
    with serving(tmp_path, "--data", "here") as running:
        digest = running.push("app", b"here")

        assert running.pull("app", digest) == b"here"
    assert (tmp_path / "here" / "registry" / "docker").is_dir()


# What it logs


def test_every_request_is_a_line_of_the_log_without_its_query(service: Service):
    digest = service.push("logged", b"a logged layer")
    url = service.redirect("logged", digest)
    ask("GET", url)
    ask("GET", f"{url}&x=1")  # refused
    ask("HEAD", f"{service.url}/v2/?Signature=secret")

    def lines() -> str:
        return service.server.stderr

    assert eventually(lambda: len(re.findall(rf" edge GET \S+/{digest.hex}/data ", lines())) == 2)
    assert re.search(rf" edge GET \S+/{digest.hex}/data 200 14 127\.0\.0\.1 ", lines())
    assert re.search(rf" registry GET /v2/logged/blobs/{digest} 307 ", lines())
    assert eventually(lambda: " registry HEAD /v2/ 200 " in lines())
    signature = parse_qs(urlsplit(url).query)["Signature"][0]
    assert signature not in lines() + service.server.stdout
    assert "Signature" not in lines() + service.server.stdout


# How it ends


@on_linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT], ids=lambda n: n.name)
def test_a_signal_ends_everything(tmp_path: Path, number: signal.Signals):
    with serving(tmp_path, "--data", str(tmp_path / "data")) as running:
        for master in running.masters():
            workers(master, 2)
        os.kill(running.server.process.pid, number)

        assert running.server.process.wait(SOON) == 0
        assert running.is_gone()
        assert "Traceback" not in running.server.stderr


@on_linux
def test_ctrl_c_which_reaches_the_whole_group_ends_everything_quietly(tmp_path: Path):
    with serving(tmp_path, "--data", str(tmp_path / "data")) as running:
        os.killpg(running.server.process.pid, signal.SIGINT)

        assert running.server.process.wait(SOON) == 0
        assert running.is_gone()
        (line,) = running.server.stderr.splitlines()
        assert line.endswith("cfmiddleware: stopping: SIGINT")


@on_linux
def test_the_first_signal_lets_an_upload_end_and_the_second_cuts_it_off(tmp_path: Path):
    with serving(tmp_path, "--data", str(tmp_path / "data")) as running:
        with running.slow_upload("app") as upload:
            time.sleep(0.3)  # for the worker to take it up
            os.kill(running.server.process.pid, signal.SIGINT)
            # The edge, which has nothing to do, goes first.
            assert eventually(lambda: len(running.masters()) == 1, SOON)
            assert running.server.process.poll() is None
            upload.sendall(b"x" * 79_999)
            assert b" 202 " in upload.recv(65536).split(b"\r\n")[0]

        assert running.server.process.wait(SOON) == 0

    with serving(tmp_path, "--data", str(tmp_path / "data")) as running, running.slow_upload("app"):
        time.sleep(0.3)
        os.kill(running.server.process.pid, signal.SIGINT)
        assert eventually(lambda: len(running.masters()) == 1, SOON)
        os.kill(running.server.process.pid, signal.SIGINT)

        assert running.server.process.wait(SOON) == 0
        assert running.is_gone()


@on_linux
def test_nothing_outlives_a_command_that_is_killed(tmp_path: Path):
    with serving(tmp_path, "--data", str(tmp_path / "data")) as running:
        for master in running.masters():
            workers(master, 2)
        running.server.process.kill()
        running.server.process.wait()

        assert eventually(running.is_gone, SOON)


@on_linux
@pytest.mark.parametrize("which", ["registry", "edge"])
def test_where_one_server_dies_the_other_is_ended_and_the_status_tells(tmp_path: Path, which: str):
    with serving(tmp_path, "--data", str(tmp_path / "data")) as running:
        os.kill(running.masters()[which == "edge"], signal.SIGKILL)

        assert running.server.process.wait(SOON) == 1
        assert eventually(running.is_gone, SOON)
        lines = running.server.stderr.splitlines()
        assert f"cfmiddleware: the {which} has stopped by itself; stopping the rest" in lines


@on_linux
def test_a_worker_that_is_killed_is_replaced(tmp_path: Path):
    with serving(tmp_path, "--data", str(tmp_path / "data")) as running:
        digest = running.push("app", b"layer")
        for master in running.masters():
            before = workers(master, 2)
            for worker in before:
                os.kill(worker, signal.SIGKILL)
            assert eventually(lambda: not set(before) & set(workers(master, 2)))  # noqa: B023 (asked at once)

        assert running.pull("app", digest) == b"layer"
