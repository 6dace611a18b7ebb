"""The CloudFormation template: what it makes of a configuration, and what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from lab import PROJECT
from lab.cloudfront_configs import config_file, want, write_key
from lab.stacks import read_template

from cfmiddleware.cloudfront.template import LARGEST, Variant, template
from cfmiddleware.cloudfront.wanted import wanted
from cfmiddleware.config import Config
from cfmiddleware.errors import ConfigError

CERTIFICATE = "arn:aws:acm:us-east-1:111122223333:certificate/12345678-1234-1234-1234-123456789012"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write_key(tmp_path / "keys" / "cloudfront.pem")
    return tmp_path


def made(directory: Path, storage: dict[str, Any] | None = None, **choices: Any) -> dict[str, Any]:
    """Return the template's data; a choice that is an option of the wrapper goes there."""
    options = {name: choices.pop(name) for name in list(choices) if name not in Variant.__annotations__}
    return read_template(template(want(directory, options, storage), Variant(**choices)))


def distribution(found: dict[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = found["Resources"]["Distribution"]["Properties"]["DistributionConfig"]
    return config


def refusal(directory: Path, storage: dict[str, Any] | None = None, **choices: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        made(directory, storage, **choices)
    return str(caught.value).removeprefix(f"{directory}/")


# What it makes


def test_every_behavior_is_restricted_from_its_first_second(directory: Path):
    found = distribution(made(directory))

    assert found["DefaultCacheBehavior"]["TrustedKeyGroups"] == [{"Ref": "KeyGroup"}]
    assert "CacheBehaviors" not in found
    assert "TrustedSigners" not in found["DefaultCacheBehavior"]


def test_the_behavior_is_for_immutable_blobs_and_nothing_else(directory: Path):
    found = made(directory)
    behavior = distribution(found)["DefaultCacheBehavior"]
    cache = found["Resources"]["CachePolicy"]["Properties"]["CachePolicyConfig"]

    assert behavior["ViewerProtocolPolicy"] == "https-only"
    assert behavior["AllowedMethods"] == ["GET", "HEAD"]
    assert behavior["Compress"] is False
    assert behavior["CachePolicyId"] == {"Ref": "CachePolicy"}
    assert "OriginRequestPolicyId" not in behavior
    assert cache["DefaultTTL"] == cache["MaxTTL"] == 365 * 24 * 3600
    parts = cache["ParametersInCacheKeyAndForwardedToOrigin"]
    assert (parts["EnableAcceptEncodingGzip"], parts["EnableAcceptEncodingBrotli"]) == (False, False)
    assert distribution(found)["HttpVersion"] == "http2and3"


def test_the_origin_is_the_regional_host_below_the_origin_path(directory: Path):
    (origin,) = distribution(made(directory))["Origins"]
    assert origin["DomainName"] == {"Fn::GetAtt": "Bucket.RegionalDomainName"}
    assert origin["OriginPath"] == "/team/prod"
    assert origin["OriginAccessControlId"] == {"Fn::GetAtt": "OriginAccessControl.Id"}

    (origin,) = distribution(made(directory, originpath=""))["Origins"]
    assert origin["OriginPath"] == ""

    (origin,) = distribution(made(directory, {"rootdirectory": "/a b/ü"}))["Origins"]
    assert origin["OriginPath"] == "/a%20b/%C3%BC"


def test_ipv6_is_off_only_where_urls_are_bound_to_ipv4_addresses(directory: Path):
    assert distribution(made(directory))["IPV6Enabled"] is True
    assert distribution(made(directory, bindip=True, trustedproxies=1))["IPV6Enabled"] is False


def test_the_new_bucket_is_closed_and_outlives_the_stack(directory: Path):
    bucket = made(directory)["Resources"]["Bucket"]
    properties = bucket["Properties"]

    assert (bucket["DeletionPolicy"], bucket["UpdateReplacePolicy"]) == ("Retain", "Retain")
    assert properties["BucketName"] == "images"
    assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
    assert properties["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    (rule,) = properties["LifecycleConfiguration"]["Rules"]
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}


def test_of_a_bucket_that_exists_only_the_policy_is_made(directory: Path):
    found = made(directory, existing_bucket=True)

    assert "Bucket" not in found["Resources"]
    assert found["Resources"]["BucketPolicy"]["Properties"]["Bucket"] == "images"
    (origin,) = distribution(found)["Origins"]
    assert origin["DomainName"] == "images.s3.eu-west-3.amazonaws.com"


def test_only_this_distribution_may_read_and_only_below_the_root_directory(directory: Path):
    policy = made(directory, existing_bucket=True)["Resources"]["BucketPolicy"]["Properties"]
    (statement,) = policy["PolicyDocument"]["Statement"]

    assert statement["Principal"] == {"Service": "cloudfront.amazonaws.com"}
    assert statement["Action"] == "s3:GetObject"
    assert statement["Resource"] == {"Fn::Sub": "arn:${AWS::Partition}:s3:::images/team/prod/*"}
    assert statement["Condition"]["StringEquals"]["AWS:SourceArn"]["Fn::Sub"].endswith(
        "distribution/${Distribution}"
    )


def test_what_a_policy_would_read_as_a_pattern_is_taken_literally(directory: Path):
    found = made(directory, {"rootdirectory": "/a*b/$x?${AWS::Region}"}, existing_bucket=True)
    (statement,) = found["Resources"]["BucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]

    # Fn::Sub makes ${*} of ${!*}, and IAM a star of that.
    assert statement["Resource"]["Fn::Sub"].endswith("images/a${!*}b/${!$}x${!?}${!$}{AWS::Region}/*")


def test_the_registry_s_policy_is_that_of_the_docs(directory: Path):
    page = (PROJECT / "docs" / "s3-permissions.rst").read_text()
    (text,) = re.findall(r"code-block:: json\n\n((?:    .*\n)+)", page)
    wanted = {tuple(sorted(one["Action"])): one["Resource"] for one in json.loads(text)["Statement"]}
    document = made(directory, existing_bucket=True)["Resources"]["RegistryPolicy"]["Properties"]
    found = {
        tuple(sorted(one["Action"])): one["Resource"]["Fn::Sub"]
        for one in document["PolicyDocument"]["Statement"]
    }

    assert {actions: name.replace("${AWS::Partition}", "aws") for actions, name in found.items()} == {
        actions: name.replace("my-registry", "images") for actions, name in wanted.items()
    }


@pytest.mark.parametrize(
    ("keyid", "resource"),
    [
        ("abc-123", "arn:${AWS::Partition}:kms:${AWS::Region}:${AWS::AccountId}:key/abc-123"),
        ("alias/images", "arn:${AWS::Partition}:kms:${AWS::Region}:${AWS::AccountId}:key/*"),
        ("arn:aws:kms:eu-west-3:111122223333:key/abc", "arn:aws:kms:eu-west-3:111122223333:key/abc"),
        ("arn:aws:kms:eu-west-3:111122223333:alias/images", "arn:aws:kms:eu-west-3:111122223333:key/*"),
    ],
)
def test_a_key_of_kms_is_named_to_the_bucket_the_registry_and_cloudfront(
    directory: Path, keyid: str, resource: str
):
    found = made(directory, {"encrypt": True, "keyid": keyid})
    encryption = found["Resources"]["Bucket"]["Properties"]["BucketEncryption"]
    (rule,) = encryption["ServerSideEncryptionConfiguration"]
    statement = found["Resources"]["RegistryPolicy"]["Properties"]["PolicyDocument"]["Statement"][-1]
    wanted = yaml.safe_load(found["Outputs"]["KeyPolicyStatement"]["Value"]["Fn::Sub"])

    assert rule["ServerSideEncryptionByDefault"]["KMSMasterKeyID"] == keyid
    assert statement["Action"] == ["kms:GenerateDataKey", "kms:Decrypt"]
    assert statement["Resource"] in (resource, {"Fn::Sub": resource})
    assert ("Condition" in statement) == ("alias/" in keyid)
    assert wanted["Action"] == "kms:Decrypt"
    assert wanted["Condition"]["StringEquals"]["AWS:SourceArn"].endswith("distribution/${Distribution}")


def test_without_a_key_of_kms_there_is_no_statement(directory: Path):
    found = made(directory, {"encrypt": True})
    assert "KeyPolicyStatement" not in found["Outputs"]
    assert "kms" not in str(found)


def test_all_keys_are_in_the_key_group_while_they_are_in_the_directory(directory: Path):
    write_key(directory / "keys" / "pk-KOLD1.pem", 2, age=1000)
    resources = made(directory)["Resources"]
    keys = {name for name, what in resources.items() if what["Type"] == "AWS::CloudFront::PublicKey"}

    assert len(keys) == 2
    items = resources["KeyGroup"]["Properties"]["KeyGroupConfig"]["Items"]
    assert {item["Ref"] for item in items} == keys


def test_a_key_keeps_its_name_in_the_stack_when_its_file_gets_one(directory: Path):
    before = made(directory)["Resources"]
    write_key(directory / "keys" / "next.pem", 2)
    (directory / "keys" / "cloudfront.pem").rename(directory / "keys" / "pk-K1.pem")
    (directory / "keys" / "cloudfront.pub.pem").rename(directory / "keys" / "pk-K1.pub.pem")
    after = made(directory)["Resources"]

    new = after.keys() - before.keys()
    assert len(new) == 1
    assert {name: after[name] for name in before if name != "KeyGroup"} == {
        name: before[name] for name in before if name != "KeyGroup"
    }


@pytest.mark.parametrize(
    ("choice", "expected"), [(None, None), ("", "eu-west-2"), ("us-east-1", "us-east-1")]
)
def test_an_origin_shield_is_in_the_nearest_region_that_has_one(
    directory: Path, choice: str | None, expected: str | None
):
    (origin,) = distribution(made(directory, origin_shield=choice))["Origins"]
    assert origin.get("OriginShield", {}).get("OriginShieldRegion") == expected


def test_logs_go_to_a_bucket_of_their_own(directory: Path):
    assert "Logging" not in distribution(made(directory))
    found = made(directory, logging="")
    assert distribution(found)["Logging"]["Bucket"] == {"Fn::GetAtt": "LogBucket.DomainName"}
    rules = found["Resources"]["LogBucket"]["Properties"]["OwnershipControls"]["Rules"]
    assert rules == [{"ObjectOwnership": "BucketOwnerPreferred"}]
    found = made(directory, logging="our-logs")
    assert distribution(found)["Logging"]["Bucket"] == "our-logs.s3.amazonaws.com"
    assert "LogBucket" not in found["Resources"]


def test_a_function_is_made_only_if_it_is_asked_for(directory: Path):
    assert "DigestHeader" not in made(directory)["Resources"]
    found = made(directory, digest_header=True)
    (association,) = distribution(found)["DefaultCacheBehavior"]["FunctionAssociations"]
    assert association["EventType"] == "viewer-response"
    assert len(found["Resources"]["DigestHeader"]["Properties"]["FunctionCode"]) < 10_000


def test_the_host_of_baseurl_is_an_alias_unless_it_is_cloudfront_s_own(directory: Path):
    found = made(directory, baseurl="https://Blobs.Example.com", certificate=CERTIFICATE)
    assert distribution(found)["Aliases"] == ["blobs.example.com"]
    assert distribution(found)["ViewerCertificate"]["AcmCertificateArn"] == CERTIFICATE
    assert "Aliases" not in distribution(made(directory, baseurl="https://d1.cloudfront.net"))
    assert "Aliases" not in distribution(made(directory, baseurl="http://127.0.0.1:5001"))
    found = made(
        directory,
        baseurl="https://eu.example.com",
        certificate=CERTIFICATE,
        aliases=("*.example.com", "blobs.example.org"),
    )
    assert distribution(found)["Aliases"] == ["*.example.com", "blobs.example.org"]
    assert "https://eu.example.com\n" in found["Outputs"]["Middleware"]["Value"]["Fn::Sub"]


# The section to paste


def section(found: dict[str, Any]) -> dict[str, Any]:
    """Return the options of the section that the outputs say, as YAML reads them."""
    text = found["Outputs"]["Middleware"]["Value"]["Fn::Sub"].replace("${!", "${")
    (entry,) = yaml.safe_load(text)["middleware"]["storage"]
    assert entry["name"] == "cloudfront"
    options: dict[str, Any] = entry["options"]
    return options


def test_the_section_to_paste_keeps_the_options_that_are_there(directory: Path):
    options = section(made(directory, duration="30m", networks=["10.0.0.0/8"], layout="{root}/$${hex}"))

    assert options == {
        "baseurl": "https://${Distribution.DomainName}",
        "privatekey": "keys",
        "duration": "30m",
        "networks": ["10.0.0.0/8"],
        "layout": "{root}/$${hex}",
    }


def test_the_section_says_the_id_where_no_file_s_name_does(directory: Path):
    options = section(made(directory, privatekey="keys/cloudfront.pem"))
    assert options["keypairid"].startswith("${PublicKey")
    found = made(directory)
    assert "# rename cloudfront.pem to pk-${PublicKey" in found["Outputs"]["Middleware"]["Value"]["Fn::Sub"]
    write_key(directory / "keys" / "pk-K1.pem")
    assert "keypairid" not in section(made(directory, privatekey="keys/pk-K1.pem"))


def test_the_section_fits_into_an_output_however_many_options_there_are(directory: Path):
    found = made(directory, networks=[f"10.{number}.0.0/16" for number in range(200)], duration="30m")
    text = found["Outputs"]["Middleware"]["Value"]["Fn::Sub"]

    assert len(text) < 1024 / 2
    assert section(found) == {"baseurl": "https://${Distribution.DomainName}", "privatekey": "keys"}
    assert "# and these as they are: duration, networks" in text or "networks, duration" in text


def test_the_section_says_that_there_are_further_entries(directory: Path):
    file = config_file(directory)
    tree = yaml.safe_load(file.read_text())
    tree["middleware"]["storage"].append({"name": "rewrite", "options": {"host": "cdn.example.com"}})
    file.write_text(yaml.safe_dump(tree))
    text = template(wanted(Config.load(file, {})), Variant())

    assert "    # and the other entries as they are\n" in text


def test_the_section_s_url_is_https(directory: Path):
    found = made(directory, baseurl="http://blobs.example.com", certificate=CERTIFICATE)
    assert section(found)["baseurl"] == "https://blobs.example.com"


def test_no_secret_is_printed(directory: Path):
    pem = (directory / "keys" / "cloudfront.pem").read_text()
    storage = {"accesskey": "AKIAEXAMPLE", "secretkey": "open sesame"}
    text = template(want(directory, {"privatekey": pem, "keypairid": "K1"}, storage), Variant())

    assert "PRIVATE" not in text
    assert pem.splitlines()[1] not in text
    assert "open sesame" not in text
    assert "AKIAEXAMPLE" not in text
    assert section(read_template(text))["keypairid"].startswith("${PublicKey")


def test_it_is_small_enough_to_be_deployed_without_a_bucket(directory: Path):
    for number in range(2, 6):
        write_key(directory / "keys" / f"pk-K{number}.pem", number)
    text = template(
        want(directory, {"baseurl": "https://a.example.com"}, {"encrypt": True, "keyid": "alias/x"}),
        Variant(digest_header=True, origin_shield="", logging="", certificate=CERTIFICATE),
    )
    assert len(text) < LARGEST / 2


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
# Percent-encoded, each character is up to twelve, and an Origin Path may have 255.
@given(
    name=st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"]), min_size=1, max_size=20)
)
@example(name=" x")
@example(name="x ")
@example(name="\x85")
def test_any_directory_of_a_bucket_is_named_as_it_is(directory: Path, name: str):
    try:
        found = want(directory, {}, {"rootdirectory": f"/{name}/prod"})
    except ConfigError:
        return
    data = read_template(template(found, Variant(existing_bucket=True)))
    (origin,) = distribution(data)["Origins"]
    (statement,) = data["Resources"]["BucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]

    assert unquote(origin["OriginPath"]) == f"/{name}/prod"
    resource = re.sub(r"\$\{!([*?$])\}", r"\1", statement["Resource"]["Fn::Sub"])
    assert resource == f"arn:${{AWS::Partition}}:s3:::images/{name}/prod/*"


# What it refuses


@pytest.mark.parametrize(
    ("storage", "choices", "line"),
    [
        ({"inmemory": None}, {}, "config.yml: storage: CloudFront reads from a bucket, and storage.inmemory"),
        (
            {"bucket": "arn:aws:s3:eu-west-3:111122223333:accesspoint:images"},
            {},
            "config.yml: storage.s3.bucket: is an access point, which no template is made for",
        ),
        (
            {"bucket": "images-1a2b3c4d5e-s3alias"},
            {"existing_bucket": True},
            "config.yml: storage.s3.bucket: is an access point, which no template is made for",
        ),
        (
            {"rootdirectory": "/" + "r" * 255},
            {},
            "config.yml: middleware.storage[0].options.originpath: an Origin Path has 255 characters at the",
        ),
        ({"regionendpoint": "https://ceph.example.com"}, {}, "config.yml: storage.s3.regionendpoint: names"),
        (
            None,
            {"privatekey": None, "unsigned": True, "baseurl": "https://d1.cloudfront.net"},
            "config.yml: middleware.storage[0].options.unsigned: a distribution that restricts nothing",
        ),
        (
            None,
            {"privatekey": None},
            "config.yml: middleware.storage[0].options.privatekey: is missing; make a key pair first: "
            "cfmiddleware keygen",
        ),
        ({"encrypt": True, "keyid": "alias/aws/s3"}, {}, "config.yml: storage.s3.keyid: alias/aws/s3 is AWS"),
        ({"objectacl": "public-read"}, {}, "config.yml: storage.s3.objectacl: the new bucket takes no ACLs"),
        (None, {"origin_shield": "eu-west-9"}, "--origin-shield: 'eu-west-9' has no Origin Shield"),
        (None, {"logging": "images"}, "--logging: CloudFront writes its logs by means of an ACL"),
        (None, {"logging": "s3://logs/x"}, "--logging: 's3://logs/x' is not the name of a bucket"),
        (None, {"aliases": ("https://a.example.com",)}, "--alias: 'https://a.example.com' is not a name"),
        (None, {"aliases": ("a.example.com",)}, "--certificate: the distribution needs the ARN"),
        (None, {"baseurl": "https://a.example.com"}, "--certificate: baseurl names a.example.com, so the"),
        (None, {"certificate": CERTIFICATE}, "--certificate: needs --alias"),
        (
            None,
            {"aliases": ("a.example.com",), "certificate": CERTIFICATE.replace("us-east-1", "eu-west-3")},
            "--certificate: 'arn:aws:acm:eu-west-3:",
        ),
    ],
)
def test_what_cloudfront_cannot_serve_is_refused_in_one_line(
    directory: Path, storage: dict[str, Any] | None, choices: dict[str, Any], line: str
):
    assert refusal(directory, storage, **choices).startswith(line)


def test_more_keys_than_a_key_group_takes_are_refused(directory: Path):
    for number in range(2, 7):
        write_key(directory / "keys" / f"pk-K{number}.pem", number)

    assert "there are 6 keys, and a key group takes 5" in refusal(directory)
