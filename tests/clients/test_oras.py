"""Artifacts that the library `oras` pushes, pulls, attaches to others and discovers."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.client_settings import CLOSED, OPEN, Place, Setting, every_setting
from lab.clients import Oras
from lab.servers import S3Server

from cfmiddleware.digest import Digest

pytestmark = pytest.mark.clients

SIGNATURE, REPORT = "application/vnd.example.signature", "application/vnd.example.report+json"


@pytest.fixture(scope="module", params=every_setting(OPEN[0], CLOSED[1]), ids=str)
def place(
    request: pytest.FixtureRequest, s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """A registry with an edge, once in each setting."""
    setting: Setting = request.param
    with setting.running(tmp_path_factory.mktemp("place"), s3_server) as place:
        yield place


@pytest.fixture
def oras(place: Place, tmp_path: Path) -> Iterator[Oras]:
    """The library, logged in where that is necessary."""
    with contextlib.closing(place.oras(tmp_path / "oras")) as oras:
        yield oras


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """A text, and a few megabytes of random bytes."""
    directory = tmp_path / "files"
    directory.mkdir()
    (directory / "notes.txt").write_text("hello\n")
    (directory / "model.bin").write_bytes(random.Random(7).randbytes(3_000_000))
    return [directory / "notes.txt", directory / "model.bin"]


def contents(files: list[Path]) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in files}


def test_files_come_back_from_the_edge(place: Place, oras: Oras, files: list[Path], tmp_path: Path):
    oras.push(f"{place.registry}/oras/files:1", files)

    assert oras.pull(f"{place.registry}/oras/files:1", tmp_path / "back") == contents(files)
    sizes = {str(Digest.of(file.read_bytes())): file.stat().st_size for file in files}
    assert place.service.has_sent(sizes)


def test_files_are_pushed_in_chunks(place: Place, oras: Oras, files: list[Path], tmp_path: Path):
    reference = f"{place.registry}/oras/chunks:1"
    oras.push(reference, files, do_chunked=True, chunk_size=700_000)

    assert oras.pull(reference, tmp_path / "back") == contents(files)


def test_a_directory_comes_back_with_what_was_in_it(
    place: Place, oras: Oras, files: list[Path], tmp_path: Path
):
    oras.push(f"{place.registry}/oras/directory:1", [files[0].parent])
    oras.provider.pull(f"{place.registry}/oras/directory:1", outdir=str(tmp_path / "back"))

    assert contents(list((tmp_path / "back/files").iterdir())) == contents(files)


def test_tags_are_listed_page_by_page_and_deleted(place: Place, oras: Oras, files: list[Path]):
    repository = f"{place.registry}/oras/tags"
    for tag in ("one", "two", "three"):
        oras.push(f"{repository}:{tag}", files[:1], manifest_annotations={"tag": tag})

    assert oras.tags(repository) == ["one", "three", "two"]
    assert oras.tags(repository, 2) == ["one", "three"]
    oras.delete(repository, "three")
    assert oras.tags(repository) == ["one", "two"]


def test_what_is_attached_is_discovered(place: Place, oras: Oras, files: list[Path]):
    subject = oras.push(f"{place.registry}/oras/subject:1", files)
    annotations = {"by": "alice"}
    signature = oras.attach(
        f"{place.registry}/oras/subject:signature",
        subject,
        SIGNATURE,
        files[:1],
        manifest_annotations=annotations,
    )

    (found,) = oras.discover("oras/subject", subject)
    assert (found["mediaType"], found["digest"], found["size"]) == signature
    assert (found["artifactType"], found["annotations"]) == (SIGNATURE, annotations)


def test_only_what_is_of_a_kind_is_discovered(place: Place, oras: Oras, files: list[Path]):
    repository = f"{place.registry}/oras/kinds"
    subject = oras.push(f"{repository}:1", files)
    oras.attach(f"{repository}:signature", subject, SIGNATURE, files[:1])
    report = oras.attach(f"{repository}:report", subject, REPORT, files[:1])

    assert len(oras.discover("oras/kinds", subject)) == 2
    assert [found["digest"] for found in oras.discover("oras/kinds", subject, REPORT)] == [report.digest]


def test_what_is_deleted_is_no_longer_discovered(place: Place, oras: Oras, files: list[Path]):
    repository = f"{place.registry}/oras/gone"
    subject = oras.push(f"{repository}:1", files)
    oras.attach(f"{repository}:signature", subject, SIGNATURE, files[:1])

    oras.delete(repository, "signature")

    assert oras.discover("oras/gone", subject) == []


def test_what_is_attached_is_pulled(place: Place, oras: Oras, files: list[Path], tmp_path: Path):
    repository = f"{place.registry}/oras/attached"
    subject = oras.push(f"{repository}:1", files)
    signature = oras.attach(f"{repository}:signature", subject, SIGNATURE, files[:1])

    assert oras.pull(f"{repository}@{signature.digest}", tmp_path / "back") == contents(files[:1])
