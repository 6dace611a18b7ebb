"""Docker's first manifests, signed as clients signed them ("Image Manifest Version 2, Schema 1")."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence

from cfmiddleware.digest import Digest

MEDIA_TYPE = "application/vnd.docker.distribution.manifest.v1+prettyjws"


def signed_manifest(name: str, tag: str, layers: Sequence[Digest]) -> tuple[bytes, bytes]:
    """Return a manifest with its signature, and without: what its digest is of."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, utils

    unsigned = {
        "schemaVersion": 1,
        "name": name,
        "tag": tag,
        "architecture": "amd64",
        "fsLayers": [{"blobSum": str(layer)} for layer in layers],
        "history": [{"v1Compatibility": json.dumps({"id": layer.hex})} for layer in layers],
    }
    payload = json.dumps(unsigned, indent=3).encode()
    head, tail = payload[: payload.rindex(b"\n}")], b"\n}"
    key = ec.generate_private_key(ec.SECP256R1())
    numbers = key.public_key().public_numbers()
    jwk = {"crv": "P-256", "kty": "EC"}
    jwk |= {name: _base64(getattr(numbers, name).to_bytes(32, "big")) for name in ("x", "y")}
    protected = _base64(
        json.dumps(
            {"formatLength": len(head), "formatTail": _base64(tail), "time": "2026-01-01T00:00:00Z"}
        ).encode()
    )
    signing = f"{protected}.{_base64(payload)}".encode()
    r, s = utils.decode_dss_signature(key.sign(signing, ec.ECDSA(hashes.SHA256())))
    signature = {
        "header": {"jwk": jwk, "alg": "ES256"},
        "signature": _base64(r.to_bytes(32, "big") + s.to_bytes(32, "big")),
        "protected": protected,
    }
    return head + b',\n   "signatures": ' + json.dumps([signature]).encode() + tail, payload


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
