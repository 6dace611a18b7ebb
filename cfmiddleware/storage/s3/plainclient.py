"""The requests that most pulls and pushes are made of, without most of what boto3 does for each.

boto3 takes more than a millisecond of the processor for a GetObject of a few bytes: it resolves the endpoint,
validates, serializes, emits a dozen events and parses by the service's model, each time anew. Of all that,
these requests need a signature and a connection. Where boto3 alone can know where they go and what they are
signed with, the connection is that of its client's very session, with its pool, timeouts, proxies and
certificates. Where it need not be asked (``withoutboto3.py``), it is not even imported. What can go wrong is
told as boto3 tells it: the same exceptions, the same attempts, and the same events for those who listen to
failures.

Where the options ask for something that is not known here, the client is boto3's own.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, urlencode

from botocore import __version__ as botocore_version
from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError

from cfmiddleware.tracing.switch import is_on
from cfmiddleware.version import __version__

from .errors import broken_off
from .httpdate import http_date
from .options import S3Options
from .plainbody import checked
from .plainevents import PlainEvents
from .plainsign import signed_headers
from .plainwire import BotocoreWire, EmittingWire, HTTPWire, MeteredWire, Wire
from .plainxml import deleted, deletion, is_plain, listing
from .requestcount import count, succeeded
from .retries import wait_after
from .withoutboto3 import Keys, Simple

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from mypy_boto3_s3 import S3Client

    from cfmiddleware.storage.requestmeter import RequestMeter

# Larger bodies go through boto3, which asks S3 first whether it wants them. Their requests cost what their
# bytes cost.
_LARGEST_BODY = 1 << 20

# How much of an error's body is read.
_LARGEST_ERROR = 1 << 16

_HEADERS = {
    "ACL": "x-amz-acl",
    "ContentType": "Content-Type",
    "IfMatch": "If-Match",
    "IfNoneMatch": "If-None-Match",
    "Range": "Range",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "StorageClass": "x-amz-storage-class",
}

_ARGUMENTS = frozenset(("Bucket", "Key", "Body", *_HEADERS))

_QUERIES = {
    "ContinuationToken": "continuation-token",
    "Delimiter": "delimiter",
    "MaxKeys": "max-keys",
    "Prefix": "prefix",
    "StartAfter": "start-after",
}

# What boto3 sends again, by status and by code.
_PASSING = frozenset((429, 500, 502, 503, 504))
_PASSING_CODES = frozenset(
    (
        *("BandwidthLimitExceeded", "PriorRequestNotComplete", "RequestLimitExceeded", "RequestThrottled"),
        *("RequestThrottledException", "RequestTimeout", "RequestTimeoutException", "SlowDown"),
        *("Throttling", "ThrottlingException", "ThrottledException", "TooManyRequestsException"),
    )
)

_ELEMENT = re.compile(rb"<(Code|Message|Region)>([^<]*)</")


def simple_client(
    simple: Simple, options: S3Options, make: Callable[[], S3Client], meter: RequestMeter | None = None
) -> S3Client:
    """Return a client that asks boto3 for nothing until something is asked that is not known here.

    :param simple: where its requests go, and what they are signed with.
    :param make: makes a client of boto3's with the same options.
    :param meter: what every request passes through; None for nothing.
    """
    wire: Wire
    if simple.base.startswith("http:"):
        wire = HTTPWire(simple.base, options)
    else:
        wire = BotocoreWire.of(options, simple.authorities)
    if meter is not None:
        wire = MeteredWire(wire, meter)
    events = PlainEvents()
    agent = f"Botocore/{botocore_version} cfmiddleware/{__version__} cfg/retry-mode#{options.retrymode}"
    plain = plain_class()(make, wire, simple.keys, options, simple.base, agent, events)
    return cast("S3Client", plain)


def plain_client(client: S3Client, credentials: Credentials | None, options: S3Options) -> S3Client:
    """Return *client* with cheaper ways to do what is done most, or as it is where these cannot do
    what the options ask for.
    """
    session = getattr(getattr(client, "_endpoint", None), "http_session", None)
    asked_for_more = (
        not options.v4auth
        or options.retrymode == "adaptive"
        or options.log_requests
        # Such buckets have signatures of their own.
        or ":" in options.bucket
        or options.bucket.endswith("--x-s3")
    )
    if asked_for_more or credentials is None or not hasattr(session, "send"):
        return client
    try:
        signed = client.generate_presigned_url("get_object", Params={"Bucket": options.bucket, "Key": "x"})
    except (BotoCoreError, ClientError, OSError, ValueError):
        return client
    base = signed.partition("?")[0].removesuffix("x")
    agent = str(getattr(client.meta.config, "user_agent", "") or "")
    wire = EmittingWire(session, client)
    plain = plain_class()(lambda: client, wire, credentials, options, base, agent, None)
    return cast("S3Client", plain)


def plain_class() -> type[PlainClient]:
    """Return the class of clients: another one where requests are traced."""
    if not is_on():
        return PlainClient
    from .requestspans import TracedClient

    return TracedClient


class PlainClient:
    """A client that has six of boto3's methods anew; all else is the client's own.

    :param make: returns boto3's client.
    :param wire: what it sends its requests with.
    :param base: the URL of the bucket, with a slash at its end.
    :param agent: what it calls itself.
    :param events: those who listen, as long as boto3's client is not made; None where it is there already.
    """

    def __init__(
        self,
        make: Callable[[], S3Client],
        wire: Wire,
        credentials: Credentials | Keys,
        options: S3Options,
        base: str,
        agent: str,
        events: PlainEvents | None,
    ) -> None:
        self._make = make
        self._making = threading.Lock()
        self._whole: S3Client | None = None if events else make()
        self._wire = wire
        self._credentials = credentials
        self._bucket = options.bucket
        self._base = base
        self._region = options.region or "us-east-1"
        self._attempts = options.maxattempts
        self._checksums = not options.regionendpoint if options.checksums is None else options.checksums
        self._agent = agent if options.useragent in agent else f"{agent} {options.useragent}".strip()
        self._events = events

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole, name)

    @property
    def whole(self) -> S3Client:
        """boto3's own."""
        if self._whole is None:
            with self._making:
                if self._whole is None:
                    whole = self._make()
                    for name, listener in self._events.listeners if self._events else ():
                        whole.meta.events.register(name, listener)
                    self._whole = whole
        return self._whole

    @property
    def meta(self) -> Any:
        """What those who listen to boto3's requests ask for."""
        return self.whole.meta if self._events is None else SimpleNamespace(events=self)

    def register(self, name: str, listener: Callable[..., None]) -> None:
        """Have *listener* told of what becomes of requests, as boto3's events do."""
        if self._events is not None:
            with self._making:
                self._events.register(name, listener)
                if self._whole is not None:
                    self._whole.meta.events.register(name, listener)

    def get_object(self, **given: Any) -> Any:
        """Do what boto3's method does."""
        if not self._knows(given):
            return self.whole.get_object(**given)
        more = {"x-amz-checksum-mode": "ENABLED"} if self._checksums else {}
        answer = self._ask_of("GetObject", "GET", given, more)
        headers = answer.headers
        length = headers.get("Content-Length")
        expected = headers.get("x-amz-checksum-crc32", "") if self._checksums else ""
        # That of an object of several parts is made of theirs.
        if answer.status_code != 200 or "-" in expected:
            expected = ""
        found = {
            "Body": checked(answer.raw, expected),
            "ContentLength": int(length or 0),
            "ETag": headers.get("ETag", ""),
        }
        if "Content-Range" in headers:
            found["ContentRange"] = headers["Content-Range"]
        return found

    def head_object(self, **given: Any) -> Any:
        """Do what boto3's method does, less what of the answer nobody asks for."""
        if not self._knows(given):
            return self.whole.head_object(**given)
        answer = self._ask_of("HeadObject", "HEAD", given, {})
        headers = answer.headers
        if "Last-Modified" not in headers:  # it is not S3 that answers
            raise _refusal("HeadObject", "HEAD", answer, 0)
        return {
            "ContentLength": int(headers.get("Content-Length", 0)),
            "ETag": headers.get("ETag", ""),
            "LastModified": http_date(headers["Last-Modified"]),
        }

    def put_object(self, **given: Any) -> Any:
        """Do what boto3's method does."""
        body = given.get("Body", b"")
        if not isinstance(body, bytes | bytearray) or len(body) > _LARGEST_BODY or not self._knows(given):
            return self.whole.put_object(**given)
        more: dict[str, str] = {}
        if self._checksums:
            checksum = zlib.crc32(body).to_bytes(4, "big")
            more["x-amz-sdk-checksum-algorithm"] = "CRC32"
            more["x-amz-checksum-crc32"] = base64.b64encode(checksum).decode()
        return {"ETag": self._ask_of("PutObject", "PUT", given, more, bytes(body)).headers.get("ETag", "")}

    def list_objects_v2(self, **given: Any) -> Any:
        """Do what boto3's method does, less what of the answer nobody asks for."""
        if given.get("Bucket") != self._bucket or not given.keys() <= _QUERIES.keys() | {"Bucket"}:
            return self.whole.list_objects_v2(**given)
        query = {"list-type": "2", "encoding-type": "url"}
        query.update((_QUERIES[name], str(value)) for name, value in given.items() if name != "Bucket")
        url = self._base + "?" + urlencode(sorted(query.items()), quote_via=quote, safe="-._~")
        return self._ask("ListObjectsV2", "GET", url, {}, read=listing)

    def delete_object(self, **given: Any) -> Any:
        """Do what boto3's method does, less what of the answer nobody asks for."""
        if not self._knows(given):
            return self.whole.delete_object(**given)
        self._ask_of("DeleteObject", "DELETE", given, {})
        return {}

    def delete_objects(self, **given: Any) -> Any:
        """Do what boto3's method does, less what of the answer nobody asks for."""
        keys = [item["Key"] for item in given["Delete"]["Objects"]]
        if given.get("Bucket") != self._bucket or not all(map(is_plain, keys)):
            return self.whole.delete_objects(**given)
        body = deletion(keys)
        # S3 takes no DeleteObjects without it.
        checksum = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        headers = {"Content-MD5": checksum}
        return self._ask("DeleteObjects", "POST", f"{self._base}?delete", headers, body, read=deleted)

    def _knows(self, given: Mapping[str, Any]) -> bool:
        """Return whether all arguments are among those that the requests here have."""
        return given.get("Bucket") == self._bucket and given.keys() <= _ARGUMENTS

    def _ask_of(
        self, operation: str, method: str, given: dict[str, Any], more: Mapping[str, str], body: bytes = b""
    ) -> Any:
        """Return the answer to a request for one object."""
        url = self._base + quote(given["Key"], safe="/-._~")
        headers = {_HEADERS[name]: value for name, value in given.items() if name in _HEADERS}
        return self._ask(operation, method, url, {**headers, **more}, body)

    def _ask(
        self,
        operation: str,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        read: Callable[[bytes], Any] | None = None,
    ) -> Any:
        """Return the answer to a request, which may be sent several times, or what *read* makes of its body.

        :raises ClientError: when S3 refuses.
        :raises BotoCoreError: when it does not answer.
        """
        headers = {"User-Agent": self._agent, **headers}
        attempt = 0
        while True:
            attempt += 1
            status = 0
            try:
                answer = self._send(operation, method, url, headers, body)
                if answer.status_code < 300:
                    if read is None:
                        self._succeeded(operation, attempt)
                        return answer
                    # One that broke off, or is empty, is no XML. As a server's error it is asked for again.
                    with contextlib.suppress(ValueError):
                        found = read(answer.content)
                        self._succeeded(operation, attempt)
                        return found
                refusal = _refusal(operation, method, answer, attempt - 1)
                status = refusal.response["ResponseMetadata"]["HTTPStatusCode"]
                again = status in _PASSING or refusal.response["Error"]["Code"] in _PASSING_CODES
                error: ClientError | BotoCoreError = refusal
            except (ConnectionError, HTTPClientError) as unanswered:
                error, again = unanswered, True
            if not again or attempt >= self._attempts:
                self._tell(operation, error, answer if status else None, attempt)
                raise error
            time.sleep(wait_after(attempt, status))

    def _send(self, operation: str, method: str, url: str, headers: dict[str, str], body: bytes) -> Any:
        # Asked for each time: they may have been renewed.
        keys = self._credentials.get_frozen_credentials()
        sent = signed_headers(method, url, headers, body, keys, self._region)
        if self._events is not None and self._events.listeners:
            request = SimpleNamespace(method=method, url=url, headers=sent, body=body)
            self._events.emit(f"before-send.s3.{operation}", request=request)
        return self._wire.send(operation, method, url, sent, body)

    def _succeeded(self, operation: str, attempts: int) -> None:
        succeeded(operation, attempts)

    def _tell(self, operation: str, error: Exception, answer: Any, attempt: int) -> None:
        """Tell those who listen to what becomes of boto3's requests."""
        events: Any
        if self._events is None:
            events = self.whole.meta.events
            model: Any = self.whole.meta.service_model.operation_model(operation)
        else:
            count(operation, answer, attempt)
            events, model = self._events, SimpleNamespace(name=operation)
        if isinstance(error, ClientError):
            events.emit(
                f"after-call.s3.{operation}",
                http_response=answer,
                parsed=error.response,
                model=model,
                context={},
            )
        else:
            context = {"retries": {"attempt": attempt}}
            events.emit(f"after-call-error.s3.{operation}", exception=error, context=context)


