"""Factories for PasteDeploy: ``use = egg:cfmiddleware`` in an ini file.

The filter's options are the wrapper's; with ``config = config.yml`` they take the place of those in that
file. The apps ``egg:cfmiddleware#registry`` and ``egg:cfmiddleware#edge`` take ``config``, which names the
file, or else ``storage``, which names a driver, with the driver's options and, for the edge, its own.
Relative paths are relative to the ini file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import logs, parse
from .config import Config
from .errors import ConfigError
from .middleware.options import OPTION_NAMES, WrapperOptions, resolve_paths
from .middleware.wrapper import CloudFrontMiddleware
from .server import refuse, watched

if TYPE_CHECKING:
    from .edge import Edge
    from .wsgi.types import App

#: Those of the edge's options that a section may have beside a driver's: the others have the same names.
_EDGE_OPTIONS = ("originpath", "publickeys", "trustedproxies")


def filter_factory(global_conf: Mapping[str, str], **local_conf: str) -> Callable[[App], App]:
    """Return the filter that wraps an app, ``[filter:cloudfront] use = egg:cfmiddleware``."""

    def wrap(app: App) -> App:
        logs.to_stderr()
        try:
            given: dict[str, object] = dict(local_conf)
            file, here = given.pop("config", None), _here(global_conf)
            parse.refuse_unknown(given, (*OPTION_NAMES, "config"))
            if file is None:
                return CloudFrontMiddleware(app, WrapperOptions.read(given, here=here))
            config = Config.load(here / str(file))
            wrapped = watched(config, config.surrounded(app, resolve_paths(given, here)))
        except ConfigError as error:
            refuse(_located(error, global_conf))
        return wrapped

    return wrap


def registry_factory(global_conf: Mapping[str, str], **local_conf: str) -> App:
    """Return the registry, not wrapped: ``[app:registry] use = egg:cfmiddleware#registry``."""
    logs.to_stderr()
    try:
        config = _config(global_conf, local_conf)
        config.warn_of_what_serve_does()
        return watched(config, config.with_headers(config.registry()))
    except ConfigError as error:
        refuse(_located(error, global_conf))


def edge_factory(global_conf: Mapping[str, str], **local_conf: str) -> Edge:
    """Return the edge: ``[app:edge] use = egg:cfmiddleware#edge``."""
    logs.to_stderr()
    try:
        return _config(global_conf, local_conf, _EDGE_OPTIONS).edge()
    except ConfigError as error:
        refuse(_located(error, global_conf))


def _config(
    global_conf: Mapping[str, str], local_conf: Mapping[str, str], own: tuple[str, ...] = ()
) -> Config:
    """Return the file that ``config`` names, or what the section itself says."""
    here = _here(global_conf)
    if "config" in local_conf:
        parse.refuse_unknown(local_conf, ("config",))
        return Config.load(here / local_conf["config"])
    if "storage" not in local_conf:
        raise ConfigError("config: this option is required, or 'storage' with the options of a driver")
    tree: dict[str, Any] = {"storage": {local_conf["storage"]: {}}}
    for name, value in local_conf.items():
        if name in own:
            tree.setdefault("edge", {})[name] = _key_files(value) if name == "publickeys" else value
        elif name == "delete":
            tree["storage"]["delete"] = {"enabled": value}
        elif name != "storage":
            tree["storage"][local_conf["storage"]][name] = value
    return Config(tree, _file(global_conf), here)


def _key_files(text: str) -> dict[str, str]:
    """Read ``K2JCJMDEHXQW5F:/etc/registry/public.pem``, several of them separated by white space."""
    pairs = [word.partition(":") for word in text.split()]
    if not pairs or not all(name and file for name, _, file in pairs):
        raise ConfigError("publickeys: write each as <Key-Pair-Id>:<file>, separated by spaces")
    return {name: file for name, _, file in pairs}


def _located(error: ConfigError, global_conf: Mapping[str, str]) -> ConfigError:
    """Put the ini file's name in front of an error that does not name a configuration's file."""
    message = str(error)
    names_file = message.partition(": ")[0].endswith((".yml", ".yaml", ".ini"))
    return error if names_file else ConfigError(f"{_file(global_conf)}: {message}")


def _file(global_conf: Mapping[str, str]) -> str:
    return global_conf.get("__file__") or "paste"


def _here(global_conf: Mapping[str, str]) -> Path:
    return Path(global_conf.get("here") or os.curdir)
