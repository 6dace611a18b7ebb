"""From settings to running parts. Nothing is connected to, and no thread is started, before a part is used.

A part raises a :class:`~cfmiddleware.errors.ConfigError` for a file that cannot be used. Its message begins
with the option's place in the configuration.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import socket
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cfmiddleware.errors import ConfigError, ObjectNotFound, cannot_be_read, shown_path
from cfmiddleware.metrics.cells import VARIABLE, directory_of, turn_on
from cfmiddleware.middleware.options import WrapperOptions
from cfmiddleware.middleware.rewriteoptions import RewriteOptions, in_turn
from cfmiddleware.registry.store.paths import EVENTS, blob_data

from .address import SocketPath
from .cloudfrontoptions import CloudFrontOptions
from .edgeoptions import EdgeOptions
from .settings import Settings, bucket_directory
from .storageoptions import no_driver

_log = logging.getLogger("cfmiddleware")

# What no registry stores.
_NO_OBJECT = "/docker/registry/v2/_cfmiddleware/health"

if TYPE_CHECKING:
    from cfmiddleware.digest import Digest
    from cfmiddleware.edge import Edge
    from cfmiddleware.health.board import Board
    from cfmiddleware.health.checks import Check
    from cfmiddleware.health.watch import Health
    from cfmiddleware.middleware.blobsizes import BlobSizes
    from cfmiddleware.middleware.presigned import Presign
    from cfmiddleware.middleware.wrapper import CloudFrontMiddleware
    from cfmiddleware.notifications.entries import EventSpool
    from cfmiddleware.notifications.notifier import Notifier
    from cfmiddleware.process.chores import Chore, Chores
    from cfmiddleware.registry.app import Registry
    from cfmiddleware.registry.cache.descriptors import DescriptorCache
    from cfmiddleware.registry.deletes import Deletes
    from cfmiddleware.registry.retention.expiry import Retention
    from cfmiddleware.registry.retention.tagguard import TagGuard
    from cfmiddleware.signing.keys import PublicKey
    from cfmiddleware.storage.driver import Driver
    from cfmiddleware.wsgi.blobplace import PlaceOf
    from cfmiddleware.wsgi.types import App


def storage(settings: Settings) -> Driver:
    """Return the storage's driver, the same one each time."""
    if settings.storage.driver is None:
        raise no_driver("storage")
    return settings.storage.driver


def counting(directory: Path | None, name: str, repositories: Sequence[str]) -> Path:
    """Count from now on, and return the directory that the counts lie in.

    :param name: by which processes find the directory, if none is given here or in the environment.
    :param repositories: patterns of those whose pulls are counted by their names.
    """
    try:
        if directory is None and VARIABLE not in os.environ:
            directory = directory_of(name)
        return turn_on(directory, repositories=repositories)
    except ImportError as error:
        raise ConfigError(f"{error.name} is not installed; install cfmiddleware[metrics]") from None
    except OSError as error:
        raise ConfigError(f"{error.filename}: cannot count there: {error.strerror}") from None


def health(settings: Settings, board: Board | None = None) -> Health | None:
    """Return what tells whether the registry can do its work, or None where nothing is checked.

    :param board: where other processes read it; with one, there is always something to tell.
    """
    if board is None and not settings.health.has_checks:
        return None
    # Here and below, because a command that serves nothing needs none of the parts of a server, and they take
    # a third of a second to import.
    from cfmiddleware.health.watch import Health

    return Health(list(_checks(settings)), board, redirects=settings.health.redirects)


def _checks(settings: Settings) -> Iterator[Check]:
    from cfmiddleware.health.checks import Check, absent_file, open_port

    options = settings.health
    if options.storagedriver.enabled:
        driver, timing = storage(settings), options.storagedriver
        name = f"storagedriver_{driver.name}"
        yield Check(name, _storage_look(driver), timing.interval, timing.threshold, timing.timeout)
    for file in options.file:
        yield Check(str(file.file), absent_file(str(file.file)), file.interval, file.threshold, file.timeout)
    if options.http:
        # Here, because few configurations need a client of HTTP.
        from cfmiddleware.health.urlcheck import answering_url, shown_url

        names: Counter[str] = Counter()
        for url in options.http:
            look = answering_url(url.uri, url.statuscode, url.headers, url.timeout)
            name = shown_url(url.uri)
            names[name] += 1
            if names[name] > 1:  # they differ in what is not shown
                name = f"{name} ({names[name]})"
            yield Check(name, look, url.interval, url.threshold, url.timeout)
    for port in options.tcp:
        look = open_port(port.addr, port.timeout)
        yield Check(port.addr, look, port.interval, port.threshold, port.timeout)


