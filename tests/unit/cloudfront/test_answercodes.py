"""CloudFront's and S3's refusals are told apart and understood."""

from __future__ import annotations

import pytest

from cfmiddleware.cloudfront.answercodes import MEANINGS, meaning, refusal

IDS = "<RequestId>R</RequestId><HostId>H</HostId>"


def xml(code: str, message: str, more: str = "") -> bytes:
    return (
        f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>".encode()
    )


@pytest.mark.parametrize(
    ("headers", "body", "by", "check"),
    [
        (
            {},
            xml("MissingKey", "Missing Key-Pair-Id query parameter or cookie value"),
            "CloudFront",
            "signed",
        ),
        ({}, xml("InvalidKey", "Unknown Key"), "CloudFront", "key"),
        ({}, xml("AccessDenied", "Access denied"), "CloudFront", "key"),
        ({}, xml("MalformedPolicy", "Malformed Policy"), "CloudFront", "signed"),
        ({}, xml("AccessDenied", "Access Denied", IDS), "S3", "bucket-policy"),
        ({}, xml("AccessDenied", "Access Denied"), "S3", "bucket-policy"),
        ({"x-amz-request-id": "R"}, xml("AccessDenied", "x"), "S3", "bucket-policy"),
        ({}, xml("AccessDenied", "User: x is not authorized to perform: kms:Decrypt on", IDS), "S3", "kms"),
        ({}, xml("KMS.DisabledException", "x", IDS), "S3", "kms"),
        ({}, xml("InvalidArgument", "Requests specifying SSE with AWS KMS", IDS), "S3", "origin-access"),
        ({}, xml("InvalidRequest", "Please use AWS4-HMAC-SHA256", IDS), "S3", "origin-access"),
        ({}, xml("NoSuchKey", "x", IDS), "S3", "origin-path"),
        ({}, xml("NoSuchBucket", "x", IDS), "S3", "origin-host"),
        ({}, xml("PermanentRedirect", "x", IDS), "S3", "origin-host"),
        ({}, xml("SignatureDoesNotMatch", "x", IDS), "S3", "origin-request-policy"),
        ({}, xml("InvalidObjectState", "x", IDS), "S3", "storage-class"),
        ({}, xml("SlowDown", "x", IDS), "S3", "origin"),
        ({"x-amz-request-id": "R", "x-amz-error-code": "AccessDenied"}, b"<html>403", "S3", "origin-host"),
        ({"server": "CloudFront"}, b"<html>Request blocked.", "CloudFront", "restrictions"),
        ({"x-amz-cf-id": "x"}, b"<html>from your country.", "CloudFront", "restrictions"),
        ({"server": "CloudFront"}, b"", "CloudFront", "distribution"),
        ({"server": "nginx"}, b"<html>404 Not Found", "another server", "host"),
        ({}, b"\xff\x00", "another server", "host"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_refusal_is_somebodys_and_means_something(
    headers: dict[str, str], body: bytes, by: str, check: str
):
    found = refusal(403, headers, body)

    assert (found.by, meaning(found).check) == (by, check)


def test_every_meaning_says_what_mends_it():
    assert all(known.says and known.mend for known in MEANINGS)
