"""Every fault of CloudFront's side is named by `check`, and what is right has no cross.

The table of the page on checks is made of these tests' own expectations, each of which is shown here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from lab import PROJECT
from lab.cloudfront_control import ACCOUNT
from lab.cloudfront_faults import FAULTS
from lab.cloudfront_play import BUILDERS, DIGEST, REGION, ROOT, Play, PlayWire, Stage, crosses
from lab.spread import spread
from lab.stacks import quantity
from lab.tables import compare, list_table

from cfmiddleware.cloudfront.asking import Asker
from cfmiddleware.cloudfront.awsreading import AWS
from cfmiddleware.cloudfront.controlside import ControlSide
from cfmiddleware.cloudfront.findings import Finding, Mark
from cfmiddleware.cloudfront.wanted import wanted

#: What is right, in other ways.
GOOD: dict[str, dict[str, Any]] = {
    "all": {},
    "the distribution's own name": {"alias": False},
    "without a KMS key": {"storage": {"encrypt": False, "keyid": None}},
    "without bindip": {"options": {"bindip": False}},
    "sha256": {"options": {"hash": "sha256"}},
    "the Origin Path is blank": {"options": {"originpath": ""}},
}


@pytest.fixture
def build(request: pytest.FixtureRequest, stage: Stage, tmp_path: Path) -> Callable[..., Play]:
    """What makes a play."""
    return lambda **how: Play(stage, tmp_path, request.param, **how)


def said(found: dict[int, list[Finding]]) -> str:
    return "\n".join(
        f"{step} {finding.name}: {finding.says}"
        for step, findings in found.items()
        for finding in findings
        if finding.mark is not Mark.TICK
    )


@pytest.mark.parametrize(("how", "build"), spread(GOOD, BUILDERS), indirect=["build"])
def test_what_is_right_has_ticks_alone(build: Callable[..., Play], how: str):
    play = build(**GOOD[how])
    before = play.keys_left()

    found = play.check()

    marks = {finding.mark for findings in found.values() for finding in findings}
    assert marks == {Mark.TICK}, said(found)
    assert set(found) == {1, 2, 3}
    assert play.keys_left() == before
    with_blob = play.check(digest=DIGEST)
    assert crosses(with_blob) == set(), said(with_blob)


@pytest.mark.parametrize(("name", "build"), spread(FAULTS, BUILDERS), indirect=["build"])
def test_a_fault_is_named_and_nothing_else_is(build: Callable[..., Play], name: str):
    fault = FAULTS[name]
    play = build()
    fault.make(play)

    found = play.check()

    assert (crosses(found, 1), crosses(found, 2), crosses(found, 3)) == (fault.client, fault.read, set()), (
        said(found)
    )
    assert all(f.mend for findings in found.values() for f in findings if f.mark is Mark.CROSS)
    assert not any("check-" in key for key in play.keys_left())


def test_the_table_has_every_fault():
    rows = [
        [name, ", ".join(map(_code, sorted(fault.client))), ", ".join(map(_code, sorted(fault.read)))]
        for name, fault in FAULTS.items()
    ]
    heads = ["Fault", "What a client sees (step 1)", "What AWS is told (step 2)"]
    compare("check.rst", "faults", list_table(heads, rows, (50, 25, 25)))


def _code(name: str) -> str:
    return f"``{name}``"


def _serve_a_site(config: dict[str, Any]) -> None:
    site = {"Id": "site", "DomainName": "site.example.com", "OriginPath": "/www"}
    site["CustomOriginConfig"] = {"HTTPPort": 80, "HTTPSPort": 443, "OriginProtocolPolicy": "https-only"}
    config["Origins"] = quantity([*config["Origins"]["Items"], site])
    behavior = {**config["DefaultCacheBehavior"], "TargetOriginId": "site", "PathPattern": "/site/*"}
    behavior["TrustedKeyGroups"] = {"Enabled": False, "Quantity": 0}
    config["CacheBehaviors"] = quantity([{**behavior, "Compress": True}])


def _two_origins(config: dict[str, Any]) -> None:
    """Put the bucket into an origin group, with itself as what stands in for it."""
    first = config["Origins"]["Items"][0]
    config["Origins"] = quantity([first, {**first, "Id": "again"}])
    members = quantity([{"OriginId": first["Id"]}, {"OriginId": "again"}])
    codes = {"StatusCodes": {"Quantity": 1, "Items": [500]}}
    config["OriginGroups"] = quantity([{"Id": "both", "Members": members, "FailoverCriteria": codes}])


def _encode_the_origin_path(config: dict[str, Any]) -> None:
    """Write it as in a URL, as the template writes a directory with a space in its name."""
    config["Origins"]["Items"][0]["OriginPath"] = f"{ROOT[:-1]}%{ord(ROOT[-1]):02x}"


@pytest.mark.parametrize("change", [_serve_a_site, _two_origins, _encode_the_origin_path])
def test_what_else_a_distribution_does_is_not_judged(
    stage: Stage, tmp_path: Path, change: Callable[[dict[str, Any]], None]
):
    play = Play(stage, tmp_path)
    play.change(change)

    found = play.check()

    assert crosses(found) == set(), said(found)


def test_an_origin_access_identity_is_a_question_mark(stage: Stage, tmp_path: Path):
    play = Play(stage, tmp_path, storage={"encrypt": False, "keyid": None})
    play.origin(
        OriginAccessControlId="",
        S3OriginConfig={"OriginAccessIdentity": "origin-access-identity/cloudfront/E1"},
    )

    found = play.check()

    assert crosses(found, 2) == set()
    unknown = {finding.name for finding in found[2] if finding.mark is Mark.QUESTION}
    assert unknown == {"origin-access", "bucket-policy"}


@pytest.mark.parametrize("has_alias", [False, True])
def test_of_an_access_point_nothing_is_guessed(stage: Stage, tmp_path: Path, has_alias: bool):
    play = Play(stage, tmp_path)
    arn = f"arn:aws:s3:{REGION}:{ACCOUNT}:accesspoint/images"
    want = replace(wanted(play.config()), bucket=arn, origin_host="")
    if has_alias:
        play.origin(DomainName=f"images-1a2b3c4d5e-s3alias.s3.{REGION}.amazonaws.com")
    stage.data.deploy()

    side = ControlSide(want, AWS(play.clients, REGION), Asker(PlayWire(play)), works=True)
    found = {2: list(side.findings())}

    assert crosses(found) == set(), said(found)
    unknown = {finding.name for finding in found[2] if finding.mark is Mark.QUESTION}
    assert unknown == {"bucket-policy"} | (set() if has_alias else {"origin-host"})


def test_public_access_may_be_blocked_for_the_whole_account(stage: Stage, tmp_path: Path):
    play = Play(stage, tmp_path)
    FAULTS["public access is not blocked"].make(play)
    account = stage.clients("s3control", REGION)
    blocks = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    account.put_public_access_block(
        AccountId=ACCOUNT, PublicAccessBlockConfiguration=dict.fromkeys(blocks, True)
    )
    try:
        assert crosses(play.check()) == set()
        denied = play.check(
            clients=lambda service, region: (
                Denied(stage.clients(service, region), {"get_public_access_block"})
                if service == "s3control"
                else stage.clients(service, region)
            )
        )
    finally:
        account.delete_public_access_block(AccountId=ACCOUNT)

    assert crosses(denied) == set()
    unknown = [finding.mend for finding in denied[2] if finding.mark is Mark.QUESTION]
    assert unknown == ["allow s3:GetAccountPublicAccessBlock"]


# Permissions


OPERATIONS = {
    "list_distributions": "distribution",
    "get_distribution": "distribution",
    "get_origin_access_control": "origin-access",
    "get_key_group": "key-group",
    "get_public_key": "public-key",
    "get_cache_policy": "cache-policy",
    "get_bucket_policy": "bucket-policy",
    "get_public_access_block": "public-access-block",
    "get_bucket_ownership_controls": "ownership",
    "get_bucket_encryption": "encryption",
    "get_bucket_lifecycle_configuration": "lifecycle",
    "describe_key": "kms",
    "get_key_policy": "kms",
    "describe_certificate": "certificate",
}


class Denied:
    """A client of boto3 that may not do some operations.

    :param code: what AWS says then.
    """

    def __init__(self, client: Any, operations: set[str], code: str = "AccessDeniedException") -> None:
        self._client = client
        self._operations = operations
        self._code = code

    def __getattr__(self, name: str) -> Any:
        if name not in self._operations and "*" not in self._operations:
            return getattr(self._client, name)

        def refuse(**arguments: Any) -> Any:
            operation = "".join(word.capitalize() for word in name.split("_"))
            raise ClientError({"Error": {"Code": self._code, "Message": "no"}}, operation)

        return refuse


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        *((name, "AccessDeniedException") for name in OPERATIONS),
        ("get_bucket_policy", "AccessDenied"),  # S3's own way to say it
    ],
)
def test_a_missing_permission_is_a_question_mark(stage: Stage, tmp_path: Path, operation: str, code: str):
    play = Play(stage, tmp_path)

    found = play.check(
        clients=lambda service, region: Denied(stage.clients(service, region), {operation}, code)
    )

    assert crosses(found) == set(), said(found)
    unknown = {finding.name: finding for finding in found[2] if finding.mark is Mark.QUESTION}
    assert OPERATIONS[operation] in unknown
    mend = unknown[OPERATIONS[operation]].mend
    assert mend.startswith("allow ")
    assert mend.removeprefix("allow ") in (PROJECT / "docs" / "check.rst").read_text()


def test_without_any_permission_a_client_sees_what_breaks_pulls(stage: Stage, tmp_path: Path):
    play = Play(stage, tmp_path)
    FAULTS["viewer access is not restricted"].make(play)

    found = play.check(clients=lambda service, region: Denied(stage.clients(service, region), {"*"}))

    assert crosses(found) == {"unsigned"}
    assert {finding.mark for finding in found[2]} == {Mark.QUESTION}


def test_without_credentials_it_is_said_once(stage: Stage, tmp_path: Path):
    play = Play(stage, tmp_path)

    found = play.check(
        clients=lambda service, region: Denied(stage.clients(service, region), {"*"}, "InvalidClientTokenId")
    )

    assert [(finding.name, finding.mark) for finding in found[2]] == [("aws", Mark.QUESTION)]


def test_a_service_that_does_not_answer_is_waited_for_once(stage: Stage, tmp_path: Path):
    asked: list[str] = []

    class Silent:
        def __getattr__(self, name: str) -> Any:
            def fail(**arguments: Any) -> Any:
                asked.append(name)
                raise EndpointConnectionError(endpoint_url="https://cloudfront.amazonaws.com")

            return fail

    play = Play(stage, tmp_path)
    found = play.check(clients=lambda service, region: Silent())

    assert crosses(found) == set()
    assert asked == ["list_distributions", "get_bucket_policy", "describe_key"][: len(asked)]
    assert {finding.mark for finding in found[2]} == {Mark.QUESTION}


def test_a_distribution_of_another_account_that_works_is_a_question_mark(stage: Stage, tmp_path: Path):
    class Empty(Denied):
        def list_distributions(self, **arguments: Any) -> Any:
            return {"DistributionList": {"IsTruncated": False}}

    play = Play(stage, tmp_path)
    found = play.check(clients=lambda service, region: Empty(stage.clients(service, region), set()))

    assert crosses(found) == set()
    assert next(finding for finding in found[2]).name == "distribution"
