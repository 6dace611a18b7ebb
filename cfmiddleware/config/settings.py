"""Everything that a configuration says, read once and in one place.

A section is read by the file that is named after it, whether or not a part of the program will use it, so
that a mistake gets the same line from every command and every factory. Files that options name, such as keys
and certificates, are opened where a part is built: a command may run as a user that may not read them all.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cfmiddleware.errors import ConfigError
from cfmiddleware.logs import LogOptions
from cfmiddleware.middleware.options import WrapperOptions
from cfmiddleware.registry.auth.schemes import Scheme, read_scheme
from cfmiddleware.registry.retention.tagrules import TagPolicy
from cfmiddleware.storage.driver import Driver

from .cloudfrontoptions import CloudFrontOptions, read_cloudfront
from .edgeoptions import EdgeOptions, read_edge
from .healthoptions import HealthOptions, read_health
from .httpoptions import HTTPOptions, read_http
from .logoptions import read_log
from .metricsoptions import read_metrics
from .notificationsoptions import NotificationsOptions, read_notifications
from .redisoptions import RedisOptions, read_redis
from .registryoptions import RegistryOptions, read_registry
from .retentionoptions import read_retention
from .serveroptions import ServerOptions, read_server
from .storageoptions import StorageOptions, read_storage

_CLOUDFRONT = (".cloudfront.net", ".cloudfront.cn")

_log = logging.getLogger("cfmiddleware")


@dataclass(frozen=True)
class Settings:
    """What the sections say; None for a section that the configuration does not have.

    :param log: how messages and requests are logged.
    :param http: how the registry is reached.
    :param repositories: those whose pulls are counted by their names.
    :param health: what the registry's health depends on.
    :param notifications: who is told of pushes, pulls and deletes.
    :param storage: where everything is kept.
    :param redis: the Redis of the descriptor cache.
    :param registry: what the registry lists and takes.
    :param retention: which tags go by themselves, and which never do.
    :param auth: how clients authenticate.
    :param cloudfront: the wrapper.
    :param edge: the local edge.
    :param server: how gunicorn serves the apps.
    """

    log: LogOptions
    http: HTTPOptions
    repositories: tuple[str, ...]
    health: HealthOptions
    notifications: NotificationsOptions
    storage: StorageOptions
    redis: RedisOptions | None
    registry: RegistryOptions
    retention: TagPolicy
    auth: Scheme | None
    cloudfront: CloudFrontOptions | None
    edge: EdgeOptions | None
    server: ServerOptions

    def check_wrapper(self, options: WrapperOptions) -> None:
        """See that the wrapper's options go with the other sections.

        :raises ConfigError: where they do not, naming the option.
        """
        if self.auth is not None and options.probe == "none":
            raise ConfigError("probe: 'none' authorises every client, so it does not go with 'auth'")
        driver = self.storage.driver
        presigner = driver.presigner if driver is not None else None
        options.check_presigner(is_there=presigner is not None)
        if driver is None or presigner is None or not options.sends_clients_to_s3:
            return
        if options.bucket not in ("", presigner.bucket):
            raise ConfigError(
                f"bucket: must be that of storage.{driver.name}, which signs the URLs of clients near it"
            )

    def check_rewrite(self, wrapper: CloudFrontOptions) -> None:
        """See that an entry ``rewrite`` that stands alone has URLs to change.

        :raises ConfigError: where there are none.
        """
        driver = self.storage.driver
        is_alone = not wrapper.written and bool(wrapper.rewrites_of_s3)
        if is_alone and driver is not None and driver.presigner is None:
            place = wrapper.place.removesuffix(".options.")
            raise ConfigError(
                f"{place}: changes URLs of S3, or of an entry 'cloudfront' or 'redirect', and there are none"
            )

    def unreachable_storage(self, options: WrapperOptions) -> str:
        """Return what an operator should know where CloudFront cannot reach what is stored, else nothing."""
        driver = self.storage.driver
        host = urlsplit(options.baseurl).hostname or ""
        if driver is None or driver.in_bucket or not is_cloudfront(host):
            return ""
        return (
            f"baseurl: {host!r} is CloudFront, which cannot reach storage.{driver.name}: every redirect "
            "leads to an error; CloudFront needs storage.s3"
        )


def is_cloudfront(host: str) -> bool:
    """Return whether a host's name is one that CloudFront gives to distributions."""
    return host.endswith(_CLOUDFRONT)


