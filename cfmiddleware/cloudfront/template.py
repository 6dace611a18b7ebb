"""The CloudFormation template that makes CloudFront right for a configuration, and nothing else.

Sections of it are text with comments, because an operator reads it before it is deployed. Names of resources
do not depend on the order of keys, so that a template that is deployed again makes nothing anew.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from cfmiddleware.errors import ConfigError
from cfmiddleware.logs import printable
from cfmiddleware.parse import nearest
from cfmiddleware.signing.keyfiles import id_of
from cfmiddleware.signing.originpath import encode_key

from .digestheader import FUNCTION
from .policies import bucket_policy, key_statement, registry_policy
from .wanted import Wanted
from .wantedkeys import WantedKey
from .yamltext import block, indented, listed, literal, quoted, substituted, substituted_block

#: How many public keys CloudFront takes in one key group (Amazon CloudFront, "Quotas").
MOST_KEYS = 5

#: The largest template that CloudFormation takes without a bucket to read it from, in bytes.
LARGEST = 51_200

# Amazon CloudFront, "Choosing the AWS Region for Origin Shield": regions that have one, and the nearest one
# for those that do not.
_SHIELDS = {
    **{
        region: region
        for region in (
            "us-east-1",
            "us-east-2",
            "us-west-2",
            "ap-south-1",
            "ap-northeast-1",
            "ap-northeast-2",
            "ap-southeast-1",
            "ap-southeast-2",
            "eu-central-1",
            "eu-west-1",
            "eu-west-2",
            "me-central-1",
            "sa-east-1",
        )
    },
    "us-west-1": "us-west-2",
    "af-south-1": "eu-west-1",
    "ap-east-1": "ap-southeast-1",
    "ca-central-1": "us-east-1",
    "eu-south-1": "eu-central-1",
    "eu-west-3": "eu-west-2",
    "eu-north-1": "eu-west-2",
    "me-south-1": "ap-south-1",
}

# An output has 1,024 bytes at the most, and what is not an option of the operator's needs a third of it.
_LONGEST_OPTIONS = 500

# Amazon CloudFront API Reference, "Origin".
_LONGEST_ORIGIN_PATH = 255

_NAME = re.compile(r"(?:\*\.)?(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")
_CERTIFICATE = re.compile(r"arn:aws[a-z-]*:acm:us-east-1:[0-9]{12}:certificate/[A-Za-z0-9-]+")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")

#: What closes a bucket to the public.
_CLOSED = """\
      PublicAccessBlockConfiguration:
        BlockPublicAcls: true
        BlockPublicPolicy: true
        IgnorePublicAcls: true
        RestrictPublicBuckets: true
"""

#: The beginning of the names of what the stack makes: names of CloudFront are the account's, not a region's.
_STACK = "${AWS::StackName}-${AWS::Region}"


@dataclass(frozen=True)
class Variant:
    """What an operator chooses beside the configuration.

    :param existing_bucket: whether the bucket is there already, so that only its policy is made.
    :param digest_header: whether a function puts ``Docker-Content-Digest`` on answers.
    :param origin_shield: the region of an Origin Shield; empty for the nearest one, None for none.
    :param logging: the bucket that CloudFront's logs go to; empty for a new one, None for no logs.
    :param aliases: the distribution's names beside its own; that of ``baseurl`` is one of them in any case.
    :param certificate: the ARN of their certificate.
    """

    existing_bucket: bool = False
    digest_header: bool = False
    origin_shield: str | None = None
    logging: str | None = None
    aliases: tuple[str, ...] = ()
    certificate: str = ""


def template(wanted: Wanted, variant: Variant) -> str:
    """Return the template, as YAML.

    :raises ConfigError: for a configuration that CloudFront cannot serve, and for choices that cannot work.
    """
    return _Template(wanted, variant).text()


def logical_id(key: WantedKey) -> str:
    """Return the name of a key in the template. A key never changes under its id, and so under its name."""
    return f"PublicKey{key.fingerprint[:16]}"


def output_name(key: WantedKey) -> str:
    """Return the name of the output that says a key's id, unless it is the first of all keys."""
    return f"KeyId{key.fingerprint[:16]}"


