"""Every key of Distribution's configuration, in its versions 2 and 3, and what becomes of it here.

The start's warnings, the table in the docs and the test that walks all keys are made from this list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from cfmiddleware.errors import ConfigError

#: ``acted on``; ``not needed``, of which nothing is said because nothing is missing; ``warned``, in a line of
#: its own; ``error``, which ends the start.
Verdict = Literal["acted on", "not needed", "warned", "error"]


def has_value(value: object) -> bool:
    """Return whether a section says anything: files often have sections whose values are empty or off."""
    if isinstance(value, Mapping):
        return any(map(has_value, value.values()))
    if isinstance(value, list):
        return any(map(has_value, value))
    return bool(value)


class Key(NamedTuple):
    """A key, or several that lie below one section and share a verdict.

    :param name: the path from the top of the file.
    :param verdict: what becomes of it.
    :param text: what it means for the operator. A warning or an error says it.
    :param below: the keys below *name* that this is about; none if it is about *name* itself.
    :param asks: whether a value at *name* asks for something that is missing here.
    """

    name: str
    verdict: Verdict
    text: str
    below: tuple[str, ...] = ()
    asks: Callable[[object], bool] = has_value

    @property
    def names(self) -> tuple[str, ...]:
        """The whole path of each key."""
        return tuple(f"{self.name}.{key}" for key in self.below) or (self.name,)


def _is_on(value: object) -> bool:
    """Return whether a hook, or an extension, is not disabled."""
    entries = value if isinstance(value, list) else [value]
    return any(has_value(e) and not (isinstance(e, Mapping) and e.get("disabled")) for e in entries)


def _enabled(value: object) -> bool:
    return isinstance(value, Mapping) and value.get("enabled") not in (None, False, "false")


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_NO_DRIVER = "there is no such driver; there are filesystem, inmemory and s3"

#: The keys, section by section in the order of Distribution's reference.
KEYS: tuple[Key, ...] = (
    Key("version", "acted on", "0.1 is the only one"),
    Key("log", "acted on", "", _words("level formatter fields accesslog.disabled")),
    Key(
        "log.hooks",
        "warned",
        "no mail is sent for messages of the log",
        _words(
            "disabled type levels options.smtp.addr options.smtp.username options.smtp.password "
            "options.smtp.insecure options.from options.to"
        ),
        _is_on,
    ),
    Key("log.reportcaller", "warned", "messages do not name the line of the program that wrote them"),
    Key("loglevel", "acted on", "counts where log.level is not given"),
    Key("storage.filesystem.rootdirectory", "acted on", ""),
    Key(
        "storage.filesystem.maxthreads",
        "acted on",
        "it always holds: a worker works on one file at a time",
    ),
    Key(
        "storage.s3",
        "acted on",
        "",
        _words(
            "accesskey secretkey region regionendpoint redirectendpoint forcepathstyle bucket encrypt keyid "
            "secure skipverify v4auth chunksize multipartcopychunksize multipartcopymaxconcurrency "
            "multipartcopythresholdsize rootdirectory storageclass useragent usedualstack accelerate "
            "usefipsendpoint objectacl loglevel"
        ),
    ),
    Key("storage.inmemory", "acted on", ""),
    Key(
        "storage.azure",
        "error",
        _NO_DRIVER,
        _words(
            "accountname accountkey container rootdirectory realm credentials.type credentials.clientid "
            "credentials.tenantid credentials.secret max_retries retry_delay"
        ),
    ),
    Key(
        "storage.gcs",
        "error",
        _NO_DRIVER,
        _words(
            "bucket keyfile rootdirectory chunksize credentials.type credentials.project_id "
            "credentials.private_key_id credentials.private_key credentials.client_email "
            "credentials.client_id credentials.auth_uri credentials.token_uri "
            "credentials.auth_provider_x509_cert_url credentials.client_x509_cert_url"
        ),
    ),
    Key(
        "storage.swift",
        "error",
        _NO_DRIVER,
        _words(
            "username password authurl tenant tenantid domain domainid insecureskipverify region container "
            "rootdirectory"
        ),
    ),
    Key(
        "storage.oss",
        "error",
        _NO_DRIVER,
        _words(
            "accesskeyid accesskeysecret region endpoint internal bucket encrypt secure chunksize "
            "rootdirectory"
        ),
    ),
    Key(
        "storage.tag.concurrencylimit",
        "not needed",
        "how many tags are looked up side by side follows from the storage",
    ),
    Key("storage.delete.enabled", "acted on", ""),
    Key("storage.redirect.disable", "acted on", ""),
    Key("storage.cache", "acted on", "", _words("blobdescriptor blobdescriptorsize layerinfo")),
    Key(
        "storage.maintenance.uploadpurging",
        "acted on",
        "an upload's age is counted from when somebody last wrote to it",
        _words("enabled age interval dryrun"),
    ),
    Key("storage.maintenance.readonly.enabled", "acted on", ""),
    Key("auth.silly", "error", "there are htpasswd and token", _words("realm service")),
    Key(
        "auth.token",
        "acted on",
        "",
        _words("autoredirect autoredirectpath realm service issuer rootcertbundle jwks signingalgorithms"),
    ),
    Key("auth.htpasswd", "acted on", "", _words("realm path")),
    Key(
        "middleware.registry",
        "warned",
        "Distribution's own extensions in Go cannot be loaded",
        _words("name options"),
        _is_on,
    ),
    Key(
        "middleware.repository",
        "warned",
        "Distribution's own extensions in Go cannot be loaded",
        _words("name options"),
        _is_on,
    ),
    Key("middleware.storage", "acted on", "", _words("name disabled")),
    Key(
        "middleware.storage.cloudfront",
        "acted on",
        "an entry with this name",
        _words(
            "baseurl privatekey keypairid duration ipfilteredby awsregion updatefrequency updatefrenquency "
            "iprangesurl"
        ),
    ),
    Key("middleware.storage.redirect.baseurl", "acted on", "an entry with this name"),
    Key(
        "middleware.storage.rewrite",
        "acted on",
        "an entry with this name",
        _words("scheme host trimpathprefix"),
    ),
    Key(
        "reporting.bugsnag",
        "warned",
        "no error is reported there; errors are in the log",
        _words("apikey releasestage endpoint"),
    ),
    Key(
        "reporting.newrelic",
        "warned",
        "nothing is reported there; errors and requests are in the log",
        _words("licensekey name verbose"),
    ),
    Key("catalog.maxentries", "acted on", ""),
    Key("tags.maxtags", "acted on", ""),
    Key("http", "acted on", "", _words("addr net prefix host relativeurls draintimeout headers debug.addr")),
    Key("http.secret", "not needed", "what signs the URLs of uploads lies in the storage"),
    Key(
        "http.tls",
        "acted on",
        "",
        _words("certificate key clientcas clientauth minimumtls ciphersuites"),
    ),
    Key(
        "http.tls.letsencrypt",
        "error",
        "this version fetches no certificates",
        _words("cachefile email hosts directoryurl"),
    ),
    Key("http.debug.prometheus", "acted on", "", _words("enabled path")),
    Key("http.http2.disabled", "not needed", "HTTP/1.1 is spoken; HTTP/2 is left to a proxy"),
    Key(
        "http.h2c.enabled",
        "warned",
        "HTTP/2 is not spoken; a proxy that speaks nothing else to the registry gets no answer",
        (),
        lambda value: value not in (None, False, "false"),
    ),
    Key("notifications.events.includereferences", "acted on", ""),
    Key(
        "notifications.endpoints",
        "acted on",
        "",
        _words(
            "name disabled url headers timeout threshold backoff ignoredmediatypes ignore.mediatypes "
            "ignore.actions"
        ),
    ),
    Key(
        "redis",
        "acted on",
        "",
        _words(
            "addr addrs username password db dialtimeout readtimeout writetimeout poolsize pool.maxactive "
            "maxactiveconns pooltimeout mastername sentinelusername sentinelpassword clientname maxretries "
            "minretrybackoff maxretrybackoff maxredirects protocol"
        ),
    ),
    Key("redis.tls", "acted on", "", _words("enabled certificate key rootcas clientcas")),
    *(
        Key(name, "warned", "the connections that were made are kept, poolsize of them at the most")
        for name in ("redis.pool.maxidle", "redis.maxidleconns")
    ),
    Key("redis.minidleconns", "warned", "connections are made when they are first needed"),
    *(
        Key(name, "warned", "connections stay open until Redis closes them, and are then made anew")
        for name in ("redis.pool.idletimeout", "redis.connmaxidletime", "redis.connmaxlifetime")
    ),
    *(
        Key(name, "warned", "the masters are asked: replicas may still have what was deleted")
        for name in ("redis.readonly", "redis.routebylatency", "redis.routerandomly")
    ),
    *(
        Key(name, "not needed", "it is about the inside of Distribution's client")
        for name in (
            "redis.contexttimeoutenabled",
            "redis.poolfifo",
            "redis.disableidentity",
            "redis.identitysuffix",
            "redis.unstableresp3",
        )
    ),
    Key("health.storagedriver", "acted on", "", _words("enabled interval threshold")),
    Key("health.file", "acted on", "", _words("file interval threshold")),
    Key("health.http", "acted on", "", _words("uri headers statuscode timeout interval threshold")),
    Key("health.tcp", "acted on", "", _words("addr timeout interval threshold")),
    Key(
        "proxy.remoteurl",
        "error",
        "this version is not a pull-through cache: it would be an empty registry, to which clients may push "
        "under the names of the other one; take the section out, or serve the mirror with Distribution",
    ),
    Key(
        "proxy",
        "not needed",
        "they have no meaning without remoteurl",
        _words("username password exec.command exec.lifetime ttl cachewritetimeout"),
    ),
    Key("validation", "acted on", "", _words("enabled disabled")),
    Key(
        "validation.manifests.urls",
        "acted on",
        "where a file does not mention the check, any URL is taken; Distribution then takes none",
        _words("allow deny"),
    ),
    Key("validation.manifests.indexes", "acted on", "", _words("platforms platformlist")),
    Key(
        "policy.repository.classes",
        "warned",
        "repositories of every class, plugins included, may be pushed",
    ),
    Key(
        "compatibility.schema1.enabled",
        "warned",
        "manifests of Docker's schema 1 are refused",
        (),
        lambda value: value not in (None, False, "false"),
    ),
    Key("compatibility.schema1.signingkeyfile", "not needed", "nothing is signed without schema 1"),
)

_ACTED_ON = frozenset(name for key in KEYS if key.verdict == "acted on" for name in key.names)


def say(tree: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each key of a configuration that asks for something that is missing here.

    :raises ConfigError: for one without which the registry would be something else.
    """
    for key in KEYS:
        if key.verdict in ("warned", "error") and key.asks(at(tree, key.name.split("."))):
            if key.verdict == "warned":
                yield f"{key.name}: is not acted on: {key.text}"
            elif key.name == "proxy.remoteurl":  # the others are refused where their sections are read
                raise ConfigError(f"{key.name}: {key.text}")


def unread() -> tuple[tuple[str, ...], ...]:
    """Return the paths of what no section reads, each as high up as nothing below it is acted on."""
    found: dict[tuple[str, ...], None] = {}
    for key in KEYS:
        if key.verdict in ("warned", "not needed") or key.name == "proxy.remoteurl":
            for name in key.names:
                found[_highest(name.split("."))] = None
    return tuple(found)


def _highest(path: list[str]) -> tuple[str, ...]:
    for length in range(1, len(path)):
        above = ".".join(path[:length])
        if not any(name == above or name.startswith(above + ".") for name in _ACTED_ON):
            return tuple(path[:length])
    return tuple(path)


def at(tree: object, path: list[str]) -> Any:
    """Return the value at *path* below *tree*, or None."""
    for step in path:
        tree = tree.get(step) if isinstance(tree, Mapping) else None
    return tree
