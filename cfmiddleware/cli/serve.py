"""``cfmiddleware serve`` and ``cfmiddleware edge``: the registry behind the wrapper, and the edge."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cfmiddleware import logs
from cfmiddleware.config import Config
from cfmiddleware.config.address import DEFAULT_ADDRESS, DEFAULT_EDGE, Address
from cfmiddleware.config.embedded import default_directory, embedded
from cfmiddleware.errors import ConfigError
from cfmiddleware.health.board import Board
from cfmiddleware.metrics.cells import VARIABLE, new_directory
from cfmiddleware.serving import supervisor, systemd
from cfmiddleware.serving.master import check_gunicorn
from cfmiddleware.serving.services import Service, debug_service, edge_service, registry_service
from cfmiddleware.serving.signals import ending_well
from cfmiddleware.serving.stderr import StderrHandler

from .greeting import greeting, in_one_line

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_log = logging.getLogger("cfmiddleware")

_EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 (it is refused)


class Arguments(argparse.Namespace):
    """The arguments of the commands ``serve`` and ``edge``; ``edge`` has no *data* and no *edge_addr*."""

    config: str | None
    data: Path | None
    addr: str | None
    edge_addr: str | None


class Prepared(NamedTuple):
    """What is ready to be served, and what is printed when it is."""

    config: Config
    services: list[Service]
    greeting: str
    drain: supervisor.Drain | None = None
    counts: Path | None = None


def add_parser(commands: Commands) -> None:
    """Add the command ``serve`` to the parser."""
    parser = commands.add_parser(
        "serve",
        help="serve a registry whose pulls leave through CloudFront",
        description="Serve a container registry under gunicorn. With a configuration file it is the registry "
        "that the file describes, and an edge if the file has an 'edge' section. Without one it keeps its "
        "data and a key pair in a directory of yours, and a local edge does CloudFront's part.",
        epilog="Ctrl-C stops everything; requests under way may end first, a second Ctrl-C cuts them off. "
        "SIGHUP has the configuration, keys and certificates read again.",
    )
    parser.add_argument("config", metavar="CONFIG", nargs="?", help="the configuration file (config.yml)")
    parser.add_argument(
        "--data",
        metavar="DIR",
        type=Path,
        help=f"without CONFIG: where data and keys are kept (default: {default_directory()})",
    )
    parser.add_argument(
        "--addr",
        metavar="HOST:PORT",
        help=f"where the registry listens (default: http.addr, or {DEFAULT_ADDRESS})",
    )
    parser.add_argument(
        "--edge-addr",
        metavar="HOST:PORT",
        help=f"where the edge listens (default: edge.addr, or {DEFAULT_EDGE})",
    )
    parser.set_defaults(run=lambda arguments: serving_command(lambda: _prepare_registry(arguments)))


def add_edge_parser(commands: Commands) -> None:
    """Add the command ``edge`` to the parser."""
    parser = commands.add_parser(
        "edge",
        help="serve signed URLs as CloudFront would",
        description="Do CloudFront's part for a registry's storage: check signed URLs, put the Origin Path "
        "in front of their paths, and serve objects. It listens on the file's edge.addr, 127.0.0.1:5001 "
        "by default, and writes a line for each request, without its signature, to stderr.",
    )
    parser.add_argument("config", metavar="CONFIG", help="the configuration file (config.yml)")
    parser.add_argument("--addr", metavar="HOST:PORT", help="where to listen instead of the file's edge.addr")
    parser.set_defaults(run=lambda arguments: serving_command(lambda: _prepare_edge(arguments)))


def serving_command(prepare: Callable[[], Prepared]) -> int:
    """Serve what *prepare* returns until a signal comes, and return the exit status."""
    return ending_well(lambda: _serve(prepare))


def _serve(prepare: Callable[[], Prepared]) -> int:
    check_gunicorn()
    systemd.check_names()
    with logs.held_back() as messages:
        config, services, text, drain, counts = prepare()
    log = config.log_options()
    logs.set_up(log, StderrHandler)
    logs.replay(messages)
    if log.json and not sys.stdout.isatty():
        # Both streams go into one log, whose reader wants objects. It is said at every level.
        logs.straight(dataclasses.replace(log, level="INFO")).info("%s", in_one_line(text))
    else:
        print(text, end="", flush=True)
    try:
        return supervisor.run(services, drain)
    finally:
        if counts is not None:
            shutil.rmtree(counts, ignore_errors=True)


def _prepare_registry(arguments: Arguments) -> Prepared:
    config = _configuration(arguments)
    board = Board() if config.debug_address() is not None else None
    counts = _begin_to_count(config)
    services = _services(lambda: _configuration(arguments), config, arguments, board)
    drain = None
    if board is not None:
        services.append(debug_service(lambda: _configuration(arguments), config, board))
        drain = supervisor.Drain(board, config.settings.http.draintimeout)
    return Prepared(config, services, greeting(config, services), drain, counts)


def _begin_to_count(config: Config) -> Path | None:
    """Turn metrics on, if the file says so, and return a directory that is to be removed in the end."""
    if not config.counts():
        return None
    if config.debug_address() is None:
        _log.warning("%s: http.debug.prometheus: is served nowhere without http.debug.addr", config.source)
    own = None if os.environ.get(VARIABLE) else new_directory()
    config.turn_on_metrics(own)
    return own


def _prepare_edge(arguments: Arguments) -> Prepared:
    def read() -> Config:
        return Config.load(arguments.config or "")

    config = read()
    service = edge_service(read, config, arguments.addr)
    return Prepared(config, [service], f"The edge is on {service.url}.\n")


def _configuration(arguments: Arguments) -> Config:
    """Return the configuration that the arguments name, or the one that stands in for it."""
    if arguments.config is None:
        address = Address.parse(arguments.addr or str(DEFAULT_ADDRESS), "--addr")
        edge_address = Address.parse(arguments.edge_addr or str(DEFAULT_EDGE), "--edge-addr")
        if not edge_address[1]:
            raise ConfigError("--edge-addr: choose a port; redirects name it")
        if edge_address[0] in _EVERY_ADDRESS:
            raise ConfigError(
                "--edge-addr: choose the address that clients are to be sent to; redirects name it"
            )
        return embedded(arguments.data or default_directory(), str(address), str(edge_address))
    if arguments.data is not None:
        raise ConfigError("--data goes without CONFIG: the file's storage section says where the data is")
    return Config.load(arguments.config)


def _services(
    read: Callable[[], Config], config: Config, arguments: Arguments, board: Board | None
) -> list[Service]:
    """Return the registry and, where one is asked for, the edge, both listening."""
    services = [registry_service(read, config, arguments.addr, board)]
    if config.edge_address() is not None:
        services.append(edge_service(read, config, arguments.edge_addr))
    elif arguments.edge_addr:
        raise ConfigError(f"--edge-addr: {arguments.config} asks for no edge; give it an 'edge' section")
    return services
