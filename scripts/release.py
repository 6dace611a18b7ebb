"""A release, as scripts/release says it. What does not hold ends it with one line, and nothing changes."""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from packaging.version import InvalidVersion, Version

PROJECT = Path(__file__).resolve().parents[1]

_BUILD = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"


def main() -> None:
    """Release, or say what a release would be."""
    parser = argparse.ArgumentParser(
        prog="scripts/release", description="Make a release of what is committed."
    )
    parser.add_argument("version", metavar="VERSION", help="such as 0.2.0; its tag is v0.2.0")
    parser.add_argument("--dry-run", action="store_true", help="make all of it, show it, and leave nothing")
    options = parser.parse_args()
    version = _version(options.version)
    _check_repository(version)
    date = f"{datetime.now(UTC):%Y-%m-%d}"
    with tempfile.TemporaryDirectory() as scratch:
        clone, dist = Path(scratch, "clone"), Path(scratch, "dist")
        _run("git", "clone", "--quiet", "--no-hardlinks", str(PROJECT), str(clone))
        _name_version(clone, version, date)
        _commit(clone, version)
        _build(clone, dist)
        _check(dist, version)
        _add_sums(dist)
        print(_run("git", "show", "--stat", "--format=%s", f"v{version}^{{commit}}", cwd=clone))
        for file in sorted(dist.iterdir()):
            print(f"dist/{file.name}  {file.stat().st_size} bytes")
        if options.dry_run:
            print("a dry run: nothing was changed")
            return
        _run("git", "fetch", "--quiet", str(clone), "HEAD", f"refs/tags/v{version}:refs/tags/v{version}")
        _run("git", "merge", "--quiet", "--ff-only", f"v{version}")
        shutil.rmtree(PROJECT / "dist", ignore_errors=True)
        shutil.copytree(dist, PROJECT / "dist")
    branch = _run("git", "rev-parse", "--abbrev-ref", "HEAD").strip()
    print(f"to publish it:\n  git push origin {branch} v{version}")
    print("  .venv/bin/twine upload dist/*.whl dist/*.tar.gz")


def _version(text: str) -> Version:
    try:
        version = Version(text)
    except InvalidVersion:
        _refuse(f"{text!r} is not a version; write it like 0.2.0")
    if str(version) != text or version.local:
        _refuse(f"{text!r} is not how a version is published; write it like {version.public}")
    return version


def _check_repository(version: Version) -> None:
    if changed := _run("git", "status", "--porcelain"):
        _refuse(f"something is not committed: {changed.split()[1]}")
    tags = [tag[1:] for tag in _run("git", "tag", "--list", "v*").split()]
    if str(version) in tags:
        _refuse(f"the tag v{version} is there already")
    released = [Version(tag) for tag in tags if re.fullmatch(r"[0-9][0-9a-z.]*", tag)]
    newest = max(released, default=None)
    if newest is not None and version < newest:
        _refuse(f"{version} is lower than {newest}, which is released")
    planned = _planned((PROJECT / "CHANGES.rst").read_text(encoding="utf-8"))
    if version < planned:
        _refuse(f"{version} is lower than {planned}, which CHANGES.rst is about")


def _planned(changes: str) -> Version:
    """Return the version of the first section, which must be unreleased and have something."""
    found = re.search(r"^(\S+) \((.+)\)\n-+\n\n(.*)", changes, re.MULTILINE)
    if found is None or found[2] != "unreleased":
        _refuse("the first section of CHANGES.rst must be called like: 0.2.0 (unreleased)")
    if not found[3].startswith("- "):
        _refuse(f"the section {found[1]} of CHANGES.rst has no entry")
    return Version(found[1])


def _name_version(clone: Path, version: Version, date: str) -> None:
    changes = clone / "CHANGES.rst"
    heading = f"{version} ({date})"
    text = changes.read_text(encoding="utf-8")
    changes.write_text(
        re.sub(r"^\S+ \(unreleased\)\n-+$", f"{heading}\n{'-' * len(heading)}", text, count=1, flags=re.M),
        encoding="utf-8",
    )
    module = clone / "cfmiddleware" / "version.py"
    text = module.read_text(encoding="utf-8")
    module.write_text(re.sub(r'^__version__ = ".*"$', f'__version__ = "{version}"', text, flags=re.M))
    environment = {**os.environ, "PYTHONPATH": str(clone)}
    _run(sys.executable, "-m", "cfmiddleware.cli.manpage", "docs/man", date, cwd=clone, env=environment)


def _commit(clone: Path, version: Version) -> None:
    for name in ("user.name", "user.email", "user.signingkey", "commit.gpgsign", "tag.gpgsign"):
        done = subprocess.run(["git", "config", name], cwd=PROJECT, capture_output=True, text=True)
        if done.returncode == 0:
            _run("git", "config", name, done.stdout.strip(), cwd=clone)
    _run("git", "commit", "--quiet", "--all", "--message", f"release: {version}", cwd=clone)
    _run("git", "tag", "--annotate", f"v{version}", "--message", f"cfmiddleware {version}", cwd=clone)


def _build(clone: Path, dist: Path) -> None:
    dist.mkdir()
    epoch = _run("git", "log", "-1", "--format=%ct", cwd=clone).strip()
    environment = {**os.environ, "SOURCE_DATE_EPOCH": epoch}
    for what in ("build_sdist", "build_wheel"):
        _run(sys.executable, "-c", _BUILD, what, str(dist), cwd=clone, env=environment)
    from sbom import sbom  # which imports much that a refusal needs not

    [wheel] = dist.glob("*.whl")
    text = sbom(wheel, datetime.fromtimestamp(int(epoch), UTC))
    wheel.with_name(f"{wheel.name.split('-py3')[0]}.cdx.json").write_text(text, encoding="utf-8")


def _check(dist: Path, version: Version) -> None:
    archives = [f"cfmiddleware-{version}-py3-none-any.whl", f"cfmiddleware-{version}.tar.gz"]
    for archive in archives:
        if not (dist / archive).is_file():
            _refuse(f"the build did not make {archive}")
    _check_metadata(dist, *archives)
    if find_spec("twine"):  # which renders the README too
        _run(sys.executable, "-m", "twine", "check", "--strict", *archives, cwd=dist)


def _check_metadata(dist: Path, wheel: str, sdist: str) -> None:
    """Refuse what an index would refuse, and archives that are not about the same."""
    from packaging.metadata import Metadata

    with zipfile.ZipFile(dist / wheel) as built:
        [name] = [name for name in built.namelist() if name.endswith(".dist-info/METADATA")]
        told = built.read(name)
    with tarfile.open(dist / sdist) as sources:
        member = sources.extractfile(f"{sdist.removesuffix('.tar.gz')}/PKG-INFO")
        if member is None or member.read() != told:
            _refuse("the two archives differ in what they say of the package")
    try:
        Metadata.from_email(told)
    except ExceptionGroup as error:
        _refuse(f"{wheel}: {'; '.join(map(str, error.exceptions))}")


def _add_sums(dist: Path) -> None:
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted(dist.iterdir())
    ]
    (dist / "SHA256SUMS").write_text("".join(lines))


def _run(*command: str, cwd: Path = PROJECT, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    if done.returncode != 0:
        _refuse(f"{' '.join(command[:4])}:\n{done.stdout}{done.stderr}")
    return done.stdout


def _refuse(why: str) -> NoReturn:
    sys.exit(f"scripts/release: {why}")


if __name__ == "__main__":
    main()