def key_name(key: WantedKey) -> str:
    """Return the end of the name that the template gives a key in CloudFront."""
    return f"-key-{key.fingerprint[:16]}"


def key_resource(key: WantedKey) -> str:
    """Return the resource of a key."""
    name = f"  # {_shown(key)}\n" if key.file is not None else ""
    return f"""\
{name}  {logical_id(key)}:
    Type: AWS::CloudFront::PublicKey
    Properties:
      PublicKeyConfig:
        Name: {substituted(_STACK + key_name(key))}
        CallerReference: {quoted(key.fingerprint)}
        EncodedKey: {block(key.public_pem, 10)}
"""


class _Template:
    """The template of one configuration, with one set of choices."""

    def __init__(self, wanted: Wanted, variant: Variant) -> None:
        self._wanted = wanted
        self._variant = variant
        _check(wanted)
        if not variant.existing_bucket and wanted.objectacl not in ("", "bucket-owner-full-control"):
            raise ConfigError(
                f"{wanted.source}: storage.s3.objectacl: the new bucket takes no ACLs, so every push would "
                "be refused; leave it out"
            )
        self._aliases = _aliases(wanted, variant)
        self._shield = _shield(wanted, variant)
        if variant.logging:
            _check_log_bucket(variant.logging, wanted)
        #: The bucket as ``Fn::Sub`` gets it.
        self._bucket = wanted.bucket if variant.existing_bucket else "${Bucket}"

    def text(self) -> str:
        sections = [self._head(), "Resources:\n"]
        if not self._variant.existing_bucket:
            sections.append(self._new_bucket())
        sections += [self._bucket_policy(), self._keys(), self._access(), self._cache()]
        if self._variant.digest_header:
            sections.append(self._function())
        if self._variant.logging == "":
            sections.append(self._log_bucket())
        sections += [self._distribution(), self._registry_policy(), self._outputs()]
        text = "\n".join(sections)
        if len(text.encode()) > LARGEST:
            raise ConfigError(f"the template is larger than CloudFormation takes ({LARGEST} bytes)")
        return text

    def _head(self) -> str:
        wanted = self._wanted
        policy = ""
        if self._variant.existing_bucket:
            policy = f"""\
#
# The bucket {wanted.bucket} stays as it is, but for its policy, which this stack owns from then on. If it
# has one already, add the statement CloudFrontReads below to that, and leave BucketPolicy out of this file.
# "cfmiddleware check" says what else of the bucket is not as it should be.
"""
        return f"""\
# CloudFront for {printable(Path(wanted.source).name)}, by "cfmiddleware template". It holds no secret.
#
#     aws cloudformation deploy --region {wanted.region} --stack-name registry \\
#         --template-file FILE --capabilities CAPABILITY_IAM
#     aws cloudformation describe-stacks --region {wanted.region} --stack-name registry \\
#         --query 'Stacks[0].Outputs[].[OutputKey,OutputValue]' --output text
#
# The region must be the bucket's. Print and deploy it again after a change of the configuration or the keys.
{policy}AWSTemplateFormatVersion: "2010-09-09"
Description: {quoted(f"Signed pulls from {wanted.bucket} through CloudFront (cfmiddleware)")}
"""

    def _new_bucket(self) -> str:
        return f"""\
  Bucket:
    Type: AWS::S3::Bucket
    # Images outlive the stack.
    DeletionPolicy: Retain
    UpdateReplacePolicy: Retain
    Properties:
      BucketName: {quoted(self._wanted.bucket)}
{_CLOSED}\
      # No ACL counts: CloudFront could not read an object that another account owns.
      OwnershipControls:
        Rules: [{{ObjectOwnership: BucketOwnerEnforced}}]
      BucketEncryption:
        ServerSideEncryptionConfiguration:
{self._encryption()}
      # Parts of uploads that never ended cost money and are not listed.
      LifecycleConfiguration:
        Rules:
          - Id: unfinished-uploads
            Status: Enabled
            AbortIncompleteMultipartUpload: {{DaysAfterInitiation: 7}}
"""

    def _encryption(self) -> str:
        if self._wanted.keyid:
            return f"""\
          - ServerSideEncryptionByDefault:
              SSEAlgorithm: aws:kms
              KMSMasterKeyID: {quoted(self._wanted.keyid)}
            BucketKeyEnabled: true  # far fewer requests to KMS"""
        return "          - ServerSideEncryptionByDefault: {SSEAlgorithm: AES256}"

    def _bucket_policy(self) -> str:
        bucket = quoted(self._wanted.bucket) if self._variant.existing_bucket else "!Ref Bucket"
        return f"""\
  BucketPolicy:
    Type: AWS::S3::BucketPolicy
    Properties:
      Bucket: {bucket}
      PolicyDocument:
{indented(bucket_policy(self._wanted, self._bucket), 8)}"""

    def _keys(self) -> str:
        keys = "\n".join(map(key_resource, self._wanted.keys))
        return f"""\
{keys}
  # Whose signatures the distribution takes.
  KeyGroup:
    Type: AWS::CloudFront::KeyGroup
    Properties:
      KeyGroupConfig:
        Name: {substituted(f"{_STACK}-keys")}
        Items:
{listed((f"!Ref {logical_id(key)}" for key in self._wanted.keys), 10)}
"""

    def _access(self) -> str:
        return f"""\
  # The distribution signs its own requests to S3, so the bucket stays closed.
  OriginAccessControl:
    Type: AWS::CloudFront::OriginAccessControl
    Properties:
      OriginAccessControlConfig:
        Name: {substituted(f"{_STACK}-s3")}
        OriginAccessControlOriginType: s3
        SigningBehavior: always
        SigningProtocol: sigv4
"""

    def _cache(self) -> str:
        return f"""\
  # Blobs never change: they stay for a year. Nothing is compressed, because layers are already. Of a request
  # only its path counts: the signature is checked before the cache is asked.
  CachePolicy:
    Type: AWS::CloudFront::CachePolicy
    Properties:
      CachePolicyConfig:
        Name: {substituted(f"{_STACK}-blobs")}
        MinTTL: 0
        DefaultTTL: 31536000
        MaxTTL: 31536000
        ParametersInCacheKeyAndForwardedToOrigin:
          CookiesConfig: {{CookieBehavior: none}}
          HeadersConfig: {{HeaderBehavior: none}}
          QueryStringsConfig: {{QueryStringBehavior: none}}
          EnableAcceptEncodingGzip: false
          EnableAcceptEncodingBrotli: false
"""

    def _function(self) -> str:
        return f"""\
  # The digest of a blob stands in its path. Clients and the OCI conformance suite look for it on the answer.
  DigestHeader:
    Type: AWS::CloudFront::Function
    Properties:
      Name: {substituted(f"{_STACK}-digest")}
      AutoPublish: true
      FunctionConfig:
        Comment: Docker-Content-Digest on blobs
        Runtime: cloudfront-js-2.0
      FunctionCode: {block(FUNCTION, 8)}
"""

    def _log_bucket(self) -> str:
        return f"""\
  LogBucket:
    Type: AWS::S3::Bucket
    DeletionPolicy: Retain
    UpdateReplacePolicy: Retain
    Properties:
{_CLOSED}\
      # CloudFront writes its logs by means of an ACL.
      OwnershipControls:
        Rules: [{{ObjectOwnership: BucketOwnerPreferred}}]
      BucketEncryption:
        ServerSideEncryptionConfiguration:
          - ServerSideEncryptionByDefault: {{SSEAlgorithm: AES256}}
      LifecycleConfiguration:
        Rules:
          - Id: old-logs
            Status: Enabled
            ExpirationInDays: 90
"""

    def _distribution(self) -> str:
        wanted = self._wanted
        host = (
            quoted(wanted.origin_host)
            if self._variant.existing_bucket
            else "!GetAtt Bucket.RegionalDomainName"
        )
        originpath = encode_key(wanted.originpath)
        function = """\
          FunctionAssociations:
            - {EventType: viewer-response, FunctionARN: !GetAtt DigestHeader.FunctionARN}
"""
        ipv6 = "false  # with bindip, every client must come by IPv4" if wanted.bindip else "true"
        return f"""\
  Distribution:
    Type: AWS::CloudFront::Distribution
    Properties:
      DistributionConfig:
        Enabled: true
        Comment: {quoted(f"Blobs of {wanted.bucket}")}
        HttpVersion: http2and3
        IPV6Enabled: {ipv6}
        Origins:
          - Id: bucket
            DomainName: {host}  # the bucket's regional REST host
            # The directory of the root "docker" key, as the registry's own log says at its start.
            OriginPath: {quoted(originpath)}
            OriginAccessControlId: !GetAtt OriginAccessControl.Id
            S3OriginConfig: {{OriginAccessIdentity: ""}}  # the older way, which is off
{self._origin_shield()}\
        # The only behavior. Without the key group, everybody who knows the host could read everything.
        DefaultCacheBehavior:
          TargetOriginId: bucket
          TrustedKeyGroups: [!Ref KeyGroup]
          ViewerProtocolPolicy: https-only
          AllowedMethods: [GET, HEAD]
          CachedMethods: [GET, HEAD]
          CachePolicyId: !Ref CachePolicy
          Compress: false
{function if self._variant.digest_header else ""}{self._names()}{self._logging()}"""

    def _origin_shield(self) -> str:
        if self._shield is None:
            return ""
        return f"            OriginShield: {{Enabled: true, OriginShieldRegion: {self._shield}}}\n"

    def _names(self) -> str:
        if not self._aliases:
            return ""
        return f"""\
        Aliases:
{listed(map(quoted, self._aliases), 10)}
        ViewerCertificate:
          AcmCertificateArn: {quoted(self._variant.certificate)}
          SslSupportMethod: sni-only
          MinimumProtocolVersion: TLSv1.2_2021
"""

    def _logging(self) -> str:
        if self._variant.logging is None:
            return ""
        bucket = quoted(f"{self._variant.logging}.s3.amazonaws.com")
        return f"""\
        # Logs hold the whole query: a signature in them is good until it expires ({self._wanted.duration} s).
        Logging:
          Bucket: {bucket if self._variant.logging else "!GetAtt LogBucket.DomainName"}
          Prefix: {quoted(f"cloudfront/{self._wanted.bucket}/")}
          IncludeCookies: false
"""

    def _registry_policy(self) -> str:
        return f"""\
  # For the role or the user that the registry runs as. It is attached to nobody yet.
  RegistryPolicy:
    Type: AWS::IAM::ManagedPolicy
    Properties:
      Description: {quoted(f"What a registry needs of the bucket {self._wanted.bucket}")}
      PolicyDocument:
{indented(registry_policy(self._wanted, self._bucket), 8)}"""

    def _outputs(self) -> str:
        outputs = [
            _output(
                "DomainName",
                "The distribution's own name"
                + (", which a CNAME of each alias must lead to" * bool(self._aliases)),
                "!GetAtt Distribution.DomainName",
            ),
            _output("DistributionId", "The distribution", "!Ref Distribution"),
        ]
        for number, key in enumerate(self._wanted.keys):
            name = "KeyId" if number == 0 else output_name(key)
            outputs.append(_output(name, f"The id of {_shown(key)}", f"!Ref {logical_id(key)}"))
        outputs.append(
            _output("RegistryPolicyArn", "To attach to the registry's role or user", "!Ref RegistryPolicy")
        )
        if self._wanted.keyid:
            description = (
                f"The statement to add to the policy of the KMS key {self._wanted.keyid} "
                "(aws kms get-key-policy, put-key-policy); every pull is a 403 without it"
            )
            outputs.append(_output("KeyPolicyStatement", description, substituted_block(key_statement(), 6)))
        outputs.append(
            _output(
                "Middleware", "The section to paste into config.yml", substituted_block(self._section(), 6)
            )
        )
        return "Outputs:\n" + "".join(outputs)

    def _section(self) -> str:
        """Return the section ``middleware`` as it must become, for ``Fn::Sub``."""
        options = dict(self._wanted.written)
        options.pop("baseurl", None)
        own = [name for name in self._aliases if not name.startswith("*")]
        if self._wanted.alias:
            # The distribution speaks HTTPS alone.
            baseurl = literal(f"https://{self._wanted.baseurl.partition('://')[2]}")
        else:
            baseurl = f"https://{own[0] if own else '${Distribution.DomainName}'}"
        key_lines = self._key_lines(self._wanted.keys[0], str(options.pop("privatekey", "")))
        options.pop("keypairid", None)
        lines = [f"baseurl: {baseurl}", *key_lines]
        others = literal(yaml.safe_dump(options, sort_keys=False, allow_unicode=True)) if options else ""
        if len(others.encode()) > _LONGEST_OPTIONS:
            others = f"# and these as they are: {', '.join(options)}"
        entry = indented("\n".join([*lines, *others.splitlines()]), 8)
        more = "\n    # and the other entries as they are" if self._wanted.rewrites else ""
        return f"middleware:\n  storage:\n    - name: cloudfront\n      options:\n{entry}{more}"

    def _key_lines(self, key: WantedKey, written: str) -> list[str]:
        """Return the options that name the key, which says its id by its file's name or beside it."""
        id = f"${{{logical_id(key)}}}"
        if "-----BEGIN" in written or key.file is None:
            return ["# privatekey: stays as it is", f"keypairid: {id}"]
        shown = literal(yaml.safe_dump(written, width=1000).removesuffix("...\n").strip())
        if Path(self._wanted.privatekey).is_dir():
            if id_of(key.file.name) is not None:
                return [f"privatekey: {shown}"]
            return [f"privatekey: {shown}  # rename {literal(key.file.name)} to pk-{id}.pem"]
        if id_of(key.file.name) is not None or id_of(Path(self._wanted.privatekey).name) is not None:
            return [f"privatekey: {shown}"]
        return [f"privatekey: {shown}", f"keypairid: {id}"]


