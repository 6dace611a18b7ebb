"""What S3 and KMS are told of the bucket, and whether CloudFront can read it, and nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .awsreading import AWS, Unreadable, guarded
from .distribution import Distribution
from .findings import Finding, cross, question, tick
from .policystatements import CLOUDFRONT, Statement, statements
from .wanted import Wanted

_READ = "s3:GetObject"
_BLOCKS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")


class BucketSide:
    """Compares a bucket with what is wanted.

    :param distribution: the distribution that reads it; None where it is not known.
    """

    def __init__(self, wanted: Wanted, aws: AWS, distribution: Distribution | None) -> None:
        self._wanted = wanted
        self._aws = aws
        self._distribution = distribution
        self._console = f"S3 > {wanted.bucket}"

    def findings(self) -> Iterator[Finding]:
        """Yield what is found, one check after the other."""
        yield from guarded("bucket-policy", self._policy)
        yield from guarded("public-access-block", self._public_access)
        yield from guarded("ownership", self._ownership)
        yield from guarded("encryption", self._encryption)
        yield from guarded("lifecycle", self._lifecycle)

    def _policy(self) -> Iterator[Finding]:
        found = self._read("get_bucket_policy", "NoSuchBucketPolicy")
        said = list(statements(found["Policy"])) if found else []
        resource = self._resource()
        public = [
            statement
            for statement in said
            if statement.allows and statement.is_public and statement.covers(_READ, resource)
        ]
        if public:
            yield cross(
                "bucket-public",
                "the bucket's policy lets everybody read the registry, around CloudFront and its signatures",
                f"{self._console} > Permissions > Bucket policy: take away the statement for Principal '*'",
            )
        else:
            yield tick("bucket-public", "the bucket's policy does not let everybody read the registry")
        if self._distribution is None:
            yield question("bucket-policy", "which distribution it must name is not known")
            return
        if self._distribution.has_identity(self._wanted.bucket):
            yield question(
                "bucket-policy",
                "CloudFront reads by an origin access identity, whose statement is not judged here",
                f"see that {self._console} > Permissions > Bucket policy names it; or take origin access "
                "control",
            )
            return
        arn = self._distribution.arn
        yield _judged(
            "bucket-policy",
            said,
            action=_READ,
            resource=resource,
            arn=arn,
            what="the bucket's policy",
            mend=f"{self._console} > Permissions > Bucket policy: allow {CLOUDFRONT} s3:GetObject on "
            f"arn:{self._partition}:s3:::{self._wanted.bucket}{self._wanted.rootdirectory}/* with "
            f"AWS:SourceArn {arn}",
        )

    def _public_access(self) -> Iterator[Finding]:
        found = self._read("get_public_access_block", "NoSuchPublicAccessBlockConfiguration")
        told = found["PublicAccessBlockConfiguration"] if found else {}
        off = [name for name in _BLOCKS if not told.get(name)]
        if not off:
            yield tick("public-access-block", "public access to the bucket is blocked")
            return
        if self._account_blocks():
            yield tick("public-access-block", "public access is blocked for the whole account")
            return
        yield cross(
            "public-access-block",
            f"public access to the bucket is not blocked ({', '.join(off)})",
            f"{self._console} > Permissions > Block public access: Block all; or aws s3api "
            f"put-public-access-block --bucket {self._wanted.bucket} --public-access-block-configuration "
            + ",".join(f"{name}=true" for name in _BLOCKS),
        )

    def _account_blocks(self) -> bool:
        """Return whether the account blocks public access to all of its buckets.

        :raises Unreadable: where that may not be asked.
        """
        if self._distribution is None:
            return False
        found = self._aws.read(
            "s3control",
            "get_public_access_block",
            absent=("NoSuchPublicAccessBlockConfiguration",),
            AccountId=self._distribution.arn.split(":")[4],
        )
        told = found["PublicAccessBlockConfiguration"] if found else {}
        return all(told.get(name) for name in _BLOCKS)

    def _ownership(self) -> Iterator[Finding]:
        found = self._read("get_bucket_ownership_controls", "OwnershipControlsNotFoundError")
        rules = found["OwnershipControls"]["Rules"] if found else []
        told = rules[0]["ObjectOwnership"] if rules else "ObjectWriter"
        if told == "BucketOwnerEnforced" or (told == "BucketOwnerPreferred" and self._wanted.objectacl):
            yield tick("ownership", "the bucket's account owns every object")
            return
        yield cross(
            "ownership",
            f"object ownership is {told}: an object that another account writes is not CloudFront's to read",
            f"{self._console} > Permissions > Object Ownership > Edit: ACLs disabled (bucket owner enforced)",
        )

    def _lifecycle(self) -> Iterator[Finding]:
        found = self._read("get_bucket_lifecycle_configuration", "NoSuchLifecycleConfiguration")
        rules = [rule for rule in (found or {}).get("Rules", ()) if rule.get("Status") == "Enabled"]
        if any(
            (rule.get("AbortIncompleteMultipartUpload") or {}).get("DaysAfterInitiation") for rule in rules
        ):
            yield tick("lifecycle", "uploads that never end are ended")
        else:
            yield cross(
                "lifecycle",
                "no lifecycle rule ends incomplete multipart uploads, which cost and are not seen",
                f"{self._console} > Management > Create lifecycle rule: Delete incomplete multipart "
                "uploads, 7 days",
            )
        taking = [
            str(rule.get("ID", "?"))
            for rule in rules
            if any(
                str(move.get("StorageClass")) in ("GLACIER", "DEEP_ARCHIVE")
                for move in rule.get("Transitions") or ()
            )
            or (rule.get("Expiration") or {}).get("Days")
        ]
        if taking:
            yield question(
                "lifecycle-data",
                f"a rule takes objects away or to an archive ({', '.join(taking)}): see that it is not for "
                "the "
                "registry's",
                f"{self._console} > Management > Lifecycle rules",
            )

    # Encryption

    def _encryption(self) -> Iterator[Finding]:
        found = self._read("get_bucket_encryption", "ServerSideEncryptionConfigurationNotFoundError")
        rules = found["ServerSideEncryptionConfiguration"]["Rules"] if found else []
        default = rules[0].get("ApplyServerSideEncryptionByDefault") or {} if rules else {}
        by_kms = str(default.get("SSEAlgorithm", "")).startswith("aws:kms")
        keyid = self._wanted.keyid
        if not keyid and by_kms and not self._wanted.encrypt:
            # What the registry writes without a word of its own is encrypted so.
            keyid = str(default.get("KMSMasterKeyID") or "alias/aws/s3")
        if not keyid:
            yield tick("encryption", "objects are encrypted with S3's own keys")
            return
        if keyid.endswith("alias/aws/s3"):
            yield cross(
                "encryption",
                "objects are encrypted with AWS's own key aws/s3, whose policy nobody can change: "
                "CloudFront never "
                "reads them",
                f"{self._console} > Properties > Default encryption: SSE-S3, or a key of your own; then "
                "copy the "
                "objects that are there onto themselves",
            )
            return
        yield tick("encryption", f"objects are encrypted with the key {keyid.rpartition('/')[2]}")
        yield from guarded("kms", lambda: self._key(keyid))

    def _key(self, keyid: str) -> Iterator[Finding]:
        found = self._aws.read("kms", "describe_key", absent=("NotFoundException",), KeyId=keyid)
        if found is None:
            yield cross(
                "kms", f"KMS has no key {keyid} in this region", "set keyid to a key of the bucket's region"
            )
            return
        key = found["KeyMetadata"]
        if key.get("KeyState") not in (None, "Enabled"):
            yield cross(
                "kms",
                f"the key {key['KeyId']} is {key['KeyState']}: nothing that it encrypted can be read",
                f"aws kms enable-key --key-id {key['KeyId']} (cancel-key-deletion first, if it is to be "
                "deleted)",
            )
            return
        if self._distribution is None:
            yield question("kms", "which distribution the key's policy must name is not known")
            return
        policy = self._aws.read("kms", "get_key_policy", KeyId=key["KeyId"], PolicyName="default")
        arn = self._distribution.arn
        yield _judged(
            "kms",
            list(statements(policy["Policy"])) if policy else [],
            action="kms:Decrypt",
            resource=str(key.get("Arn", "*")),
            arn=arn,
            what="the key's policy",
            mend=f"KMS > {key['KeyId']} > Key policy > Edit: allow {CLOUDFRONT} kms:Decrypt with "
            "AWS:SourceArn "
            f"{arn}; 'cfmiddleware template' prints the statement",
        )

    # Helpers

    def _read(self, operation: str, absent: str) -> Any:
        found = self._aws.read("s3", operation, absent=(absent, "NoSuchBucket"), Bucket=self._wanted.bucket)
        if (
            found is None
            and self._aws.read("s3", "head_bucket", absent=("404",), Bucket=self._wanted.bucket) is None
        ):
            raise Unreadable(f"there is no bucket {self._wanted.bucket}", "see storage.s3.bucket")
        return found

    @property
    def _partition(self) -> str:
        region = self._wanted.region
        return (
            "aws-cn" if region.startswith("cn-") else "aws-us-gov" if region.startswith("us-gov-") else "aws"
        )

    def _resource(self) -> str:
        directory = f"{self._wanted.bucket}{self._wanted.rootdirectory}/docker/registry/v2/blobs"
        return f"arn:{self._partition}:s3:::{directory}/data"


def _judged(
    name: str, said: list[Statement], *, action: str, resource: str, arn: str, what: str, mend: str
) -> Finding:
    """Return whether a policy lets a distribution, and no other one, do an action."""
    context = {
        "aws:sourcearn": arn,
        "aws:sourceaccount": arn.split(":")[4],
        "aws:securetransport": "true",
        "aws:principalisawsservice": "true",
    }
    about = [
        statement
        for statement in said
        if statement.is_for_service(CLOUDFRONT) and statement.covers(action, resource)
    ]
    denying = [statement.holds(context) for statement in about if not statement.allows]
    allowing = [statement for statement in about if statement.allows and not statement.is_public]
    if True in denying:
        return cross(name, f"{what} has a Deny that keeps CloudFront out", f"take it away; then {mend}")
    held = [statement for statement in allowing if statement.holds(context)]
    if any(_names_it(statement) for statement in held):
        if None in denying:
            return question(name, f"{what} lets the distribution read, and has a Deny with conditions")
        return tick(name, f"{what} lets this distribution read")
    if held:
        return cross(name, f"{what} lets every distribution of everybody read: it has no AWS:SourceArn", mend)
    if any(statement.holds(context) is None for statement in allowing):
        return question(name, f"{what} lets CloudFront read under conditions that are not known here", mend)
    others = sorted({value for statement in allowing for value in statement.values("aws:sourcearn")})
    if others:
        return cross(name, f"{what} is for another distribution: {', '.join(others)}", mend)
    return cross(name, f"{what} does not let CloudFront read what is below the root directory", mend)


def _names_it(statement: Statement) -> bool:
    values = [*statement.values("aws:sourcearn"), *statement.values("aws:sourceaccount")]
    return any(value.strip("*") for value in values)
