"""``cfmiddleware edge``: the local edge alone."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from cfmiddleware import logs
from cfmiddleware.config import Config
from cfmiddleware.serving import supervisor

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "edge",
        help="serve signed URLs as CloudFront would",
        description="Do CloudFront's part for a registry's storage: check signed URLs, put the Origin Path "
        "in front of their paths, and serve objects. It listens on the file's edge.addr, 127.0.0.1:5001 "
        "by default, and writes a line for each request, without its signature, to stderr.",
    )
    parser.add_argument("config", metavar="CONFIG", help="the configuration file (config.yml)")
    parser.add_argument("--addr", metavar="HOST:PORT", help="where to listen instead of the file's edge.addr")
    parser.set_defaults(run=run)


def run(arguments: Any) -> int:
    """Serve until a signal comes."""
    return supervisor.ending_well(lambda: _serve(arguments))


def _serve(arguments: Any) -> int:
    supervisor.check_gunicorn()
    with logs.HeldBack() as messages:
        config = Config.load(arguments.config)
        service = supervisor.edge_service(config, arguments.addr)
    log = config.log_options()
    logs.set_up(log)
    messages.replay()
    print(f"The edge is on {service.url}.", flush=True)
    return supervisor.run([service], log)
