"""The line that each request leaves in the log: what is in it, and what never is."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from lab.apps import BLOB, CONTENT, DIGEST, KEY, ask, request, wrap
from lab.auth_material import basic, htpasswd
from lab.servers import CFMIDDLEWARE, eventually, free_ports, running
from lab.serving import Service
from lab.serving import ask as fetch

from cfmiddleware.logs import Json, Redacted
from cfmiddleware.registry.app import Registry
from cfmiddleware.registry.auth.access import Grant
from cfmiddleware.signing.keys import generate
from cfmiddleware.storage.memory import MemoryDriver
from cfmiddleware.version import __version__
from cfmiddleware.wsgi.accesslog import AccessLog
from cfmiddleware.wsgi.accessrecord import ACCESS

_TEXT = re.compile(
    r"(?P<name>\S+) (?P<method>\S+) (?P<path>\S+) (?P<status>[0-9]{3}) (?P<bytes>[0-9]+) (?P<client>\S+)"
    r" (?P<ms>[0-9]+\.[0-9]{3})ms(?P<told>(?: [a-z]+=(?:[^\s\"]+|\"(?:[^\"\\]|\\.)*\"))+)"
)


class Logged:
    """What the access log writes, in both forms."""

    def __init__(self) -> None:
        self.text, self.json = io.StringIO(), io.StringIO()
        self._logger = logging.getLogger("cfmiddleware.access")
        self._handlers: list[logging.Handler] = []
        for stream, formatter in ((self.text, Redacted("%(message)s")), (self.json, Json())):
            handler = logging.StreamHandler(stream)
            handler.setFormatter(formatter)
            self._handlers.append(handler)

    def __enter__(self) -> Logged:
        self._level = self._logger.level
        self._logger.setLevel("INFO")
        for handler in self._handlers:
            self._logger.addHandler(handler)
        return self

    def __exit__(self, *exception: object) -> None:
        self._logger.setLevel(self._level)
        for handler in self._handlers:
            self._logger.removeHandler(handler)

    def members(self) -> dict[str, Any]:
        """Return what the one JSON line says, having seen that the one line of text says the same."""
        (text,), (line,) = self.text.getvalue().splitlines(), self.json.getvalue().splitlines()
        members: dict[str, Any] = json.loads(line)
        found = _TEXT.fullmatch(text)
        assert found is not None, text
        told = dict(re.findall(r" ([a-z]+)=(\"(?:[^\"\\]|\\.)*\"|\S+)", found["told"]))
        told = {name: json.loads(value) if value[0] == '"' else value for name, value in told.items()}
        for name in ("name", "method", "path", "client"):
            assert found[name] == members[name]
        for name in ("status", "bytes"):
            assert int(found[name]) == members[name]
        for name in ("id", "repository", "user", "sent"):
            assert told.get(name) == members.get(name)
        return members


def logged(app: Any, environ: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Return what is logged of one request."""
    with Logged() as log:
        ask(AccessLog(app, **options), environ)
    return log.members()


def answering(body: Iterable[bytes] = (b"ab", b"", b"c"), status: str = "200 OK") -> Callable[..., Any]:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response(status, [])
        return body

    return app


# What is in a line


def test_a_line_has_method_path_status_bytes_client_and_time():
    members = logged(answering(), request("/v2/app/tags/list", "GET", REMOTE_ADDR="192.0.2.7"), name="mine")

    assert members.pop("ms") >= 0
    assert re.fullmatch("[0-9a-f]{16}", members.pop("id"))
    assert re.fullmatch(r"20[0-9-]{8}T[0-9:]{8}\.[0-9]{3}Z", members.pop("time"))
    assert members == {
        "level": "info",
        "logger": "cfmiddleware.access",
        "name": "mine",
        "method": "GET",
        "path": "/v2/app/tags/list",
        "status": 200,
        "bytes": 3,
        "client": "192.0.2.7",
    }


def test_bytes_that_go_through_write_are_counted():
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        write(b"12345")
        return [b"67"]

    assert logged(app, request())["bytes"] == 7


def test_the_status_is_the_last_one_that_the_app_gave():
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        try:
            raise ValueError
        except ValueError as error:
            start_response("403 Forbidden", [], (ValueError, error, None))
        yield b""

    assert logged(app, request())["status"] == 403