def _refusal(operation: str, method: str, answer: Any, retries: int) -> ClientError:
    """Return what boto3 would make of an answer that is not a success."""
    # A success whose body is not what it should be is a server's error.
    status, content = 500 if answer.status_code < 300 else answer.status_code, b""
    if method != "HEAD":
        content = _content(answer)
        length = answer.headers.get("Content-Length", "")
        if length.isdecimal() and len(content) < min(int(length), _LARGEST_ERROR):
            status = (
                500  # it broke off, and may have said anything; as a server's error it is asked for again
            )
    # Where there is no XML, there is no code but the status.
    error = {name.decode(): text.decode("utf-8", "replace") for name, text in _ELEMENT.findall(content)}
    details = {
        "Error": {"Code": str(status), "Message": "", **error},
        "ResponseMetadata": {
            "HTTPStatusCode": status,
            "HTTPHeaders": {name.lower(): value for name, value in answer.headers.items()},
            "RetryAttempts": retries,
        },
    }
    return ClientError(cast("Any", details), operation)


def _content(answer: Any) -> bytes:
    """Return what there is of an error's body."""
    parts: list[bytes] = []
    try:
        # Of a GetObject it has not been read yet.
        left = _LARGEST_ERROR
        while left and (part := bytes(answer.raw.read(left))):
            parts.append(part)
            left -= len(part)
        return b"".join(parts) or bytes(answer.content)
    except broken_off():
        return b""
    finally:
        answer.raw.close()