def _check(wanted: Wanted) -> None:
    """See that a distribution can serve the configuration at all.

    :raises ConfigError: where it cannot, naming the option.
    """
    source, place = wanted.source, f"{wanted.source}: {wanted.place}"
    if not wanted.bucket:
        raise ConfigError(
            f"{source}: storage: CloudFront reads from a bucket, and storage.{wanted.storage.name} is none; "
            "it needs storage.s3"
        )
    if wanted.is_access_point:
        raise ConfigError(
            f"{source}: storage.s3.bucket: is an access point, which no template is made for: its own policy "
            "must let the distribution read; set CloudFront up by hand, with its alias as the origin "
            f"(ALIAS.s3.{wanted.region}.amazonaws.com), or name the bucket itself"
        )
    if not _BUCKET.fullmatch(wanted.bucket):
        raise ConfigError(f"{source}: storage.s3.bucket: {wanted.bucket!r} is not the name of a bucket")
    if not wanted.on_aws:
        raise ConfigError(
            f"{source}: storage.s3.regionendpoint: names a server that is not Amazon's, which no origin "
            "access control can sign for; leave it out, with the region of a bucket of Amazon's"
        )
    if wanted.unsigned:
        raise ConfigError(
            f"{place}unsigned: a distribution that restricts nothing lets everybody read the bucket; the "
            "template is for signed URLs"
        )
    if len(encode_key(wanted.originpath)) > _LONGEST_ORIGIN_PATH:
        raise ConfigError(
            f"{place}originpath: an Origin Path has {_LONGEST_ORIGIN_PATH} characters at the most, and the "
            "root directory has more; give a shorter one of its directories"
        )
    if not wanted.keys:
        raise ConfigError(f"{place}privatekey: is missing; make a key pair first: cfmiddleware keygen")
    if len(wanted.keys) > MOST_KEYS:
        raise ConfigError(
            f"{place}privatekey: there are {len(wanted.keys)} keys, and a key group takes {MOST_KEYS}; "
            "remove the files of those that do not sign any more"
        )
    if wanted.keyid.rpartition(":")[2] == "alias/aws/s3":
        raise ConfigError(
            f"{source}: storage.s3.keyid: alias/aws/s3 is AWS's own key, whose policy nobody can change, so "
            "CloudFront can never read what it encrypts; use a key of your own, or leave keyid out"
        )