def read_settings(tree: Mapping[str, Any], here: Path) -> Settings:
    """Return what a configuration says.

    :param tree: its sections, all of them known.
    :param here: the directory that relative paths are relative to.
    :raises ConfigError: for an unknown option, a value that cannot work, and options that do not go together.
    """

    def section(name: str) -> Mapping[str, Any]:
        return tree.get(name) or {}

    log = read_log(section("log"), tree.get("loglevel"))
    http = read_http(section("http"), here)
    storage = read_storage(section("storage"), here)
    driver = storage.driver
    settings = Settings(
        log=log,
        http=http,
        repositories=read_metrics(section("metrics")).repositories,
        health=read_health(section("health"), here),
        notifications=read_notifications(section("notifications"), here),
        storage=storage,
        redis=read_redis(section("redis"), here),
        registry=read_registry(tree),
        retention=read_retention(tree.get("retention")),
        auth=read_scheme(section("auth"), here) if "auth" in tree else None,
        cloudfront=read_cloudfront(
            section("middleware"), here, rootdirectory=bucket_directory(driver), prefix=http.prefix
        ),
        edge=read_edge(section("edge"), here) if "edge" in tree else None,
        server=read_server(
            section("server"), shared=driver is None or driver.shared, draintimeout=http.draintimeout
        ),
    )
    _check(settings)
    return settings


def bucket_directory(driver: Driver | None) -> str:
    """Return the directory of the bucket that the driver's root stands for; empty without a bucket.

    It begins and ends with a slash, so that it can be read as an option is: white space may be part of it.
    """
    root = driver.key("/docker").removesuffix("docker") if driver is not None and driver.in_bucket else ""
    return f"/{root}" if root else ""


def _check(settings: Settings) -> None:
    """See that the sections go together."""
    driver, collections = settings.storage.driver, settings.storage.maintenance.garbagecollect
    if collections.enabled and driver is not None and not driver.shared:
        raise ConfigError(
            f"storage.maintenance.garbagecollect: storage.{driver.name} is the memory of one process, which "
            "another one cannot collect in"
        )
    if collections.enabled and settings.registry.required.collectable and not collections.besidedistribution:
        raise ConfigError(
            "storage.maintenance.garbagecollect: deletes nothing where Distribution uses the storage too "
            "(validation.manifests.mediatypes: distribution); see besidedistribution"
        )
    if settings.storage.maintenance.retention.enabled and not settings.retention.may_take:
        raise ConfigError(
            "storage.maintenance.retention: has nothing to do, because no entry of 'retention' has keep"
        )
    if settings.storage.cache.kind == "redis" and settings.redis is None:
        raise ConfigError("storage.cache.blobdescriptor: redis needs a section 'redis' with 'addr'")
    if settings.cloudfront is not None:
        if not settings.storage.redirect:
            _log.warning(
                "storage.redirect.disable: the registry sends all blobs itself; what middleware.storage says "
                "has no effect on it"
            )
        if settings.cloudfront.options.unsigned and settings.cloudfront.options.baseurl and settings.auth:
            _log.warning(
                "%sunsigned: whoever knows the URL of a blob gets it; only the registry itself asks for a "
                "credential",
                settings.cloudfront.place,
            )
        settings.check_rewrite(settings.cloudfront)
        try:
            settings.check_wrapper(settings.cloudfront.options)
        except ConfigError as error:
            raise ConfigError(f"{settings.cloudfront.place}{error}") from None
    elif settings.edge is not None and settings.edge.publickeys is None:
        raise ConfigError("edge.publickeys: is required where there is no middleware 'cloudfront'")
