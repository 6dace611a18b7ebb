"""From a ``config.yml`` to running parts.

The file is the one that Distribution reads, with an ``edge`` and a ``server`` section of our own. Variables
named ``REGISTRY_...`` override it as they do there. A mistake is a
:class:`~cfmiddleware.errors.ConfigError` of one line: the file, the key's path, what is wrong.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import yaml

from cfmiddleware import parse
from cfmiddleware.edge import Edge
from cfmiddleware.errors import ConfigError
from cfmiddleware.logs import MEMBERS, LogOptions, Scalar
from cfmiddleware.middleware.options import WrapperOptions, resolve_paths
from cfmiddleware.middleware.wrapper import CloudFrontMiddleware
from cfmiddleware.parse import nearest
from cfmiddleware.registry.app import Registry
from cfmiddleware.registry.auth.schemes import authenticator
from cfmiddleware.signing.keyring import KeyRing
from cfmiddleware.signing.keys import PublicKey, load_public_key
from cfmiddleware.storage.factory import DRIVERS, storage_driver
from cfmiddleware.wsgi import headers
from cfmiddleware.wsgi.headers import ExtraHeaders

from . import cacheoptions, tlsoptions
from .registryoptions import SECTIONS as REGISTRY_SECTIONS
from .registryoptions import registry_options

if TYPE_CHECKING:
    from cfmiddleware.middleware.presigned import Presign
    from cfmiddleware.registry.auth.access import Authenticator
    from cfmiddleware.registry.cache.descriptors import Descriptors
    from cfmiddleware.storage.driver import Driver
    from cfmiddleware.wsgi.types import App

_log = logging.getLogger("cfmiddleware")

#: Sections that are read, and those of Distribution's that are not, by their names at the top of the file.
_SECTIONS = (
    "version",
    "log",
    "storage",
    "auth",
    "middleware",
    "http",
    "edge",
    "server",
    "redis",
    *REGISTRY_SECTIONS,
)
_ABSENT = ("notifications", "health", "proxy", "policy", "compatibility", "loglevel")
_ABSENT_OF = {
    "log": ("hooks", "reportcaller"),
    "http": ("net", "secret", "debug", "http2", "h2c"),
    "storage": ("tag",),
    "middleware": ("registry", "repository"),
}

_LEVELS = {"error": "ERROR", "warn": "WARNING", "warning": "WARNING", "info": "INFO", "debug": "DEBUG"}
_FORMATTERS = ("text", "json", "logstash")
_FIELD = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]*)):([0-9]{1,5})")

_VARIABLE = "REGISTRY_"

# A date that is in no calendar is a plain ValueError, nesting without end a RecursionError.
_YAML_ERRORS = (yaml.YAMLError, ValueError, RecursionError)


class Address(tuple[str, int]):
    """A host and a port to listen on, written ``host:port``."""

    __slots__ = ()

    def __str__(self) -> str:
        host, port = self
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @classmethod
    def parse(cls, text: object, name: str) -> Address:
        """Read ``127.0.0.1:5000``, ``[::1]:5000`` or ``:5000``, which is every address of the machine.

        :raises ConfigError: for anything else, naming the option *name*.
        """
        match = _ADDRESS.fullmatch(str(text))
        if match is None or int(match[3]) > 65535:
            raise ConfigError(f"{name}: {text!r} is no address; write it like 127.0.0.1:5000")
        return cls((match[1] or match[2] or "0.0.0.0", int(match[3])))  # noqa: S104 (what `:5000` means)


DEFAULT_ADDRESS = Address(("127.0.0.1", 5000))
DEFAULT_EDGE = Address(("127.0.0.1", 5001))


@dataclass(frozen=True)
class ServerOptions:
    """How gunicorn serves one of the apps.

    :param workers: processes; one by default where the storage is its memory.
    :param threads: threads of each; one serves one request at a time.
    :param uploads: bodies that one worker takes in at the same time, fewer than its threads, so that a
        redirect or ``/v2/`` always finds one.
    :param gracefultimeout: seconds that requests under way get when the server stops.
    """

    workers: int = 2
    threads: int = 64
    uploads: int = 32
    gracefultimeout: int = 30


class Config:
    """A configuration that has been read, and what can be built from it.

    :param tree: the sections, as YAML gives them.
    :param source: where they come from, for messages: a file's name.
    :param here: the directory that relative paths are relative to.
    :param delete: whether blobs and manifests may be deleted where the file does not say.
    """

    def __init__(self, tree: Mapping[str, Any], source: str, here: Path, *, delete: bool = False) -> None:
        self._tree = tree
        self.source = source
        self._here = here
        self._delete = delete
        self._driver: Driver | None = None
        with self._at(""):
            self._check_sections()

    @classmethod
    def load(cls, path: str | os.PathLike[str], environ: Mapping[str, str] = os.environ) -> Config:
        """Read a file.

        :param environ: where the ``REGISTRY_...`` variables are looked up.
        :raises ConfigError: for a file that cannot be read, is no YAML, or has sections that cannot be.
        """
        file = Path(path)
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
            raise ConfigError(f"{path}: the configuration cannot be read: {reason}") from None
        tree = _parse_yaml(text, str(path))
        override(tree, environ, str(path))
        return cls(tree, str(path), file.resolve().parent)

    # What is built

    def registry(self) -> Registry:
        """Return the registry, not wrapped, and without ``http.headers``."""
        http, storage = self._section("http"), self._section("storage")
        with self._at("http."):
            prefix = parse.text(http["prefix"], "prefix").rstrip("/") if http.get("prefix") else ""
            host = _origin(http["host"]) if http.get("host") else ""
            relative = parse.boolean(http.get("relativeurls", False), "relativeurls")
        with self._at("storage."):
            delete = _switch(storage, "delete", self._delete)
        with self._at(""):
            further = registry_options(self._tree)
        return Registry(
            self.driver(),
            prefix=prefix,
            host=host,
            relativeurls=relative,
            delete=delete,
            readonly=self.is_readonly(),
            max_uploads=self.server_options().uploads,
            descriptors=self._descriptors(),
            auth=self.auth(),
            **further,
        )

    def _descriptors(self) -> Descriptors | None:
        """Return what ``storage.cache`` asks for, or None where the storage is to be asked each time."""
        storage, driver = self._section("storage"), self.driver()

        def namespace() -> str:
            return cacheoptions.namespace(driver.name, storage.get(driver.name) or {}, self._here)

        with self._at(""):
            return cacheoptions.descriptors(
                storage.get("cache"), self._tree.get("redis"), namespace, self._here
            )

    def auth(self) -> Authenticator | None:
        """Return what the section ``auth`` describes, or None where anybody may do everything."""
        with self._at(""):
            return authenticator(self._section("auth"), self._here) if self.has_auth() else None

    def is_readonly(self) -> bool:
        """Whether ``storage.maintenance`` refuses all that would change anything."""
        maintenance = self._section("storage").get("maintenance") or {}
        with self._at("storage."):
            if not isinstance(maintenance, dict):
                raise ConfigError("maintenance: must be a section of options")
            parse.refuse_unknown(maintenance, ("readonly", "uploadpurging"), "maintenance.")
            return _switch(maintenance, "readonly", False, "maintenance.")

    def has_auth(self) -> bool:
        """Whether clients must show who they are."""
        return "auth" in self._tree

    def wrap(self, app: App, further: Mapping[str, Any] | None = None) -> CloudFrontMiddleware:
        """Return *app* wrapped as the section ``middleware`` says.

        :param further: options that take the place of the file's.
        :raises ConfigError: where the file has no storage middleware ``cloudfront``.
        """
        found = self._cloudfront()
        if found is None:
            raise ConfigError(
                f"{self.source}: middleware.storage: there is no entry with the name 'cloudfront'"
            )
        place, given = found
        with self._at(place):
            chosen = {**self.wrapper_options(given), **(further or {})}
            if self.has_auth() and str(chosen.get("probe", "")).strip().lower() == "none":
                raise ConfigError("probe: 'none' asks nobody who they are, so it does not go with 'auth'")
            return CloudFrontMiddleware(app, WrapperOptions.read(chosen), presign=self._presign(chosen))

    def app(self) -> App:
        """Return the registry, wrapped if the file says so, with ``http.headers`` on all of its answers."""
        registry = self.registry()
        return self.with_headers(self.wrap(registry) if self.has_wrapper() else registry)

    def with_headers(self, app: App) -> App:
        """Return *app* with ``http.headers`` on all of its answers."""
        with self._at("http."):
            given = headers.read(self._section("http").get("headers") or {})
        return ExtraHeaders(app, given) if given else app

    def edge(self) -> Edge:
        """Return the edge: the wrapper's own counterpart, but for what the section ``edge`` says."""
        section = self._section("edge")
        found = self._cloudfront()
        wrapper = self.wrapper_options(found[1]) if found else {}
        with self._at("edge."):
            known = (
                "addr",
                "originpath",
                "rootdirectory",
                "publickeys",
                "trustedproxies",
                "storage",
                "workers",
                "threads",
            )
            parse.refuse_unknown(section, known)
            root = section.get("rootdirectory", wrapper.get("rootdirectory") or self._root_of_storage())
            origin = section.get("originpath", wrapper.get("originpath"))
            driver = self._edge_driver(section)
            return Edge(
                driver,
                publickeys=self._public_keys(section, wrapper),
                originpath=str(root if origin is None and "originpath" not in section else origin or ""),
                rootdirectory=str(root or ""),
                trustedproxies=parse.integer(section.get("trustedproxies") or 0, "trustedproxies"),
            )

    def driver(self) -> Driver:
        """Return the storage's driver, the same one each time."""
        if self._driver is None:
            self._driver = self._build_driver(self._section("storage"), "storage")
        return self._driver

    # What the server needs to know

    def address(self) -> Address:
        """Return where the registry listens: ``http.addr``, 127.0.0.1:5000 by default."""
        with self._at("http."):
            return Address.parse(self._section("http").get("addr") or DEFAULT_ADDRESS, "addr")

    def edge_address(self) -> Address | None:
        """Return where the edge listens, or None if the file asks for no edge."""
        if "edge" not in self._tree:
            return None
        with self._at("edge."):
            return Address.parse(self._section("edge").get("addr") or DEFAULT_EDGE, "addr")

    def server_options(self) -> ServerOptions:
        """Return the section ``server``."""
        section = self._section("server")
        with self._at("server."):
            known = ("workers", "threads", "uploads", "gracefultimeout")
            parse.refuse_unknown(section, known)
            # What one worker keeps in its memory, another one would not find.
            workers = 1 if "inmemory" in self._section("storage") else 2
            threads = parse.integer(section.get("threads", 64), "threads", minimum=32, maximum=1000)
            return ServerOptions(
                workers=parse.integer(section.get("workers", workers), "workers", minimum=1, maximum=256),
                threads=threads,
                uploads=parse.integer(
                    section.get("uploads", threads // 2), "uploads", minimum=1, maximum=threads - 8
                ),
                gracefultimeout=parse.seconds(
                    section.get("gracefultimeout", self._drain_timeout()), "gracefultimeout"
                ),
            )

    def certificates(self) -> tlsoptions.Certificates | None:
        """Return what ``http.tls`` asks for, read from its files, or None where it asks for nothing.

        :raises ConfigError: where TLS cannot be spoken with it.
        """
        section = self._section("http").get("tls") or {}
        with self._at("http."):
            if not isinstance(section, dict):
                raise ConfigError("tls: must be a section of options")
        with self._at("http.tls."):
            asked = tlsoptions.read(section, self._here)
            return tlsoptions.Certificates(asked) if asked is not None else None

    def warn_of_plain_http(self) -> None:
        """Say that ``http.tls`` is for the command alone, where another server serves the file's registry."""
        if self._section("http").get("tls"):
            _log.warning(
                "%s: http.tls: is for 'cfmiddleware serve'; give this server the certificate itself "
                "(gunicorn: --certfile and --keyfile)",
                self.source,
            )

    def trusted_proxies(self) -> int:
        """Return how many proxies in front the wrapper trusts, 0 where there is no wrapper."""
        found = self._cloudfront()
        if found is None:
            return 0
        with self._at(found[0]):
            return parse.integer(found[1].get("trustedproxies") or 0, "trustedproxies", maximum=100)

    def log_options(self) -> LogOptions:
        """Return the section ``log``."""
        section = self._section("log")
        level = self.log_level()
        with self._at("log."):
            formatter = parse.choice(section.get("formatter") or "text", "formatter", _FORMATTERS)
            access = section.get("accesslog") or {}
            if not isinstance(access, dict):
                raise ConfigError("accesslog: must be a section with 'disabled'")
            parse.refuse_unknown(access, ("disabled",), "accesslog.")
            disabled = parse.boolean(access.get("disabled") or False, "accesslog.disabled")
            fields = _log_fields(section.get("fields") or {})
        return LogOptions(level, formatter != "text", not disabled, fields)

    def log_level(self) -> str:
        """Return the name of the level that ``log.level`` asks for, INFO by default."""
        with self._at("log."):
            return _LEVELS[parse.choice(self._section("log").get("level") or "info", "level", tuple(_LEVELS))]

    def data(self) -> str:
        """Return where the data is, for people."""
        driver = self.driver()
        (given,) = [section for name, section in self._section("storage").items() if name == driver.name]
        where = str((given or {}).get("rootdirectory") or "")
        if driver.name == "s3":
            return f"s3://{given.get('bucket')}/{where.strip('/')}"
        if driver.name == "filesystem":
            return str(self._here / (where or "/var/lib/registry"))
        return "in memory: it is gone when the server stops; each worker has its own"

    def edge_is_blind(self) -> bool:
        """Whether an edge in a process of its own would not see what the registry stores."""
        storage = self._section("edge").get("storage") or self._section("storage")
        return "inmemory" in storage

    def has_wrapper(self) -> bool:
        """Whether the file asks for the CloudFront wrapper, and does not switch redirects off."""
        return self._cloudfront() is not None and not self._redirects_are_off()

    def _redirects_are_off(self) -> bool:
        """Read ``storage.redirect.disable``: the registry then sends the blobs itself, to everybody."""
        redirect = self._section("storage").get("redirect") or {}
        with self._at("storage."):
            if not isinstance(redirect, dict):
                raise ConfigError("redirect: must be a section with 'disable'")
            parse.refuse_unknown(redirect, ("disable",), "redirect.")
            return parse.boolean(redirect.get("disable") or False, "redirect.disable")

    # The pieces

    def _drain_timeout(self) -> int:
        """Return ``http.draintimeout``, or the default where it is left out or no time at all."""
        with self._at("http."):
            given = self._section("http").get("draintimeout")
            named = parse.seconds(given, "draintimeout", minimum=0) if given is not None else 0
        return named or ServerOptions.gracefultimeout

    def wrapper_options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the wrapper's options with this file's defaults and with paths that do not depend on where
        the process was started.

        :raises ConfigError: for an unknown option.
        """
        result = {
            # What is empty in YAML is null: a blank Origin Path, and nothing at all for every other option.
            str(name): "" if name == "originpath" and value is None else value
            for name, value in given.items()
            if value is not None or name == "originpath"
        }
        if "rootdirectory" not in result and "storage" in self._tree:
            result["rootdirectory"] = self._root_of_storage()
        result = resolve_paths(result, self._here)
        prefix = self._section("http").get("prefix")
        if prefix and "prefix" not in result:
            result["prefix"] = prefix
        return result

    def _presign(self, chosen: Mapping[str, Any]) -> Presign | None:
        """Return what signs the bucket's URLs, if the wrapper has clients to send there."""
        filtered = str(chosen.get("ipfilteredby") or "none").strip().lower() != "none"
        if not (filtered or chosen.get("networks")) or "s3" not in self._section("storage"):
            return None
        named, own = chosen.get("bucket"), self._section("storage")["s3"]
        if named and isinstance(own, dict) and str(named).strip() != str(own.get("bucket")):
            raise ConfigError("bucket: must be that of storage.s3, which signs the URLs of clients near it")
        presign: Presign | None = getattr(self.driver(), "presigner", None)
        return presign

    def _cloudfront(self) -> tuple[str, Mapping[str, Any]] | None:
        """Return the place and the options of the storage middleware ``cloudfront``."""
        entries = self._section("middleware").get("storage") or []
        found: tuple[str, Mapping[str, Any]] | None = None
        with self._at("middleware."):
            if not isinstance(entries, list):
                raise ConfigError("storage: must be a list of name and options")
            for index, entry in enumerate(entries):
                place = f"storage[{index}]"
                if not isinstance(entry, dict) or not isinstance(entry.get("options") or {}, dict):
                    raise ConfigError(f"{place}: must have a name and options")
                if parse.boolean(entry.get("disabled", False), f"{place}.disabled"):
                    continue
                if entry.get("name") != "cloudfront":
                    raise ConfigError(
                        f"{place}.name: {entry.get('name')!r} is unknown; there is 'cloudfront'"
                    )
                if found is not None:
                    raise ConfigError(f"{place}: there can be one cloudfront only")
                found = f"middleware.{place}.options.", entry.get("options") or {}
        return found

    def _build_driver(self, section: Mapping[str, Any], where: str) -> Driver:
        """Return the driver that a ``storage`` section names."""
        others = ("cache", "delete", "redirect", "maintenance", "tag")
        with self._at(""):
            named = [name for name in section if name not in others]
            if not named:
                raise ConfigError(f"{where}: names no driver; there are {', '.join(DRIVERS)}")
            if len(named) > 1:
                raise ConfigError(
                    f"{where}: {' and '.join(map(str, named))} are two drivers; there can be one only"
                )
            given = section[named[0]]
            if not isinstance(given or {}, dict):
                raise ConfigError(f"{where}.{named[0]}: must be a section of options")
            given = dict(given or {})
            if named[0] == "filesystem" and given.get("rootdirectory"):
                given["rootdirectory"] = str(self._here / str(given["rootdirectory"]))
            return storage_driver(str(named[0]), given, where)

    def _edge_driver(self, section: Mapping[str, Any]) -> Driver:
        storage = section.get("storage")
        if storage is None:
            return self.driver()
        if not isinstance(storage, dict):
            raise ConfigError("storage: must be a section")
        return self._build_driver(storage, "edge.storage")

    def _root_of_storage(self) -> str:
        """Return the directory of the bucket that the registry stands in.

        It is S3's ``rootdirectory``; a filesystem's is the place of the bucket itself.
        """
        s3 = self._section("storage").get("s3")
        return str(s3.get("rootdirectory") or "") if isinstance(s3, dict) else ""

    def _public_keys(
        self, section: Mapping[str, Any], wrapper: Mapping[str, Any]
    ) -> Mapping[str, PublicKey] | Callable[[], Mapping[str, PublicKey]]:
        """Return the keys whose signatures the edge accepts: those named, or the wrapper's own."""
        named = section.get("publickeys")
        if named is None:
            if not wrapper.get("privatekey"):
                raise ConfigError("publickeys: is required where there is no middleware 'cloudfront'")
            try:
                # Looked after at every request: the wrapper may sign with a new key at any moment.
                ring = KeyRing.from_options(wrapper["privatekey"], wrapper.get("keypairid"), interval=0)
            except ConfigError as error:
                raise ConfigError(f"publickeys: the wrapper's own cannot be used: {error}") from None
            # Known before any fork: a worker that is not asked until after a change of keys must still accept
            # the URLs that were signed before it.
            ring.public_keys()
            return ring.public_keys
        if not isinstance(named, dict) or not named:
            raise ConfigError("publickeys: must map a Key-Pair-Id to the file of its public key")
        return {str(name): self._public_key(str(name), str(file)) for name, file in named.items()}

    def _public_key(self, name: str, file: str) -> PublicKey:
        if "-----BEGIN" in file:
            return load_public_key(file, f"publickeys.{name}")
        try:
            text = (self._here / file).read_text(encoding="utf-8", errors="replace")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "that is no path"
            raise ConfigError(f"publickeys.{name}: {file} cannot be read: {reason}") from None
        return load_public_key(text, f"publickeys.{name}: {file}")

    def _section(self, name: str) -> Mapping[str, Any]:
        return self._tree.get(name) or {}

    def _check_sections(self) -> None:
        """Refuse what would be unsafe to do without, name what is merely absent."""
        for name in self._tree:
            if name not in (*_SECTIONS, *_ABSENT):
                raise ConfigError(
                    f"{name}: there is no such section{nearest(str(name), (*_SECTIONS, *_ABSENT))}"
                )
        for name in _SECTIONS[1:]:
            if not isinstance(self._tree.get(name) or {}, dict):
                raise ConfigError(f"{name}: must be a section of options")
        if str(self._tree.get("version", "0.1")) != "0.1":
            raise ConfigError(f"version: {self._tree['version']!r} is not known; it is 0.1")
        http = self._section("http")
        http_options = ("addr", "prefix", "host", "relativeurls", "headers", "tls", "draintimeout")
        parse.refuse_unknown(http, (*http_options, *_ABSENT_OF["http"]), "http.")
        log_options = ("level", "formatter", "fields", "accesslog", *_ABSENT_OF["log"])
        parse.refuse_unknown(self._section("log"), log_options, "log.")
        parse.refuse_unknown(
            self._section("middleware"), ("storage", *_ABSENT_OF["middleware"]), "middleware."
        )
        if str(self._section("log").get("formatter")).strip().lower() == "logstash":
            _log.warning("%s: log.formatter: logstash: lines are objects as 'json' has them", self.source)
        absent = [name for name in _ABSENT if self._tree.get(name)]
        for section, names in _ABSENT_OF.items():
            absent += [f"{section}.{name}" for name in names if self._section(section).get(name)]
        if absent:
            _log.warning("%s: not acted on by this version: %s", self.source, ", ".join(absent))

    @contextlib.contextmanager
    def _at(self, place: str) -> Iterator[None]:
        """Put the file and *place* in front of the errors raised inside."""
        try:
            yield
        except ConfigError as error:
            message = str(error)
            if message.startswith(f"{self.source}: "):
                raise
            raise ConfigError(f"{self.source}: {place}{message}") from None


def override(tree: dict[str, Any], environ: Mapping[str, str], source: str) -> None:
    """Replace values of *tree* by ``REGISTRY_...`` variables, as Distribution does.

    ``REGISTRY_STORAGE_S3_BUCKET`` is ``storage.s3.bucket``, ``REGISTRY_MIDDLEWARE_STORAGE_0_NAME`` the name
    of the first storage middleware. Values are YAML. A variable that names no section is left alone: other
    programs' names begin with ``REGISTRY_`` too. So is ``REGISTRY_VERSION``, with which images say which
    registry is in them.

    :raises ConfigError: for a value that is no YAML, or a path that leads through something else.
    """
    for variable in sorted(name for name in environ if name.startswith(_VARIABLE)):
        path = variable[len(_VARIABLE) :].lower().split("_")
        if path == ["version"]:
            continue
        # The last two are what Kubernetes sets for a service of the name ``registry-redis``.
        if path[0] not in (*_SECTIONS, *_ABSENT) or path[:2] in (["redis", "port"], ["redis", "service"]):
            _log.warning("the variable %s names nothing in a configuration and is ignored", variable)
            continue
        try:
            value = yaml.safe_load(environ[variable])
        except _YAML_ERRORS:
            raise ConfigError(f"{source}: {variable}: the value is no YAML; put it in quotes") from None
        if path in (["storage"], ["auth"]) and isinstance(value, str):  # a name, and no option of it
            value = {value: {}}
        _replace(tree, path, value, f"{source}: {variable}")


def _replace(node: Any, path: list[str], value: Any, where: str) -> None:
    """Set what lies at *path* below *node*, making the sections on the way."""
    step, rest = path[0], path[1:]
    if isinstance(node, list):
        if not step.isdecimal() or int(step) > len(node):
            raise ConfigError(f"{where}: {step!r} is no place in a list of {len(node)}")
        key: Any = int(step)
        if key == len(node):
            node.append(None)
    elif isinstance(node, dict):
        key = next((name for name in node if str(name).lower() == step), step)
        node.setdefault(key, None)
    else:
        raise ConfigError(f"{where}: there is a value, not a section, above {step!r}")
    if not rest:
        node[key] = value
        return
    if node[key] is None:
        node[key] = [] if rest[0].isdecimal() else {}
    _replace(node[key], rest, value, where)


def _parse_yaml(text: str, source: str) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(text)
    except _YAML_ERRORS as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        if isinstance(error, ValueError):
            problem = str(error)
        raise ConfigError(f"{source}{line}: this is no YAML: {problem}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{source}: a configuration is a mapping of sections such as storage and http")
    return tree


def _switch(section: Mapping[str, Any], name: str, default: bool, place: str = "") -> bool:
    """Read ``name: {enabled: true}``.

    :param place: what stands in front of the name in a message.
    """
    value = section.get(name)
    name = place + name
    if value is None:
        return default
    if not isinstance(value, dict):
        raise ConfigError(f"{name}: must be a section with 'enabled'")
    parse.refuse_unknown(value, ("enabled",), f"{name}.")
    return parse.boolean(value.get("enabled", default), f"{name}.enabled")


def _origin(value: object) -> str:
    """Read ``http.host``: scheme and host, perhaps with a port and a path that stands in front of all."""
    text = parse.text(value, "host")
    try:
        parts = urlsplit(text)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number, a bracket that is left open
        known = False
    if not known or any(c in text for c in "?#@\\ ") or not text.isprintable() or not text.isascii():
        raise ConfigError(f"host: {text!r} is no URL; write it like https://registry.example.com")
    return text


def _log_fields(section: object) -> dict[str, Scalar]:
    """Read ``log.fields``: what is added to each line of the log."""
    if not isinstance(section, dict):
        raise ConfigError("fields: must map names to values")
    for name, value in section.items():
        if not _FIELD.fullmatch(str(name)):
            raise ConfigError(f"fields: {name!r} is no name; use letters, digits, '_', '.' and '-'")
        if name in MEMBERS:
            raise ConfigError(f"fields.{name}: lines have a {name!r} of their own; choose another name")
        if not isinstance(value, str | int | float) or (
            isinstance(value, float) and not math.isfinite(value)
        ):
            raise ConfigError(f"fields.{name}: must be text, a number or a truth value")
    return {str(name): value for name, value in section.items()}
