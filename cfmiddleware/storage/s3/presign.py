"""URLs with which any client can read one object of S3 until they expire.

botocore signs such URLs with the present time, so that no two are alike. These have a date that is the same
for every call with the same key and expiry, in every worker, so that caches on the way may keep the URL. The
signatures are those of the Amazon S3 API Reference, "Authenticating Requests: Using Query Parameters (AWS
Signature Version 4)", and of the Amazon S3 User Guide, "Signing and authenticating REST requests: Query
string request authentication alternative" (version 2).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, urlsplit

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from cfmiddleware.errors import StorageUnavailable
from cfmiddleware.process.cache import PerProcess

from .connection import Connection, url_of
from .options import S3Options
from .withoutboto3 import Keys

if TYPE_CHECKING:
    from datetime import datetime

    from botocore.credentials import Credentials

# URLs are dated a whole number of these seconds before they expire. A server's clock may be that far behind
# ours, because no server may see a URL before its date.
_STEP = 900

# What S3 allows (version 4), in seconds.
_LONGEST = 7 * 24 * 3600

# A URL that lives for less than these seconds because its credentials end is of no use to a client.
_SHORTEST = 60

_UNRESERVED = "-._~"


class Place(NamedTuple):
    """Where clients find the bucket: ``https``, the host with its port, and the path in front of a key."""

    scheme: str
    host: str
    path: str


class Presigner:
    """Signs URLs for GET with the credentials that the requests of this process are signed with.

    :param connect: gives the connection of this process.
    :param clock: gives the Unix time, in seconds.
    """

    def __init__(
        self, options: S3Options, connect: Callable[[], Connection], clock: Callable[[], float] = time.time
    ) -> None:
        self._options = options
        self.bucket = options.bucket
        self._connect = connect
        self._clock = clock
        self._place = PerProcess(lambda: find_place(options))

    def __call__(self, key: str, expires: int) -> tuple[str, int]:
        """Return a URL for the object at *key*, and when it expires, which may be before *expires*: not
        later than the credentials that sign it, as far as that is known, nor than seven days from now.

        :param key: the whole key, without a slash in front.
        :param expires: Unix time in seconds.
        :raises StorageUnavailable: when there are no credentials, or none that last for a minute.
        :raises ValueError: for an *expires* that is over.
        """
        now = self._clock()
        if expires <= now:
            raise ValueError("the URL would have expired already")
        try:
            keys, end = _current(self._connect().credentials)
            place = self._place()
        except (BotoCoreError, ClientError, OSError, RuntimeError) as error:
            # A role that may not be assumed is a ClientError; credentials that came when they were over are a
            # RuntimeError.
            raise StorageUnavailable(
                f"there are no credentials to sign a URL with ({type(error).__name__})"
            ) from error
        if end is not None and end < expires:
            expires = int(end)
            if expires - now < _SHORTEST:
                raise StorageUnavailable(
                    "the credentials of S3 are about to expire; no URL is signed with them"
                )
        encoded = quote(key, safe="/" + _UNRESERVED)
        path = place.path + encoded
        if self._options.v4auth:
            expires = min(expires, int(now) + _LONGEST - _STEP)
            lifetime = -(-(expires - int(now)) // _STEP) * _STEP
            region = self._options.region or "us-east-1"
            query = _version_4(keys, region, place.host, path, expires - lifetime, lifetime)
        else:
            query = _version_2(keys, f"/{self._options.bucket}/{encoded}", expires)
        return f"{place.scheme}://{place.host}{path}?{query}", expires


def find_place(options: S3Options) -> Place:
    """Return where boto3 says that clients find the bucket."""
    parts = urlsplit(url_of(options, "x"))
    return Place(parts.scheme, parts.netloc, parts.path.removesuffix("x"))


class _SigningKeys(NamedTuple):
    """What is signed with; the token is empty for permanent keys."""

    access: str
    secret: str
    token: str


def _current(credentials: Credentials | Keys | None) -> tuple[_SigningKeys, float | None]:
    """Return *credentials* as they are now, renewed if it is time, and when they end, as far as is known."""
    if credentials is None:
        raise NoCredentialsError
    ends: list[datetime | None] = []
    for _ in range(3):
        frozen = credentials.get_frozen_credentials()
        # Only credentials that renew themselves have it. boto3 has no public name for it.
        ends.append(getattr(credentials, "_expiry_time", None))
        # Another thread may have renewed them in between; then the two would not belong together. Looked at
        # without asking again, which would renew those that never have long to live each time.
        if getattr(credentials, "_frozen_credentials", frozen) == frozen:
            ends = ends[-1:]
            break
    keys = _SigningKeys(frozen.access_key or "", frozen.secret_key or "", frozen.token or "")
    return keys, min((end.timestamp() for end in ends if end is not None), default=None)


def _version_4(keys: _SigningKeys, region: str, host: str, path: str, date: int, lifetime: int) -> str:
    """Return the query of a URL that is valid from *date*, in Unix seconds, for *lifetime* seconds."""
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(date))
    scope = f"{moment[:8]}/{region}/s3/aws4_request"
    parameters = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{keys.access}/{scope}",
        "X-Amz-Date": moment,
        "X-Amz-Expires": str(lifetime),
    }
    # In the order of their names, as they are signed.
    if keys.token:
        parameters["X-Amz-Security-Token"] = keys.token
    parameters["X-Amz-SignedHeaders"] = "host"
    query = "&".join(f"{name}={_encoded(value)}" for name, value in parameters.items())
    request = f"GET\n{path}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD"
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{keys.secret}".encode()
    for step in (*scope.split("/"), text):
        key = hmac.digest(key, step.encode(), "sha256")
    return f"{query}&X-Amz-Signature={key.hex()}"


def _version_2(keys: _SigningKeys, resource: str, expires: int) -> str:
    """Return the query of a URL for *resource*, the bucket and the key, that is valid until *expires*."""
    token = f"x-amz-security-token:{keys.token}\n" if keys.token else ""
    text = f"GET\n\n\n{expires}\n{token}{resource}"
    signature = base64.b64encode(hmac.digest(keys.secret.encode(), text.encode(), "sha1")).decode()
    parameters = {"AWSAccessKeyId": keys.access, "Signature": signature, "Expires": str(expires)}
    if keys.token:
        parameters["x-amz-security-token"] = keys.token
    return "&".join(f"{name}={_encoded(value)}" for name, value in parameters.items())


def _encoded(text: str) -> str:
    return quote(text, safe=_UNRESERVED)
