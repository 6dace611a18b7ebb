"""What a policy says to CloudFront."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cfmiddleware.cloudfront.policystatements import CLOUDFRONT, statements

ARN = "arn:aws:cloudfront::123456789012:distribution/E1"
SERVICE = {"Service": CLOUDFRONT}
CONTEXT = {"aws:sourcearn": ARN, "aws:sourceaccount": "123456789012"}


def one(**said: Any) -> Any:
    (statement,) = statements(json.dumps({"Statement": [{"Effect": "Allow", "Principal": SERVICE, **said}]}))
    return statement


@pytest.mark.parametrize(
    ("said", "covers"),
    [
        ({"Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"}, True),
        ({"Action": ["s3:PutObject", "S3:getobject"], "Resource": ["x", "arn:aws:s3:::b/team/*"]}, True),
        ({"Action": "s3:Get*", "Resource": "*"}, True),
        ({"Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/production/*"}, False),
        ({"Action": "s3:GetObjectAcl", "Resource": "*"}, False),
        ({"NotAction": "s3:GetObject", "Resource": "*"}, False),
        ({"NotAction": "s3:PutObject", "NotResource": "arn:aws:s3:::c/*"}, True),
        ({}, False),
    ],
    ids=str,
)
def test_actions_and_resources(said: dict[str, Any], covers: bool):
    assert one(**said).covers("s3:GetObject", "arn:aws:s3:::b/team/x") is covers


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({}, True),
        ({"StringEquals": {"AWS:SourceArn": ARN}}, True),
        ({"StringEquals": {"aws:sourcearn": ["x", ARN]}}, True),
        ({"ArnLike": {"aws:SourceArn": "arn:aws:cloudfront::*:distribution/E1"}}, True),
        ({"StringEquals": {"aws:SourceArn": "arn:aws:cloudfront::*"}}, False),
        ({"StringEquals": {"AWS:SourceArn": ARN, "aws:SourceAccount": "1"}}, False),
        ({"StringNotEquals": {"aws:SourceAccount": "123456789012"}}, False),
        ({"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}, None),
        ({"DateLessThan": {"aws:CurrentTime": "2030-01-01"}}, None),
        ({"DateLessThan": {"aws:CurrentTime": "x"}, "StringEquals": {"AWS:SourceArn": "y"}}, False),
        # What CloudFront comes without.
        ({"StringNotEquals": {"aws:SourceVpce": "vpce-1"}}, True),
        ({"StringNotEqualsIfExists": {"aws:SourceVpce": "vpce-1"}}, True),
        ({"StringEquals": {"aws:SourceVpce": "vpce-1"}}, False),
        ({"StringEqualsIfExists": {"aws:SourceVpce": "vpce-1"}}, True),
        ({"StringNotEquals": {"aws:PrincipalOrgID": "o-1"}}, True),
        ({"Null": {"aws:SourceVpce": "true"}}, True),
        ({"Null": {"aws:SourceArn": True}}, False),
        ({"Null": {"aws:TokenIssueTime": "true"}}, None),
    ],
    ids=str,
)
def test_conditions_hold_or_not_or_that_is_not_known(condition: dict[str, Any], holds: bool | None):
    assert one(Condition=condition).holds(CONTEXT) is holds


@pytest.mark.parametrize(
    ("principal", "service", "everybody"),
    [
        (SERVICE, True, False),
        ({"Service": ["ec2.amazonaws.com", CLOUDFRONT]}, True, False),
        ({"Service": "ec2.amazonaws.com"}, False, False),
        ("*", True, True),
        ({"AWS": "*"}, True, True),
        ({"AWS": ["arn:aws:iam::1:root"]}, False, False),
    ],
    ids=str,
)
def test_principals(principal: Any, service: bool, everybody: bool):
    statement = one(Principal=principal)
    assert (statement.is_for_service(CLOUDFRONT), statement.is_for_everybody) == (service, everybody)


@pytest.mark.parametrize(
    ("others", "service"), [({"AWS": "arn:aws:iam::1:root"}, True), (SERVICE, False), ("*", True)], ids=str
)
def test_everybody_but_others(others: Any, service: bool):
    (statement,) = statements(json.dumps({"Statement": [{"Effect": "Deny", "NotPrincipal": others}]}))
    assert (statement.is_for_service(CLOUDFRONT), statement.is_for_everybody) == (service, False)


@pytest.mark.parametrize(
    ("condition", "public"),
    [
        ({}, True),
        ({"Bool": {"aws:SecureTransport": "true"}}, True),
        ({"StringEquals": {"AWS:SourceArn": ARN}}, False),
        ({"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}, False),
    ],
    ids=str,
)
def test_what_is_for_everybody_is_public_unless_a_condition_says_who(condition: dict[str, Any], public: bool):
    assert one(Principal="*", Condition=condition).is_public is public
    assert one(Condition=condition).is_public is False


@pytest.mark.parametrize("text", ["", "[]", "null", '{"Statement": null}', '{"Statement": ["x"]}', "{"])
def test_what_is_not_a_policy_says_nothing(text: str):
    assert list(statements(text)) == []
