"""Traces of OpenTelemetry: what its own exporter sends to a collector, and what the log says."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab.gunicorn_command import OWN
from lab.redis_server import running_redis
from lab.required import cannot_run
from lab.s3_proxy import refuse
from lab.servers import eventually, free_port, running
from lab.serving import Service, ask, children
from lab.span_receiver import Receiver, receiving, require_opentelemetry
from lab.watched_s3 import WatchedS3
from lab.wrapped_registry import of_s3, wrapped_registry

from cfmiddleware.digest import Digest
from cfmiddleware.signing.keys import generate

SERVER, CLIENT = 2, 3

NGINX = """
daemon off; pid nginx.pid; error_log stderr crit;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://127.0.0.1:{registry}; proxy_set_header Host $http_host; }}
  }}
}}
"""

BLOB = "GET /v2/{name}/blobs/{digest}"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    require_opentelemetry()
    with receiving() as found:
        yield found


def asked(receiver: Receiver, **more: str) -> dict[str, str]:
    """Return the variables that have spans sent, soon."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.port}",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        **more,
    }


@contextlib.contextmanager
def registry(directory: Path, env: Mapping[str, str], **sections: Any) -> Iterator[Service]:
    """Run a wrapped registry of two workers."""
    port = free_port()
    with wrapped_registry(directory, port, env=env, **sections) as server:
        yield Service(server, port, 0)


def parent() -> tuple[str, str, dict[str, str]]:
    """Return the ids of a new trace and a span, and the header that names them."""
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    return trace, span, {"traceparent": f"00-{trace}-{span}-01"}


def logged(service: Service, trace: str) -> list[str]:
    return [line for line in service.server.stderr.splitlines() if trace in line]


def test_a_pull_is_a_trace_whose_parent_came_through_nginx(tmp_path: Path, s3: WatchedS3, receiver: Receiver):
    """Its spans are those of the request, the probe, Redis, S3 and the signature."""
    if shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        cannot_run("nginx is not installed")
    front = free_port()
    for name in ("redis", "nginx"):
        (tmp_path / name).mkdir()
    with (
        running_redis(tmp_path / "redis") as redis,
        registry(
            tmp_path,
            asked(receiver),
            storage=of_s3(s3, 2, cache={"blobdescriptor": "redis"}),
            redis={"addr": f"127.0.0.1:{redis.port}", "password": ""},
        ) as service,
    ):
        (tmp_path / "nginx" / "nginx.conf").write_text(NGINX.format(port=front, registry=service.port))
        command = ["nginx", "-p", str(tmp_path / "nginx"), "-c", "nginx.conf", "-e", "stderr"]
        env = {"PATH": f"{os.environ['PATH']}:/usr/sbin"}
        digest = service.push("team/app", b"content of a blob")
        with running(command, tmp_path / "nginx" / "out", ports=[front], env=env):
            trace, above, headers = parent()
            headers["Authorization"] = "Basic c2VjcmV0OnNlY3JldA=="
            url = f"http://127.0.0.1:{front}/v2/team/app/blobs/{digest}?token=letmein"
            answer = ask("GET", url, headers=headers)
            assert answer.status == 307
        spans = receiver.wait_for(trace, BLOB, "probe", "GET", "GetObject", "sign")
        assert eventually(lambda: len(logged(service, trace)) == 1)
        (line,) = logged(service, trace)

    request = spans[BLOB]
    assert (request.parent, request.kind, request.failed) == (above, SERVER, False)
    assert request.about["http.request.method"] == "GET"
    assert request.about["http.route"] == "/v2/{name}/blobs/{digest}"
    assert request.about["url.path"] == f"/v2/team/app/blobs/{digest}"
    assert request.about["http.response.status_code"] == 307
    assert request.resource["service.name"] == "cfmiddleware"
    assert (spans["probe"].parent, spans["probe"].about["cfmiddleware.redirected"]) == (request.id, True)
    for name in ("GET", "GetObject"):
        assert spans[name].parent == spans["probe"].id
    assert spans["sign"].parent == request.id
    assert (spans["GetObject"].kind, spans["GET"].kind) == (CLIENT, CLIENT)
    assert spans["GetObject"].about["rpc.method"] == "GetObject"
    assert spans["GetObject"].about["aws.s3.key"].startswith("docker/registry/v2/repositories/team/app/")
    assert spans["GetObject"].about["http.response.status_code"] == 200
    assert spans["GET"].about["db.system.name"] == "redis"
    assert " registry GET " in line
    assert "sent=edge" in line
    location = answer.headers["Location"]
    signature = re.findall(r"Signature=([^&]+)", location)[0]
    secret = [signature, "c2VjcmV0OnNlY3JldA", "letmein", s3.server.secret_key, "AWS4-HMAC-SHA256"]
    assert not [each for each in secret if any(each.encode() in body for body in receiver.bodies)]