def _aliases(wanted: Wanted, variant: Variant) -> tuple[str, ...]:
    """Return the distribution's further names.

    :raises ConfigError: for what is not a name, and for a certificate that is missing or cannot work.
    """
    names = [name.lower().rstrip(".") for name in variant.aliases]
    for name in names:
        if not _NAME.fullmatch(name):
            raise ConfigError(f"--alias: {name!r} is not a name like blobs.example.com")
    if wanted.alias and not any(_covers(name, wanted.host) for name in names):
        names.insert(0, wanted.host)
    if names and not variant.certificate:
        why = "" if variant.aliases else f"baseurl names {names[0]}, so "
        raise ConfigError(
            f"--certificate: {why}the distribution needs the ARN of that name's certificate in ACM, in "
            "us-east-1; for CloudFront's own name leave baseurl empty"
        )
    if variant.certificate and not names:
        raise ConfigError("--certificate: needs --alias, or an alias as the host of baseurl")
    if variant.certificate and not _CERTIFICATE.fullmatch(variant.certificate):
        raise ConfigError(
            f"--certificate: {variant.certificate!r} is not the ARN of a certificate in us-east-1, where "
            "CloudFront looks for them; it is like arn:aws:acm:us-east-1:111122223333:certificate/..."
        )
    return tuple(dict.fromkeys(names))


