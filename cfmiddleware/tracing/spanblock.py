"""A block of code within a span of its own.

Only what is traced imports this file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.trace import Span, Status, StatusCode

from . import exporting
from .environs import INTO_ENVIRON


@contextlib.contextmanager
def child(
    name: str,
    attributes: Mapping[str, Any] | None = None,
    *,
    remote: bool = False,
    is_answer: Callable[[Exception], bool] | None = None,
) -> Iterator[Span | None]:
    """Run a block within a span of its own, and give it the span; None where the request has none.

    :param remote: whether the block asks another server.
    :param is_answer: tells exceptions that are answers from failures; by default all are failures.
    """
    tracer = exporting.begin()
    if tracer is None or not trace.get_current_span().is_recording():
        yield None
        return
    kind = trace.SpanKind.CLIENT if remote else trace.SpanKind.INTERNAL
    with tracer.start_as_current_span(
        name, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield span
        except Exception as error:
            if is_answer is None or not is_answer(error):
                fail(span, type(error).__qualname__)
            raise


def fail(span: Span, kind: str) -> None:
    """Say that what the span is for has failed."""
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR))


def name_parent(environ: dict[str, Any]) -> None:
    """Put the current span into a request's headers, as the parent of what its app does."""
    propagate.inject(environ, setter=INTO_ENVIRON)