def _storage_look(driver: Driver) -> Callable[[], None]:
    """Return a look that asks for an object that is not there: a request that lists nothing. A HEAD would not
    tell a bucket that is gone from such an object.
    """

    from cfmiddleware.process.offload import offload

    def read() -> None:
        with contextlib.suppress(ObjectNotFound):
            driver.read(_NO_OBJECT)

    # A disk that does not answer must stop nobody; a storage's client belongs to the process's greenlets.
    return partial(offload, read) if driver.shared and not driver.remote else read


def spool(settings: Settings, name: str) -> EventSpool:
    """Return where events are kept until their endpoints have taken them.

    :param name: by which processes find the directory, if the file names none.
    """
    options = settings.notifications.spool
    if options.bucket:
        return _bucket_spool(storage(settings), options.maxbytes)
    # Here and below, because few configurations need SQLite and a client of HTTP.
    from cfmiddleware.notifications.spool import Spool

    return Spool(options.directory or _spool_directory(name), options.maxbytes, options.sync)


def _spool_directory(name: str) -> Path:
    own = hashlib.sha256(name.encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"cfmiddleware-events-{os.getuid()}-{own}"


def _bucket_spool(driver: Driver, maxbytes: int) -> EventSpool:
    from cfmiddleware.notifications.bucketspool import BucketSpool

    if not driver.shared:
        raise ConfigError(
            f"notifications.spool.bucket: storage.{driver.name} is the memory of one process; "
            "name a 'directory' instead"
        )
    folder = driver.key(EVENTS.rstrip("/"))
    return BucketSpool(driver, EVENTS, maxbytes, f"{driver.describe()}, below {folder}/")


def notifier(settings: Settings, name: str) -> Notifier | None:
    """Return what is told of pushes, pulls and deletes, or None where nobody wants to know.

    :param name: as for :func:`spool`.
    """
    options = settings.notifications
    if not options.enabled:
        return None
    from cfmiddleware.notifications.endpoint import Endpoint
    from cfmiddleware.notifications.envelope import Source, new_id
    from cfmiddleware.notifications.notifier import Notifier

    kept = spool(settings, name)
    try:
        kept.check()
    except ConfigError as error:
        raise ConfigError(f"notifications.spool.directory: {error}") from None
    if options.spool.directory is None and not options.spool.bucket:
        directory = _spool_directory(name)
        if directory.is_symlink() or directory.stat().st_uid != os.getuid():
            raise ConfigError(
                f"notifications.spool.directory: is not set, and {directory} is somebody else's"
            )
        _log.warning(
            "notifications.spool.directory: is not set: events that endpoints have not taken yet are kept in "
            "%s, which may be emptied when the machine or the container starts anew",
            directory,
        )
    endpoints = [
        Endpoint(
            each.name,
            each.url,
            each.headers,
            each.timeout,
            each.threshold,
            each.backoff,
            each.retryfor,
            frozenset((*each.ignore.mediatypes, *each.ignoredmediatypes)),
            frozenset(each.ignore.actions),
        )
        for each in options.enabled
    ]
    wrapper = settings.cloudfront.options if settings.cloudfront is not None else None
    return Notifier(
        endpoints,
        kept,
        Source(_source(settings), new_id()),
        references=options.events.includereferences,
        refuses=options.spool.whenfull == "refuse",
        trustedproxies=wrapper.trustedproxies if wrapper is not None else 0,
    )


def _source(settings: Settings) -> str:
    """Return what events call the registry: the machine's name and the port, as in Distribution."""
    addr = settings.http.addr
    return socket.gethostname() if isinstance(addr, SocketPath) else f"{socket.gethostname()}:{addr[1]}"


def registry(
    settings: Settings,
    health: Health | None = None,
    notifier: Notifier | None = None,
    chores: Chores | None = None,
) -> Registry:
    """Return the registry, not wrapped, and without ``http.headers``.

    :param health: tells whether it can do its work; None if it always can.
    :param notifier: is told of pushes, pulls and deletes; None where nobody wants to know.
    :param chores: what its processes do beside requests; None for nothing.
    """
    # Here and below, because an app that is wrapped needs neither, nor the werkzeug that they need.
    from cfmiddleware.registry.app import Registry

    driver = storage(settings)
    if settings.http.debug.prometheus.enabled:
        from cfmiddleware.storage.timed import timed

        driver = timed(driver)
    return Registry(
        driver,
        prefix=settings.http.prefix,
        host=settings.http.host,
        relativeurls=settings.http.relativeurls,
        delete=settings.storage.delete,
        readonly=settings.storage.maintenance.readonly,
        max_uploads=settings.server.uploads,
        uploadwait=settings.server.uploadwait,
        maxentries=settings.registry.catalog.maxentries,
        maxtags=settings.registry.tags.maxtags,
        required=settings.registry.required,
        descriptors=descriptors(settings),
        health=health,
        notifier=notifier,
        retention=settings.retention,
        auth=settings.auth.authenticator() if settings.auth is not None else None,
        chores=chores,
    )


def deletes(settings: Settings, notifier: Notifier | None) -> Deletes:
    """Return what deletes at an operator's word, as a client would.

    :param notifier: is told of the deletes.
    """
    from cfmiddleware.registry.announcements import Announcements
    from cfmiddleware.registry.app import Registry
    from cfmiddleware.registry.deletes import Deletes

    driver, known = storage(settings), descriptors(settings)
    registry = Registry(
        driver, delete=True, descriptors=known, notifier=notifier, retention=settings.retention
    )
    return Deletes(driver, registry, tag_guard(settings), Announcements(notifier), known)


def retention(
    settings: Settings,
    notifier: Notifier | None,
    parallel: int,
    say: Callable[[str], object],
) -> Retention:
    """Return what deletes the tags that no rule keeps.

    :param notifier: is told of the deletes.
    """
    from cfmiddleware.registry.announcements import Announcements
    from cfmiddleware.registry.retention.expiry import Retention

    events = Announcements(notifier)
    return Retention(storage(settings), settings.retention, events, parallel, say)


def tag_guard(settings: Settings) -> TagGuard:
    """Return what tells whether a tag, a manifest or a blob may be deleted."""
    from cfmiddleware.registry.retention.tagguard import TagGuard
    from cfmiddleware.registry.tags import Tags

    driver, policy = storage(settings), settings.retention
    return TagGuard(driver, Tags(driver, policy=policy), policy)


def chores(
    settings: Settings, name: str, given: Callable[[], bytes], notifier: Notifier | None
) -> Chores | None:
    """Return what a process that serves the registry does beside its requests, or None if that is nothing.

    :param name: by which processes find one another.
    :param given: returns what a process of its own makes the same configuration of.
    :param notifier: is told of the deletes of retention.
    """
    if settings.storage.driver is None or settings.storage.maintenance.readonly:
        return None
    driver, purging = settings.storage.driver, settings.storage.maintenance.uploadpurging
    from cfmiddleware.process.chores import Chores

    found: list[Chore] = []
    if purging.enabled:
        from cfmiddleware.registry.purging.purgebyitself import PurgeByItself

        found.append(PurgeByItself(driver, purging.age, purging.interval, dryrun=purging.dryrun))
    retaining = settings.storage.maintenance.retention
    if retaining.enabled:
        from cfmiddleware.registry.announcements import Announcements
        from cfmiddleware.registry.retention.retainbyitself import RetainByItself

        events = Announcements(notifier)
        found.append(RetainByItself(driver, settings.retention, events, retaining.interval))
    collections = settings.storage.maintenance.garbagecollect
    if collections.enabled:
        from cfmiddleware.registry.collect.byitself import CollectionByItself, Schedule

        schedule = Schedule(collections.interval, collections.window)
        found.append(CollectionByItself(driver, schedule, given))
    return Chores(found, name if driver.shared else "") if found else None


def descriptors(settings: Settings) -> DescriptorCache | None:
    """Return the descriptor cache, or None where the storage is asked each time."""
    cache = settings.storage.cache
    # Files of a section that is not used are read as well, so that they are right on the day that it is.
    redis: dict[str, Any] = {}
    if settings.redis is not None:
        from .redisclient import client_settings, redis_descriptors

        redis = client_settings(settings.redis)
    if cache.kind == "inmemory":
        from cfmiddleware.registry.cache.descriptors import InMemoryDescriptorCache

        return InMemoryDescriptorCache(cache.blobdescriptorsize, cache.blobdescriptorttl)
    if cache.kind == "redis":
        assert settings.redis is not None  # noqa: S101 (see settings.py)
        return redis_descriptors(settings.redis, redis, storage(settings).identity(), cache.blobdescriptorttl)
    return None


def cloudfront(settings: Settings) -> CloudFrontOptions:
    """Return the wrapper's entry.

    :raises ConfigError: where there is none.
    """
    if settings.cloudfront is None:
        raise ConfigError("middleware.storage: there is no entry with the name 'cloudfront'")
    return settings.cloudfront


def wrapper(
    app: App, settings: Settings, options: WrapperOptions, place_of: PlaceOf | None = None
) -> CloudFrontMiddleware:
    """Return *app* wrapped.

    :param options: the wrapper's options: those of the settings, or others in their place.
    :param place_of: asks *app* where a blob is; None for an app that only speaks WSGI.
    :raises ConfigError: for options that do not go with the settings or cannot work, naming the option.
    """
    from cfmiddleware.middleware.wrapper import CloudFrontMiddleware

    settings.check_wrapper(options)
    driver = settings.storage.driver
    warning = settings.unreachable_storage(options)
    if warning:
        _log.warning("%s", warning)
    presigner = driver.presigner if driver is not None else None
    entry = settings.cloudfront
    sizes = _sizes(settings, options)
    if entry is None:
        return CloudFrontMiddleware(app, options, presign=presigner, sizes=sizes, place_of=place_of)
    return CloudFrontMiddleware(
        app,
        options,
        presign=presigner and _rewritten(presigner, entry.rewrites_of_s3),
        rewrites=entry.rewrites,
        sizes=sizes,
        place_of=place_of,
    )


def _sizes(settings: Settings, options: WrapperOptions) -> BlobSizes:
    """Return what counts redirects and their bytes."""
    from cfmiddleware.middleware.blobsizes import BlobSizes

    driver = settings.storage.driver
    size_of = None
    if driver is not None and options.layout == "distribution":
        size_of = partial(_size_of, driver)
    return BlobSizes(size_of)


def _size_of(driver: Driver, digest: Digest) -> int:
    return driver.stat(blob_data(digest)).size


def _rewritten(presign: Presign, rewrites: tuple[RewriteOptions, ...]) -> Presign:
    """Return a presigner whose URLs are changed."""
    if not rewrites:
        return presign

    def presigned(key: str, expires: int) -> tuple[str, int]:
        url, end = presign(key, expires)
        return in_turn(rewrites, url), end

    return presigned


def edge(settings: Settings, here: Path) -> Edge:
    """Return the edge: the wrapper's counterpart, except for what the section ``edge`` says.

    :param here: the directory that relative paths are relative to.
    """
    from cfmiddleware.edge import Edge

    options = settings.edge or EdgeOptions()
    wrapper = settings.cloudfront.options if settings.cloudfront is not None else None
    root, origin = options.rootdirectory, options.originpath
    if root is None:
        root = (wrapper.rootdirectory if wrapper else "") or bucket_directory(settings.storage.driver)
    if origin is None and wrapper is not None:
        origin = wrapper.originpath
    return Edge(
        options.storage or storage(settings),
        publickeys=_public_keys(options, wrapper, here),
        originpath=root if origin is None else origin,
        rootdirectory=root,
        trustedproxies=options.trustedproxies,
        digestheader=options.digestheader,
    )


def _public_keys(
    options: EdgeOptions, wrapper: WrapperOptions | None, here: Path
) -> Mapping[str, PublicKey] | Callable[[], Mapping[str, PublicKey]]:
    """Return the keys whose signatures the edge accepts: those named, or the wrapper's own."""
    if options.publickeys is not None:
        return {name: _public_key(name, file, here) for name, file in options.publickeys.items()}
    if wrapper is None or not wrapper.privatekey:
        raise ConfigError("edge.publickeys: is required where there is no middleware 'cloudfront'")
    from cfmiddleware.signing.keyring import KeyRing

    try:
        # The files are looked at with every request: the wrapper may sign with a new key at any moment.
        ring = KeyRing.from_options(wrapper.privatekey, wrapper.keypairid, interval=0)
    except ConfigError as error:
        raise ConfigError(f"edge.publickeys: the wrapper's own cannot be used: {error}") from None
    # Before any fork: a worker that gets its first request after a change of keys must still accept the URLs
    # that were signed before it.
    ring.public_keys()
    return ring.public_keys


def _public_key(name: str, file: str, here: Path) -> PublicKey:
    from cfmiddleware.signing.keys import load_public_key

    place = f"edge.publickeys.{name}"
    if "-----BEGIN" in file:
        return load_public_key(file, place)
    try:
        text = (here / file).read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{place}: {shown_path(file)} {cannot_be_read(error)}") from None
    return load_public_key(text, f"{place}: {file}")
