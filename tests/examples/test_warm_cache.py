"""The script that fills CloudFront, against the local edge behind a cache that says what it has."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from lab import PROJECT
from lab.auth_material import htpasswd
from lab.images import Image, Index, blob_file
from lab.required import cannot_run
from lab.servers import CFMIDDLEWARE, free_ports, running
from lab.serving import ask

from cfmiddleware.signing.keys import generate

pytestmark = pytest.mark.servers

SCRIPT = PROJECT / "examples" / "warm-cache" / "warm.py"
PROGRAMS = {"PATH": f"{os.environ['PATH']}:/usr/sbin"}
BASIC = {"Authorization": "Basic Y2k6b3Blbg=="}  # ci:open

#: As CloudFront does: what a URL is signed with is not part of what it is kept under.
CACHE = """
daemon off; master_process off; pid nginx.pid; error_log stderr crit;
events {{ worker_connections 64; }}
http {{
  access_log off; client_body_temp_path body; proxy_temp_path proxy;
  fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  proxy_cache_path cache keys_zone=cache:1m;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://127.0.0.1:{edge}; proxy_set_header Host $http_host;
      proxy_cache cache; proxy_cache_key $uri; proxy_cache_valid 200 1h;
      add_header X-Cache "$upstream_cache_status from cloudfront";
    }}
  }}
}}
"""


class Place(NamedTuple):
    """A registry that wants a password, with an edge that remembers."""

    registry: str
    objects: Path

    def warm(self, reference: str, *options: str, password: str = "open") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, SCRIPT, f"{self.registry}/{reference}", "--http", "--user", "ci", *options],
            env={**os.environ, "REGISTRY_PASSWORD": password},
            capture_output=True,
            text=True,
            timeout=60,
        )


@pytest.fixture(scope="module")
def place(index: Index, other_image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """It has the index as `team/app:1`, and the other image by its digest."""
    if shutil.which("nginx", path=PROGRAMS["PATH"]) is None:
        cannot_run("nginx is not installed")
    here = tmp_path_factory.mktemp("warm")
    port, edge, cache = free_ports(3)
    (here / "key.pem").write_text(generate("ecdsa").private_pem)
    (here / "users").write_bytes(htpasswd({"ci": "open"}))
    (here / "nginx.conf").write_text(CACHE.format(port=cache, edge=edge))
    options = {"baseurl": f"http://127.0.0.1:{cache}", "privatekey": "key.pem", "keypairid": "K1"}
    tree = {
        "storage": {"filesystem": {"rootdirectory": "objects"}},
        "http": {"addr": f"127.0.0.1:{port}"},
        "auth": {"htpasswd": {"realm": "registry", "path": "users"}},
        "middleware": {"storage": [{"name": "cloudfront", "options": options}]},
        "edge": {"addr": f"127.0.0.1:{edge}"},
    }
    (here / "config.yml").write_text(yaml.safe_dump(tree))
    nginx = ["nginx", "-p", f"{here}/", "-c", "nginx.conf", "-e", "stderr"]
    with (
        running([CFMIDDLEWARE, "serve", "config.yml"], here, ports=[port, edge]),
        running(nginx, here / "cache", ports=[cache], env=PROGRAMS),
    ):
        repository = f"http://127.0.0.1:{port}/v2/team/app"
        for image in (*index.images, other_image):
            push(repository, image)
        put(f"{repository}/manifests/1", index.layout, index.digest, "index")
        yield Place(f"127.0.0.1:{port}", here / "objects")


def push(repository: str, image: Image) -> None:
    for digest in image.blobs:
        url = f"{repository}/blobs/uploads/?digest={digest}"
        assert ask("POST", url, blob_file(image.layout, digest).read_bytes(), BASIC).status == 201
    put(f"{repository}/manifests/{image.manifest}", image.layout, image.manifest, "manifest")


def put(url: str, layout: Path, digest: str, kind: str) -> None:
    headers = {**BASIC, "Content-Type": f"application/vnd.oci.image.{kind}.v1+json"}
    assert ask("PUT", url, blob_file(layout, digest).read_bytes(), headers).status == 201


def lines(output: str) -> dict[str, str]:
    """Return what is said of each blob that came."""
    return dict(re.findall(r"^ok     (\S+) (.*)$", output, re.MULTILINE))


def test_one_platform_and_then_all_of_them(place: Place, index: Index):
    amd, arm = index.images
    shared = set(amd.blobs) & set(arm.blobs)
    assert shared

    first = place.warm("team/app:1", "--platform", "linux/amd64")
    second = place.warm("team/app:1", "--parallel", "2")

    assert (first.returncode, first.stderr) == (0, "")
    assert set(lines(first.stdout)) == set(amd.blobs)
    assert all("MISS from cloudfront" in line for line in lines(first.stdout).values())
    assert (second.returncode, second.stderr) == (0, "")
    said = lines(second.stdout)
    assert set(said) == {*amd.blobs, *arm.blobs}
    # What the first run pulled is there, and of the rest nothing was.
    assert {digest for digest, line in said.items() if "HIT from cloudfront" in line} == set(amd.blobs)
    assert second.stdout.endswith(f"{len(said)} of {len(said)} blobs\n")


@pytest.mark.parametrize(
    ("reference", "options", "password", "line"),
    [
        ("team/app:none", (), "open", "no manifest none: 404"),
        ("team/app:1", (), "wrong", "no manifest 1: 401"),
        ("team/app:1", ("--platform", "linux/vax"), "open", "no image for linux/vax; there are linux/amd64"),
    ],
)
def test_an_image_that_cannot_be_asked_for_is_one_line_and_status_2(
    place: Place, reference: str, options: tuple[str, ...], password: str, line: str
):
    done = place.warm(reference, *options, password=password)

    assert (done.returncode, done.stdout) == (2, "")
    assert line in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_blob_that_does_not_come_is_named_and_the_others_come(place: Place, other_image: Image):
    lost = other_image.layers[2]
    (data,) = place.objects.glob(f"docker/registry/v2/blobs/sha256/??/{lost.partition(':')[2]}/data")
    data.write_bytes(b"something else")

    done = place.warm(f"team/app@{other_image.manifest}")

    assert done.returncode == 1
    assert re.search(rf"^FAILED {lost} 14 bytes that are not the blob's", done.stdout, re.MULTILINE)
    assert set(lines(done.stdout)) == set(other_image.blobs) - {lost}
