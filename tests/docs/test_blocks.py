"""Each block of a page is run: by a test that follows the page, here, or by one that is named here.

Configurations are left out: `test_configurations.py` loads each of them.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path

import pytest
import yaml
from lab import PROJECT
from lab.pageblocks import Literal, all_pages, literals
from lab.registry_client import RegistryClient, descriptor, image_manifest
from lab.required import cannot_run
from lab.signing_material import rsa_pem
from paste.deploy import loadapp

from cfmiddleware import CloudFrontMiddleware
from cfmiddleware.cli import main
from cfmiddleware.config import Config

TESTS = PROJECT / "tests"

#: Pages that `test_start_pages.py` follows from their first line to the last.
FOLLOWED = (
    *("start", "start-aws", "wrap-flask", "wrap-django", "wrap-paste", "wrap-gunicorn", "observing", "tls"),
    *("rotate", "clean-up", "refused", "migrating", "dashboard", "s3-ceph", "s3-minio", "s3-r2"),
)

#: Blocks that are run elsewhere: the page, how the block begins, and the test or the script.
ELSEWHERE = {
    ("authentication", "htpasswd -B"): "tests/docs/test_blocks.py",
    ("caching", "ACL SETUSER"): "tests/serving/test_redis.py",
    ("check", "cfmiddleware check config.yml"): "tests/cloudfront/test_check_command.py",
    ("check", "cfmiddleware explain"): "tests/cloudfront/test_explain.py",
    ("cloudfront", "mkdir keys"): "tests/docs/test_start_pages.py",
    ("cloudfront", "cfmiddleware template"): "tests/docs/test_start_pages.py",
    ("cloudfront", "aws cloudformation deploy"): "tests/docs/test_start_pages.py",
    ("cloudfront", "cfmiddleware check"): "tests/docs/test_start_pages.py",
    ("container-image", "buildah build"): "tests/clients/test_container_image.py",
    ("django-oci", "from django.core.wsgi"): ".ci/django-oci",
    ("files", "pip download"): "tests/packages/test_archives.py",
    ("garbage-collection", "pip install"): "tests/contract/test_inventory_over_s3.py",
    ("metrics-and-health", "gunicorn --workers 1"): "tests/serving/test_metrics.py",
    ("metrics-and-health", "PROMETHEUS_MULTIPROC_DIR"): "tests/serving/test_metrics.py",
    ("pulp", "CFMIDDLEWARE_CONFIG"): ".ci/pulp",
    ("quay", "from conf.gunicorn_registry"): ".ci/quay",
    ("quay", "CFMIDDLEWARE_CONFIG"): ".ci/quay",
    ("running", "cfmiddleware serve config.yml"): "tests/serving/test_serve.py",
    ("running", 'eval "$(cfmiddleware completion'): "tests/serving/test_completion.py",
    ("running", "# yaml-language-server"): "tests/docs/test_config_schema.py",
    ("running", "gunicorn --worker-class gevent"): "tests/serving/test_server.py",
    ("servers", "limit_request_field_size"): "tests/serving/test_gunicorn_module.py",
    ("servers", "gunicorn --worker-class"): "tests/docs/test_servers_page.py",
    ("servers", "granian"): "tests/docs/test_servers_page.py",
    ("servers", "uwsgi"): "tests/docs/test_servers_page.py",
    ("servers", "waitress-serve"): "tests/docs/test_servers_page.py",
    ("servers", "LimitRequestFieldSize"): "tests/docs/test_servers_page.py",
    ("s3-permissions", "{"): "tests/contract/test_s3_permissions.py",
    ("storage-drivers", "@classmethod"): "tests/unit/storage/test_factory.py",
    ("storage-drivers", "def _sqlite"): "tests/unit/storage/test_factory.py",
    ("storage-drivers", "import pytest"): "tests/contract/test_driver.py",
    ("storage-drivers", ".venv/bin/pytest"): "tests/contract/test_driver.py",
    ("tracing", "pip install"): "tests/serving/test_tracing.py",
    ("wrapping", "CFMIDDLEWARE_CONFIG"): "tests/serving/test_gunicorn_module.py",
    ("wrapping", "from cfmiddleware.gunicorn import *"): "tests/serving/test_gunicorn_module.py",
    ("wrapping", "gunicorn --worker-class gthread"): "tests/docs/test_start_pages.py",
}

#: What a program prints or a file holds, and is not typed.
SHOWN = (
    ("architecture", "8  __init__.py"),
    ("check", "1. From here"),
    ("check", "cloudfront:ListDistributions"),
    ("cloudfront", "KEY ID"),
    ("error-codes", "{"),
    ("garbage-collection", "requests to S3 now"),
    ("http-and-logs", "2026-08-01"),
    ("http-and-logs", "{"),
    ("running", 'originpath: ""'),
    ("servers", "{"),
    ("verify", "missing part"),
    ("wrapping", "keepheaders:"),
    ("wrapping", "distribution "),
)

BLOCKS = [
    block
    for page in all_pages()
    if page not in FOLLOWED
    for block in literals(page)
    if block.configuration() is None
]


def starting(block: Literal, *begins: str) -> bool:
    return block.text.startswith(begins)


def is_elsewhere(block: Literal) -> bool:
    return any((block.page == page and starting(block, begin)) for page, begin in (*ELSEWHERE, *SHOWN))


HERE = [block for block in BLOCKS if not is_elsewhere(block)]
COMMANDS = [block for block in HERE if starting(block, "cfmiddleware ")]
PYTHON = [block for block in HERE if starting(block, "from ")]
INSTALLS = [block for block in BLOCKS if starting(block, "pip install ")]
KUBECTL = [block for block in HERE if starting(block, "kubectl ")]
OTHERS = {("wrapping", "[pipeline:main]")}


def test_each_block_is_run_by_some_test():
    left = [block for block in HERE if block not in (*COMMANDS, *PYTHON, *INSTALLS, *KUBECTL)]
    assert {(block.page, block.begin) for block in left} == OTHERS


def test_what_is_named_here_is_there():
    followers = (TESTS / "docs" / "test_start_pages.py").read_text(encoding="utf-8")
    assert [page for page in FOLLOWED if f'"{page}"' not in followers] == []
    assert [file for file in set(ELSEWHERE.values()) if not (PROJECT / file).is_file()] == []
    for page, begin in (*ELSEWHERE, *SHOWN):
        assert any(starting(block, begin) for block in literals(page)), (page, begin)


# Commands


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RegistryClient:
    """A client of a registry as the pages take it for granted, whose `config.yml` is in this directory."""
    sections = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": "data"}, "delete": {"enabled": True}},
        "retention": [{"repositories": "team/*", "keep": {"last": 1}}],
        "notifications": {
            "spool": {"directory": "events"},
            "endpoints": [{"name": "listener", "url": "http://127.0.0.1:9/event"}],
        },
    }
    (tmp_path / "config.yml").write_text(yaml.safe_dump(sections))
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    return RegistryClient(Config.load("config.yml", {}).driver())


#: A line that ends with another status than 0 where there are no such events.
ABSENT = {"cfmiddleware notifications config.yml resend 12 13": 1}


@pytest.mark.parametrize("block", COMMANDS, ids=lambda block: f"{block.page}-{block.text.split()[1]}")
def test_the_commands_of_a_page_are_run_in_order(block: Literal, client: RegistryClient):
    for line in block.text.splitlines():
        layer = b"a layer"
        layers = [descriptor(client.push_blob("team/app", layer), size=len(layer))]
        manifest = {**image_manifest(client.push_blob("team/app", b"{}"), []), "layers": layers}
        manifest["config"]["size"] = 2
        digest = client.push_manifest("team/app", "ci-17", manifest).headers["Docker-Content-Digest"]
        words = shlex.split(line.replace("sha256:...", digest), comments=True)
        if words[1] == "delete" and "--dry-run" not in words:
            words.append("--yes")  # there is no terminal to ask at
        assert main(words[1:]) == ABSENT.get(shlex.join(words), 0), line


@pytest.mark.parametrize("block", INSTALLS, ids=lambda block: block.page)
def test_an_extra_that_a_page_installs_is_there(block: Literal):
    known = set(metadata("cfmiddleware").get_all("Provides-Extra") or ())
    (extras,) = re.findall(r"cfmiddleware\[(.*)\]", block.text)
    assert set(extras.split(",")) <= known


@pytest.mark.parametrize("block", KUBECTL, ids=lambda block: block.begin)
def test_what_kubectl_makes_of_a_page_is_what_the_manifests_name(block: Literal, tmp_path: Path):
    """Without a cluster: `kubectl apply` has nobody to talk to."""
    if shutil.which("kubectl") is None:
        cannot_run("kubectl: not installed; Debian has it in the package kubernetes-client")
    (line,) = re.findall(r"^kubectl .* create secret .*--from-file=\S+", block.text, re.MULTILINE)
    (file,) = re.findall(r"--from-file=(\S+)", line)
    (tmp_path / file).write_text("a key")
    command = [*shlex.split(line), "--dry-run=client", "-o", "yaml"]
    made = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=True)
    secret = yaml.safe_load(made.stdout)
    assert [*secret["data"]] == [file]
    deployment = (PROJECT / "deploy" / "kubernetes" / "deployment.yaml").read_text(encoding="utf-8")
    assert f"secretName: {secret['metadata']['name']}" in deployment


# Python

#: What stands before a block: what the page takes for granted. What it names is asked for afterwards.
PRELUDE = """
import django.conf
from cfmiddleware.storage.memory import MemoryDriver

