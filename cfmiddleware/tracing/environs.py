"""Headers that name a trace, as a WSGI environ has them.

Only what is traced imports this file.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from opentelemetry import baggage, propagate
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter, Setter, TextMapPropagator
from opentelemetry.trace import Span

# What the propagators that are the default write.
_W3C = {"traceparent", "tracestate", "baggage"}


class _FromEnviron(Getter[dict[str, Any]]):
    def get(self, carrier: dict[str, Any], key: str) -> list[str] | None:
        value = carrier.get(_name(key))
        return None if value is None else [value]

    def keys(self, carrier: dict[str, Any]) -> list[str]:
        return [name[5:].lower().replace("_", "-") for name in carrier if name.startswith("HTTP_")]


class _IntoEnviron(Setter[dict[str, Any]]):
    def set(self, carrier: dict[str, Any], key: str, value: str) -> None:
        if key == "traceparent":  # a state that follows belongs to it, and the client's may not
            carrier.pop("HTTP_TRACESTATE", None)
        carrier[_name(key)] = value


@lru_cache(maxsize=100)
def _name(header: str) -> str:
    return "HTTP_" + header.upper().replace("-", "_")


_FROM_ENVIRON = _FromEnviron()
_INTO_ENVIRON = _IntoEnviron()


def parent_of(environ: dict[str, Any], context: Context) -> Context:
    """Return *context* with the parent that a request's headers name, if they name one."""
    textmap = propagate.get_global_textmap()
    names = _names(textmap)
    if names and not any(name in environ for name in names):
        return context
    return textmap.extract(environ, context, _FROM_ENVIRON)


def name_parent(environ: dict[str, Any], span: Span, context: Context) -> None:
    """Put *span*, which *context* has, into a request's headers, as the parent of what its app does."""
    textmap = propagate.get_global_textmap()
    if not _is_w3c(textmap) or baggage.get_all(context):
        textmap.inject(environ, context, _INTO_ENVIRON)
        return
    # The propagators take ten times as long for the same.
    about = span.get_span_context()
    if not about.is_valid:
        return
    environ["HTTP_TRACEPARENT"] = f"00-{about.trace_id:032x}-{about.span_id:016x}-{about.trace_flags:02x}"
    if about.trace_state:
        environ["HTTP_TRACESTATE"] = about.trace_state.to_header()
    else:
        environ.pop("HTTP_TRACESTATE", None)


@lru_cache(maxsize=10)
def _names(textmap: TextMapPropagator) -> tuple[str, ...]:
    """Return the headers that name a parent, as an environ has them; nothing where that is not known."""
    return tuple(map(_name, sorted(textmap.fields)))


@lru_cache(maxsize=10)
def _is_w3c(textmap: TextMapPropagator) -> bool:
    return set(textmap.fields) == _W3C
