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


class TestS3OverTLS:
    """The promises that TLS could make a difference to: bodies of any size, many connections at a time."""

    @pytest.fixture
    def driver(self, watched_ceph_over_tls):
        return watched_ceph_over_tls.driver(f"team/{uuid.uuid4()}", shared=True)

    test_split = DriverContract.test_however_content_is_split_into_writes_the_object_is_the_same
    test_range = DriverContract.test_any_range_can_be_read
    test_reader = DriverContract.test_a_reader_can_be_closed_early_and_twice_and_gives_back_its_descriptor
    test_race = DriverContract.test_of_many_that_create_an_object_one_wins
    test_composing = DriverContract.test_composing_joins_any_objects_in_their_order
    test_names = DriverContract.test_names_may_hold_any_character


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
