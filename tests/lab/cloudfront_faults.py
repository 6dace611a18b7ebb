"""What operators get wrong at CloudFront's side, each made on the play, with the checks that must name it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from lab.cloudfront_control import disable, public_key_of, set_progress
from lab.cloudfront_play import BLOB, CONTENT, ELSEWHERE, REGION, ROOT, Play
from lab.signing_material import rsa_key
from lab.stacks import quantity


class Fault(NamedTuple):
    """A fault.

    :param make: makes it.
    :param client: the checks of the first step with a cross: what shows without a permission.
    :param read: the checks of the second step with a cross.
    :param hides: whether it keeps what comes after it from being seen by a client.
    """

    make: Callable[[Play], object]
    client: frozenset[str] = frozenset()
    read: frozenset[str] = frozenset()
    hides: bool = False

    @property
    def named_by(self) -> frozenset[str]:
        """The checks of which one must name it."""
        return self.read or self.client


def _fault(make: Callable[[Play], object], client: str = "", read: str = "", *, hides: bool = False) -> Fault:
    return Fault(make, frozenset(client.split()), frozenset(read.split()), hides)


def _second_behavior(play: Play) -> None:
    def add(config: dict[str, Any]) -> None:
        more = {**config["DefaultCacheBehavior"], "PathPattern": "*.tmp"}
        more["TrustedKeyGroups"] = {"Enabled": False, "Quantity": 0}
        config["CacheBehaviors"] = quantity([more])

    play.change(add)


def _empty_group(play: Play) -> None:
    cloudfront = play.clients("cloudfront", "")
    other = cloudfront.create_public_key(
        PublicKeyConfig={"CallerReference": "2", "Name": "other", "EncodedKey": rsa_key(2).public_pem}
    )["PublicKey"]["Id"]
    group = cloudfront.create_key_group(KeyGroupConfig={"Name": "other", "Items": [other]})["KeyGroup"]["Id"]
    play.behavior(TrustedKeyGroups={"Enabled": True, **quantity([group])})


def _other_pem(play: Play) -> None:
    public_key_of(play.key).encoded_key = rsa_key(2).public_pem


def _open(play: Play) -> None:
    play.behavior(TrustedKeyGroups={"Enabled": False, "Quantity": 0})


def _control(**values: str) -> Callable[[Play], object]:
    def change(play: Play) -> None:
        cloudfront = play.clients("cloudfront", "")
        id = play.distribution["DistributionConfig"]["Origins"]["Items"][0]["OriginAccessControlId"]
        told = cloudfront.get_origin_access_control(Id=id)
        config = {**told["OriginAccessControl"]["OriginAccessControlConfig"], **values}
        cloudfront.update_origin_access_control(
            Id=id, IfMatch=told["ETag"], OriginAccessControlConfig={"Description": "", **config}
        )

    return change


def _methods(play: Play) -> None:
    methods = ["GET", "HEAD", "OPTIONS", "PUT", "POST", "PATCH", "DELETE"]
    play.behavior(AllowedMethods={**quantity(methods), "CachedMethods": quantity(["GET", "HEAD"])})


def _cache(**values: Any) -> Callable[[Play], object]:
    def change(play: Play) -> None:
        id = play.distribution["DistributionConfig"]["DefaultCacheBehavior"]["CachePolicyId"]
        policies = play.stage.kept.cache
        play.behavior(CachePolicyId=policies.add({**policies.configs[id], **values}))

    return change


def _all_viewer(play: Play) -> None:
    config = {"Name": "AllViewer", "HeadersConfig": {"HeaderBehavior": "allViewer"}}
    config["CookiesConfig"] = {"CookieBehavior": "all"}
    config["QueryStringsConfig"] = {"QueryStringBehavior": "all"}
    play.behavior(OriginRequestPolicyId=play.stage.kept.origin_request.add(config))


def _no_policy(play: Play) -> None:
    play.clients("s3", REGION).delete_bucket_policy(Bucket=play.bucket)


def _first(**values: Any) -> Callable[[dict[str, Any]], object]:
    return lambda policy: policy["Statement"][0].update(values)


def _public(play: Play) -> None:
    statement = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{play.bucket}/*",
    }
    _add_statement(play, statement)


def _add_statement(play: Play, statement: dict[str, Any]) -> None:
    try:
        play.policy(lambda policy: policy["Statement"].append(statement))
    except play.clients("s3", REGION).exceptions.ClientError:  # there is none, in a pair
        text = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        play.clients("s3", REGION).put_bucket_policy(Bucket=play.bucket, Policy=text)


def _only_through_a_vpc(play: Play) -> None:
    statement = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{play.bucket}/*",
        "Condition": {"StringNotEquals": {"aws:SourceVpce": "vpce-1111"}},
    }
    _add_statement(play, statement)


def _writer_owns(play: Play) -> None:
    play.clients("s3", REGION).put_bucket_ownership_controls(
        Bucket=play.bucket, OwnershipControls={"Rules": [{"ObjectOwnership": "ObjectWriter"}]}
    )


def _no_block(play: Play) -> None:
    play.clients("s3", REGION).delete_public_access_block(Bucket=play.bucket)


def _no_lifecycle(play: Play) -> None:
    play.clients("s3", REGION).delete_bucket_lifecycle(Bucket=play.bucket)


def _key_denies(play: Play) -> None:
    play.key_policy(lambda policy: policy["Statement"].pop())


def _key_off(play: Play) -> None:
    disable(REGION, play.kms)


def _awss_own_key(play: Play) -> None:
    del play.storage["encrypt"], play.storage["keyid"]
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}
    play.clients("s3", REGION).put_bucket_encryption(
        Bucket=play.bucket, ServerSideEncryptionConfiguration={"Rules": [rule]}
    )


def _other_key(play: Play) -> None:
    other = play.clients("kms", REGION).create_key()["KeyMetadata"]["Arn"]
    play.put(BLOB, CONTENT, other)


def _other_distribution(play: Play) -> None:
    arn = play.arn[:-4] + "AAAA"
    play.policy(_first(Condition={"StringEquals": {"AWS:SourceArn": arn}}))


def _other_bucket(play: Play) -> None:
    name = f"{play.bucket}-other"
    s3 = play.clients("s3", REGION)
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    play.origin(DomainName=f"{name}.s3.{REGION}.amazonaws.com")


#: By what an operator would call them.
FAULTS: Mapping[str, Fault] = {
    "the host is not a distribution": _fault(
        lambda play: play.options.update(baseurl="https://d0000000000000.cloudfront.net"),
        "distribution",
        "distribution",
        hides=True,
    ),
    "the alias's DNS leads elsewhere": _fault(
        lambda play: setattr(play, "leads_to", ELSEWHERE), "host", "dns", hides=True
    ),
    "the certificate is for another name": _fault(
        lambda play: play.change(
            lambda config: config.update(
                ViewerCertificate={"ACMCertificateArn": play.certificate("other.example.com")}
            )
        ),
        "host",
        "certificate",
        hides=True,
    ),
    "the alias is not the distribution's": _fault(
        lambda play: play.change(lambda config: config.update(Aliases=quantity([]))),
        "distribution",
        "distribution",
        hides=True,
    ),
    "not deployed yet": _fault(lambda play: set_progress(play.id, "InProgress"), "", "deployed"),
    "disabled": _fault(
        lambda play: play.change(lambda config: config.update(Enabled=False)),
        "distribution",
        "enabled",
        hides=True,
    ),
    "viewer access is not restricted": _fault(_open, "unsigned", "restricted", hides=True),
    "one behavior of two is not restricted": _fault(_second_behavior, "", "restricted"),
    "the key group lacks the key": _fault(_empty_group, "key", "key-group", hides=True),
    "the public key is another one's half": _fault(_other_pem, "key", "public-key", hides=True),
    "an account's signers are trusted": _fault(
        lambda play: play.behavior(TrustedSigners={"Enabled": True, **quantity(["self"])}),
        "",
        "legacy-signers",
    ),
    "the Origin Path is blank": _fault(
        lambda play: play.origin(OriginPath=""), "origin-path", "origin-path", hides=True
    ),
    "the Origin Path is one directory too deep": _fault(
        lambda play: play.origin(OriginPath=f"{ROOT}/docker"), "origin-path", "origin-path", hides=True
    ),
    "the Origin Path is another registry's": _fault(
        lambda play: play.origin(OriginPath="/team/production"), "bucket-policy", "origin-path", hides=True
    ),
    "the origin is the website endpoint": _fault(
        lambda play: play.origin(DomainName=f"{play.bucket}.s3-website.{REGION}.amazonaws.com"),
        "origin-host",
        "origin-host",
        hides=True,
    ),
    "the origin's host has no region": _fault(
        lambda play: play.origin(DomainName=f"{play.bucket}.s3.us-east-1.amazonaws.com"),
        "origin-host",
        "origin-host",
        hides=True,
    ),
    "the origin is another bucket": _fault(_other_bucket, "bucket-policy", "origin-host", hides=True),
    "no origin access control": _fault(
        lambda play: play.origin(OriginAccessControlId=""), "bucket-policy", "origin-access", hides=True
    ),
    "origin access control signs nothing": _fault(
        _control(SigningBehavior="never"), "bucket-policy", "origin-access", hides=True
    ),
    "methods that write are allowed": _fault(_methods, "", "methods"),
    "nothing is cached": _fault(_cache(MaxTTL=0, DefaultTTL=0, MinTTL=0), "", "cache-policy"),
    "cached for a minute": _fault(_cache(DefaultTTL=60), "", "cache-policy"),
    "the viewer's Host is forwarded": _fault(
        _all_viewer, "origin-request-policy", "origin-request-policy", hides=True
    ),
    "objects are compressed": _fault(lambda play: play.behavior(Compress=True), "", "compression"),
    "IPv6 is on, with bindip": _fault(
        lambda play: play.change(lambda config: config.update(IsIPV6Enabled=True)), "ipv6", "ipv6-off"
    ),
    "errors are cached for a day": _fault(
        lambda play: play.change(
            lambda config: config.update(
                CustomErrorResponses=quantity([{"ErrorCode": 403, "ErrorCachingMinTTL": 86400}])
            )
        ),
        "",
        "error-caching",
    ),
    "no bucket policy": _fault(_no_policy, "bucket-policy", "bucket-policy", hides=True),
    "the bucket policy is for another distribution": _fault(
        _other_distribution, "bucket-policy", "bucket-policy", hides=True
    ),
    "the bucket policy is for another directory": _fault(
        lambda play: play.policy(_first(Resource=f"arn:aws:s3:::{play.bucket}/team/production/*")),
        "bucket-policy",
        "bucket-policy",
        hides=True,
    ),
    "the bucket policy is for every distribution": _fault(
        lambda play: play.policy(lambda policy: policy["Statement"][0].pop("Condition")), "", "bucket-policy"
    ),
    "the bucket policy denies all but a VPC": _fault(
        _only_through_a_vpc, "bucket-policy", "bucket-policy", hides=True
    ),
    "the bucket is public": _fault(_public, "", "bucket-public"),
    "public access is not blocked": _fault(_no_block, "", "public-access-block"),
    "whoever writes owns the object": _fault(_writer_owns, "", "ownership"),
    "encrypted with AWS's own key": _fault(_awss_own_key, "kms", "encryption", hides=True),
    "the KMS key's policy lacks CloudFront": _fault(_key_denies, "kms", "kms", hides=True),
    "the KMS key is disabled": _fault(_key_off, "kms", "kms", hides=True),
    "an older blob has another KMS key": _fault(_other_key, "kms"),
    "no lifecycle rule for uploads": _fault(_no_lifecycle, "", "lifecycle"),
    "this machine's clock is an hour behind": _fault(
        lambda play: setattr(play, "ahead", -3600), "clock s3-clock"
    ),
    "this machine's clock is an hour ahead": _fault(
        lambda play: setattr(play, "ahead", 3600), "clock s3-clock"
    ),
    "an error is in the cache": _fault(Play.remember_error, "cached-error"),
}
