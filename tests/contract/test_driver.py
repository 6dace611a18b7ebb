"""What every storage driver promises, asked of all of ours."""

from __future__ import annotations

import uuid

import pytest
from lab.watched_s3 import WATCHED

from cfmiddleware.storage.contract import DriverContract
from cfmiddleware.storage.filesystem.filesystemdriver import FilesystemDriver
from cfmiddleware.storage.memory import MemoryDriver


class TestMemory(DriverContract):
    @pytest.fixture
    def driver(self):
        return MemoryDriver()


class TestFilesystem(DriverContract):
    object_and_prefix_may_share_a_name = False

    @pytest.fixture
    def driver(self, tmp_path):
        return FilesystemDriver(tmp_path)


class TestS3(DriverContract):
    @pytest.fixture(params=WATCHED)
    def driver(self, request):
        return request.getfixturevalue(request.param).driver(f"team/{uuid.uuid4()}", shared=True)


def test_the_root_directory_is_part_of_the_key():
    assert MemoryDriver("/team/prod/").key("/docker/registry") == "team/prod/docker/registry"
    assert MemoryDriver("/").key("/docker/registry") == "docker/registry"


class Overwriting(MemoryDriver):
    """A driver that breaks one rule: what is created replaces what was there."""

    def create(self, path, content):
        self.write(path, content)


def test_the_suite_fails_for_a_driver_that_breaks_a_rule():
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        DriverContract().test_creating_refuses_and_spares_what_is_there(Overwriting())
    DriverContract().test_creating_refuses_and_spares_what_is_there(MemoryDriver())
