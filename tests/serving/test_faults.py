"""Pushes and pulls while S3 misbehaves, through a real server, and what is left when a worker is killed."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import random
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from lab.registry_client import image_manifest
from lab.s3_proxy import AtRandom, Rates, S3Proxy
from lab.servers import S3Server, eventually
from lab.serving import Service, ask, children, serving

from cfmiddleware.digest import Digest

PUSHES = 24
BLOB_SIZE = 64 << 10


@pytest.fixture
def bucket(any_s3: S3Server) -> str:
    return any_s3.new_bucket()


@pytest.fixture
def faulty(any_s3: S3Server) -> Iterator[S3Proxy]:
    with S3Proxy(any_s3.endpoint, AtRandom(seed=7)) as proxy:
        yield proxy


def write_config(directory: Path, options: dict[str, object]) -> None:
    tree = {"version": "0.1", "storage": {"s3": options, "delete": {"enabled": True}}, "http": {}}
    (directory / "config.yml").write_text(yaml.safe_dump(tree))


def unfinished(server: S3Server, bucket: str) -> list[str]:
    uploads = server.client().list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    return [upload["Key"] for upload in uploads]


def push(service: Service, name: str, tag: str, blob: bytes) -> bytes:
    """Push as docker does, with no request sent twice, and return the manifest."""
    digest = Digest.of(blob)
    answer = ask("POST", f"{service.url}/v2/{name}/blobs/uploads/")
    assert answer.status == 202, answer
    location = answer.headers["Location"]
    answer = ask("PATCH", location, blob)
    assert answer.status == 202, answer
    location = answer.headers["Location"]
    answer = ask("PUT", f"{location}?digest={digest}")
    assert answer.status == 201, answer
    manifest = json.dumps(image_manifest(digest, [digest], annotations={"tag": tag})).encode()
    answer = ask("PUT", f"{service.url}/v2/{name}/manifests/{tag}", manifest)
    assert answer.status == 201, answer
    return manifest


def test_no_push_and_no_pull_fails_while_s3_misbehaves(any_s3, bucket, faulty, tmp_path):
    write_config(tmp_path, any_s3._replace(endpoint=faulty.endpoint).driver_options(bucket))
    content = random.Random(1)
    blobs = [content.randbytes(BLOB_SIZE) for _ in range(PUSHES)]

    with serving(tmp_path, "config.yml", edge=False) as service, ThreadPoolExecutor(8) as pool:

        def push_and_pull(number: int) -> None:
            blob, name = blobs[number], f"app-{number % 3}"
            manifest = push(service, name, f"v{number}", blob)
            answer = ask("GET", f"{service.url}/v2/{name}/manifests/v{number}")
            assert (answer.status, answer.body) == (200, manifest)
            answer = ask("GET", f"{service.url}/v2/{name}/blobs/{Digest.of(blob)}")
            assert (answer.status, answer.body == blob) == (200, True)

        for _ in pool.map(push_and_pull, range(PUSHES)):
            pass

    # The faults did come, of every kind.
    assert set(faulty.fault.struck) == {"refused", "unheard", "unanswered", "cut"}, faulty.fault.struck
    assert [key for key in any_s3.keys(bucket) if "/_uploads/" in key] == []
    assert unfinished(any_s3, bucket) == []


def test_no_large_push_fails_while_s3_misbehaves(any_s3, bucket, tmp_path):
    large = [random.Random(number).randbytes(11 << 20) for number in range(6)]

    with S3Proxy(any_s3.endpoint, AtRandom(seed=3, rates=Rates(20, 10, 100, 20))) as faulty:
        options = any_s3._replace(endpoint=faulty.endpoint).driver_options(bucket)
        write_config(
            tmp_path,
            options
            | {
                "maxattempts": 10,
                "chunksize": "5MiB",
                "multipartcopychunksize": "5MiB",
                "multipartcopythresholdsize": 0,
            },
        )
        with serving(tmp_path, "config.yml", edge=False) as service, ThreadPoolExecutor(3) as pool:

            def push_and_pull(blob: bytes) -> None:
                digest = Digest.of(blob)
                location = ask("POST", f"{service.url}/v2/app/blobs/uploads/").headers["Location"]
                sent = ask("PATCH", location, blob)
                assert sent.status == 202
                location = sent.headers["Location"]
                assert ask("PUT", f"{location}?digest={digest}").status == 201
                answer = ask("GET", f"{service.url}/v2/app/blobs/{digest}")
                assert (answer.status, answer.body == blob) == (200, True)

            for _ in pool.map(push_and_pull, large):
                pass

    assert [key for key in any_s3.keys(bucket) if "/_uploads/" in key] == []


def test_a_killed_worker_loses_the_patch_in_hand_and_nothing_else(any_s3, bucket, tmp_path):
    write_config(tmp_path, any_s3.driver_options(bucket, chunksize="5MiB"))
    first, second = b"a" * 100_000, random.Random(2).randbytes(12 << 20)

    with serving(tmp_path, "config.yml", edge=False) as service:
        location = ask("POST", f"{service.url}/v2/app/blobs/uploads/").headers["Location"]
        sent = ask("PATCH", location, first)
        assert sent.status == 202
        location = sent.headers["Location"]
        path = urlsplit(location).path
        with socket.create_connection(("127.0.0.1", service.port), timeout=30) as raw:
            head = f"PATCH {path} HTTP/1.1\r\nHost: r\r\nContent-Length: {len(second)}\r\n\r\n"
            raw.sendall(head.encode() + second[:-1])
            # Parts of it are in S3 already.
            assert eventually(lambda: len(unfinished(any_s3, bucket)) == 1)
            (master,) = service.masters()
            for worker in children(master):
                os.kill(worker, signal.SIGKILL)

        assert eventually(lambda: answers(service, location))
        assert ask("GET", location).headers["Range"] == f"0-{len(first) - 1}"
        span = f"{len(first)}-{len(first) + len(second) - 1}"
        sent = ask("PATCH", location, second, {"Content-Range": span})
        assert sent.status == 202
        location = sent.headers["Location"]
        digest = "sha256:" + hashlib.sha256(first + second).hexdigest()
        assert ask("PUT", f"{location}?digest={digest}").status == 201
        assert ask("GET", f"{service.url}/v2/app/blobs/{digest}").body == first + second

    assert unfinished(any_s3, bucket) == []
    assert [key for key in any_s3.keys(bucket) if "/_uploads/" in key] == []


def answers(service: Service, location: str) -> bool:
    try:
        return ask("GET", location).status == 204
    except (OSError, http.client.HTTPException):
        return False


def test_a_cancelled_upload_leaves_nothing_of_a_patch_that_was_cut_off(any_s3, bucket, tmp_path):
    write_config(tmp_path, any_s3.driver_options(bucket, chunksize="5MiB"))

    with serving(tmp_path, "config.yml", edge=False) as service:
        location = ask("POST", f"{service.url}/v2/app/blobs/uploads/").headers["Location"]
        path = urlsplit(location).path
        with socket.create_connection(("127.0.0.1", service.port), timeout=30) as raw:
            head = f"PATCH {path} HTTP/1.1\r\nHost: r\r\nContent-Length: {20 << 20}\r\n\r\n"
            raw.sendall(head.encode() + bytes(12 << 20))
            assert eventually(lambda: len(unfinished(any_s3, bucket)) == 1)
        assert eventually(lambda: unfinished(any_s3, bucket) == [])
        assert ask("GET", location).headers["Range"] == "0-0"
        assert ask("DELETE", location).status == 204

    # That it is cancelled has to be known, until it is purged.
    left = {key.rpartition("/")[2] for key in any_s3.keys(bucket) if "/_uploads/" in key}
    assert left == {"startedat", "cancelled"}
    assert not [key for key in any_s3.keys(bucket) if "/blobs/" in key]