def test_a_push_is_a_trace_with_the_requests_to_s3_of_all_its_threads(
    tmp_path: Path, s3: WatchedS3, receiver: Receiver
):
    with registry(tmp_path, asked(receiver), storage=of_s3(s3, 2)) as service:
        trace, above, headers = parent()
        content = os.urandom(12_000_000)
        url = f"{service.url}/v2/app/blobs/uploads/?digest={Digest.of(content)}"
        assert ask("POST", url, content, headers).status == 201
        name = "POST /v2/{name}/blobs/uploads/"
        names = ("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "PutObject")
        spans = receiver.wait_for(trace, name, *names)
    assert {spans[each].parent for each in names} == {spans[name].id}
    assert spans[name].parent == above


def test_a_failure_is_told_by_its_kind_and_found_in_the_log(
    tmp_path: Path, s3: WatchedS3, receiver: Receiver
):
    sections: dict[str, Any] = {"storage": of_s3(s3, 2), "log": {"formatter": "json"}}
    with registry(tmp_path, asked(receiver), **sections) as service:
        digest = service.push("app", b"content")
        with s3.failing(refuse("500 Internal Server Error", "InternalError")):
            trace, _, headers = parent()
            assert ask("GET", f"{service.url}/v2/app/blobs/{digest}", headers=headers).status == 503
        spans = receiver.wait_for(trace, BLOB, "GetObject")
        assert eventually(lambda: len(logged(service, trace)) >= 2)
        lines = [json.loads(line) for line in logged(service, trace)]
    assert spans["GetObject"].failed
    assert spans["GetObject"].about["http.request.resend_count"] == 1
    assert (spans[BLOB].failed, spans[BLOB].about["error.type"]) == (True, "503")
    assert {line["trace_id"] for line in lines} == {trace}
    assert {line["logger"] for line in lines} > {"cfmiddleware.access"}


def test_spans_that_are_left_are_sent_when_a_worker_ends(tmp_path: Path, receiver: Receiver):
    env = asked(receiver, OTEL_BSP_SCHEDULE_DELAY="600000", OTEL_SERVICE_NAME="pulls")
    with registry(tmp_path, env, server={"workers": 1}) as service:
        trace, _, headers = parent()
        assert ask("GET", f"{service.url}/v2/", headers=headers).status == 200
        assert not receiver.spans
        service.server.process.send_signal(signal.SIGTERM)
        assert service.server.process.wait(15) == 0
        assert receiver.of(trace)["GET /v2/"].resource["service.name"] == "pulls"


def test_a_collector_that_is_gone_costs_a_line_and_keeps_nobody(tmp_path: Path):
    require_opentelemetry()
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}", "OTEL_BSP_SCHEDULE_DELAY": "100"}
    with registry(tmp_path, env, server={"workers": 1}) as service:
        for _ in range(20):
            assert ask("GET", f"{service.url}/v2/").status == 200
        assert eventually(lambda: "tracing: " in service.server.stderr)
        service.server.process.send_signal(signal.SIGTERM)
        assert service.server.process.wait(15) == 0
        errors = service.server.stderr
    assert errors.count("tracing: ") == 1
    assert "Traceback" not in errors


