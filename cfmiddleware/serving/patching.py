"""A serving process waits in greenlets: each connection has one, and waiting costs nothing."""

from __future__ import annotations

import os


def wait_in_greenlets() -> None:
    """Have sockets, locks, sleeps and queues of this process let other greenlets go on while they wait.

    It is called before the modules that use them are imported: a class that was imported earlier waits in the
    old way, and stops the whole process. Forks and signals stay Python's own: gunicorn's master and the
    command handle both themselves, and each has a process without greenlets.
    """
    import gevent
    from gevent import monkey
    from gevent.hub import Hub

    monkey.patch_all(os=False, signal=False, subprocess=False)
    # gevent prints the trace of what fails in its threads, though the caller gets the exception. So it would
    # for the look-up of a name that no host can have.
    Hub.NOT_ERROR = (*Hub.NOT_ERROR, UnicodeError)
    os.register_at_fork(after_in_child=gevent.reinit)
