"""What CloudFront must be, made of a configuration: the bucket, the Origin Path, the names, the keys."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from lab.cloudfront_configs import want, write_key
from lab.signing_material import rsa_pem

from cfmiddleware.errors import ConfigError
from cfmiddleware.signing.keys import load_private_key


def test_the_bucket_and_the_origin_path_are_the_storage_s(tmp_path: Path):
    write_key(tmp_path / "keys" / "pk-K1.pem")

    found = want(tmp_path)

    assert (found.bucket, found.region, found.on_aws) == ("images", "eu-west-3", True)
    assert found.origin_host == "images.s3.eu-west-3.amazonaws.com"
    assert (found.rootdirectory, found.originpath) == ("/team/prod", "/team/prod")


def test_the_origin_path_is_what_the_wrapper_was_told(tmp_path: Path):
    write_key(tmp_path / "keys" / "pk-K1.pem")

    assert want(tmp_path, {"originpath": ""}).originpath == ""
    assert want(tmp_path, {"originpath": "/team"}).originpath == "/team"


def test_a_region_of_china_has_its_own_hosts(tmp_path: Path):
    write_key(tmp_path / "keys" / "pk-K1.pem")

    found = want(tmp_path, storage={"s3": {"bucket": "images", "region": "cn-north-1"}})

    assert found.origin_host == "images.s3.cn-north-1.amazonaws.com.cn"


@pytest.mark.parametrize(
    ("bucket", "origin"),
    [
        ("arn:aws:s3:eu-west-3:111122223333:accesspoint/images", ""),
        ("images-1a2b3c4d5e-s3alias", "images-1a2b3c4d5e-s3alias.s3.eu-west-3.amazonaws.com"),
    ],
)
def test_the_origin_of_an_access_point_is_its_alias(tmp_path: Path, bucket: str, origin: str):
    write_key(tmp_path / "keys" / "pk-K1.pem")

    found = want(tmp_path, storage={"bucket": bucket})

    assert (found.is_access_point, found.origin_host) == (True, origin)


def test_a_storage_that_is_not_s3_has_no_bucket(tmp_path: Path):
    write_key(tmp_path / "keys" / "pk-K1.pem")

    found = want(tmp_path, storage={"filesystem": {"rootdirectory": "data"}})

    assert (found.bucket, found.region, found.origin_host, found.on_aws) == ("", "", "", False)


@pytest.mark.parametrize(
    ("baseurl", "host", "alias"),
    [
        ("", "", False),
        ("https://d111111abcdef8.cloudfront.net", "d111111abcdef8.cloudfront.net", False),
        ("https://d111111abcdef8.cloudfront.cn", "d111111abcdef8.cloudfront.cn", False),
        ("https://blobs.example.com/x", "blobs.example.com", True),
        ("http://127.0.0.1:5001", "127.0.0.1", False),
        ("http://[::1]:5001", "::1", False),
        ("http://localhost:5001", "localhost", False),
    ],
)
def test_a_host_that_is_not_cloudfront_s_own_is_an_alias(
    tmp_path: Path, baseurl: str, host: str, alias: bool
):
    write_key(tmp_path / "keys" / "pk-K1.pem")

    found = want(tmp_path, {"baseurl": baseurl})

    assert (found.host, found.alias) == (host, alias)


def test_a_key_of_kms_counts_only_where_objects_are_encrypted(tmp_path: Path):
    write_key(tmp_path / "keys" / "pk-K1.pem")
    s3 = {"bucket": "images", "region": "eu-west-3", "keyid": "abc"}

    assert want(tmp_path, storage={"s3": s3}).keyid == ""
    found = want(tmp_path, storage={"s3": {**s3, "encrypt": True}})
    assert (found.encrypt, found.keyid) == (True, "abc")


def test_the_newest_key_of_a_directory_signs_and_the_others_are_told_with_it(tmp_path: Path):
    old = write_key(tmp_path / "keys" / "pk-KOLD1.pem", 1, age=1000)
    new = write_key(tmp_path / "keys" / "pk-KNEW1.pem", 2)

    found = want(tmp_path)

    assert found.public_keys == {"KNEW1": new, "KOLD1": old}
    assert [(key.id, key.signs) for key in found.keys] == [("KNEW1", True), ("KOLD1", False)]
    assert found.signing is found.keys[0]


def test_a_key_that_cloudfront_has_given_no_id_is_told_and_does_not_sign(tmp_path: Path):
    write_key(tmp_path / "keys" / "pk-KOLD1.pem", 1, age=1000)
    new = write_key(tmp_path / "keys" / "next.pem", 2)

    found = want(tmp_path)

    assert [(key.id, key.signs) for key in found.keys] == [("KOLD1", True), (None, False)]
    assert found.keys[1].public_pem == new
    assert found.public_keys.keys() == {"KOLD1"}


def test_a_first_key_has_no_id_yet(tmp_path: Path):
    write_key(tmp_path / "keys" / "cloudfront.pem")

    assert [(key.id, key.signs) for key in want(tmp_path).keys] == [(None, False)]
    options = {"privatekey": "keys/cloudfront.pem"}
    assert [(key.id, key.signs) for key in want(tmp_path, options).keys] == [(None, True)]
    options["keypairid"] = "K1"
    assert [(key.id, key.signs) for key in want(tmp_path, options).keys] == [("K1", True)]


def test_a_key_that_was_copied_to_its_name_is_one_key(tmp_path: Path):
    write_key(tmp_path / "keys" / "cloudfront.pem")
    write_key(tmp_path / "keys" / "pk-K1.pem")

    assert [key.id for key in want(tmp_path).keys] == ["K1"]


def test_a_link_leads_to_the_key_that_signs_and_those_beside_it_have_signed(tmp_path: Path):
    write_key(tmp_path / "keys" / "pk-KOLD1.pem", 1)
    write_key(tmp_path / "keys" / "pk-KNEW1.pem", 2, age=1000)
    (tmp_path / "current.pem").symlink_to("keys/pk-KNEW1.pem")

    found = want(tmp_path, {"privatekey": "current.pem"})

    assert [(key.id, key.signs) for key in found.keys] == [("KNEW1", True), ("KOLD1", False)]


def test_the_public_half_is_enough_for_a_user_that_may_not_read_the_private_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    public = write_key(tmp_path / "keys" / "pk-K1.pem")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may read everything
    (tmp_path / "keys" / "pk-K1.pem").write_text("not for you")

    assert want(tmp_path).public_keys == {"K1": public}


def test_the_private_half_is_enough_where_the_public_one_is_not_there(tmp_path: Path):
    public = write_key(tmp_path / "keys" / "pk-K1.pem")
    (tmp_path / "keys" / "pk-K1.pub.pem").unlink()

    assert want(tmp_path).public_keys == {"K1": public}


def test_the_key_itself_may_stand_in_the_configuration(tmp_path: Path):
    public = load_private_key(rsa_pem(), "test").public_pem

    found = want(tmp_path, {"privatekey": rsa_pem(), "keypairid": "K1"})

    assert found.public_keys == {"K1": public}
    assert "PRIVATE" not in repr(found)


@pytest.mark.parametrize("others", [0, 1])
def test_halves_of_two_keys_are_an_error_with_both_names(tmp_path: Path, others: int):
    if others:
        write_key(tmp_path / "keys" / "pk-KOLD1.pem", 3, age=1000)
    write_key(tmp_path / "keys" / "pk-K1.pem", 1)
    (tmp_path / "keys" / "pk-K1.pub.pem").write_text(load_private_key(rsa_pem(2), "test").public_pem)

    with pytest.raises(ConfigError, match=r"config.yml: middleware.storage\[0\].options.privatekey: .*pk-K1"):
        want(tmp_path)


def test_a_directory_without_a_key_says_how_to_make_one(tmp_path: Path):
    (tmp_path / "keys").mkdir()

    with pytest.raises(ConfigError, match=r"cfmiddleware keygen --out .*/keys/cloudfront"):
        want(tmp_path)


def test_a_path_that_is_not_there_is_one_line(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"privatekey: .*keys: cannot be read: No such file"):
        want(tmp_path)


def test_a_broken_file_is_passed_over_as_the_wrapper_does(tmp_path: Path):
    write_key(tmp_path / "keys" / "pk-KOLD1.pem", 1, age=1000)
    (tmp_path / "keys" / "pk-KNEW1.pem").write_text("half a key")

    assert [(key.id, key.signs) for key in want(tmp_path).keys] == [("KOLD1", True)]


def test_what_is_not_signed_wants_no_key(tmp_path: Path):
    found = want(tmp_path, {"privatekey": None, "unsigned": True, "baseurl": "https://cdn.example.com"})

    assert found.keys == ()
    assert found.unsigned