def test_an_app_that_raises_leaves_a_line_and_the_error():
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        raise ZeroDivisionError

    with Logged() as log, pytest.raises(ZeroDivisionError):
        ask(AccessLog(app), request())

    assert log.members()["status"] == 500


def test_the_line_comes_once_and_after_the_apps_response_was_closed():
    logged_at_close = []

    class Body(list[bytes]):
        def close(self) -> None:
            logged_at_close.append(log.text.getvalue())

    with Logged() as log:
        response = AccessLog(answering(Body([b"x"])))(request(), lambda *_: lambda data: None)
        assert list(response) == [b"x"]
        assert log.text.getvalue() == ""
        response.close()  # type: ignore[attr-defined]  # what a server calls where it is there
        response.close()  # type: ignore[attr-defined]

    assert logged_at_close[0] == ""
    assert log.members()["bytes"] == 1


def test_the_response_is_streamed_and_never_collected():
    taken = []

    def body() -> Iterator[bytes]:
        for number in range(3):
            taken.append(number)
            yield b"x"

    response = iter(AccessLog(answering(body()))(request(), lambda *_: lambda data: None))
    assert taken == []
    next(response)
    assert taken == [0]


# Who the client is


def test_the_client_is_the_peer_whatever_it_claims():
    environ = request(REMOTE_ADDR="192.0.2.7", HTTP_X_FORWARDED_FOR="198.51.100.1")

    assert logged(answering(), environ)["client"] == "192.0.2.7"


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [("203.0.113.9, 198.51.100.1", "198.51.100.1"), ("", "-"), ('"198.51.100.1"', "-"), ("a\nb", "-")],
)
def test_behind_a_trusted_proxy_the_client_is_whom_it_names_or_unknown(forwarded: str, client: str):
    environ = request(REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR=forwarded)

    assert logged(answering(), environ, trustedproxies=1)["client"] == client


def test_a_request_keeps_the_id_that_it_comes_with():
    assert logged(answering(), request(HTTP_X_REQUEST_ID="f00-1.a_b"))["id"] == "f00-1.a_b"


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, 'a"b', "a\n", "ä"])
def test_an_id_that_is_none_is_replaced(given: str):
    assert re.fullmatch("[0-9a-f]{16}", logged(answering(), request(HTTP_X_REQUEST_ID=given))["id"])


# What is never in a line


def test_the_query_is_not_in_it():
    with Logged() as log:
        ask(AccessLog(answering()), request("/v2/", QUERY_STRING="Signature=s3cr3t", RAW_URI="/v2/?a=s3cr3t"))

    assert "s3cr3t" not in log.text.getvalue() + log.json.getvalue()
    assert log.members()["path"] == "/v2/"


def test_a_query_that_was_sent_as_part_of_the_path_loses_its_secrets():
    members = logged(answering(), request("/v2/a?Signature=s3cr3t&token=t0k3n"))

    assert members["path"] == "/v2/a%3FSignature=...%26token=..."


def test_credentials_are_not_in_it():
    with Logged() as log:
        ask(
            AccessLog(answering(status="401 Unauthorized")),
            request(HTTP_AUTHORIZATION="Basic czNjcjN0", HTTP_COOKIE="s3cr3t"),
        )

    assert "czNjcjN0" not in log.text.getvalue() + log.json.getvalue()
    assert "s3cr3t" not in log.text.getvalue() + log.json.getvalue()


@given(path=st.text(st.characters(max_codepoint=255), max_size=200).map(lambda tail: "/" + tail))
def test_whatever_path_a_client_sends_is_one_word_of_one_line(path: str):
    members = logged(answering(), request(path, REMOTE_ADDR="192.0.2.7"))

    if "=" not in path:  # else something may have been taken for a secret
        assert unquote(members["path"], encoding="latin-1") == path


@given(
    repository=st.text(max_size=30),
    user=st.text(st.characters(), max_size=30),
    method=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20),
    forwarded=st.text(max_size=30),
    id=st.text(max_size=30),
)
def test_whatever_else_comes_from_a_client_is_parseable_too(
    repository: str, user: str, method: str, forwarded: str, id: str
):
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ[ACCESS].repository, environ[ACCESS].user = repository, user
        start_response("200 OK", [])
        return []

    environ = request(method=method, HTTP_X_FORWARDED_FOR=forwarded, HTTP_X_REQUEST_ID=id)
    members = logged(app, environ, trustedproxies=1)

    if "=" not in user:
        assert members.get("user", "") == user


