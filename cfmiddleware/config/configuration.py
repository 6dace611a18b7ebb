"""A configuration as the rest of the package sees it."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfmiddleware.errors import ConfigError
from cfmiddleware.logs import LogOptions
from cfmiddleware.wsgi.headers import ExtraHeaders

from . import build
from .address import Address, SocketPath
from .secretfiles import with_secrets
from .serveroptions import ServerOptions
from .settings import read_settings
from .tlsoptions import TLSOptions
from .tree import known_sections, load_tree

if TYPE_CHECKING:
    from cfmiddleware.edge import Edge
    from cfmiddleware.health.board import Board
    from cfmiddleware.health.watch import Health
    from cfmiddleware.middleware.wrapper import CloudFrontMiddleware
    from cfmiddleware.notifications.entries import EventSpool
    from cfmiddleware.notifications.notifier import Notifier
    from cfmiddleware.process.chores import Chores
    from cfmiddleware.registry.app import Registry
    from cfmiddleware.registry.cache.descriptors import DescriptorCache
    from cfmiddleware.registry.deletes import Deletes
    from cfmiddleware.registry.retention.expiry import Retention
    from cfmiddleware.registry.retention.tagguard import TagGuard
    from cfmiddleware.storage.driver import Driver
    from cfmiddleware.wsgi.types import App

_log = logging.getLogger("cfmiddleware")

# How many apps may surround another one.
_DEEPEST = 20


class Config:
    """A configuration that was read and checked as a whole, and what can be built from it.

    The file is the one that Distribution reads, with the sections ``edge`` and ``server`` added. Files that
    options name are opened where a part is built.

    :param tree: the sections, as YAML gives them.
    :param source: what messages call the configuration: the file's name.
    :param here: the directory that relative paths are relative to.
    :raises ConfigError: for a mistake anywhere in it, in one line: the source, the key's path, what is wrong.
    """

    def __init__(self, tree: Mapping[str, Any], source: str, here: Path) -> None:
        self.source = source
        self._here = here
        # For processes of their own that need the same configuration.
        self._given = (tree, source, here)
        with self.located():
            #: What the sections say.
            self.settings = read_settings(known_sections(with_secrets(tree, here), source), here)

    @classmethod
    def load(cls, path: str | os.PathLike[str], environ: Mapping[str, str] = os.environ) -> Config:
        """Read a file.

        :param environ: where the ``REGISTRY_...`` variables are looked up.
        :raises ConfigError: for a file that cannot be read or is not YAML, and for a mistake in it.
        """
        return cls(load_tree(path, environ), str(path), Path(path).resolve().parent)

    @contextlib.contextmanager
    def located(self, place: str = "") -> Iterator[None]:
        """Put the source and *place* in front of the errors raised inside.

        :param place: what is missing in front of the option's name, such as ``http.tls.``.
        """
        try:
            yield
        except ConfigError as error:
            raise ConfigError(f"{self.source}: {place}{error}") from None

    # What is built

    def driver(self) -> Driver:
        """Return the storage's driver, the same one each time."""
        with self.located():
            return build.storage(self.settings)

    def registry(self, health: Health | None = None) -> Registry:
        """Return the registry, not wrapped, and without ``http.headers``.

        :param health: tells whether it can do its work; by default what the section ``health`` says.
        """
        health, notifier = health or self.health(), self.notifier
        with self.located():
            return build.registry(self.settings, health, notifier, self.chores)

    def health(self, board: Board | None = None) -> Health | None:
        """Return what tells whether the registry can do its work, or None where nothing is checked.

        :param board: where other processes read it; with one, there is always something to tell.
        """
        with self.located():
            return build.health(self.settings, board)

    @cached_property
    def notifier(self) -> Notifier | None:
        """What is told of pushes, pulls and deletes, or None where nobody wants to know."""
        with self.located():
            return build.notifier(self.settings, self._name)

    def retention(
        self, *, tell: bool = True, parallel: int = 16, say: Callable[[str], object] = lambda _: None
    ) -> Retention:
        """Return what deletes the tags that no rule of the section ``retention`` keeps.

        :param tell: whether the endpoints of ``notifications`` are told of the deletes.
        :param parallel: how many requests to the storage are made at a time.
        :param say: is told what is done, for people.
        """
        notifier = self.notifier if tell else None
        with self.located():
            return build.retention(self.settings, notifier, parallel, say)

    def deletes(self, *, tell: bool = True) -> Deletes:
        """Return what deletes at an operator's word, as a client would.

        :param tell: whether the endpoints of ``notifications`` are told.
        """
        notifier = self.notifier if tell else None
        with self.located():
            return build.deletes(self.settings, notifier)

    def tag_guard(self) -> TagGuard:
        """Return what tells whether a tag, a manifest or a blob may be deleted, or is protected."""
        with self.located():
            return build.tag_guard(self.settings)

    @cached_property
    def chores(self) -> Chores | None:
        """What a process that serves the registry does beside its requests, or None if that is nothing."""
        notifier = self.notifier
        with self.located():
            return build.chores(self.settings, self._name, lambda: pickle.dumps(self._given), notifier)

    def spool(self) -> EventSpool:
        """Return where events are kept until their endpoints have taken them."""
        with self.located():
            return build.spool(self.settings, self._name)

    @property
    def _name(self) -> str:
        """What processes find one another by."""
        return str(self._here / Path(self.source).name)

    def descriptors(self) -> DescriptorCache | None:
        """Return the descriptor cache, or None where the storage is asked each time."""
        with self.located():
            return build.descriptors(self.settings)

    def wrap(self, app: App, further: Mapping[str, Any] | None = None) -> CloudFrontMiddleware:
        """Return *app* wrapped as the section ``middleware`` says.

        :param further: options that take the place of the file's.
        :raises ConfigError: where the file has no storage middleware ``cloudfront``, and for options that
            cannot work.
        """
        with self.located():
            entry = build.cloudfront(self.settings)
        # Not inside: a mistake in these options is not in the file.
        options = entry.options.updated(further) if further else entry.options
        with self.located(entry.place):
            return build.wrapper(app, self.settings, options)

    def _wrapped(self, registry: Registry) -> CloudFrontMiddleware:
        """Return the registry of this configuration wrapped as the section ``middleware`` says."""
        with self.located():
            entry = build.cloudfront(self.settings)
        with self.located(entry.place):
            return build.wrapper(
                registry, self.settings, entry.options, registry.place_of(entry.options.prefix)
            )

    def surrounded(self, app: App, further: Mapping[str, Any] | None = None) -> App:
        """Return *app* wrapped, with what the sections ``notifications`` and ``health`` say.

        :param further: as for :meth:`wrap`.
        """
        wrapped = self.wrap(app, further)
        told = self.announced(wrapped)
        if not self.settings.health.has_checks or _is_ours(app):
            return told
        from cfmiddleware.middleware.guarded import Guarded

        health = self.health()
        return told if health is None else Guarded(told, health, wrapped.prefix)

    def announced(self, app: CloudFrontMiddleware) -> App:
        """Return an app that was wrapped, and of whose requests the endpoints of ``notifications`` are told.

        A registry of this package that tells of them itself goes on to do so.
        """
        from cfmiddleware.middleware.announced import Announced

        notifier = self.notifier
        return app if notifier is None else Announced(app, notifier, app.prefix)

    def app(self, health: Health | None = None) -> App:
        """Return the registry, wrapped if the file says so, with ``http.headers`` on all of its responses.

        :param health: as for :meth:`registry`.
        """
        self.turn_on_metrics()
        registry = self.registry(health)
        if not self.has_wrapper():
            return self.with_headers(registry)
        wrapped = self._wrapped(registry)
        entry, notifier = self.settings.cloudfront, self.notifier
        asks_nobody = entry is not None and entry.options.probe == "none"
        # The registry then hears of no pull that is redirected.
        tells = asks_nobody and notifier is not None and notifier.wants("pull")
        return self.with_headers(self.announced(wrapped) if tells else wrapped)

    def with_headers(self, app: App) -> App:
        """Return *app* with ``http.headers`` on all of its responses."""
        headers = self.settings.http.headers
        return ExtraHeaders(app, headers) if headers else app

    def counts(self) -> bool:
        """Return whether there are metrics (``http.debug.prometheus.enabled``)."""
        return self.settings.http.debug.prometheus.enabled

    def turn_on_metrics(self, directory: Path | None = None) -> Path | None:
        """Count from now on, if the file says so, and return the directory that the counts lie in.

        :param directory: where; by default where all processes with this file find it.
        :raises ConfigError: if prometheus_client is missing, or nothing can be written there.
        """
        if not self.counts():
            return None
        with self.located("http.debug.prometheus.enabled: "):
            return build.counting(directory, self._name, self.settings.repositories)

    def edge(self) -> Edge:
        """Return the edge: the wrapper's counterpart, except for what the section ``edge`` says."""
        with self.located():
            return build.edge(self.settings, self._here)

    # What the server needs to know

    def edge_driver(self) -> Driver:
        """Return the driver of the storage that the edge reads: its own, or the registry's."""
        own = self.settings.edge.storage if self.settings.edge is not None else None
        return own or self.driver()

    def address(self) -> Address | SocketPath:
        """Return where the registry listens."""
        return self.settings.http.addr

    def debug_address(self) -> Address | None:
        """Return where the debug listener is, or None if the file asks for none."""
        return self.settings.http.debug.addr

    def edge_address(self) -> Address | None:
        """Return where the edge listens, or None if the file asks for no edge."""
        return self.settings.edge.addr if self.settings.edge is not None else None

    def server_options(self) -> ServerOptions:
        """Return the section ``server``."""
        return self.settings.server

    def log_options(self) -> LogOptions:
        """Return the section ``log``."""
        return self.settings.log

    def tls_options(self) -> TLSOptions | None:
        """Return the section ``http.tls``, or None for plain HTTP."""
        return self.settings.http.tls

    def trusted_proxies(self) -> int:
        """Return how many proxies in front the wrapper trusts, 0 where there is no wrapper."""
        return self.settings.cloudfront.options.trustedproxies if self.settings.cloudfront is not None else 0

    def has_auth(self) -> bool:
        """Return whether clients must authenticate."""
        return self.settings.auth is not None

    def has_wrapper(self) -> bool:
        """Return whether the file asks for the CloudFront wrapper, and does not switch redirects off."""
        return self.settings.cloudfront is not None and self.settings.storage.redirect

    def allows_deletes(self) -> bool:
        """Return whether ``storage.delete`` lets clients delete blobs, manifests and tags."""
        return self.settings.storage.delete

    def is_readonly(self) -> bool:
        """Return whether ``storage.maintenance`` refuses every request that would change something."""
        return self.settings.storage.maintenance.readonly

    def data(self) -> str:
        """Return where the data is, for people."""
        return self.driver().describe()

    def edge_is_blind(self) -> bool:
        """Return whether an edge in a process of its own would not see what the registry stores."""
        return not self.edge_driver().shared

    def warn_of_what_serve_does(self) -> None:
        """Say what has no effect where another server than the command serves the registry."""
        if self.debug_address() is not None:
            _log.warning(
                "%s: http.debug.addr: is for 'cfmiddleware serve'; under this server nothing listens there. "
                "Serve cfmiddleware.server:debug at that address",
                self.source,
            )
        if self.settings.http.tls is not None:
            _log.warning(
                "%s: http.tls: is for 'cfmiddleware serve'; give this server the certificate itself "
                "(gunicorn: --certfile and --keyfile)",
                self.source,
            )


def _is_ours(app: object) -> bool:
    """Return whether an app is this package's registry, as far as what surrounds it can be looked through."""
    from cfmiddleware.registry.app import Registry

    for _ in range(_DEEPEST):
        if app is None or isinstance(app, Registry):
            break
        app = getattr(app, "app", None)
    return isinstance(app, Registry)
