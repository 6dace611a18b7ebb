"""`cfmiddleware serve config.yml` and `edge config.yml`: what the file asks for is what runs."""

from __future__ import annotations

import contextlib
import signal
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from lab.servers import CFMIDDLEWARE, answers, eventually, free_port, running
from lab.serving import Service, ask, bound, is_linux, serving, wait_for_greeting, workers

from cfmiddleware.signing.keys import generate


def write_key(directory: Path, id: str, algorithm: str = "ecdsa") -> None:
    """Put a key into a directory at once, as an operator who knows would: written aside and moved."""
    directory.mkdir(exist_ok=True)
    aside = directory / f".{id}"
    aside.write_text(generate(algorithm).private_pem)
    aside.rename(directory / f"pk-{id}.pem")


def configuration(directory: Path, edge_port: int, **sections: Any) -> Path:
    """Write a file for a wrapped registry over a directory; sections that are None are left out."""
    write_key(directory / "keys", "KFIRST")
    tree: dict[str, Any] = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": "objects"}},
        "middleware": {
            "storage": [
                {
                    "name": "cloudfront",
                    "options": {"baseurl": f"http://127.0.0.1:{edge_port}", "privatekey": "keys"},
                }
            ]
        },
        "edge": {"addr": f"127.0.0.1:{edge_port}"},
        **sections,
    }
    file = directory / "config.yml"
    file.write_text(yaml.safe_dump({name: section for name, section in tree.items() if section is not None}))
    return file


@contextlib.contextmanager
def serving_file(directory: Path, **sections: Any):
    """Run `cfmiddleware serve config.yml`."""
    port, edge_port = free_port(), free_port()
    sections = {"http": {"addr": f"127.0.0.1:{port}"}, **sections}
    file = configuration(directory, edge_port, **sections)
    ports = [port] if sections.get("edge", ...) is None else [port, edge_port]
    with running([CFMIDDLEWARE, "serve", str(file)], directory / "process", ports=ports) as server:
        wait_for_greeting(server)
        yield Service(server, port, edge_port)


def key_id(url: str) -> str:
    return parse_qs(urlsplit(url).query)["Key-Pair-Id"][0]


def test_the_file_says_where_everything_is(tmp_path: Path):
    with serving_file(tmp_path) as service:
        digest = service.push("app", b"layer")

        assert service.pull("app", digest) == b"layer"
        assert f"data      {tmp_path}/objects\n" in service.server.stdout
    assert list((tmp_path / "objects").rglob(digest.hex))


def test_no_edge_runs_that_the_file_does_not_ask_for(tmp_path: Path):
    with serving_file(tmp_path, edge=None) as service:
        digest = service.push("app", b"layer")

        assert urlsplit(service.redirect("app", digest)).port == service.edge_port
        assert not bound(service.edge_port)
        assert "  edge  " not in service.server.stdout


def test_no_wrapper_is_there_that_the_file_does_not_ask_for(tmp_path: Path):
    with serving_file(tmp_path, edge=None, middleware=None) as service:
        digest = service.push("app", b"layer")

        assert ask("GET", f"{service.url}/v2/app/blobs/{digest}").body == b"layer"


def test_addresses_of_the_command_line_take_the_place_of_the_files(tmp_path: Path):
    file = configuration(tmp_path, free_port(), http={"addr": "127.0.0.1:1"})

    with serving(tmp_path / "process", str(file)) as service:
        assert f"http://127.0.0.1:{service.port}\n" in service.server.stdout
        assert f"http://127.0.0.1:{service.edge_port}\n" in service.server.stdout