def test_a_very_long_path_is_cut():
    assert len(logged(answering(), request("/v2/" + "a" * 1_000_000))["path"]) == 2000


# What the parts tell


@pytest.fixture
def registry() -> Registry:
    driver = MemoryDriver()
    driver.write("/" + KEY.removeprefix("team/prod/"), CONTENT)
    link = f"/docker/registry/v2/repositories/team/app/_layers/sha256/{DIGEST.hex}/link"
    driver.write(link, str(DIGEST).encode())
    return Registry(driver)


@pytest.mark.parametrize("probe", ["get", "head", "none"])
def test_a_redirected_pull_was_sent_to_the_edge(registry: Registry, probe: str):
    members = logged(wrap(registry, probe=probe), request())

    assert (members["status"], members["sent"], members["bytes"]) == (307, "edge", 0)
    assert members["repository"] == "team/app"


@pytest.mark.parametrize(
    ("options", "fields"), [({"minimumsize": "1GB"}, {}), ({}, {"HTTP_IF_NONE_MATCH": f'"{DIGEST}"'})]
)
def test_a_pull_that_the_app_answers_itself_was_sent_to_the_app(
    registry: Registry, options: dict[str, Any], fields: dict[str, str]
):
    assert logged(wrap(registry, **options), request(**fields))["sent"] == "app"


def test_without_a_wrapper_every_pull_is_the_apps(registry: Registry):
    members = logged(registry, request())

    assert (members["sent"], members["bytes"]) == ("app", len(CONTENT))


def test_a_pull_that_was_refused_was_sent_nowhere(registry: Registry):
    members = logged(wrap(registry), request(BLOB.replace("team/app", "other")))

    assert (members["status"], members["repository"]) == (404, "other")
    assert "sent" not in members


@pytest.mark.parametrize(("method", "path"), [("HEAD", BLOB), ("GET", "/v2/team/app/tags/list")])
def test_what_is_no_pull_of_a_blob_is_sent_nowhere(registry: Registry, method: str, path: str):
    members = logged(wrap(registry), request(path, method))

    assert members["repository"] == "team/app"
    assert "sent" not in members


def test_an_app_that_knows_nothing_of_the_log_has_its_pulls_told_as_well():
    headers = [("Docker-Content-Digest", str(DIGEST))]

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", headers)
        return [CONTENT]

    assert logged(wrap(app), request())["sent"] == "edge"
    headers.clear()
    assert logged(wrap(app), request())["sent"] == "app"


def test_the_user_is_whom_the_registry_knows_and_not_whom_a_client_claims():
    class Everybody:
        def authorize(self, request: Any) -> Grant:
            return Grant("alice smith")

    environ = request("/v2/", HTTP_AUTHORIZATION="Basic Ym9iOnNlY3JldA==")

    assert logged(Registry(MemoryDriver(), auth=Everybody()), environ)["user"] == "alice smith"
    assert "user" not in logged(Registry(MemoryDriver()), environ)


