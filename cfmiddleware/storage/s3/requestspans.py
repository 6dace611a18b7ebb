"""A span for each request to S3, those that are sent again included (OpenTelemetry's conventions for AWS).

A span has the bucket and the key, and neither a query nor a header: those hold signatures. Only what is
traced imports this file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from opentelemetry.trace import Span, SpanKind, get_current_span

from cfmiddleware.tracing.exporting import begin
from cfmiddleware.tracing.spanblock import child, fail

from .plainclient import PlainClient

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Where a request's span lies in the context that botocore carries through its events.
_SPAN = "cfmiddleware.span"

# They answer a question, and nothing has failed.
_ANSWERS = (404, 412)


class TracedClient(PlainClient):
    """A plain client whose requests are spans."""

    def _ask_of(
        self, operation: str, method: str, given: dict[str, Any], more: Mapping[str, str], body: bytes = b""
    ) -> Any:
        about = _attributes(operation, self._bucket, given["Key"])
        with child(operation, about, remote=True, is_answer=_is_answer):
            return super()._ask_of(operation, method, given, more, body)

    def _ask(
        self,
        operation: str,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        read: Callable[[bytes], Any] | None = None,
    ) -> Any:
        # Those of no single object come here at once.
        if read is None:
            return super()._ask(operation, method, url, headers, body)
        with child(operation, _attributes(operation, self._bucket, ""), remote=True):
            return super()._ask(operation, method, url, headers, body, read)

    def _succeeded(self, operation: str, attempts: int) -> None:
        super()._succeeded(operation, attempts)
        _answered(get_current_span(), 200, attempts - 1)

    def _tell(self, operation: str, error: Exception, answer: Any, attempt: int) -> None:
        super()._tell(operation, error, answer, attempt)
        status = 0
        if isinstance(error, ClientError):
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        _answered(get_current_span(), status, attempt - 1)


def trace_requests(client: S3Client) -> None:
    """Have the requests that boto3 makes for *client* be spans from now on."""
    events = client.meta.events
    events.register("before-parameter-build.s3", _begin)
    events.register("after-call.s3", _end)
    events.register("after-call-error.s3", _fail)


def _is_answer(error: Exception) -> bool:
    return (
        isinstance(error, ClientError)
        and error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in _ANSWERS
    )


def _attributes(operation: str, bucket: str, key: str) -> dict[str, str]:
    about = {"rpc.system": "aws-api", "rpc.service": "S3", "rpc.method": operation, "aws.s3.bucket": bucket}
    return {**about, "aws.s3.key": key} if key else about


def _begin(params: dict[str, Any], model: Any, context: dict[str, Any], **_: object) -> None:
    tracer = begin()
    if tracer is not None and get_current_span().is_recording():
        about = _attributes(model.name, params.get("Bucket", ""), params.get("Key", ""))
        context[_SPAN] = tracer.start_span(model.name, kind=SpanKind.CLIENT, attributes=about)


def _end(http_response: Any, parsed: dict[str, Any], context: dict[str, Any], **_: object) -> None:
    span = context.pop(_SPAN, None)
    if span is not None:
        retries = parsed.get("ResponseMetadata", {}).get("RetryAttempts", 0)
        _answered(span, http_response.status_code, retries)
        if http_response.status_code >= 300 and http_response.status_code not in _ANSWERS:
            fail(span, str(http_response.status_code))
        span.end()


def _fail(exception: Exception, context: dict[str, Any], **_: object) -> None:
    span = context.pop(_SPAN, None)
    if span is not None:
        _answered(span, 0, context.get("retries", {}).get("attempt", 1) - 1)
        fail(span, type(exception).__qualname__)
        span.end()


def _answered(span: Span, status: int, retries: int) -> None:
    if status:
        span.set_attribute("http.response.status_code", status)
    if retries > 0:
        span.set_attribute("http.request.resend_count", retries)
