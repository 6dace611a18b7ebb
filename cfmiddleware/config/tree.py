"""From a file and ``REGISTRY_...`` variables to a tree of sections, which are not read yet."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cfmiddleware.errors import ConfigError
from cfmiddleware.parse import nearest, section

from . import distributionkeys
from .configtext import as_text, parse_yaml, read_text
from .quickyaml import YAML_ERRORS
from .secretfiles import read_secret

_log = logging.getLogger("cfmiddleware")

#: The sections that are read, by their names at the top of the file.
SECTIONS = (
    "version",
    "log",
    "storage",
    "auth",
    "middleware",
    "http",
    "health",
    "metrics",
    "notifications",
    "catalog",
    "tags",
    "retention",
    "validation",
    "redis",
    "edge",
    "server",
    "loglevel",
)

# Those that are values instead of sections.
_SCALARS = ("version", "loglevel", "retention")

# What this package once read.
_FORMER = ("edge.workers", "edge.threads", "server.threads")

# What no section reads: it is taken out of the tree.
_UNREAD = (*distributionkeys.unread(), *(tuple(name.split(".")) for name in _FORMER))

_NAMES = (*SECTIONS, *dict.fromkeys(path[0] for path in _UNREAD if path[0] not in SECTIONS))

#: What the names of variables begin with that set options.
VARIABLE = "REGISTRY_"

# Other programs' own: images say with the first which registry they hold; podman, buildah and skopeo read
# from the second where they keep passwords.
_OF_OTHERS = (["version"], ["auth", "file"])

# What Kubernetes calls its variables, and what it gives them. An option with such a name has another value.
_OF_SERVICES = (
    (re.compile(r"(?:^|_)service_host$"), re.compile(r"[0-9a-fA-F.:]*|None")),
    (re.compile(r"(?:^|_)service_port(?:_[a-z0-9_]+)?$"), re.compile(r"[0-9]*")),
    (re.compile(r"(?:^|_)port(?:_[0-9]+_(?:tcp|udp|sctp))?$"), re.compile(r"(?:tcp|udp|sctp)://.*")),
    (re.compile(r"(?:^|_)port_[0-9]+_(?:tcp|udp|sctp)_(?:proto|port|addr)$"), re.compile(r"[0-9a-zA-Z.:]*")),
)

# Sections whose options have the names that an operator gives them.
_FREE_NAMES = ("log_fields_", "http_headers_", "edge_publickeys_")

Tree = dict[str, Any]


def load_tree(path: str | os.PathLike[str], environ: Mapping[str, str]) -> Tree:
    """Return the sections of a file, with the values of variables in them.

    :raises ConfigError: for a file that cannot be read or is not YAML, and for a variable that has no place.
    """
    return tree_of(read_text(path), str(path), environ)


def tree_of(text: str, source: str, environ: Mapping[str, str]) -> Tree:
    """Return the sections of a file's text, with the values of variables in them.

    :param source: the file's name.
    :raises ConfigError: for what is not YAML, and for a variable that has no place.
    """
    tree = parse_yaml(text, source)
    if not isinstance(tree, dict):
        raise ConfigError(f"{source}: a configuration is a mapping of sections such as storage and http")
    _keep_headers_as_written(tree, text)
    override(tree, environ, source)
    return tree


def known_sections(tree: Mapping[str, Any], source: str) -> Tree:
    """Return the tree without what is not acted on. A line says of each kind of it what it means.

    :raises ConfigError: for a section that is unknown or is not a section, and for one without which the
        registry would be something else.
    """
    for name in tree:
        if name not in _NAMES:
            raise ConfigError(f"{name}: there is no such section{nearest(str(name), _NAMES)}")
    if str(tree.get("version", "0.1")) != "0.1":
        raise ConfigError(f"version: {tree['version']!r} is not known; it is 0.1")
    known: Any = {name: value if name in _SCALARS else section(value, name) for name, value in tree.items()}
    for line in distributionkeys.say(known):
        _log.warning("%s: %s", source, line)
    for name in _FORMER:
        if distributionkeys.at(known, name.split(".")):
            _log.warning("%s: %s: is not acted on any more", source, name)
    for path in _UNREAD:
        known = _without(known, path)
    found: Tree = known
    return found


def override(tree: Tree, environ: Mapping[str, str], source: str) -> None:
    """Replace values of *tree* by ``REGISTRY_...`` variables, as Distribution does.

    ``REGISTRY_STORAGE_S3_BUCKET`` is ``storage.s3.bucket``, ``REGISTRY_MIDDLEWARE_STORAGE_0_NAME`` the name
    of the first storage middleware. Values are YAML. A variable that does not name a section is passed over
    with a warning: names of other programs begin with ``REGISTRY_`` too. So are those that Kubernetes sets
    for a Service whose name begins with ``registry-``. ``REGISTRY_REDIS_PASSWORD_FILE`` names a file whose
    text is ``redis.password``, and so with every option. ``REGISTRY_VERSION`` and ``REGISTRY_AUTH_FILE`` are
    other programs' own, and passed over as well.

    :raises ConfigError: for a value that is not YAML, or a path that leads through a value.
    """
    foreign, of_services = [], []
    for variable in sorted(name for name in environ if name.startswith(VARIABLE)):
        path = variable[len(VARIABLE) :].lower().split("_")
        if path in _OF_OTHERS:
            continue
        if _is_of_service(path, environ[variable]):
            of_services.append(variable)
            continue
        if path[0] not in _NAMES:
            foreign.append(variable)
            continue
        if path[-1] == "file" and path[0] != "health" and len(path) > 2:
            path = path[:-1]
            if not environ[variable].strip():
                raise ConfigError(f"{source}: {variable}: is empty; it must be the path of a file")
            if VARIABLE + "_".join(path).upper() in environ:
                raise ConfigError(
                    f"{source}: {variable}: goes without the variable whose value the file holds"
                )
            secret = read_secret(environ[variable], f"{source}: {variable}", Path(source).resolve().parent)
            _replace(tree, path, secret, f"{source}: {variable}")
            continue
        try:
            value = yaml.safe_load(environ[variable])
        except YAML_ERRORS:
            raise ConfigError(f"{source}: {variable}: the value is not YAML; put it in quotes") from None
        if path[:2] == ["http", "headers"]:
            written = yaml.load(environ[variable], Loader=yaml.BaseLoader)  # noqa: S506 (it makes text alone)
            value = written if isinstance(value, dict) else _as_written(value, written)
        if path in (["storage"], ["auth"]) and isinstance(value, str):  # a name without options
            value = {value: {}}
        _replace(tree, path, value, f"{source}: {variable}")
    if of_services:
        _log.warning("variables of Kubernetes Services are passed over: %s", ", ".join(of_services))
    for variable in foreign:
        _log.warning("the variable %s names nothing in a configuration and is passed over", variable)


def _is_of_service(path: list[str], value: str) -> bool:
    """Return whether Kubernetes sets such a variable for a Service, such as one named ``registry-http``.

    It sets seven or more for each Service of a namespace, in every pod of it (Kubernetes, "Environment
    variables").
    """
    name = "_".join(path)
    if name.startswith(_FREE_NAMES):
        return False
    return any(form.search(name) and content.fullmatch(value.strip()) for form, content in _OF_SERVICES)


def _replace(node: Any, path: list[str], value: Any, variable: str) -> None:
    """Set the value at *path* below *node*, and make the sections on the way."""
    step, rest = path[0], path[1:]
    if isinstance(node, list):
        if not step.isdecimal() or int(step) > len(node):
            raise ConfigError(f"{variable}: {step!r} is not a place in a list of {len(node)}")
        key: Any = int(step)
        if key == len(node):
            node.append(None)
    elif isinstance(node, dict):
        key = next((name for name in node if str(name).lower() == step), step)
        node.setdefault(key, None)
    else:
        raise ConfigError(f"{variable}: there is a value, not a section, above {step!r}")
    if not rest:
        node[key] = value
        return
    if node[key] is None:
        node[key] = [] if rest[0].isdecimal() else {}
    _replace(node[key], rest, value, variable)


def _keep_headers_as_written(tree: Tree, text: str) -> None:
    """Give headers the values that stand in the file: ``[true]``, ``[1.10]`` and dates are texts there."""
    http = tree.get("http")
    headers = http.get("headers") if isinstance(http, dict) else None
    if not isinstance(http, dict) or not isinstance(headers, dict):
        return
    listed = (value if isinstance(value, list) else [value] for value in headers.values())
    if all(isinstance(value, str) for values in listed for value in values):
        return
    written = as_text(text)["http"]["headers"]
    # An anchor that is merged in (`<<`) is not resolved in it.
    http["headers"] = {
        name: _as_written(value, written.get(str(name), value)) for name, value in headers.items()
    }


def _as_written(value: Any, written: Any) -> Any:
    """Return the text of a value, or the texts of a list, and None where nothing is said."""
    if isinstance(value, list) and isinstance(written, list):
        return [_as_written(one, text) for one, text in zip(value, written, strict=True)]
    return None if value is None else written


def _without(node: Any, path: tuple[str, ...]) -> Any:
    """Return *node* without the value at *path* below it. The node itself is not changed."""
    if not isinstance(node, Mapping) or path[0] not in node:
        return node
    rest = {name: value for name, value in node.items() if name != path[0]}
    if path[1:]:
        return {**node, path[0]: _without(node[path[0]], path[1:])}
    return rest
