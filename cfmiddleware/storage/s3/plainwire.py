"""The ways on which signed requests go to S3: plain connections, or those of botocore."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from cfmiddleware.storage.requestmeter import RequestMeter

from .options import S3Options
from .requestkind import kind_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def expect_no_certificates() -> None:
    """Have it not said with every request that certificates are not looked at."""
    from urllib3.exceptions import InsecureRequestWarning

    # The operator was told at the start.
    warnings.filterwarnings("ignore", category=InsecureRequestWarning)


class Wire(Protocol):
    """Sends requests."""

    def send(self, operation: str, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Any:
        """Return the answer, whose body is still to be read where the operation is GetObject.

        :raises BotoCoreError: when there is none.
        """


class HTTPWire:
    """Connections without TLS, for which nothing of botocore is needed.

    :param url: the server's.
    """

    def __init__(self, url: str, options: S3Options) -> None:
        from .plainhttp import PlainHTTP

        self._http = PlainHTTP(url, options.connecttimeout, options.readtimeout, options.maxconnections)

    def send(self, operation: str, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Any:
        """Return the answer."""
        return self._http.send(method, url, headers, body, stream=operation == "GetObject")


class BotocoreWire:
    """botocore's session of HTTP, with its pool, timeouts, proxies and certificates."""

    def __init__(self, session: Any) -> None:
        from botocore.awsrequest import AWSRequest

        self._session = session
        self._request = AWSRequest

    @classmethod
    def of(cls, options: S3Options, authorities: str) -> BotocoreWire:
        """Return a wire with a session of its own, as boto3 would make it.

        :param authorities: the file of the certificates that are trusted; empty for those that botocore
            brings.
        """
        from botocore.httpsession import URLLib3Session

        if options.skipverify:
            expect_no_certificates()
        timeouts: Any = (options.connecttimeout, options.readtimeout)
        trusted: Any = authorities or True
        session = URLLib3Session(
            verify=False if options.skipverify else trusted,
            timeout=timeouts,
            max_pool_connections=options.maxconnections,
        )
        return cls(session)

    def send(self, operation: str, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Any:
        """Return the answer."""
        return self._send(operation, self._prepared(operation, method, url, headers, body))

    def _prepared(
        self, operation: str, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> Any:
        request = self._request(
            method, url, headers=headers, data=body, stream_output=operation == "GetObject"
        )
        return request.prepare()

    def _send(self, operation: str, prepared: Any) -> Any:
        answer = self._session.send(prepared)
        if operation == "GetObject":
            from botocore.response import StreamingBody

            # Its failures are botocore's, and it knows how long it is.
            answer.raw = _Body(answer.raw, StreamingBody(answer.raw, answer.headers.get("Content-Length")))
        return answer


class EmittingWire(BotocoreWire):
    """The session of a client of boto3, whose listeners hear of each request before it is sent."""

    def __init__(self, session: Any, client: S3Client) -> None:
        super().__init__(session)
        self._events = client.meta.events

    def send(self, operation: str, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Any:
        """Return the answer."""
        prepared = self._prepared(operation, method, url, headers, body)
        for _, answer in self._events.emit(f"before-send.s3.{operation}", request=prepared):
            if answer is not None:
                return answer
        return self._send(operation, prepared)


class _Body:
    """A body that botocore watches over."""

    def __init__(self, raw: Any, watched: Any) -> None:
        self._raw = raw
        self._watched = watched

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def read(self, amt: int | None = None) -> Any:
        """Return the next bytes."""
        return self._watched.read(amt)

    def close(self) -> None:
        """Close the connection, or give it back when everything was read."""
        self._watched.close()


class MeteredWire:
    """A wire whose requests wait for a meter, and are counted by it."""

    def __init__(self, wire: Wire, meter: RequestMeter) -> None:
        self._wire = wire
        self._meter = meter

    def send(self, operation: str, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Any:
        """Send a request when it may be sent."""
        number, status = self._meter.begin(kind_of(method, url)), 0
        try:
            answer = self._wire.send(operation, method, url, headers, body)
            status = answer.status_code
            return answer
        finally:
            self._meter.end(number, status)
