"""Whether requests are greenlets, for which waiting costs nothing, or hold a thread each."""

from __future__ import annotations

import sys


def waiting_is_free() -> bool:
    """Return whether a request that waits keeps no other waiting: sockets and locks are gevent's here."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("socket"))