# The command


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A wrapped registry with a password, which logs JSON."""
    pytest.importorskip("gunicorn")
    directory = tmp_path_factory.mktemp("json")
    port, edge_port = free_ports(2)
    (directory / "key.pem").write_text(generate("ecdsa").private_pem)
    (directory / "users").write_bytes(htpasswd({"alice": "s3cr3t"}))
    options = {"baseurl": f"http://127.0.0.1:{edge_port}", "privatekey": "key.pem", "keypairid": "K1"}
    tree = {
        "log": {"formatter": "json", "fields": {"environment": "ext://sys.stdout", "rack": 7}},
        "storage": {"filesystem": {"rootdirectory": "objects"}},
        "http": {"addr": f"127.0.0.1:{port}"},
        "middleware": {"storage": [{"name": "cloudfront", "options": {**options, "trustedproxies": 1}}]},
        "edge": {"addr": f"127.0.0.1:{edge_port}"},
        "auth": {"htpasswd": {"realm": "r", "path": "users"}},
    }
    (directory / "config.yml").write_text(yaml.safe_dump(tree))
    with running([CFMIDDLEWARE, "serve", "config.yml"], directory, ports=[port, edge_port]) as server:
        yield Service(server, port, edge_port)


def lines(service: Service) -> list[dict[str, Any]]:
    """Return what is logged so far; every line of it must be an object."""
    return [json.loads(line) for line in service.server.stderr.splitlines()]


def words(found: list[dict[str, Any]]) -> set[str]:
    """Return the loggers and the ids of lines."""
    return {line["logger"] for line in found} | {line.get("id", "") for line in found}


def test_each_line_of_the_command_is_an_object_and_tells_where_a_pull_went(service: Service):
    user = {**basic("alice", "s3cr3t"), "X-Forwarded-For": "198.51.100.7"}
    url = f"{service.url}/v2/team/app/blobs"
    fetch("POST", f"{url}/uploads/?digest={DIGEST}", CONTENT, user)
    target = fetch("GET", f"{url}/{DIGEST}?token=t0k3n", headers={**user, "X-Request-Id": "pull"})
    fetch("GET", target.headers["Location"])
    fetch("GET", f"{service.url}/v2/", headers={**basic("alice", "wr0ng"), "X-Request-Id": "refused"})

    assert eventually(lambda: {"cfmiddleware.edge", "pull", "refused"} <= words(lines(service)))
    (pull,) = [line for line in lines(service) if line.get("id") == "pull"]
    assert {name: pull[name] for name in ("method", "path", "status", "client", "user", "sent")} == {
        "method": "GET",
        "path": f"/v2/team/app/blobs/{DIGEST}",
        "status": 307,
        "client": "198.51.100.7",
        "user": "alice",
        "sent": "edge",
    }
    (refused,) = [line for line in lines(service) if line.get("id") == "refused"]
    assert refused["status"] == 401
    assert "user" not in refused


def test_what_is_served_is_told_by_a_line_and_nothing_else_is_printed(service: Service):
    assert service.server.stdout == ""
    first = lines(service)[0]
    assert first["message"].startswith(f"cfmiddleware {__version__}; registry {service.url}; edge http://")
    assert "\n" not in first["message"]
    assert first["rack"] == 7


def test_fields_of_the_file_are_on_every_line(service: Service):
    fetch("GET", f"{service.url}/v2/", headers={"X-Request-Id": "fields"})

    assert eventually(lambda: '"fields"' in service.server.stderr)
    assert {(line["environment"], line["rack"]) for line in lines(service)} == {("ext://sys.stdout", 7)}


def test_one_request_is_one_line(service: Service):
    fetch("GET", f"{service.url}/v2/%0aregistry%20GET%20/forged", headers={"X-Request-Id": "one"})
    fetch("GET", f"{service.url}/v2/", headers={"X-Request-Id": "two"})

    # A line may come after the next request: it is written when the answer has gone.
    assert eventually(lambda: {"one", "two"} <= words(lines(service)))
    (forged,) = [line for line in lines(service) if "forged" in str(line)]
    assert (forged["id"], forged["path"]) == ("one", "/v2/%0Aregistry%20GET%20/forged")


def test_nothing_secret_is_in_the_commands_log(service: Service):
    user = basic("alice", "s3cr3t")
    url = f"{service.url}/v2/team/app/blobs/{DIGEST}?token=t0k3n"
    target = fetch("GET", url, headers={**user, "X-Request-Id": "secret"})

    assert eventually(lambda: "secret" in words(lines(service)))
    for secret in ("s3cr3t", "t0k3n", user["Authorization"].split()[1], "Signature", "wr0ng"):
        assert secret not in service.server.stderr
    assert target.status in (307, 404)


def test_the_access_log_can_be_switched_off(tmp_path: Path):
    pytest.importorskip("gunicorn")
    (port,) = free_ports(1)
    tree = {
        "log": {"accesslog": {"disabled": True}, "fields": {"rack": 7}},
        "storage": {"inmemory": None},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    (tmp_path / "config.yml").write_text(yaml.safe_dump(tree))
    with running([CFMIDDLEWARE, "serve", "config.yml"], tmp_path, ports=[port]) as server:
        assert fetch("GET", f"http://127.0.0.1:{port}/v2/").status == 200
        server.stop()

        (line,) = server.stderr.splitlines()
        assert "stopping: SIGTERM" in line
