"""The play of CloudFront: a control plane, a data plane that obeys it, and a configuration for both."""

from __future__ import annotations

import contextlib
import functools
import json
import socket
import ssl
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
import yaml

from cfmiddleware.cloudfront.asking import Address, Asker, Wire
from cfmiddleware.cloudfront.check import Request, check
from cfmiddleware.cloudfront.findings import Finding, Mark
from cfmiddleware.cloudfront.template import Variant, template
from cfmiddleware.cloudfront.wanted import wanted
from cfmiddleware.config import Config
from cfmiddleware.digest import Digest
from lab.cloudfront_control import Kept, forget, issue
from lab.cloudfront_data import DataPlane
from lab.servers import S3Server
from lab.signing_material import ec_pem
from lab.stacks import Stack, quantity
from lab.wsgi_server import running_app

REGION = "eu-west-3"
ROOT = "/team/prod"
ALIAS = "blobs.example.com"
CONTENT = b"a blob that is there"
DIGEST = Digest.of(CONTENT)
BLOB = f"docker/registry/v2/blobs/sha256/{DIGEST.hex[:2]}/{DIGEST.hex}/data"
LINK = f"docker/registry/v2/repositories/app/_layers/sha256/{DIGEST.hex}/link"

#: How the distribution is made.
BUILDERS = ("by hand", "by the template")

_OURS4, _OURS6, _ELSEWHERE = "198.51.100.7", "2001:db8::7", "203.0.113.9"


class Stage:
    """What plays share: the control plane and the ports."""

    def __init__(self, server: S3Server, kept: Kept) -> None:
        self.server = server
        self.kept = kept
        self.data = DataPlane(self.clients, kept)
        self.ports: dict[str, int] = {}

    @functools.cache  # noqa: B019 (one for a module of tests)
    def clients(self, service: str, region: str) -> Any:
        """Return a client of boto3."""
        client = boto3.client(
            service,
            region_name=region or "us-east-1",
            endpoint_url=self.server.endpoint,
            aws_access_key_id=self.server.access_key,
            aws_secret_access_key=self.server.secret_key,
        )
        # Whose host would begin with the account's number.
        client.meta.events.register("before-sign.s3-control", self._without_account)
        return client

    def _without_account(self, request: Any, **_: object) -> None:
        parts = urlsplit(request.url)
        request.url = f"{self.server.endpoint}{parts.path}"

    @contextlib.contextmanager
    def open(self) -> Iterator[Stage]:
        """Listen until the block is left."""
        with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", self.server.endpoint)
            apps = {
                "https4": self.data.app(scheme="https", client="127.0.0.1"),
                "http4": self.data.app(scheme="http", client="127.0.0.1"),
                "https6": self.data.app(scheme="https", client="2001:db8::1"),
                "elsewhere": _elsewhere,
            }
            for name, app in apps.items():
                self.ports[name] = stack.enter_context(running_app(app))
            yield self