def test_variables_take_the_place_of_what_the_file_says(tmp_path: Path):
    file = configuration(tmp_path, free_port())
    variables = {"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(tmp_path / "elsewhere")}

    with serving(tmp_path / "process", str(file), env=variables) as service:
        digest = service.push("app", b"layer")
    assert list((tmp_path / "elsewhere").rglob(digest.hex))


@pytest.mark.skipif(not is_linux(), reason="looks at processes in /proc, which only Linux has")
def test_as_many_workers_run_as_the_file_says(tmp_path: Path):
    with serving_file(tmp_path, server={"workers": 3}, edge=None) as service:
        (master,) = service.masters()

        assert len(workers(master, 3)) == 3


@pytest.mark.parametrize(
    ("readonly", "delete", "may"),
    [(True, True, "pull"), (False, False, "push"), (False, True, "push and delete")],
)
def test_it_says_what_anyone_may_do(tmp_path: Path, readonly: bool, delete: bool, may: str):
    storage = {
        "filesystem": {"rootdirectory": "objects"},
        "maintenance": {"readonly": {"enabled": readonly}},
        "delete": {"enabled": delete},
    }

    with serving_file(tmp_path, edge=None, storage=storage) as service:
        assert f"anyone who reaches the port may {may}." in service.server.stdout


@pytest.mark.parametrize("level", ["error", "debug"])
def test_what_is_said_of_the_configuration_is_said_at_every_level(tmp_path: Path, level: str):
    sections = {
        "log": {"level": level},
        "http": {"addr": f"127.0.0.1:{free_port()}", "h2c": {"enabled": True}},
        "policy": {"repository": {"classes": ["image"]}},
    }
    file = configuration(tmp_path, free_port(), edge=None, **sections)
    options = {"originpath": "/team", "rootdirectory": "/team/prod"}
    tree = yaml.safe_load(file.read_text())
    tree["middleware"]["storage"][0]["options"].update(options)
    file.write_text(yaml.safe_dump(tree))

    with serving(tmp_path / "process", str(file), edge=False) as service:
        lines = [line.partition("cfmiddleware: ")[2] for line in service.server.stderr.splitlines()]

    assert [line.partition(": is not")[0] for line in lines] == [
        f"{file}: http.h2c.enabled",
        f"{file}: policy.repository.classes",
        "the Origin Path of the CloudFront distribution must be '/team'",
    ]


def test_what_is_said_of_the_configuration_is_said_again_when_it_is_read_again(tmp_path: Path):
    with serving_file(tmp_path, edge=None, log={"level": "error"}) as service:
        file = tmp_path / "config.yml"
        tree = yaml.safe_load(file.read_text())
        tree["http"]["h2c"] = {"enabled": True}
        file.write_text(yaml.safe_dump(tree))
        assert ask("GET", f"{service.url}/v2/").status == 200  # its gunicorn has begun
        service.server.process.send_signal(signal.SIGHUP)

        assert eventually(lambda: "http.h2c.enabled: is not acted on" in service.server.stderr)


def test_start_up_says_which_origin_path_cloudfront_must_have(tmp_path: Path):
    tree = {
        "storage": [
            {
                "name": "cloudfront",
                "options": {
                    "baseurl": "https://d111111abcdef8.cloudfront.net",
                    "privatekey": "keys",
                    "rootdirectory": "/team/prod",
                },
            }
        ]
    }

    with serving_file(tmp_path, edge=None, middleware=tree) as service:
        (line,) = [line for line in service.server.stderr.splitlines() if "Origin Path" in line]

    assert "'/team/prod'" in line
    assert 'if it is blank, set originpath: ""' in line


def test_a_directory_is_served_through_an_edge_with_an_origin_path(tmp_path: Path):
    port, edge_port = free_port(), free_port()
    options = {
        "baseurl": f"http://127.0.0.1:{edge_port}",
        "privatekey": "keys",
        "rootdirectory": "/team/prod",
    }
    middleware = {"storage": [{"name": "cloudfront", "options": options}]}
    file = configuration(tmp_path, edge_port, http={"addr": f"127.0.0.1:{port}"}, middleware=middleware)
    with running([CFMIDDLEWARE, "serve", str(file)], tmp_path / "process", ports=[port, edge_port]) as server:
        service = Service(server, port, edge_port)
        digest = service.push("app", b"layer")

        assert service.pull("app", digest) == b"layer"
        assert urlsplit(service.redirect("app", digest)).path.startswith("/docker/registry/v2/blobs/")


def test_slow_pushes_keep_neither_pulls_nor_v2_waiting(tmp_path: Path):
    # Many more than there are threads: what is refused must give its thread back at once.
    server = {"workers": 1, "uploads": 4, "uploadwait": 0, "gracefultimeout": 1}
    with serving_file(tmp_path, server=server) as service, contextlib.ExitStack() as stack:
        digest = service.push("app", b"layer")
        for _ in range(4):
            stack.enter_context(service.slow_upload("app"))
        # Nothing gives those four places back, so once one more upload is refused, all further ones are.
        path = "/v2/app/blobs/uploads/3f2b8f0e-7a52-4c1e-9d55-0d6f1f0f7a11"
        assert eventually(lambda: ask("PATCH", f"{service.url}{path}", b"x" * 20_000).status == 429)
        # All at once: were each to hold a thread for seconds, the last would wait longer than anybody does.
        surplus = [stack.enter_context(service.slow_upload("app", path)) for _ in range(200)]

        for _ in range(10):
            assert ask("GET", f"{service.url}/v2/").status == 200
        assert service.pull("app", digest) == b"layer"
        for upload in surplus:
            head = upload.recv(65536).decode("latin-1")
            assert " 429 " in head.splitlines()[0]
            assert "\r\nretry-after: " in head.lower()


def test_a_newer_key_in_the_directory_signs_without_a_restart(tmp_path: Path):
    with serving_file(tmp_path, server={"workers": 1}) as service:
        digest = service.push("app", b"layer")
        old = service.redirect("app", digest)
        assert key_id(old) == "KFIRST"
        # File systems keep times in steps: the newer key must be newer there as well.
        time.sleep(0.05)
        write_key(tmp_path / "keys", "KSECOND")

        assert eventually(lambda: key_id(service.redirect("app", digest)) == "KSECOND", 5)
        assert service.pull("app", digest) == b"layer"
        assert ask("GET", old).status == 200


def test_the_edge_runs_alone_and_serves_what_another_process_signed(tmp_path: Path):
    edge_port = free_port()
    file = configuration(tmp_path, edge_port)
    command = [CFMIDDLEWARE, "edge", str(file)]

    with running(command, tmp_path / "edge", ports=[edge_port]) as edge:
        # The port is open before the command says so.
        assert eventually(lambda: edge.stdout == f"The edge is on http://127.0.0.1:{edge_port}.\n")
        with serving_elsewhere(tmp_path, edge_port) as service:
            digest = service.push("app", b"layer")
            assert service.pull("app", digest) == b"layer"
        assert eventually(lambda: f"/{digest.hex}/data 200 5 " in edge.stderr)
        assert "Signature" not in edge.stderr


@contextlib.contextmanager
def serving_elsewhere(directory: Path, edge_port: int):
    """Run the registry of the same files without an edge."""
    tree = yaml.safe_load((directory / "config.yml").read_text())
    del tree["edge"]
    file = directory / "without-edge.yml"
    file.write_text(yaml.safe_dump(tree))
    with serving(directory / "registry", str(file), edge=False) as service:
        yield service._replace(edge_port=edge_port)


def test_the_edge_listens_where_the_command_line_says(tmp_path: Path):
    port = free_port()
    file = configuration(tmp_path, free_port(), edge=None)

    with running(
        [CFMIDDLEWARE, "edge", str(file), "--addr", f"127.0.0.1:{port}"], tmp_path / "p", ports=[port]
    ):
        assert ask("GET", f"http://127.0.0.1:{port}/").status == 403


def test_an_edge_with_the_public_key_alone_checks_as_well(tmp_path: Path):
    pair = generate("rsa")
    (tmp_path / "public.pem").write_text(pair.public_pem)
    (tmp_path / "pk-KPAIR.pem").write_text(pair.private_pem)
    port = free_port()
    options = {"baseurl": f"http://127.0.0.1:{port}", "privatekey": "pk-KPAIR.pem"}
    middleware = {"storage": [{"name": "cloudfront", "options": options}]}
    edge = {"addr": f"127.0.0.1:{port}", "publickeys": {"KPAIR": "public.pem"}}
    file = configuration(tmp_path, port, middleware=middleware, edge=edge)

    with serving(tmp_path / "process", str(file), edge=False) as service:
        assert eventually(lambda: answers(port))
        digest = service.push("app", b"layer")

        assert key_id(service.redirect("app", digest)) == "KPAIR"
        assert service.pull("app", digest) == b"layer"
