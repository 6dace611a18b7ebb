"""Work that is done in a process of its own, so that its processor time and lock are not the measurer's."""

from __future__ import annotations

import contextlib
import multiprocessing
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from typing import Any

#: Seconds that the work may take to end after it was told to.
_PATIENCE = 120


class Beside:
    """A process that works until it is told to stop.

    :ivar result: what the work returned, once the block has been left.
    """

    result: Any = None

    def __init__(self, receiver: Connection, ready: Event) -> None:
        self._receiver = receiver
        self._ready = ready

    def wait(self, seconds: float = 60) -> bool:
        """Return whether the work said before *seconds* went by that it is under way."""
        return self._ready.wait(seconds)

    def finish(self) -> None:
        """Take the result.

        :raises RuntimeError: when the work failed, or never ended.
        """
        if not self._receiver.poll(_PATIENCE):
            raise RuntimeError("a process of the benchmark did not end")
        try:
            failure, self.result = self._receiver.recv()
        except EOFError:
            raise RuntimeError("a process of the benchmark ended without a result") from None
        if failure:
            raise RuntimeError(failure)


@contextlib.contextmanager
def beside(work: Callable[..., Any], *arguments: Any) -> Iterator[Beside]:
    """Run *work* in a new process until the block is left.

    :param work: a function of a module. It is called with the arguments, an event to set when it is under
        way, and an event that says when to end; what it returns must be picklable.
    :raises RuntimeError: when the work failed.
    """
    # Not forked: this process has threads.
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    ready, done = context.Event(), context.Event()
    process = context.Process(target=_work, args=(sender, work, arguments, ready, done), daemon=True)
    process.start()
    sender.close()
    running = Beside(receiver, ready)
    try:
        yield running
        done.set()
        running.finish()
    finally:
        done.set()
        process.join(5)
        process.kill()
        process.join()
        receiver.close()


def _work(sender: Connection, work: Callable[..., Any], arguments: Any, ready: Event, done: Event) -> None:
    failure, result = "", None
    try:
        result = work(*arguments, ready, done)
    except KeyboardInterrupt:
        failure = "interrupted"
    except Exception as error:  # noqa: BLE001 (told to the process that waits)
        traceback.print_exc()
        failure = f"{type(error).__name__}: {error}"
    sender.send((failure, result))
