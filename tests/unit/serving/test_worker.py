"""A worker at its start."""

from __future__ import annotations

import gc

import pytest

pytest.importorskip("gunicorn", minversion="27.0")
pytest.importorskip("gevent")

from cfmiddleware.config.serveroptions import ServerOptions
from cfmiddleware.serving.worker import Worker


class Prepared(Exception):
    """The storage would be made ready now."""


def test_no_garbage_is_looked_for_in_what_was_there_before_the_fork(monkeypatch: pytest.MonkeyPatch):
    told: list[str] = []
    monkeypatch.setattr(gc, "freeze", lambda: told.append("frozen"))

    def prepare(worker: Worker) -> None:
        assert told == ["frozen"]
        raise Prepared

    monkeypatch.setattr(Worker, "_prepare", prepare)
    worker = Worker.__new__(Worker)
    monkeypatch.setattr(Worker, "options", ServerOptions(connections=10), raising=False)
    with pytest.raises(Prepared):
        worker.run()