class Play:
    """A distribution and all that belongs to it, as it should be, to be broken.

    :param directory: where the configuration and its keys are.
    :param builder: one of `BUILDERS`.
    :param options: options of the wrapper in place of the usual.
    :param storage: options of the storage in place of the usual.
    :param alias: whether the distribution has a name of the operator's.
    """

    def __init__(
        self,
        stage: Stage,
        directory: Path,
        builder: str = BUILDERS[0],
        *,
        options: dict[str, Any] | None = None,
        storage: dict[str, Any] | None = None,
        alias: bool = True,
    ) -> None:
        forget()
        stage.kept.cache.configs.clear()
        stage.kept.origin_request.configs.clear()
        stage.data.errors.clear()
        self.stage = stage
        self.clients = stage.clients
        self.directory = directory
        self.bucket = f"images-{uuid.uuid4().hex[:12]}"
        self.kms = self.clients("kms", REGION).create_key()["KeyMetadata"]["Arn"]
        self.options: dict[str, Any] = {"bindip": True, "trustedproxies": 1, **(options or {})}
        self.storage: dict[str, Any] = {
            "bucket": self.bucket,
            "region": REGION,
            "rootdirectory": ROOT,
            "accesskey": stage.server.access_key,
            "secretkey": stage.server.secret_key,
            "encrypt": True,
            "keyid": self.kms,
            **(storage or {}),
        }
        #: What the clock of the registry's machine is ahead of the others', in seconds.
        self.ahead = 0
        self.digest: Digest | None = None
        #: Where the alias leads to.
        self.leads_to = [_OURS4]
        #: The names of the certificates, by their ARNs.
        self.certificates: dict[str, str] = {}
        self._alias = ALIAS if alias else ""
        self._write_keys("cloudfront")
        {"by hand": self._by_hand, "by the template": self._by_template}[builder]()
        self._write_keys(f"pk-{self.key}")
        self.options["baseurl"] = f"https://{self._alias or self.domain}"
        self._let_decrypt()
        self.put(BLOB, CONTENT)
        self.put(LINK, str(DIGEST).encode())

    # What is asked

    def check(self, **request: Any) -> dict[int, list[Finding]]:
        """Return what a check finds, by its steps."""
        self.stage.data.deploy()
        asked = Request(
            Config.load(self._file(), {}),
            asker=Asker(PlayWire(self)),
            clients=request.pop("clients", self.clients),
            digest=request.pop("digest", self.digest),
            clock=lambda: time.time() + self.ahead,
            **request,
        )
        found: dict[int, list[Finding]] = {}
        for step, finding in check(asked):
            found.setdefault(step, []).append(finding)
        return found

    def config(self) -> Config:
        """Return the configuration as it is now."""
        return Config.load(self._file(), {})

    def keys_left(self) -> list[str]:
        """Return every key of the bucket."""
        return self.stage.server.keys(self.bucket)

    # What is changed

    @property
    def distribution(self) -> dict[str, Any]:
        """The distribution, as CloudFront describes it."""
        found: dict[str, Any] = self.clients("cloudfront", "").get_distribution(Id=self.id)["Distribution"]
        return found

    @property
    def deployed(self) -> dict[str, Any]:
        """The configuration that the data plane obeys."""
        config: dict[str, Any] = next(
            found["DistributionConfig"]
            for found in self.stage.data.told.distributions
            if found["Id"] == self.id
        )
        return config

    def change(self, how: Callable[[dict[str, Any]], Any]) -> None:
        """Change the distribution's configuration."""
        cloudfront = self.clients("cloudfront", "")
        told = cloudfront.get_distribution_config(Id=self.id)
        config = told["DistributionConfig"]
        how(config)
        cloudfront.update_distribution(Id=self.id, IfMatch=told["ETag"], DistributionConfig=config)

    def behavior(self, **values: Any) -> None:
        """Change the default behavior."""
        self.change(lambda config: config["DefaultCacheBehavior"].update(values))

    def origin(self, **values: Any) -> None:
        """Change the origin."""
        self.change(lambda config: config["Origins"]["Items"][0].update(values))

    def policy(self, how: Callable[[dict[str, Any]], Any]) -> None:
        """Change the bucket's policy."""
        s3 = self.clients("s3", REGION)
        policy = json.loads(s3.get_bucket_policy(Bucket=self.bucket)["Policy"])
        how(policy)
        s3.put_bucket_policy(Bucket=self.bucket, Policy=json.dumps(policy))

    def key_policy(self, how: Callable[[dict[str, Any]], Any]) -> None:
        """Change the key's policy."""
        kms = self.clients("kms", REGION)
        policy = json.loads(kms.get_key_policy(KeyId=self.kms, PolicyName="default")["Policy"])
        how(policy)
        kms.put_key_policy(KeyId=self.kms, PolicyName="default", Policy=json.dumps(policy))

    def remember_error(self) -> None:
        """Have an error of the blob's in the cache."""
        from lab.cloudfront_data import _s3

        denied = _s3("403 Forbidden", "AccessDenied", "Access Denied")
        self.stage.data.errors["/" + BLOB] = (denied, time.time() - 77)

    def put(self, path: str, content: bytes, kms: str = "") -> None:
        """Write an object below the root, as a registry does.

        :param kms: the key that it is encrypted with; the configuration's by default.
        """
        more = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms or self.kms}
        s3 = self.clients("s3", REGION)
        s3.put_object(
            Bucket=self.bucket,
            Key=f"{ROOT[1:]}/{path}",
            Body=content,
            **(more if kms or self.storage["encrypt"] else {}),
        )

    # How it is made

    def _by_hand(self) -> None:
        cloudfront, s3 = self.clients("cloudfront", ""), self.clients("s3", REGION)
        bucket = self.bucket
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        blocks = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
        s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=dict.fromkeys(blocks, True))
        s3.put_bucket_ownership_controls(
            Bucket=bucket, OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
        )
        rule = {"ID": "u", "Status": "Enabled", "Filter": {"Prefix": ""}}
        rule["AbortIncompleteMultipartUpload"] = {"DaysAfterInitiation": 7}
        s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})
        public = (self.directory / "keys" / "cloudfront.pub.pem").read_text()
        told = {"CallerReference": "1", "Name": "k", "EncodedKey": public}
        self.key = cloudfront.create_public_key(PublicKeyConfig=told)["PublicKey"]["Id"]
        group = cloudfront.create_key_group(KeyGroupConfig={"Name": "g", "Items": [self.key]})
        control = cloudfront.create_origin_access_control(
            OriginAccessControlConfig={
                "Name": "c",
                "SigningProtocol": "sigv4",
                "SigningBehavior": "always",
                "OriginAccessControlOriginType": "s3",
            }
        )
        policy = self.stage.kept.cache.add(CACHE)
        methods = ["GET", "HEAD"]
        origin = {
            "Id": "bucket",
            "DomainName": f"{bucket}.s3.{REGION}.amazonaws.com",
            "OriginPath": self.options.get("originpath", ROOT),
            "OriginAccessControlId": control["OriginAccessControl"]["Id"],
            "S3OriginConfig": {"OriginAccessIdentity": ""},
        }
        behavior = {
            "TargetOriginId": "bucket",
            "ViewerProtocolPolicy": "https-only",
            "TrustedKeyGroups": {"Enabled": True, **quantity([group["KeyGroup"]["Id"]])},
            "TrustedSigners": {"Enabled": False, "Quantity": 0},
            "CachePolicyId": policy,
            "Compress": False,
            "AllowedMethods": {**quantity(methods), "CachedMethods": quantity(methods)},
        }
        config = {
            "CallerReference": "1",
            "Comment": "by hand",
            "Enabled": True,
            "IsIPV6Enabled": not self.options["bindip"],
            "Origins": quantity([origin]),
            "DefaultCacheBehavior": behavior,
            "Aliases": quantity([self._alias] if self._alias else []),
            "ViewerCertificate": {"ACMCertificateArn": self.certificate(ALIAS)},
        }
        made = cloudfront.create_distribution(DistributionConfig=config)["Distribution"]
        self.id, self.domain, self.arn = made["Id"], made["DomainName"], made["ARN"]
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": "cloudfront.amazonaws.com"},
            "Action": "s3:GetObject",
            "Resource": f"arn:aws:s3:::{bucket}{ROOT}/*",
            "Condition": {"StringEquals": {"AWS:SourceArn": self.arn}},
        }
        policy_text = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        s3.put_bucket_policy(Bucket=bucket, Policy=policy_text)

    def _by_template(self) -> None:
        if self._alias:
            self.options["baseurl"] = f"https://{self._alias}"
        want = wanted(Config.load(self._file(), {}))
        choices = {"certificate": self.certificate(ALIAS)} if self._alias else {}
        made = Stack(template(want, Variant(**choices)), REGION, endpoint_url=self.stage.server.endpoint)
        self.id, self.domain = made.values["Distribution"], made.values["Distribution.DomainName"]
        self.key = next(value for name, value in made.values.items() if name.startswith("PublicKey"))
        told = made.properties["CachePolicy"]["CachePolicyConfig"]
        self.stage.kept.cache.add(_numbers(told), made.values["CachePolicy"])
        self.arn = self.distribution["ARN"]

    def certificate(self, name: str) -> str:
        """Have a certificate issued for a name, and return its ARN."""
        acm = self.clients("acm", "us-east-1")
        arn: str = acm.request_certificate(DomainName=name)["CertificateArn"]
        issue(arn)
        self.certificates[arn] = name
        return arn

    def _let_decrypt(self) -> None:
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": "cloudfront.amazonaws.com"},
            "Action": "kms:Decrypt",
            "Resource": "*",
            "Condition": {"StringEquals": {"AWS:SourceArn": self.arn}},
        }
        self.key_policy(lambda policy: policy["Statement"].append(statement))

    def _write_keys(self, name: str) -> None:
        from cfmiddleware.signing.keys import load_private_key

        keys = self.directory / "keys"
        keys.mkdir(exist_ok=True)
        for file in keys.iterdir():
            file.unlink()
        (keys / f"{name}.pem").write_text(ec_pem())
        (keys / f"{name}.pub.pem").write_text(load_private_key(ec_pem(), "test").public_pem)

    def _file(self) -> Path:
        entry = {"name": "cloudfront", "options": {"privatekey": "keys", **self.options}}
        tree = {
            "version": "0.1",
            "storage": {"s3": self.storage},
            "middleware": {"storage": [entry]},
        }
        file = self.directory / "config.yml"
        file.write_text(yaml.safe_dump(tree))
        return file


