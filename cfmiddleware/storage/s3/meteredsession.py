"""Every request of a client passed through a meter, whoever makes it: boto3 or ``plainclient.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from cfmiddleware.storage.requestmeter import RequestMeter

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# What lists: the query of a GET of the bucket as a whole, or of an upload.
_LISTS = frozenset(("list-type", "uploads", "uploadId", "versions"))


class MeteredSession:
    """botocore's session of HTTP, whose requests wait for a meter and are counted by it.

    :param session: botocore's.
    """

    def __init__(self, session: Any, meter: RequestMeter) -> None:
        self._session = session
        self._meter = meter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def send(self, request: Any) -> Any:
        """Send a request when it may be sent."""
        number, status = self._meter.begin(_kind(request.method, request.url)), 0
        try:
            answer = self._session.send(request)
            status = answer.status_code
            return answer
        finally:
            self._meter.end(number, status)


def meter_requests(client: S3Client, meter: RequestMeter) -> None:
    """Have every request of *client* pass through *meter*."""
    endpoint: Any = client._endpoint  # type: ignore[attr-defined]  # botocore has no other place for it
    endpoint.http_session = MeteredSession(endpoint.http_session, meter)


def _kind(method: str, url: str) -> str:
    """Return the kind by which Amazon asks its price (Amazon S3, "Pricing")."""
    query = parse_qs(urlsplit(url).query, keep_blank_values=True).keys()
    if method == "DELETE" or (method == "POST" and "delete" in query):
        return "delete"
    if method == "GET":
        return "list" if query & _LISTS else "get"
    return "head" if method == "HEAD" else "put"
