"""gunicorn as tests start it, in whichever version is installed."""

from __future__ import annotations

from gunicorn.config import KNOWN_SETTINGS

#: gunicorn's control socket has one place for all on the machine; older versions have none.
OWN = ["--no-control-socket"] if any(each.name == "control_socket_disable" for each in KNOWN_SETTINGS) else []
