"""The signature of a request (Amazon S3 API Reference, "Authenticating Requests: Using the Authorization
Header"), with the key of a day made once.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

# What may be changed on the way, and is not signed.
_UNSIGNED = frozenset(("user-agent", "expect", "connection", "transfer-encoding"))

_now = time.time

_NOTHING = hashlib.sha256(b"").hexdigest()


def signed_headers(
    method: str, url: str, headers: Mapping[str, str], body: bytes, keys: Any, region: str
) -> dict[str, str]:
    """Return the headers that a request is sent with: those given, and those of its signature.

    :param url: the request's, whose path is encoded as it is sent, and whose query is in the order of its
        names.
    :param keys: what to sign with: botocore's frozen credentials, or the same attributes.
    """
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(_now()))
    content = hashlib.sha256(body).hexdigest() if body else _NOTHING
    sent = {**headers, "X-Amz-Date": moment, "X-Amz-Content-SHA256": content}
    if keys.token:
        sent["X-Amz-Security-Token"] = keys.token
    host, _, target = url.partition("://")[2].partition("/")
    path, asked, query = target.partition("?")
    if asked and "=" not in query:
        query += "="
    signed = sorted(
        [(lower, value) for name, value in sent.items() if (lower := name.lower()) not in _UNSIGNED]
        + [("host", host)]
    )
    names = ";".join([name for name, _ in signed])
    # Spaces in a row are signed as one.
    lines = "".join([f"{name}:{' '.join(value.split())}\n" for name, value in signed])
    request = f"{method}\n/{path}\n{query}\n{lines}\n{names}\n{content}"
    scope = f"{moment[:8]}/{region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signature = hmac.digest(_key(keys.secret_key, scope), text.encode(), "sha256").hex()
    sent["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={keys.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return sent


# One a day; where keys change, a few.
@lru_cache(maxsize=8)
def _key(secret: str, scope: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for step in scope.split("/"):
        key = hmac.digest(key, step.encode(), "sha256")
    return key
