"""A block of code within a span of its own.

Only what is traced imports this file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from opentelemetry import trace
from opentelemetry.context import attach, detach, get_current
from opentelemetry.trace import Span, Status, StatusCode

from . import exporting


class Block:
    """A block that may run within a span; it gets the span, or None.

    It is a class, because a generator and the SDK's own two around it take as long as the span.

    :param span: the span; None where there is none.
    :param is_answer: tells exceptions that are answers from failures; by default all are failures.
    """

    __slots__ = ("_is_answer", "_span", "_token")

    def __init__(self, span: Span | None, is_answer: Callable[[Exception], bool] | None = None) -> None:
        self._span = span
        self._is_answer = is_answer

    def __enter__(self) -> Span | None:
        span = self._span
        if span is not None:
            self._token = attach(trace.set_span_in_context(span))
        return span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        span = self._span
        if span is None:
            return
        detach(self._token)
        if isinstance(error, Exception) and (self._is_answer is None or not self._is_answer(error)):
            fail(span, type(error).__qualname__)
        span.end()


_NO_SPAN = Block(None)


def child(
    name: str,
    attributes: Mapping[str, Any] | None = None,
    *,
    remote: bool = False,
    is_answer: Callable[[Exception], bool] | None = None,
) -> Block:
    """Return a block with a span of its own within the request's; without one where the request has none.

    :param remote: whether the block asks another server.
    :param is_answer: tells exceptions that are answers from failures; by default all are failures.
    """
    tracer = exporting.begin()
    context = get_current()
    if tracer is None or not trace.get_current_span(context).is_recording():
        return _NO_SPAN
    kind = trace.SpanKind.CLIENT if remote else trace.SpanKind.INTERNAL
    return Block(tracer.start_span(name, context, kind, attributes), is_answer)


def fail(span: Span, kind: str) -> None:
    """Say that what the span is for has failed."""
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR))
