"""Every way in which the template can be asked for: the choices of the command, and the configurations."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from cfmiddleware.cloudfront.template import Variant, template
from lab.cloudfront_configs import want, write_key

CERTIFICATE = "arn:aws:acm:us-east-1:111122223333:certificate/12345678-1234-1234-1234-123456789012"


class Case(NamedTuple):
    """A configuration and a set of choices."""

    choices: dict[str, Any] = {}
    options: dict[str, Any] = {}
    storage: dict[str, Any] = {}
    keys: int = 1


CASES = {
    "plain": Case(),
    "existing-bucket": Case({"existing_bucket": True}),
    "digest-header": Case({"digest_header": True}),
    "origin-shield": Case({"origin_shield": ""}),
    "origin-shield-elsewhere": Case({"origin_shield": "us-east-1"}),
    "logging": Case({"logging": ""}),
    "logging-elsewhere": Case({"logging": "our-logs"}),
    "aliases": Case({"aliases": ("a.example.com", "*.example.org"), "certificate": CERTIFICATE}),
    "alias-of-baseurl": Case({"certificate": CERTIFICATE}, {"baseurl": "https://blobs.example.com"}),
    "several-keys": Case(keys=5),
    "one-file": Case(options={"privatekey": "keys/pk-K1.pem"}),
    "encrypt": Case(storage={"encrypt": True}),
    "kms-alias": Case(storage={"encrypt": True, "keyid": "alias/images"}),
    "kms-id": Case(storage={"encrypt": True, "keyid": "12345678-1234-1234-1234-123456789012"}),
    "kms-arn": Case(
        storage={
            "encrypt": True,
            "keyid": "arn:aws:kms:eu-west-3:111122223333:key/12345678-1234-1234-1234-123456789012",
        }
    ),
    "bindip": Case(options={"bindip": True, "trustedproxies": 1}),
    "root": Case(storage={"rootdirectory": ""}),
    "blank-origin-path": Case(options={"originpath": ""}),
    "odd-directory": Case(storage={"rootdirectory": "/a*b c/$x${AWS::Region}"}),
    "objectacl": Case({"existing_bucket": True}, storage={"objectacl": "bucket-owner-full-control"}),
    "everything": Case(
        {"digest_header": True, "origin_shield": "", "logging": "", "certificate": CERTIFICATE},
        {"baseurl": "https://blobs.example.com", "bindip": True, "trustedproxies": 1},
        {"encrypt": True, "keyid": "alias/images"},
        keys=5,
    ),
}


def template_of(name: str, directory: Path) -> str:
    """Return the template of a case whose files are written to *directory*."""
    case = CASES[name]
    for number in range(case.keys):
        write_key(directory / "keys" / f"pk-K{number + 1}.pem", number + 1, age=number)
    return template(want(directory, case.options, case.storage), Variant(**case.choices))
