"""Where manifests are parsed: small ones at once, large ones in a process of their own."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from cfmiddleware.process.childcall import ChildFailed
from cfmiddleware.registry.store import turns
from cfmiddleware.registry.store.turns import FEW, ParseTurns

MANY = 1 << 18


def parsed(content: bytes, *, by: str = "") -> tuple[int, str]:
    """Return how many bytes there are, and who asked."""
    return len(content), by


def in_child(seconds: float, parse: Any, content: bytes, **keywords: Any) -> tuple[Any, ...]:
    """Stand for another process."""
    return (*parse(content, **keywords), "in a child")


@pytest.mark.parametrize(
    ("size", "where"), [(FEW, ()), (FEW + 1, ()), (MANY, ()), (MANY + 1, ("in a child",))]
)
def test_what_would_keep_others_waiting_is_parsed_in_another_process(
    size: int, where: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "call_in_child", in_child)
    assert ParseTurns()(parsed, b"x" * size, by="me") == (size, "me", *where)


def test_without_another_process_it_is_parsed_in_this_one_and_the_log_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ChildFailed("there is no Python")

    monkeypatch.setattr(turns, "call_in_child", fail)
    parse = ParseTurns()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert parse(parsed, b"x" * (MANY + 1)) == (MANY + 1, "")
    assert caplog.messages == [
        "a large manifest is parsed where it keeps others waiting: there is no Python",
    ]


def test_large_manifests_are_parsed_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    parse = ParseTurns()
    under_way: list[bool] = []
    monkeypatch.setattr(turns, "call_in_child", lambda *_: under_way.append(parse._turn().locked()))
    parse(parsed, b"x" * (MANY + 1))
    assert under_way == [True]
    assert not parse._turn().locked()
