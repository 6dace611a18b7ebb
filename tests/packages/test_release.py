"""``scripts/release`` in a clone: what a release leaves, and when it refuses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from lab.packages import copy_tracked

_WHO = {"GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.com"}
_WHO |= {name.replace("AUTHOR", "COMMITTER"): value for name, value in _WHO.items()}

#: A version that is never released.
VERSION = "900.1.0"


class Repository:
    """A repository of the checkout's files, with the commands of the environment that runs the tests."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        copy_tracked(directory)
        (directory / ".venv").mkdir()
        for name in ("bin", "lib", "pyvenv.cfg"):
            (directory / ".venv" / name).symlink_to(Path(sys.prefix) / name)
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit()

    def git(self, *arguments: str) -> str:
        environment = {**os.environ, **_WHO}
        command = ["git", *arguments]
        return subprocess.run(
            command, cwd=self.directory, env=environment, check=True, capture_output=True, text=True
        ).stdout

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "all")

    def release(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.directory / "scripts" / "release"), *arguments]
        return subprocess.run(
            command, env={**os.environ, **_WHO}, capture_output=True, text=True, timeout=120
        )

    def state(self) -> tuple[str, ...]:
        """Return what a release would change."""
        dist = str(sorted(self.directory.glob("dist/*")))
        return self.git("rev-parse", "HEAD"), self.git("tag"), self.git("status", "--porcelain"), dist


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    made = Repository(tmp_path_factory.mktemp("repository"))
    made.git("tag", "v0.0.9")
    return made


@pytest.fixture
def changes(repository: Repository):
    """Let a test change CHANGES.rst and commit it."""
    before = repository.git("rev-parse", "HEAD").strip()
    yield repository.directory / "CHANGES.rst"
    repository.git("reset", "--quiet", "--hard", before)


def refused(repository: Repository, *arguments: str) -> str:
    before = repository.state()
    done = repository.release(*arguments)
    assert done.returncode == 1
    assert repository.state() == before
    [line] = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("version", ["next", "v1.0"])
def test_a_version_is_written_as_it_is_published(repository: Repository, version: str):
    assert "write it like" in refused(repository, version)


def test_a_dirty_tree_is_refused(repository: Repository):
    added = repository.directory / "added"
    added.touch()
    try:
        assert refused(repository, VERSION).endswith("something is not committed: added")
    finally:
        added.unlink()


def test_a_version_that_is_there_or_lower_is_refused(repository: Repository):
    assert refused(repository, "0.0.9").endswith("the tag v0.0.9 is there already")
    assert refused(repository, "0.0.8").endswith("0.0.8 is lower than 0.0.9, which is released")
    assert "which CHANGES.rst is about" in refused(repository, "0.0.10")


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ("0.1.0 (2020-01-01)\n------------------\n\n- It.\n", "must be called like: 0.2.0 (unreleased)"),
        ("0.1.0 (unreleased)\n------------------\n\n0.0.9 (x)\n---\n", "CHANGES.rst has no entry"),
    ],
)
def test_the_changes_must_be_about_it(repository: Repository, changes: Path, section: str, line: str):
    changes.write_text(f"Changes\n=======\n\nNewest first.\n\n{section}")
    repository.commit()
    assert line in refused(repository, VERSION)


@pytest.mark.long
def test_a_dry_run_leaves_nothing_and_a_release_all(repository: Repository):
    before = repository.state()
    dry = repository.release(VERSION, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert f"dist/cfmiddleware-{VERSION}.cdx.json" in dry.stdout
    assert repository.state() == before

    done = repository.release(VERSION)
    assert done.returncode == 0, done.stderr
    assert f"git push origin main v{VERSION}" in done.stdout

    assert repository.git("log", "-1", "--format=%s%d").strip() == (
        f"release: {VERSION} (HEAD -> main, tag: v{VERSION})"
    )
    assert repository.git("cat-file", "-t", f"v{VERSION}").strip() == "tag"
    assert repository.git("status", "--porcelain") == ""
    heading = (repository.directory / "CHANGES.rst").read_text().splitlines()[5]
    assert re.fullmatch(rf"{VERSION} \({datetime.now(UTC):%Y-}\d\d-\d\d\)", heading)
    assert f'"{VERSION}"' in (repository.directory / "cfmiddleware" / "version.py").read_text()
    assert f"cfmiddleware {VERSION}" in (repository.directory / "docs/man/cfmiddleware-gc.1").read_text()
    _check_archives(repository.directory / "dist")
    assert refused(repository, VERSION).endswith("is there already")


def _check_archives(dist: Path) -> None:
    made = {f"cfmiddleware-{VERSION}{end}" for end in ("-py3-none-any.whl", ".tar.gz", ".cdx.json")}
    assert {file.name for file in dist.iterdir()} == {*made, "SHA256SUMS"}
    sums = dict(line.split("  ")[::-1] for line in (dist / "SHA256SUMS").read_text().splitlines())
    assert sums == {name: sha256((dist / name).read_bytes()).hexdigest() for name in made}
    text = (dist / f"cfmiddleware-{VERSION}.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bom = json.loads(text)
    wheel = (dist / f"cfmiddleware-{VERSION}-py3-none-any.whl").read_bytes()
    top = bom["metadata"]["component"]
    assert (top["name"], top["version"]) == ("cfmiddleware", VERSION)
    assert top["hashes"] == [{"alg": "SHA-256", "content": sha256(wheel).hexdigest()}]
    scopes = {component["name"]: component["scope"] for component in bom["components"]}
    assert {"werkzeug", "boto3", "rsa", "pyyaml", "botocore", "pyasn1"} <= set(scopes)
    assert scopes["botocore"] == "required"
    assert scopes["gunicorn"] == scopes["duckdb"] == "optional"
    assert "pytest" not in scopes
    below = {entry["ref"]: entry.get("dependsOn", []) for entry in bom["dependencies"]}
    assert any(ref.startswith("pkg:pypi/boto3@") for ref in below[top["bom-ref"]])