#: A cache policy as it should be.
CACHE = {
    "Name": "a-year",
    "MinTTL": 1,
    "DefaultTTL": 31536000,
    "MaxTTL": 31536000,
    "ParametersInCacheKeyAndForwardedToOrigin": {
        "EnableAcceptEncodingGzip": False,
        "EnableAcceptEncodingBrotli": False,
        "HeadersConfig": {"HeaderBehavior": "none"},
        "CookiesConfig": {"CookieBehavior": "none"},
        "QueryStringsConfig": {"QueryStringBehavior": "none"},
    },
}


class PlayWire(Wire):
    """Reaches the play by the names that it has."""

    def __init__(self, play: Play) -> None:
        self._play = play

    def addresses(self, host: str, port: int) -> list[Address]:
        play = self._play
        if host == ALIAS:
            places = play.leads_to
        elif host.endswith(".cloudfront.net"):
            places = [_OURS4]
        else:
            raise socket.gaierror(-2, "Name or service not known")
        if places == [_OURS4] and play.deployed["IsIPV6Enabled"]:
            places = [_OURS6, _OURS4]
        families = {True: socket.AF_INET6, False: socket.AF_INET}
        return [Address(families[":" in place], (place, port)) for place in places]

    def connect(self, address: Address, host: str, *, secure: bool, timeout: float) -> socket.socket:
        place = address.place[0]
        if place == _ELSEWHERE:
            name = "elsewhere"
        else:
            name = f"http{'s' if secure else ''}{'6' if ':' in place else '4'}"
            if secure and not self._is_certified(host):
                raise ssl.SSLCertVerificationError(1, "certificate verify failed: Hostname mismatch")
        return socket.create_connection(("127.0.0.1", self._play.stage.ports[name]), timeout)

    def _is_certified(self, host: str) -> bool:
        if host.endswith(".cloudfront.net"):
            return True
        told = self._play.deployed["ViewerCertificate"]
        return self._play.certificates.get(told.get("ACMCertificateArn", "")) == host


ELSEWHERE = [_ELSEWHERE]


def _elsewhere(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    body = b"<html>It works!</html>"
    start_response("404 Not Found", [("Server", "nginx"), ("Content-Length", str(len(body)))])
    return [body]


def _numbers(value: Any) -> Any:
    """Return a cache policy of a template as CloudFront's API has it."""
    if isinstance(value, dict):
        return {
            ("QueryStringsConfig" if name == "QueryStringsConfig" else name): _numbers(item)
            for name, item in value.items()
        }
    return value


def crosses(found: dict[int, list[Finding]], *steps: int) -> set[str]:
    """Return the names of the checks with a cross, of all steps or of some."""
    return {
        finding.name
        for step, findings in found.items()
        for finding in findings
        if finding.mark is Mark.CROSS and (not steps or step in steps)
    }
