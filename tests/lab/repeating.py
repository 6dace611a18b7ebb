"""Clients that do the same again and again while a test does something to their server."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Sequence
from types import TracebackType

#: Sends a request and reads its answer; returns what is wrong with it, or nothing.
Act = Callable[[http.client.HTTPConnection], str]


class Repeating:
    """Each client has a thread, and a connection that stays.

    :param port: the server's, on 127.0.0.1.
    :param acts: what each client does, and its pause between two in seconds.
    """

    def __init__(self, port: int, acts: Sequence[tuple[Act, float]]) -> None:
        self.failures: list[str] = []
        self.done = 0
        self._port = port
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=each) for each in acts]

    def __enter__(self) -> Repeating:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, act: Act, pause: float) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        while not self._stop.wait(pause):
            try:
                failure = act(connection)
            except (OSError, http.client.HTTPException) as error:
                failure = repr(error)
                connection.close()
            if failure:
                self.failures.append(failure)
            self.done += 1


def ended(connection: http.client.HTTPConnection, wanted: int) -> str:
    """Read an answer, and return nothing if its status is *wanted*, else what it is."""
    answer = connection.getresponse()
    body = answer.read()
    return "" if answer.status == wanted else f"{answer.status} {body[:200]!r}"
