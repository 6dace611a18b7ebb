"""The policies that a registry and its distribution need, as text for a CloudFormation template.

Each holds the least that works. The sizes are limited: 20 KiB for a bucket's policy, 6,144 characters for a
managed policy (IAM and AWS STS quotas), 1,024 bytes for an output.
"""

from __future__ import annotations

import json

from .wanted import Wanted
from .yamltext import in_resource, literal, quoted, substituted

_DISTRIBUTION = "arn:${AWS::Partition}:cloudfront::${AWS::AccountId}:distribution/${Distribution}"

#: What the S3 driver asks of an object, and why.
_OBJECT_ACTIONS = {
    "s3:GetObject": "pulls, and copies",
    "s3:PutObject": "pushes, in one request or in parts",
    "s3:DeleteObject": "deletes, and what is left of an upload",
    "s3:AbortMultipartUpload": "an upload that ends early leaves nothing to pay for",
    "s3:ListMultipartUploadParts": "and it is looked whether it is gone",
}


def bucket_policy(wanted: Wanted, bucket: str) -> str:
    """Return the bucket's policy: this distribution may read what is below the root directory.

    :param bucket: the bucket as ``Fn::Sub`` gets it: its name, or ``${Bucket}``.
    """
    return f"""\
Version: "2012-10-17"
Statement:
  - Sid: CloudFrontReads
    Effect: Allow
    Principal: {{Service: cloudfront.amazonaws.com}}
    Action: s3:GetObject
    Resource: {substituted(_below(wanted, bucket))}
    # This distribution alone: without it, everybody's could read the bucket.
    Condition:
      StringEquals:
        AWS:SourceArn: {substituted(_DISTRIBUTION)}
"""


def registry_policy(wanted: Wanted, bucket: str) -> str:
    """Return the policy for the role or user that the registry runs as.

    :param bucket: as for :func:`bucket_policy`.
    """
    reasons = dict(_OBJECT_ACTIONS)
    if wanted.objectacl:
        reasons["s3:PutObjectAcl"] = f"objectacl: {wanted.objectacl}"
    width = max(map(len, reasons)) + 2
    actions = "\n".join(f"      - {action:{width}}# {why}" for action, why in reasons.items())
    kms = f"\n{_registry_key_statement(wanted.keyid)}" if wanted.keyid else ""
    return f"""\
Version: "2012-10-17"
Statement:
  - Sid: Objects
    Effect: Allow
    Action:
{actions}
    Resource: {substituted(_below(wanted, bucket))}
  # Without a condition on the prefix: S3 says that a key is not there only to those who may list the bucket.
  - Sid: Lists
    Effect: Allow
    Action:
      - s3:ListBucket
      - s3:ListBucketMultipartUploads  # those that never ended are found and aborted
    Resource: {substituted(_arn(bucket))}{kms}
"""


def key_statement() -> str:
    """Return the statement that the KMS key's policy must have, as JSON for ``Fn::Sub``.

    The policy of a key that exists cannot be changed by a template. Without the statement pushes work and
    every pull is a 403.
    """
    return json.dumps(
        {
            "Sid": "CloudFrontDecrypts",
            "Effect": "Allow",
            "Principal": {"Service": "cloudfront.amazonaws.com"},
            "Action": "kms:Decrypt",
            "Resource": "*",
            "Condition": {"StringEquals": {"AWS:SourceArn": _DISTRIBUTION}},
        },
        indent=2,
    )


def _registry_key_statement(keyid: str) -> str:
    """Return the statement that lets the registry encrypt and read with a key, whichever way it is named."""
    arn, _, id = keyid.rpartition(":")
    arn = literal(arn) or "arn:${AWS::Partition}:kms:${AWS::Region}:${AWS::AccountId}"
    # A policy cannot name a key by its alias.
    key = "key/*" if id.startswith("alias/") else in_resource(id if id.startswith("key/") else f"key/{id}")
    resource = substituted(f"{arn}:{key}")
    condition = ""
    if id.startswith("alias/"):
        condition = f"""
    Condition:
      ForAnyValue:StringEquals:
        kms:ResourceAliases: {quoted(id)}"""
    return f"""\
  - Sid: Encryption
    Effect: Allow
    Action:
      - kms:GenerateDataKey  # to write
      - kms:Decrypt          # to read, and to write in parts
    Resource: {resource}{condition}"""


def _arn(bucket: str) -> str:
    return f"arn:${{AWS::Partition}}:s3:::{bucket}"


def _below(wanted: Wanted, bucket: str) -> str:
    return f"{_arn(bucket)}{in_resource(wanted.rootdirectory)}/*"
