"""Work that is done where it keeps no other request waiting."""

from __future__ import annotations

import threading

import pytest

from cfmiddleware.process.offload import offload


def test_without_gevent_the_work_is_done_by_the_thread_that_asks() -> None:
    assert offload(threading.get_ident) == threading.get_ident()


def test_arguments_are_passed_and_errors_raised() -> None:
    assert offload(int, "ff", base=16) == 255
    with pytest.raises(ValueError, match="invalid literal"):
        offload(int, "x")