def test_no_thread_and_no_connection_is_there_before_the_fork(tmp_path: Path, receiver: Receiver):
    with registry(tmp_path, asked(receiver)) as service:
        assert ask("GET", f"{service.url}/v2/").status == 200
        for pid in (service.server.process.pid, *children(service.server.process.pid)):
            assert len(list(Path(f"/proc/{pid}/task").iterdir())) == 1
            sockets = [os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir()]
            assert len([each for each in sockets if each.startswith("socket:")]) <= 1


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"OTEL_BSP_SCHEDULE_DELAY": "soon"}, "OTEL_BSP_SCHEDULE_DELAY: 'soon' is not a whole number"),
        ({"OTEL_PROPAGATORS": "smoke"}, "OTEL_PROPAGATORS: 'smoke' is not installed"),
        ({"OTEL_TRACES_EXPORTER": "pigeon"}, "OTEL_TRACES_EXPORTER: the exporter 'pigeon' is not installed"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "nowhere:x"}, "OTEL_EXPORTER_OTLP_ENDPOINT: is not a URL"),
        ({"OTEL_EXPORTER_OTLP_HEADERS": "hush"}, "OTEL_EXPORTER_OTLP_HEADERS: is not name=value"),
        ({"OTEL_EXPORTER_OTLP_HEADERS": 'key="hush"'}, "OTEL_EXPORTER_OTLP_HEADERS: is not name=value"),
        (
            {"OTEL_EXPORTER_OTLP_HEADERS": "key=hush%0A%0Ahush"},
            "OTEL_EXPORTER_OTLP_HEADERS: is not name=value",
        ),
        (
            {"OTEL_PYTHON_CONTEXT": "smoke"},
            "OTEL_PYTHON_CONTEXT: 'smoke' is not installed; the default counts",
        ),
        ({"OTEL_PYTHON_TRACER_PROVIDER": "smoke"}, "OTEL_PYTHON_TRACER_PROVIDER: 'smoke' is not installed"),
        (
            {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "half"},
            "OTEL_TRACES_SAMPLER_ARG: 'half' is not a number",
        ),
    ],
)
def test_a_variable_that_cannot_work_is_one_line_and_the_registry_serves(
    tmp_path: Path, receiver: Receiver, variables: dict[str, str], said: str
):
    with registry(tmp_path, {**asked(receiver), **variables}) as service:
        digest = service.push("app", b"content")
        assert ask("GET", f"{service.url}/v2/app/blobs/{digest}").status == 307
        errors = service.server.stderr
    assert errors.count(said) == 1
    assert errors.count("SAMPLER_ARG") <= 1
    assert "Traceback" not in errors
    assert "hush" not in errors


APP = """
import os
from cfmiddleware.digest import Digest

SEEN = []

def app(environ, start_response):
    if environ["PATH_INFO"] == "/seen":
        body = SEEN.pop().encode()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]
    SEEN.append(environ.get("HTTP_TRACEPARENT", ""))
    start_response("200 OK", [("Docker-Content-Digest", str(Digest.of(b""))), ("Content-Length", "9000")])
    return [b"x" * 9000]
"""


@pytest.mark.parametrize("kind", ["sync", "gthread", "gevent"])
def test_an_app_that_is_wrapped_under_gunicorn_is_handed_the_probe_as_its_parent(
    tmp_path: Path, receiver: Receiver, kind: str
):
    """And the spans that a worker has left are sent when it ends."""
    port = free_port()
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "pk-K1.pem").write_text(generate("ecdsa").private_pem)
    options = {"baseurl": "https://d111111abcdef8.cloudfront.net", "privatekey": "pk-K1.pem"}
    tree = {"middleware": {"storage": [{"name": "cloudfront", "options": options}]}}
    (tmp_path / "config.yml").write_text(yaml.safe_dump(tree))
    command = [sys.executable, "-m", "gunicorn", *OWN, "-c", "python:cfmiddleware.gunicorn", "-k", kind]
    command += ["-b", f"127.0.0.1:{port}", "app:app"]
    env = asked(receiver, CFMIDDLEWARE_CONFIG="config.yml", OTEL_BSP_SCHEDULE_DELAY="600000")
    with running(command, tmp_path, ports=[port], env=env) as server:
        trace, above, headers = parent()
        url = f"http://127.0.0.1:{port}"
        answer = ask("GET", f"{url}/v2/app/blobs/{Digest.of(b'')}", headers=headers)
        assert answer.status == 307
        seen = ask("GET", f"{url}/seen").body.decode()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(15) == 0
        spans = receiver.of(trace)
        assert "Traceback" not in server.stderr
    assert spans.keys() == {BLOB, "probe", "sign"}
    assert spans[BLOB].parent == above
    assert seen == f"00-{trace}-{spans['probe'].id}-01"
