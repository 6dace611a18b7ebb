"""CloudFormation as far as a template of ours needs it, by the calls that CloudFormation would make.

moto's own CloudFormation makes buckets and managed policies, stops at an attribute of what it does not know,
and knows nothing of CloudFront. Cache policies and published functions are only remembered.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from graphlib import TopologicalSorter
from typing import Any

import boto3
import yaml

ACCOUNT = "123456789012"  # moto's

#: The types of resources that moto's own CloudFormation makes.
KNOWN_TO_MOTO = ("AWS::S3::Bucket", "AWS::IAM::ManagedPolicy")


class _Loader(yaml.SafeLoader):
    """Reads the short forms of the functions as their long ones."""


def _short_form(loader: _Loader, tag: str, node: yaml.Node) -> dict[str, Any]:
    assert isinstance(node, yaml.ScalarNode), f"!{tag} of something that is not a scalar"
    return {"Ref" if tag == "Ref" else f"Fn::{tag}": loader.construct_scalar(node)}


_Loader.add_multi_constructor("!", _short_form)


def read_template(text: str) -> dict[str, Any]:
    """Return a template as data, with the long forms of its functions."""
    template: dict[str, Any] = yaml.load(text, _Loader)
    return template


class Stack:
    """What a template makes.

    :param text: the template.
    :param region: the stack's region.
    :param existing_buckets: the names of buckets to make first, as somebody else would have.
    :param options: what every client of boto3 gets, such as `endpoint_url`.
    """

    def __init__(
        self,
        text: str,
        region: str,
        name: str = "registry",
        *,
        existing_buckets: Sequence[str] = (),
        **options: Any,
    ) -> None:
        self._session = boto3.Session("testing-key", "testing-secret", region_name=region)
        self._options = options
        self._region, self._name = region, name
        #: What `Ref` and `Fn::GetAtt` give, by `Name` and `Name.Attribute`.
        self.values: dict[str, str] = {
            "AWS::Region": region,
            "AWS::Partition": "aws",
            "AWS::AccountId": ACCOUNT,
            "AWS::StackName": name,
        }
        #: The properties of each resource, with every function replaced.
        self.properties: dict[str, dict[str, Any]] = {}
        self.outputs: dict[str, str] = {}
        for bucket in existing_buckets:
            self._create_bucket(bucket)
        self.update(text)

    def client(self, service: str) -> Any:
        """Return a client of boto3 that reaches the stack."""
        return self._session.client(service, **self._options)

    def update(self, text: str) -> None:
        """Make what is new in a template, change the key group, and remove the public keys that are gone."""
        template = read_template(text)
        resources = template["Resources"]
        references = {
            name: {place.partition(".")[0] for place in _references(what)} & resources.keys()
            for name, what in resources.items()
        }
        for name in TopologicalSorter(references).static_order():
            type = resources[name]["Type"]
            properties = self._resolved(resources[name]["Properties"])
            before = self.properties.get(name)
            self.properties[name] = properties
            if before == properties:
                continue
            make = getattr(self, "_" + type.removeprefix("AWS::").replace("::", "_").lower())
            make(name, properties, before is not None)
        for name in self.properties.keys() - resources.keys():
            assert name.startswith("PublicKey"), f"{name} is gone"
            self._remove_key(self.values.pop(name))
            del self.properties[name]
        self.outputs = {
            name: self._resolved(what["Value"]) for name, what in template.get("Outputs", {}).items()
        }

    def _s3_bucket(self, name: str, properties: Mapping[str, Any], again: bool) -> None:
        assert not again, "a bucket never changes"
        bucket = properties.get("BucketName", f"{self._name}-{name.lower()}")
        self._create_bucket(bucket)
        self._set_up_bucket(bucket, properties)
        self.values[name] = bucket
        self.values[f"{name}.DomainName"] = f"{bucket}.s3.amazonaws.com"
        self.values[f"{name}.RegionalDomainName"] = f"{bucket}.s3.{self._region}.amazonaws.com"

    def _create_bucket(self, name: str) -> None:
        place = {} if self._region == "us-east-1" else {"LocationConstraint": self._region}
        more = {"CreateBucketConfiguration": place} if place else {}
        self.client("s3").create_bucket(Bucket=name, **more)

    def _iam_managedpolicy(self, name: str, properties: Mapping[str, Any], again: bool) -> None:
        assert not again, "a policy never changes here"
        made = self.client("iam").create_policy(
            PolicyName=f"{self._name}-{name}",
            Description=properties["Description"],
            PolicyDocument=json.dumps(properties["PolicyDocument"]),
        )
        self.values[name] = made["Policy"]["Arn"]

    def _set_up_bucket(self, bucket: str, properties: Mapping[str, Any]) -> None:
        s3 = self.client("s3")
        access = properties["PublicAccessBlockConfiguration"]
        s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=access)
        s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=properties["OwnershipControls"])
        rules = [
            {
                **{"ID": rule["Id"], "Status": rule["Status"], "Filter": {"Prefix": ""}},
                **{name: value for name, value in rule.items() if name == "AbortIncompleteMultipartUpload"},
                **({"Expiration": {"Days": rule["ExpirationInDays"]}} if "ExpirationInDays" in rule else {}),
            }
            for rule in properties["LifecycleConfiguration"]["Rules"]
        ]
        s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})
        encryption = {
            "Rules": [
                {
                    "ApplyServerSideEncryptionByDefault": rule["ServerSideEncryptionByDefault"],
                    "BucketKeyEnabled": rule.get("BucketKeyEnabled", False),
                }
                for rule in properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
            ]
        }
        s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=encryption)

    def _resolved(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._resolved(item) for item in value]
        if not isinstance(value, dict):
            return value
        if value.keys() == {"Ref"}:
            return self.values[value["Ref"]]
        if value.keys() == {"Fn::GetAtt"}:
            return self.values[value["Fn::GetAtt"]]
        if value.keys() == {"Fn::Sub"}:
            replaced = re.sub(r"\$\{([^!}]+)\}", lambda found: self.values[found[1]], value["Fn::Sub"])
            return replaced.replace("${!", "${")
        return {name: self._resolved(item) for name, item in value.items()}

    # One method for each type of resource

    def _s3_bucketpolicy(self, name: str, properties: Mapping[str, Any], again: bool) -> None:
        policy = json.dumps(properties["PolicyDocument"])
        self.client("s3").put_bucket_policy(Bucket=properties["Bucket"], Policy=policy)

    def _cloudfront_publickey(self, name: str, properties: Mapping[str, Any], again: bool) -> None:
        assert not again, "a public key never changes"
        made = self.client("cloudfront").create_public_key(PublicKeyConfig=properties["PublicKeyConfig"])
        self.values[name] = made["PublicKey"]["Id"]

    def _remove_key(self, id: str) -> None:
        cloudfront = self.client("cloudfront")
        cloudfront.delete_public_key(Id=id, IfMatch=cloudfront.get_public_key(Id=id)["ETag"])

    def _cloudfront_keygroup(self, name: str, properties: Mapping[str, Any], again: bool) -> None:
        cloudfront = self.client("cloudfront")
        if again:
            id = self.values[name]
            etag = cloudfront.get_key_group(Id=id)["ETag"]
            cloudfront.update_key_group(Id=id, IfMatch=etag, KeyGroupConfig=properties["KeyGroupConfig"])
            return
        made = cloudfront.create_key_group(KeyGroupConfig=properties["KeyGroupConfig"])
        self.values[name] = made["KeyGroup"]["Id"]

    def _cloudfront_originaccesscontrol(self, name: str, properties: Mapping[str, Any], again: bool) -> None:
        config = {"Description": "", **properties["OriginAccessControlConfig"]}
        made = self.client("cloudfront").create_origin_access_control(OriginAccessControlConfig=config)
        self.values[f"{name}.Id"] = made["OriginAccessControl"]["Id"]

    def _cloudfront_cachepolicy(self, name: str, properties: Mapping[str, Any], again: bool) -> None:
        self.values[name] = "11111111-2222-3333-4444-555555555555"

    def _cloudfront_function(self, name: str, properties: Mapping[str, Any], again: bool) -> None:
        cloudfront = self.client("cloudfront")
        made = cloudfront.create_function(
            Name=properties["Name"],
            FunctionConfig=properties["FunctionConfig"],
            FunctionCode=properties["FunctionCode"].encode(),
        )
        # moto cannot publish one.
        self.values[f"{name}.FunctionARN"] = made["FunctionSummary"]["FunctionMetadata"]["FunctionARN"]

    def _cloudfront_distribution(self, name: str, properties: Mapping[str, Any], again: bool) -> None:
        config = api_config(properties["DistributionConfig"])
        made = self.client("cloudfront").create_distribution(DistributionConfig=config)["Distribution"]
        self.values[name] = made["Id"]
        self.values[f"{name}.DomainName"] = made["DomainName"]


def api_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a template's `DistributionConfig` as CloudFront's own API has it."""
    behavior = dict(config["DefaultCacheBehavior"])
    cached = quantity(behavior.pop("CachedMethods"))
    behavior["AllowedMethods"] = {**quantity(behavior["AllowedMethods"]), "CachedMethods": cached}
    groups = behavior.get("TrustedKeyGroups", [])
    behavior["TrustedKeyGroups"] = {"Enabled": bool(groups), **quantity(groups)}
    behavior["TrustedSigners"] = {"Enabled": False, **quantity([])}
    behavior["FunctionAssociations"] = quantity(behavior.get("FunctionAssociations", []))
    result = {
        "CallerReference": "a stack of a test",
        "Comment": config["Comment"],
        "Enabled": config["Enabled"],
        "HttpVersion": config["HttpVersion"],
        "IsIPV6Enabled": config["IPV6Enabled"],
        "Origins": quantity(config["Origins"]),
        "DefaultCacheBehavior": behavior,
        "Aliases": quantity(config.get("Aliases", [])),
        "Logging": {
            "Enabled": "Logging" in config,
            "IncludeCookies": False,
            "Bucket": "",
            "Prefix": "",
            **config.get("Logging", {}),
        },
    }
    if certificate := config.get("ViewerCertificate"):
        result["ViewerCertificate"] = {
            "ACMCertificateArn": certificate["AcmCertificateArn"],
            "SSLSupportMethod": certificate["SslSupportMethod"],
            "MinimumProtocolVersion": certificate["MinimumProtocolVersion"],
        }
    return result


def quantity(items: list[Any]) -> dict[str, Any]:
    """Return a list as CloudFront's API has it."""
    return {"Quantity": len(items), "Items": items} if items else {"Quantity": 0}


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _references(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name in ("Ref", "Fn::GetAtt"):
                yield item
            elif name == "Fn::Sub":
                yield from re.findall(r"\$\{([^!}]+)\}", item)
            else:
                yield from _references(item)
