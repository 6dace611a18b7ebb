"""The CloudFront Function and the local edge put the same digest on the same answers."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
from lab.required import cannot_run

from cfmiddleware.cloudfront.digestheader import FUNCTION
from cfmiddleware.edge import digest_in

HEX = "0123456789abcdef" * 4
LONG = HEX + HEX

PATHS = [
    f"/docker/registry/v2/blobs/sha256/01/{HEX}/data",
    f"/docker/registry/v2/blobs/sha512/01/{LONG}/data",
    f"/sha256/01/{HEX}",
    f"/team/app/blobs/sha256/{HEX}",
    f"/sha256/{HEX}/data",
    f"/sha256/{HEX}/link",
    f"/docker/registry/v2/repositories/app/_layers/sha256/{HEX}/link",
    f"/docker/registry/v2/blobs/sha512/01/{HEX}/data",
    f"/docker/registry/v2/blobs/sha256/01/{LONG}/data",
    f"/docker/registry/v2/blobs/sha256/01/{HEX.upper()}/data",
    f"/docker/registry/v2/blobs/sha256/01/{HEX}/data/",
    f"/docker/registry/v2/blobs/md5/01/{HEX}/data",
    f"/xsha256/01/{HEX}/data",
    f"/docker/registry/v2/blobs/sha256/01/{HEX}/data\n",
    "/docker/registry/v2/repositories/app/_manifests/tags/latest/current/link",
    "/",
    "",
]


def test_the_function_and_the_edge_know_the_same_paths():
    node = shutil.which("node")
    if node is None:
        cannot_run("node: not installed; Debian has it in nodejs")
    events = [
        {
            "version": "1.0",
            "context": {"eventType": "viewer-response"},
            "request": {"method": "GET", "uri": path, "querystring": {}, "headers": {}, "cookies": {}},
            "response": {"statusCode": 206, "headers": {"content-type": {"value": "x"}}},
        }
        for path in PATHS
    ]
    script = f"{FUNCTION}\nprocess.stdout.write(JSON.stringify({json.dumps(events)}.map(handler)))"
    printed = subprocess.run([node, "-e", script], capture_output=True, check=True, timeout=60).stdout
    answers = json.loads(printed)

    assert [answer["headers"].get("docker-content-digest", {}).get("value") for answer in answers] == [
        str(digest) if (digest := digest_in(path)) else None for path in PATHS
    ]
    assert all(answer["statusCode"] == 206 for answer in answers)
    assert all(answer["headers"]["content-type"] == {"value": "x"} for answer in answers)


@pytest.mark.parametrize("path", PATHS[:5])
def test_blobs_of_every_layout_have_a_digest(path: str):
    assert str(digest_in(path)) == (f"sha512:{LONG}" if "sha512" in path else f"sha256:{HEX}")


@pytest.mark.parametrize("path", PATHS[5:])
def test_nothing_else_has_one(path: str):
    assert digest_in(path) is None
