"""Spans within a request's: what is asked of the app, of S3 and of Redis, and what is signed.

Each is there only within the span of a request that is sampled; what is done in the background has none. An
error is told by its kind alone: its text may hold what was sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, ParamSpec, TypeVar, cast

from .switch import is_on

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


def spanned(
    name: str,
    function: Callable[P, R],
    attributes: Mapping[str, Any] | None = None,
    *,
    remote: bool = False,
) -> Callable[P, R]:
    """Return *function*, each call of which is a span; *function* itself where nothing is traced."""
    if not is_on():
        return function
    from .spanblock import child

    def call(*given: P.args, **named: P.kwargs) -> R:
        with child(name, attributes, remote=remote):
            return function(*given, **named)

    return call


def asking(
    function: Callable[P, R], place: int, is_yes: Callable[[R], bool], *, named: bool = True
) -> Callable[P, R]:
    """Return *function*, which asks an app about a request, with a span that the app finds as its parent;
    *function* itself where nothing is traced.

    :param place: which of its arguments is the environ.
    :param is_yes: tells the results that become redirects.
    :param named: whether the request's headers name the span too, for an app that is traced by others.
    """
    if not is_on():
        return function
    from opentelemetry.context import get_current

    from .environs import name_parent
    from .spanblock import child

    def ask(*given: P.args, **more: P.kwargs) -> R:
        environ = cast("dict[str, Any]", given[place])
        with child("probe", {"http.request.method": environ["REQUEST_METHOD"]}) as span:
            if span is None:
                return function(*given, **more)
            if named:
                name_parent(environ, span, get_current())
            found = function(*given, **more)
            span.set_attribute("cfmiddleware.redirected", is_yes(found))
            return found

    return ask


def with_spans(
    target: T, methods: Iterable[str], attributes: Mapping[str, Any], name: Callable[[str], str] = str.upper
) -> T:
    """Return *target*, whose *methods* are spans that ask another server; *target* itself where nothing is
    traced.

    :param name: from a method to its span's name.
    """
    if not is_on():
        return target
    return cast("T", _WithSpans(target, methods, attributes, name))


class _WithSpans:
    """An object in front of another one, with the same attributes."""

    def __init__(
        self, target: Any, methods: Iterable[str], attributes: Mapping[str, Any], name: Callable[[str], str]
    ) -> None:
        self._target = target
        for method in methods:
            more = {**attributes, "db.operation.name": name(method)}
            setattr(self, method, spanned(name(method), partial(_call, target, method), more, remote=True))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)


def _call(target: Any, method: str, *given: Any, **named: Any) -> Any:
    return getattr(target, method)(*given, **named)
