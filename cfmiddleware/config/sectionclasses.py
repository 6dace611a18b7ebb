"""Which dataclass holds the options of which section of a configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from cfmiddleware.middleware.options import WrapperOptions
from cfmiddleware.middleware.rewriteoptions import RewriteOptions
from cfmiddleware.registry.auth.schemeoptions import HtpasswdOptions, TokenOptions
from cfmiddleware.storage.filesystem.filesystemoptions import FilesystemOptions
from cfmiddleware.storage.s3.options import S3Options

from .cacheoptions import CacheOptions
from .collectionoptions import CollectionOptions
from .debugoptions import DebugOptions, PrometheusOptions
from .edgeoptions import EdgeOptions
from .healthoptions import (
    FileCheckOptions,
    HealthOptions,
    HTTPCheckOptions,
    StorageCheckOptions,
    TCPCheckOptions,
)
from .httpoptions import HTTPOptions
from .logoptions import LogSection
from .maintenanceoptions import MaintenanceOptions
from .metricsoptions import MetricsOptions
from .notificationsoptions import (
    EndpointOptions,
    EventOptions,
    IgnoreOptions,
    NotificationsOptions,
    SpoolOptions,
)
from .purgeoptions import PurgeOptions
from .redisoptions import RedisOptions, RedisTLSOptions
from .registryoptions import (
    CatalogOptions,
    IndexOptions,
    ManifestOptions,
    TagsOptions,
    URLOptions,
    ValidationOptions,
)
from .retentionoptions import KeepOptions, RetainOptions, RetentionOptions
from .serveroptions import ServerOptions
from .settings import Settings
from .storageoptions import StorageOptions
from .tlsoptions import TLSOptions

Placed = tuple[str, object]


class SectionClass(NamedTuple):
    """The options of a section.

    :param place: the section's place in a configuration; ``[]`` stands for any entry of a list.
    :param kind: the dataclass.
    :param found: yields the sections of a configuration with their options, each with its place; those that
        it does not have and that nothing stands for are left out.
    """

    place: str
    kind: type
    found: Callable[[Settings], Iterable[Placed]]


def _one(place: str, options: object) -> list[Placed]:
    return [] if options is None else [(place, options)]


def _each(place: str, entries: Iterable[object]) -> list[Placed]:
    return [(f"{place}[{index}]", options) for index, options in enumerate(entries)]


def _wrapper(settings: Settings) -> Iterator[Placed]:
    if settings.cloudfront is not None:
        yield settings.cloudfront.place.removesuffix("."), settings.cloudfront.options


def _ignored(settings: Settings) -> list[Placed]:
    endpoints = settings.notifications.endpoints
    return [(f"notifications.endpoints[{n}].ignore", each.ignore) for n, each in enumerate(endpoints)]


def _s3(settings: Settings) -> list[Placed]:
    return _one("storage.s3", getattr(settings.storage.driver, "options", None))


def _filesystem(settings: Settings) -> list[Placed]:
    driver = settings.storage.driver
    is_named = driver is not None and driver.name == "filesystem"
    return [("storage.filesystem", FilesystemOptions())] if is_named else []


def _scheme(name: str) -> Callable[[Settings], list[Placed]]:
    def found(settings: Settings) -> list[Placed]:
        auth = settings.auth
        return [(f"auth.{name}", auth.options)] if auth is not None and auth.name == name else []

    return found


def _nothing(settings: Settings) -> tuple[()]:
    """Return nothing: of these sections only what is written is known."""
    return ()


#: All of them, in the order in which they are shown.
SECTION_CLASSES = (
    SectionClass("log", LogSection, _nothing),
    SectionClass("http", HTTPOptions, lambda s: [("http", s.http)]),
    SectionClass("http.tls", TLSOptions, lambda s: _one("http.tls", s.http.tls)),
    SectionClass("http.debug", DebugOptions, lambda s: [("http.debug", s.http.debug)]),
    SectionClass(
        "http.debug.prometheus",
        PrometheusOptions,
        lambda s: [("http.debug.prometheus", s.http.debug.prometheus)],
    ),
    SectionClass("storage", StorageOptions, lambda s: [("storage", s.storage)]),
    SectionClass("storage.filesystem", FilesystemOptions, _filesystem),
    SectionClass("storage.s3", S3Options, _s3),
    SectionClass("storage.cache", CacheOptions, lambda s: [("storage.cache", s.storage.cache)]),
    SectionClass(
        "storage.maintenance", MaintenanceOptions, lambda s: [("storage.maintenance", s.storage.maintenance)]
    ),
    SectionClass(
        "storage.maintenance.uploadpurging",
        PurgeOptions,
        lambda s: [("storage.maintenance.uploadpurging", s.storage.maintenance.uploadpurging)],
    ),
    SectionClass(
        "storage.maintenance.retention",
        RetainOptions,
        lambda s: [("storage.maintenance.retention", s.storage.maintenance.retention)],
    ),
    SectionClass(
        "storage.maintenance.garbagecollect",
        CollectionOptions,
        lambda s: [("storage.maintenance.garbagecollect", s.storage.maintenance.garbagecollect)],
    ),
    SectionClass("middleware.storage[].options", WrapperOptions, _wrapper),
    SectionClass("middleware.storage[].options", RewriteOptions, _nothing),
    SectionClass("auth.htpasswd", HtpasswdOptions, _scheme("htpasswd")),
    SectionClass("auth.token", TokenOptions, _scheme("token")),
    SectionClass("catalog", CatalogOptions, lambda s: [("catalog", s.registry.catalog)]),
    SectionClass("tags", TagsOptions, lambda s: [("tags", s.registry.tags)]),
    SectionClass("validation", ValidationOptions, lambda s: [("validation", s.registry.validation)]),
    SectionClass(
        "validation.manifests",
        ManifestOptions,
        lambda s: [("validation.manifests", s.registry.validation.manifests)],
    ),
    SectionClass(
        "validation.manifests.indexes",
        IndexOptions,
        lambda s: [("validation.manifests.indexes", s.registry.validation.manifests.indexes)],
    ),
    SectionClass("validation.manifests.urls", URLOptions, _nothing),
    SectionClass("redis", RedisOptions, lambda s: _one("redis", s.redis)),
    SectionClass("redis.tls", RedisTLSOptions, _nothing),
    SectionClass("retention[]", RetentionOptions, _nothing),
    SectionClass("retention[].keep", KeepOptions, _nothing),
    SectionClass("health", HealthOptions, lambda s: [("health", s.health)]),
    SectionClass(
        "health.storagedriver",
        StorageCheckOptions,
        lambda s: [("health.storagedriver", s.health.storagedriver)],
    ),
    SectionClass("health.file[]", FileCheckOptions, lambda s: _each("health.file", s.health.file)),
    SectionClass("health.http[]", HTTPCheckOptions, lambda s: _each("health.http", s.health.http)),
    SectionClass("health.tcp[]", TCPCheckOptions, lambda s: _each("health.tcp", s.health.tcp)),
    SectionClass("metrics", MetricsOptions, _nothing),
    SectionClass("notifications", NotificationsOptions, _nothing),
    SectionClass(
        "notifications.events",
        EventOptions,
        lambda s: [("notifications.events", s.notifications.events)],
    ),
    SectionClass(
        "notifications.endpoints[]",
        EndpointOptions,
        lambda s: _each("notifications.endpoints", s.notifications.endpoints),
    ),
    SectionClass("notifications.endpoints[].ignore", IgnoreOptions, _ignored),
    SectionClass(
        "notifications.spool", SpoolOptions, lambda s: [("notifications.spool", s.notifications.spool)]
    ),
    SectionClass("edge", EdgeOptions, lambda s: _one("edge", s.edge)),
    SectionClass("server", ServerOptions, lambda s: [("server", s.server)]),
)
