"""Headers that name a trace, as a WSGI environ has them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from opentelemetry.propagators.textmap import Getter, Setter


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


FROM_ENVIRON = _FromEnviron()
INTO_ENVIRON = _IntoEnviron()
