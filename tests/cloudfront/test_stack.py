"""The template deployed on moto: what CloudFront, S3 and IAM then say of themselves."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
import yaml
from lab.cloudfront_configs import config_file, write_key
from lab.moto_gaps import filled_gaps
from lab.stacks import KNOWN_TO_MOTO, Stack, read_template
from lab.variants import CASES, template_of
from moto import mock_aws

from cfmiddleware.cloudfront.template import Variant, template
from cfmiddleware.cloudfront.wanted import wanted
from cfmiddleware.config import Config


@pytest.fixture(autouse=True)
def aws() -> Iterator[None]:
    with mock_aws(), filled_gaps():
        yield


@pytest.mark.skipif(
    importlib.util.find_spec("openapi_spec_validator") is None,
    reason="moto's CloudFormation is not installed; the extra 'dev' brings it, with cfn-lint",
)
@pytest.mark.parametrize("name", ["plain", "everything"])
def test_moto_s_cloudformation_deploys_what_it_knows(name: str, tmp_path: Path):
    resources = read_template(template_of(name, tmp_path))["Resources"]
    known = {name: what for name, what in resources.items() if what["Type"] in KNOWN_TO_MOTO}
    cloudformation = boto3.client(
        "cloudformation", "eu-west-3", aws_access_key_id="testing", aws_secret_access_key="testing"
    )

    cloudformation.create_stack(StackName="registry", TemplateBody=json.dumps({"Resources": known}))

    (stack,) = cloudformation.describe_stacks(StackName="registry")["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    made = cloudformation.describe_stack_resources(StackName="registry")["StackResources"]
    assert {one["LogicalResourceId"] for one in made} == known.keys()


@pytest.mark.parametrize("name", [name for name in CASES if name != "odd-directory"])
def test_each_variant_can_be_deployed(name: str, tmp_path: Path):
    text = template_of(name, tmp_path)
    stack = Stack(text, "eu-west-3", existing_buckets=[] if "\n  Bucket:\n" in text else ["images"])

    cloudfront = stack.client("cloudfront")
    found = cloudfront.get_distribution(Id=stack.outputs["DistributionId"])["Distribution"]
    config = found["DistributionConfig"]
    (group,) = config["DefaultCacheBehavior"]["TrustedKeyGroups"]["Items"]
    keys = cloudfront.get_key_group(Id=group)["KeyGroup"]["KeyGroupConfig"]["Items"]
    (origin,) = config["Origins"]["Items"]

    assert config["Enabled"]
    assert config["DefaultCacheBehavior"]["TrustedKeyGroups"]["Enabled"]
    assert len(keys) == CASES[name].keys
    assert stack.outputs["KeyId"] in keys
    assert origin["DomainName"] == "images.s3.eu-west-3.amazonaws.com"
    policy = json.loads(stack.client("s3").get_bucket_policy(Bucket="images")["Policy"])
    assert policy["Statement"][0]["Condition"]["StringEquals"]["AWS:SourceArn"] == found["ARN"]
    assert stack.client("iam").get_policy(PolicyArn=stack.outputs["RegistryPolicyArn"])


def test_what_is_pasted_signs_for_the_distribution_that_was_made(tmp_path: Path):
    write_key(tmp_path / "keys" / "cloudfront.pem")
    file = config_file(tmp_path, {"duration": "30m"})
    stack = Stack(template(wanted(Config.load(file, {})), Variant()), "eu-west-3")

    tree = yaml.safe_load(file.read_text())
    tree.update(yaml.safe_load(stack.outputs["Middleware"]))
    file.write_text(yaml.safe_dump(tree))
    id = stack.outputs["KeyId"]
    for end in ("pem", "pub.pem"):
        (tmp_path / "keys" / f"cloudfront.{end}").rename(tmp_path / "keys" / f"pk-{id}.{end}")
    found = wanted(Config.load(file, {}))

    assert found.baseurl == f"https://{stack.outputs['DomainName']}"
    assert found.duration == 1800
    assert found.public_keys.keys() == {id}
    key = stack.client("cloudfront").get_public_key(Id=id)["PublicKey"]["PublicKeyConfig"]
    assert key["EncodedKey"] == found.public_keys[id]


def test_a_template_of_a_new_key_adds_it_and_makes_nothing_else_anew(tmp_path: Path):
    write_key(tmp_path / "keys" / "pk-K1.pem", age=100)
    file = config_file(tmp_path)
    stack = Stack(template(wanted(Config.load(file, {})), Variant()), "eu-west-3")
    before = dict(stack.values)

    write_key(tmp_path / "keys" / "next.pem", 2)
    stack.update(template(wanted(Config.load(file, {})), Variant()))

    assert before.items() <= stack.values.items()
    (new,) = stack.values.keys() - before.keys()
    group = stack.client("cloudfront").get_key_group(Id=stack.values["KeyGroup"])["KeyGroup"]
    assert set(group["KeyGroupConfig"]["Items"]) == {stack.outputs["KeyId"], stack.values[new]}


def test_a_bucket_is_closed_and_its_unfinished_uploads_end(tmp_path: Path):
    s3 = Stack(template_of("kms-alias", tmp_path), "eu-west-3").client("s3")

    access = s3.get_public_access_block(Bucket="images")["PublicAccessBlockConfiguration"]
    assert set(access.values()) == {True}
    (rule,) = s3.get_bucket_lifecycle_configuration(Bucket="images")["Rules"]
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    (rule,) = s3.get_bucket_encryption(Bucket="images")["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"] == "alias/images"
