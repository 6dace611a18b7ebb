"""What a process keeps for itself, and the bounded cache that its threads share."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.signing_material import in_a_fork

from cfmiddleware.process.cache import Cache, PerProcess


class TestPerProcess:
    def test_it_is_made_once_however_many_threads_ask(self):
        made: list[object] = []

        def make() -> object:
            time.sleep(0.01)
            made.append(object())
            return made[-1]

        value = PerProcess(make)
        assert value.made() is None
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(lambda _: value(), range(8))) == set(made)
        assert (len(made), value.made()) == (1, made[0])

    def test_a_forked_process_makes_its_own_whatever_its_parent_was_doing(self):
        making, go_on = threading.Event(), threading.Event()

        def make() -> str:
            if threading.current_thread() is thread:
                making.set()
                assert go_on.wait(10)
            return threading.current_thread().name

        value = PerProcess(make)
        thread = threading.Thread(target=value, name="parent")
        thread.start()
        assert making.wait(10)
        try:
            assert in_a_fork(value) == "MainThread"  # although the lock is held by a thread that is not there
        finally:
            go_on.set()
            thread.join()
        assert value() == "parent"

    def test_what_fails_is_tried_again(self):
        results = iter([RuntimeError("can't start new thread"), 1])

        def make() -> int:
            result = next(results)
            if isinstance(result, Exception):
                raise result
            return result

        value = PerProcess(make)
        with pytest.raises(RuntimeError):
            value()
        assert (value.made(), value(), value.made()) == (None, 1, 1)


class TestCache:
    @given(st.lists(st.tuples(st.sampled_from(["get", "peek", "put", "once", "forget"]), st.integers(0, 5))))
    def test_it_remembers_what_was_used_last(self, steps: list[tuple[str, int]]):
        cache: Cache[int, str] = Cache(3)
        model: dict[int, str] = {}  # the least recently used first
        for step, key in steps:
            if step == "peek":
                assert cache.peek(key) == model.get(key)
                continue
            value = model.pop(key, None)
            if step == "get":
                assert cache.get(key) == value
            elif step == "forget":
                cache.forget(key)
                value = None
            elif step == "put":
                cache.put(key, value := "put")
            else:
                value = cache.once(key, lambda: "made") if value is None else value
                assert cache.once(key, lambda: "not made") == value
            if value is not None:
                model[key] = value
                if len(model) > 3:
                    del model[next(iter(model))]
            assert len(cache) == len(model)

    @given(st.integers(1, 12), st.lists(st.integers(0, 20), max_size=60))
    def test_what_was_used_while_half_was_taken_outlives_what_was_not(self, size: int, keys: list[int]):
        cache: Cache[int, int] = Cache(size)
        used: dict[int, int] = {}  # the last use of each that counts
        for moment, key in enumerate(keys):
            before = {known for known in range(21) if cache.peek(known) is not None}
            if cache.get(key) is not None:
                if len(cache) > size // 2:
                    used[key] = moment
                continue
            cache.put(key, key + 1)
            used[key] = moment
            after = {known for known in before if cache.peek(known) is not None}
            assert len(cache) <= size
            for lost in before - after:
                assert all(used[lost] < used[kept] for kept in after)

    def test_threads_that_want_the_same_value_wait_for_one_that_makes_it(self):
        cache: Cache[str, object] = Cache(10)
        waiting = threading.Barrier(4)

        def ask() -> object:
            waiting.wait(10)
            return cache.once("key", slow)

        def slow() -> object:
            time.sleep(0.05)
            return object()

        with ThreadPoolExecutor(4) as pool:
            values = {future.result() for future in [pool.submit(ask) for _ in range(4)]}
        assert (len(values), cache.made) == (1, 1)

    def test_what_fails_is_not_remembered(self):
        cache: Cache[str, int] = Cache(10)
        with pytest.raises(ZeroDivisionError):
            cache.once("key", lambda: 1 // 0)
        assert (cache.once("key", lambda: 2), cache.made) == (2, 1)

    def test_a_value_that_another_thread_forgets_at_this_moment_is_still_returned(self):
        cache: Cache[str, str] = Cache(10)

        class Forgetful(OrderedDict[str, str]):
            def get(self, key: str, default: Any = None) -> Any:
                return self.pop(key, default)

        cache._memory().entries = Forgetful(key="value")
        assert (cache.get("key"), cache.get("key")) == ("value", None)
