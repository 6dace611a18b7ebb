"""The server of ``cfmiddleware serve`` around an app that answers everything with one redirect.

    python benchmarks/redirect_constant.py PORT LOCATION

The difference to ``cfmiddleware serve`` is what the registry and the wrapper cost.
"""

from __future__ import annotations

import sys

from cfmiddleware.serving.patching import wait_in_greenlets


def main(port: int, location: str) -> None:
    """Serve until a signal comes."""
    # What follows waits in greenlets, as in the command, because it is imported now.
    wait_in_greenlets()
    from redirect_apps import bare

    from cfmiddleware.config.address import Address
    from cfmiddleware.config.serveroptions import ServerOptions
    from cfmiddleware.logs import LogOptions
    from cfmiddleware.serving.master import serve
    from cfmiddleware.serving.services import Served, Service, listen
    from cfmiddleware.storage.memory import MemoryDriver

    address = Address(("127.0.0.1", port))
    served = Served(bare(location), ServerOptions(), None, LogOptions(), MemoryDriver(), address)
    serve(Service("constant redirect", listen(address, "PORT"), served, lambda: served))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