def _covers(name: str, host: str) -> bool:
    return name == host or (name.startswith("*.") and host.partition(".")[2] == name[2:])


def _shield(wanted: Wanted, variant: Variant) -> str | None:
    """Return the region of the Origin Shield, or None for none.

    :raises ConfigError: for a region that has none.
    """
    if variant.origin_shield is None:
        return None
    region = variant.origin_shield or _SHIELDS.get(wanted.region, "")
    there = sorted(set(_SHIELDS.values()))
    if region not in there:
        given = variant.origin_shield or wanted.region
        raise ConfigError(
            f"--origin-shield: {given!r} has no Origin Shield{nearest(given, there)}; there are "
            f"{', '.join(there)}"
        )
    return region


def _check_log_bucket(name: str, wanted: Wanted) -> None:
    if not _BUCKET.fullmatch(name):
        raise ConfigError(f"--logging: {name!r} is not the name of a bucket")
    if name == wanted.bucket:
        raise ConfigError(
            "--logging: CloudFront writes its logs by means of an ACL, which the registry's own bucket does "
            "not take; name another bucket, or none to have one made"
        )


def _output(name: str, description: str, value: str) -> str:
    return f"  {name}:\n    Description: {quoted(description)}\n    Value: {value}\n"


def _shown(key: WantedKey) -> str:
    """Return how a key is called: its file's name, in one line."""
    return (
        "the key in the configuration"
        if key.file is None
        else key.file.name.encode("ascii", "replace").decode()
    )
