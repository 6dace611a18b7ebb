"""From a configuration to a storage driver."""

from __future__ import annotations

import logging

import pytest

from cfmiddleware.errors import ConfigError
from cfmiddleware.storage.factory import storage_driver
from cfmiddleware.storage.filesystem.filesystemdriver import FilesystemDriver
from cfmiddleware.storage.memory import MemoryDriver
from cfmiddleware.storage.s3 import S3Driver, S3Options

S3 = {"bucket": "registry", "region": "eu-central-1"}


@pytest.mark.parametrize(
    ("name", "options", "kind"),
    [
        ("inmemory", {}, MemoryDriver),
        ("filesystem", {"rootdirectory": "/srv/registry", "maxthreads": "100"}, FilesystemDriver),
        ("filesystem", {}, FilesystemDriver),
        ("s3", S3, S3Driver),
    ],
)
def test_a_driver_is_found_by_its_name(name, options, kind):
    driver = storage_driver(name, options)

    assert type(driver) is kind
    assert driver.name == name


def test_the_root_directory_of_a_bucket_is_in_its_keys():
    driver = storage_driver("s3", S3 | {"rootdirectory": "/team/prod/"})

    assert driver.key("/docker/registry") == "team/prod/docker/registry"


@pytest.mark.parametrize(
    ("name", "options", "line"),
    [
        (
            "filesytem",
            {},
            "storage.filesytem: there is no such driver (did you mean 'filesystem'?); known are ",
        ),
        (
            "s3",
            S3 | {"chunk_size": 1},
            "storage.s3.chunk_size: there is no such option (did you mean 'chunksize'?)",
        ),
        (
            "filesystem",
            {"rootdir": "/"},
            "storage.filesystem.rootdir: there is no such option (did you mean ",
        ),
        ("filesystem", {"maxthreads": "many"}, "storage.filesystem.maxthreads: 'many' is not a whole number"),
        ("s3", {"region": "eu-central-1"}, "storage.s3.bucket: is missing"),
        ("s3", S3 | {"bucket": "registry/team"}, "storage.s3.bucket: is a name without slashes"),
        ("s3", {"bucket": "registry"}, "storage.s3.region: is missing"),
        ("s3", S3 | {"region": "eu central"}, "storage.s3.region: is a name such as"),
        ("s3", S3 | {"regionendpoint": "ftp://x"}, "storage.s3.regionendpoint: is a URL"),
        ("s3", S3 | {"regionendpoint": "https://x/path"}, "storage.s3.regionendpoint: is a URL"),
        ("s3", S3 | {"accesskey": "AKID"}, "storage.s3.secretkey: is missing"),
        ("s3", S3 | {"secretkey": "hush"}, "storage.s3.accesskey: is missing"),
        ("s3", S3 | {"sessiontoken": "hush"}, "storage.s3.sessiontoken: needs the accesskey"),
        ("s3", S3 | {"accesskey": 12345}, "storage.s3.accesskey: must be text; put it in quotes"),
        ("s3", S3 | {"secure": "perhaps"}, "storage.s3.secure: 'perhaps' is neither true nor false"),
        ("s3", S3 | {"chunksize": "4MiB"}, "storage.s3.chunksize: must be 5MiB to 5GiB"),
        ("s3", S3 | {"chunksize": "6GiB"}, "storage.s3.chunksize: must be 5MiB to 5GiB"),
        (
            "s3",
            S3 | {"chunksize": "big"},
            "storage.s3.chunksize: 'big' is not a size of at least 0 bytes; write bytes, 10MB or 10MiB",
        ),
        ("s3", S3 | {"multipartcopychunksize": 1}, "storage.s3.multipartcopychunksize: must be 5MiB"),
        ("s3", S3 | {"multipartcopythresholdsize": "6GiB"}, "storage.s3.multipartcopythresholdsize: is more"),
        ("s3", S3 | {"multipartcopymaxconcurrency": 0}, "storage.s3.multipartcopymaxconcurrency: 0 is no"),
        ("s3", S3 | {"storageclass": "STANDART"}, "(did you mean 'STANDARD'?)"),
        ("s3", S3 | {"rootdirectory": "/a//b"}, "storage.s3.rootdirectory: has an empty"),
        (
            "s3",
            S3 | {"storageclass": "GLACIER"},
            "storage.s3.storageclass: GLACIER is an archive, whose objects",
        ),
        ("s3", S3 | {"storageclass": "deep_archive"}, "storage.s3.storageclass: deep_archive is an archive"),
        ("s3", S3 | {"objectacl": "publicread"}, "(did you mean 'public-read'?)"),
        ("s3", S3 | {"redirectendpoint": "https://x/path"}, "storage.s3.redirectendpoint: is a URL"),
        ("s3", S3 | {"regionendpoint": "https://x:y"}, "storage.s3.regionendpoint: is a URL"),
        ("s3", S3 | {"regionendpoint": "https://[::1"}, "storage.s3.regionendpoint: is a URL"),
        ("s3", S3 | {"useragent": "a\r\nX-Evil: 1"}, "storage.s3.useragent: must be printable ASCII"),
        ("s3", S3 | {"loglevel": "debgu"}, "(did you mean 'debug'?)"),
        ("s3", S3 | {"loglevel": True}, "storage.s3.loglevel: True is none of off, debug, "),
        ("s3", S3 | {"retrymode": "legacy"}, "storage.s3.retrymode: 'legacy' is none of standard, adaptive"),
        ("s3", S3 | {"maxattempts": 0}, "storage.s3.maxattempts: 0 is not a whole number of at least 1"),
        ("s3", S3 | {"readtimeout": "soon"}, "storage.s3.readtimeout: 'soon' is not a duration"),
        ("s3", S3 | {"connecttimeout": 0}, "storage.s3.connecttimeout: 0 must be whole seconds"),
        ("s3", S3 | {"checksums": "crc32"}, "storage.s3.checksums: 'crc32' is neither true nor false"),
        ("s3", S3 | {"v4auth": False}, "storage.s3.v4auth: must not be false in eu-central-1, which takes"),
        ("inmemory", {"rootdirectory": "/a/../b"}, "storage.inmemory.rootdirectory: has an empty"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_option(name, options, line):
    with pytest.raises(ConfigError) as raised:
        storage_driver(name, options, where="config.yml: storage")

    message = str(raised.value)
    assert message.startswith("config.yml: storage.")
    assert line in message
    assert "\n" not in message
    assert "hush" not in message


@pytest.mark.parametrize(
    ("options", "first", "second"),
    [
        ({"accelerate": True, "regionendpoint": "s3.example.com"}, "accelerate", "regionendpoint"),
        ({"accelerate": True, "forcepathstyle": True}, "accelerate", "forcepathstyle"),
        ({"accelerate": True, "usefipsendpoint": True}, "accelerate", "usefipsendpoint"),
        ({"accelerate": True, "bucket": "a.b"}, "accelerate", "bucket"),
        ({"usedualstack": True, "regionendpoint": "s3.example.com"}, "usedualstack", "regionendpoint"),
        ({"usefipsendpoint": True, "regionendpoint": "s3.example.com"}, "usefipsendpoint", "regionendpoint"),
        ({"v4auth": False, "encrypt": True, "keyid": "k", "region": "us-east-1"}, "v4auth", "keyid"),
    ],
)
def test_options_that_contradict_each_other_are_both_named(options, first, second):
    with pytest.raises(ConfigError) as raised:
        storage_driver("s3", S3 | options)

    assert str(raised.value).startswith(f"storage.s3.{first}: ")
    assert second in str(raised.value)


def test_what_only_seems_to_contradict_is_taken():
    for options in (
        {"accelerate": True, "forcepathstyle": False},
        {"accelerate": False, "usedualstack": False, "regionendpoint": "s3.example.com"},
        {"accelerate": True, "usedualstack": True},
        {"v4auth": True, "encrypt": True, "keyid": "k"},
        {"v4auth": False, "regionendpoint": "s3.example.com"},
    ):
        storage_driver("s3", S3 | options)


def test_text_from_an_ini_file_means_what_yaml_means():
    # What is empty is absent, as in an environment variable that is set to nothing.
    written = {"secure": "no", "forcepathstyle": "True", "chunksize": "20MiB", "accesskey": "", "keyid": None}
    driver = storage_driver("s3", S3 | {"regionendpoint": "localhost:9000"} | written)

    assert driver.key("/a") == "a"
    endpoint = S3Options(bucket="b", regionendpoint="localhost:9000", secure=False).endpoint
    assert endpoint == "http://localhost:9000"
    assert S3Options(bucket="b", regionendpoint="localhost:9000").endpoint == "https://localhost:9000"
    assert S3Options(bucket="b", regionendpoint="http://localhost").endpoint == "http://localhost"


def test_a_server_of_ones_own_gets_the_bucket_in_the_path():
    assert S3Options(bucket="b", regionendpoint="localhost").path_style
    assert not S3Options(bucket="b", region="us-east-1").path_style
    assert S3Options(bucket="b", region="us-east-1", forcepathstyle=True).path_style
    assert not S3Options(bucket="b", regionendpoint="localhost", forcepathstyle=False).path_style


def test_options_of_distribution_without_effect_are_named_in_one_warning(caplog):
    with caplog.at_level(logging.WARNING):
        storage_driver("s3", S3 | {"logs3apirequests": True, "logs3apiresponseheaders": {"a": "b"}})
        storage_driver("s3", S3 | {"logs3apirequests": False})

    assert [record.getMessage() for record in caplog.records] == [
        "storage.s3: these options have no effect: logs3apirequests, logs3apiresponseheaders"
    ]


def test_a_kms_key_without_encryption_is_warned_about(caplog):
    storage_driver("s3", S3 | {"keyid": "alias/registry"})

    assert "storage.s3.keyid: has no effect without encrypt" in caplog.text


def test_options_do_not_show_their_secrets():
    options = S3Options(bucket="b", region="r", accesskey="AKID", secretkey="hush", sessiontoken="quiet")

    assert "hush" not in repr(options)
    assert "quiet" not in repr(options)


def test_new_objects_carry_what_the_options_say():
    def arguments(**options):
        return S3Options(bucket="b", region="r", **options).new_object()

    assert arguments() == {}
    assert arguments(storageclass="NONE") == {}
    assert arguments(encrypt=True, storageclass="STANDARD_IA", objectacl="private") == {
        "ServerSideEncryption": "AES256",
        "StorageClass": "STANDARD_IA",
        "ACL": "private",
    }
    assert arguments(encrypt=True, keyid="k") == {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "k"}
