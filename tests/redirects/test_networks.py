"""Clients near the bucket, with the servers that they are sent to and that AWS's ranges come from."""

from __future__ import annotations

import contextlib
import logging
import sys
import urllib.request
from pathlib import Path

import pytest
from lab.apps import CONTENT, DIGEST, EDGE, KEY, App, wrap
from lab.gunicorn_command import OWN
from lab.near import S3, Presigner, config, fronts, location, ranges
from lab.range_server import Reply, Web, document
from lab.servers import S3Server, eventually, free_port, running
from lab.serving import ask as answer_of


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "ip-ranges.json"
    file.write_text(ranges(("52.0.0.0/16", "us-east-1"), ("35.180.0.0/16", "eu-west-3")))
    return file


def test_ranges_are_fetched_from_aws_unless_there_is_a_file(file: Path, monkeypatch):
    with contextlib.closing(Web()) as web:
        web.replies = [Reply(body=document("35.180.0.0/16"))]
        monkeypatch.setattr("cfmiddleware.ipfilter.filter.URL", web.url)
        assert fronts(file, ipfilteredby="aws") == ["s3", "s3", "edge"]
        assert web.requests == []
        wrapped = wrap(App(), presign=Presigner(), ipfilteredby="aws")
        try:
            assert eventually(lambda: location(wrapped, "35.180.1.1").startswith(S3))
        finally:
            wrapped.close()
        assert len(web.requests) == 1


def test_a_pull_of_a_near_client_gets_the_bytes_from_s3(tmp_path: Path, s3_server: S3Server, caplog):
    caplog.set_level(logging.DEBUG, "cfmiddleware")
    bucket = s3_server.new_bucket()
    storage = {"s3": s3_server.driver_options(bucket, rootdirectory="/team")}
    wrapped = config(tmp_path, storage, networks=["10.0.0.0/8"]).wrap(App())
    s3_server.client().put_object(Bucket=bucket, Key=f"team/{KEY}", Body=CONTENT)
    with urllib.request.urlopen(location(wrapped)) as answer:
        assert answer.read() == CONTENT
    assert "Signature" not in caplog.text


def test_workers_of_a_preloaded_app_fetch_the_ranges_for_themselves(tmp_path: Path, s3_server: S3Server):
    """Everybody is sent to CloudFront until they are there; nobody has to wait for them."""
    bucket = s3_server.new_bucket()
    storage = {"s3": s3_server.driver_options(bucket)}
    with contextlib.closing(Web()) as web:
        web.replies = [Reply(body=document("127.0.0.0/8"), pause=0.002)]
        config(tmp_path, storage, ipfilteredby="aws", iprangesurl=web.url)
        port = free_port()
        command = [
            sys.executable,
            "-m",
            "gunicorn",
            "--preload",
            "--workers",
            "2",
            "--worker-class",
            "gthread",
        ]
        command += ["--threads", "4", "--graceful-timeout", "1", *OWN]
        command += ["--bind", f"127.0.0.1:{port}", 'cfmiddleware.server:app("config.yml")']
        with running([*command, "--chdir", str(tmp_path)], tmp_path / "gunicorn", ports=[port]):
            url = f"http://127.0.0.1:{port}"
            assert web.requests == []
            upload = f"{url}/v2/team/app/blobs/uploads/?digest={DIGEST}"
            assert answer_of("POST", upload, CONTENT).status == 201
            assert web.requests == []
            places = [str(answer_of("GET", f"{url}/v2/team/app/blobs/{DIGEST}").headers["Location"])]
            assert places[0].startswith(EDGE)

            def pull() -> bool:
                places.append(str(answer_of("GET", f"{url}/v2/team/app/blobs/{DIGEST}").headers["Location"]))
                return len(places) > 5 and not any(place.startswith(EDGE) for place in places[-5:])

            assert eventually(pull)
            assert 1 <= len(web.requests) <= 2
            assert answer_of("GET", places[-1]).body == CONTENT
