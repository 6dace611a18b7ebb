"""The wheel and the archive of the sources have what they must, and two builds are the same bytes."""

from __future__ import annotations

import configparser
import tarfile
import time
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from lab import PROJECT
from lab.packages import EPOCH, Built, build, tracked

from cfmiddleware.version import __version__

#: What a build adds to the sources.
_ADDED = ("PKG-INFO", "cfmiddleware.egg-info/")


@pytest.fixture(scope="module")
def metadata(built: Built) -> Message:
    with zipfile.ZipFile(built.wheel) as archive:
        text = archive.read(f"cfmiddleware-{__version__}.dist-info/METADATA").decode()
    return Parser().parsestr(text)


def test_the_sources_are_all_that_git_has(built: Built):
    top = f"cfmiddleware-{__version__}/"
    with tarfile.open(built.sdist) as archive:
        names = [member.name.removeprefix(top) for member in archive if member.isfile()]
    assert sorted(name for name in names if not name.startswith(_ADDED)) == tracked()
    assert {"CHANGES.rst", "docs/index.rst", "tests/conftest.py", "scripts/test", ".ci/run"} <= set(names)


def test_scripts_of_the_sources_can_be_run(built: Built):
    with tarfile.open(built.sdist) as archive:
        modes = {member.name.partition("/")[2]: member.mode for member in archive}
    assert modes["scripts/test"] == 0o755
    assert modes["README.rst"] == 0o644


def test_the_wheel_has_the_package_and_its_types_and_nothing_else(built: Built):
    with zipfile.ZipFile(built.wheel) as archive:
        names = {name for name in archive.namelist() if not name.startswith(f"cfmiddleware-{__version__}.")}
        licence = archive.read(f"cfmiddleware-{__version__}.dist-info/licenses/LICENSE")
    assert names == {name for name in tracked() if name.startswith("cfmiddleware/")}
    assert "cfmiddleware/py.typed" in names
    assert licence == (PROJECT / "LICENSE").read_bytes()


def test_the_metadata_names_the_licence_as_spdx_does_and_the_projects_pages(metadata: Message):
    assert metadata["License-Expression"] == "MIT"
    assert metadata["License"] is None
    assert metadata["License-File"] == "LICENSE"
    assert not [line for line in metadata.get_all("Classifier", []) if line.startswith("License ::")]
    pages = dict(line.split(", ") for line in metadata.get_all("Project-URL", []))
    assert set(pages) == {"Source", "Documentation", "Changes", "Issues"}
    assert all(page.startswith("https://") for page in pages.values())


def test_the_metadata_has_the_readme_and_every_extra(metadata: Message):
    assert metadata["Description-Content-Type"] == "text/x-rst"
    readme = (PROJECT / "README.rst").read_text(encoding="utf-8")
    assert metadata.get_payload().strip() == readme.strip()
    config = configparser.ConfigParser(interpolation=None)
    config.read(PROJECT / "setup.cfg")
    assert metadata.get_all("Provides-Extra") == list(config["options.extras_require"])


def test_every_entry_of_both_archives_has_the_time_that_was_given(built: Built):
    with tarfile.open(built.sdist) as sources:
        assert {member.mtime for member in sources} == {EPOCH}
        assert {(member.uid, member.gid, member.uname) for member in sources} == {(0, 0, "")}
    with zipfile.ZipFile(built.wheel) as wheel:
        assert {entry.date_time for entry in wheel.infolist()} == {time.gmtime(EPOCH)[:6]}


@pytest.mark.long
def test_another_checkout_gives_the_same_bytes(built: Built, tmp_path: Path):
    """Its files are younger and for their owner alone, and lie elsewhere."""
    again = build(tmp_path, umask="077")
    assert again.wheel.read_bytes() == built.wheel.read_bytes()
    assert again.sdist.read_bytes() == built.sdist.read_bytes()
