"""Every request of a client passed through a meter, whoever makes it: boto3 or ``plainclient.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cfmiddleware.storage.requestmeter import RequestMeter

from .requestkind import kind_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


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
        number, status = self._meter.begin(kind_of(request.method, request.url)), 0
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