django.conf.settings.configure(ROOT_URLCONF="urls", SECRET_KEY="x", ALLOWED_HOSTS=["*"])
driver = MemoryDriver()

def app(environ, start_response):
    start_response("404 Not Found", [])
    return [b"none"]
"""
POSTLUDE = """
from werkzeug.test import Client
print(Client(globals().get("application") or app).get("/v2/none/").status_code)
"""


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: f"{block.page}-{block.begin}")
def test_python_of_a_page_makes_an_app(block: Literal, tmp_path: Path):
    key, users = tmp_path / "pk-K2JCJMDEHXQW5F.pem", tmp_path / "users.htpasswd"
    key.write_text(rsa_pem())
    (tmp_path / "urls.py").write_text("urlpatterns = []\n")
    (command,) = [each.text for each in literals("authentication") if starting(each, "htpasswd ")]
    subprocess.run(
        [
            *shlex.split(command.replace(" -c ", " -i -c ")),
        ],
        cwd=tmp_path,
        input=b"secret",
        check=True,
    )
    options = f'baseurl="https://d111111abcdef8.cloudfront.net", privatekey={str(key)!r}'
    text = block.text.replace("(app, ...)", f"(app, {options})")
    for written, there in (
        ("/etc/registry/users.htpasswd", users),
        ("/etc/registry/pk-K2JCJMDEHXQW5F.pem", key),
        ("/run/registry/metrics", tmp_path / "metrics"),
    ):
        text = text.replace(written, str(there))
    command = [sys.executable, "-c", PRELUDE + text + POSTLUDE]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() in ("404", "401"), done.stderr


# Other files


def test_the_pipeline_of_a_page_is_built_by_pastedeploy(tmp_path: Path):
    (block,) = [each for each in literals("wrapping") if starting(each, "[pipeline:main]")]
    key = tmp_path / "cloudfront.pem"
    key.write_text(rsa_pem())
    text = block.text.replace("/etc/registry/cloudfront.pem", str(key))
    ours = "egg:cfmiddleware#registry\nstorage = inmemory"
    (tmp_path / "registry.ini").write_text(text.replace("egg:your-registry", ours))
    assert isinstance(loadapp(f"config:{tmp_path}/registry.ini"), CloudFrontMiddleware)
