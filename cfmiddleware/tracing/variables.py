"""OpenTelemetry's environment variables, as far as spans depend on them.

The SDK reads them itself, but a mistake in one is a traceback there, or a failure with each export. So each
is looked at before. Values of headers are secrets, and are never repeated.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from cfmiddleware.process.waiting import waiting_is_free

_EXPORTER = "OTEL_TRACES_EXPORTER"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")

#: The protocol that the extra ``tracing`` brings.
HTTP = "http/protobuf"

_BY_PROTOCOL = {HTTP: "otlp_proto_http", "grpc": "otlp_proto_grpc"}

#: How many spans are sent at a time under gevent: to encode them keeps other requests waiting for some 2 ms.
SMALL_BATCH = 64

#: What the variables mean that an operator needs first, in reStructuredText, for the table in the docs.
VARIABLES: Mapping[str, str] = {
    _EXPORTER: "``otlp``, ``console``, ``none``, or any other exporter that is installed; several of them "
    "separated by commas. ``otlp`` where an endpoint is set.",
    _ENDPOINTS[1]: "Where the collector is, by default ``http://localhost:4318``.",
    _ENDPOINTS[0]: "The same with its path, ``/v1/traces``, for traces alone.",
    "OTEL_EXPORTER_OTLP_HEADERS": "``name=value``, such as the key of a service. Never logged. Quotes, "
    "commas, semicolons and backslashes in a value are written as in a URL (``%2C``).",
    _PROTOCOLS[1]: f"``{HTTP}``. ``grpc`` needs its own exporter, and under gevent, as in ``cfmiddleware "
    "serve``, its waits would stop a whole worker: it is refused.",
    _PROTOCOLS[0]: "The same for traces alone.",
    "OTEL_TRACES_SAMPLER": "By default each request is traced unless its ``traceparent`` says otherwise. "
    "``parentbased_traceidratio`` with ``OTEL_TRACES_SAMPLER_ARG=0.01`` traces one in a hundred.",
    "OTEL_PROPAGATORS": "Which headers name the parent: by default ``tracecontext,baggage``.",
    "OTEL_SERVICE_NAME": "By default ``cfmiddleware``.",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "How many spans are sent at a time. Under gevent "
    f"{SMALL_BATCH} by default, because encoding keeps other requests waiting.",
    "OTEL_SDK_DISABLED": "``true`` switches all of it off.",
}

_SAMPLERS = (
    *("always_on", "always_off", "traceidratio"),
    *("parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"),
)


class Mistake(NamedTuple):
    """A variable whose value cannot be used.

    :param name: the variable.
    :param said: what is wrong.
    :param stops: whether nothing can be traced; else the variable is taken as not set.
    """

    name: str
    said: str
    stops: bool


class Wanted(NamedTuple):
    """What the variables ask for.

    :param exporters: the entry points of the exporters; empty where nothing is to be traced.
    :param mistakes: what cannot be used.
    """

    exporters: tuple[str, ...]
    mistakes: tuple[Mistake, ...] = ()


def wanted(environ: Mapping[str, str] = os.environ) -> Wanted:
    """Return what the variables ask for. Nothing is asked for where none names an exporter or an endpoint."""
    given = {name: value.strip() for name, value in environ.items() if name.startswith("OTEL_")}
    given = {name: value for name, value in given.items() if value}
    if given.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return Wanted(())
    names = [name.strip() for name in given.get(_EXPORTER, "").split(",") if name.strip()]
    if not names and any(name in given for name in _ENDPOINTS):
        names = ["otlp"]
    names = [name for name in names if name != "none"]
    if not names:
        return Wanted(())
    exporters: list[str] = []
    mistakes = list(_mistakes(given))
    for name in names:
        exporter = _exporter(name, given)
        if isinstance(exporter, Mistake):
            mistakes.append(exporter)
        else:
            exporters.append(exporter)
    return Wanted(tuple(exporters), tuple(mistakes))


def _exporter(name: str, given: Mapping[str, str]) -> str | Mistake:
    """Return the entry point of an exporter."""
    source, found = _EXPORTER, name
    if name == "otlp":
        source = next((each for each in _PROTOCOLS if each in given), _EXPORTER)
        protocol = given.get(source, HTTP) if source != _EXPORTER else HTTP
        if protocol not in _BY_PROTOCOL:
            return Mistake(source, f"{protocol!r} is no protocol; choose {HTTP}", stops=True)
        found = _BY_PROTOCOL[protocol]
    if found not in _installed("opentelemetry_traces_exporter"):
        if found == "otlp_proto_http":
            said = "opentelemetry is not installed; install cfmiddleware[tracing]"
        else:
            said = (
                f"the exporter {found!r} is not installed; otlp with {HTTP} is what cfmiddleware[tracing] has"
            )
        return Mistake(source, said, stops=True)
    if found == "otlp_proto_grpc" and waiting_is_free():
        return Mistake(source, f"grpc would stop all requests of a worker; choose {HTTP}", stops=True)
    return found


def _mistakes(given: Mapping[str, str]) -> Iterator[Mistake]:
    for name, value in given.items():
        for known, (check, stops) in _CHECKS.items():
            if name == known or (known[0] == "*" and name.endswith(known[1:])):
                said = check(value, given)
                if said:
                    yield Mistake(name, said, stops)
                break


# What any variable that counts something may say.
_MOST = 2**31 - 1

# A header as the SDK reads it. It logs whatever it cannot read, with the value.
_HEADER = re.compile(r"([!#-'*+.0-9A-Z^-z|~-]+)[ \t]*=[ \t]*([ !#-+.-:<-\[\]-~\-]*)")
_TOKEN = re.compile(r"[!#-'*+.0-9A-Z^-z|~-]+")

# Each check returns what is wrong, or nothing.
_Check = Callable[[str, Mapping[str, str]], str]


def _count(least: int) -> _Check:
    def check(value: str, given: Mapping[str, str]) -> str:
        if value.isascii() and value.isdecimal() and least <= int(value[:20]) <= _MOST:
            return ""
        return f"{value!r} is not a whole number from {least} to {_MOST}"

    return check


def _batch(value: str, given: Mapping[str, str]) -> str:
    queue = given.get("OTEL_BSP_MAX_QUEUE_SIZE", "")
    said = _count(1)(value, given)
    if not said and int(value) > (int(queue) if queue.isdecimal() and int(queue) else 2048):
        return f"{value} is more than the queue holds (OTEL_BSP_MAX_QUEUE_SIZE)"
    return said


def _queue(value: str, given: Mapping[str, str]) -> str:
    said = _count(1)(value, given)
    if not said and "OTEL_BSP_MAX_EXPORT_BATCH_SIZE" not in given and int(value) < 512:
        return f"{value} is less than a batch has (OTEL_BSP_MAX_EXPORT_BATCH_SIZE, by default 512)"
    return said


def _seconds(value: str, given: Mapping[str, str]) -> str:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    return "" if 0 < number < float("inf") else f"{value!r} is not a number of seconds above 0"


def _one_of(*words: str) -> _Check:
    def check(value: str, given: Mapping[str, str]) -> str:
        return "" if value.lower() in words else f"{value!r} is none of {', '.join(words)}"

    return check


def _ratio(value: str, given: Mapping[str, str]) -> str:
    if "ratio" not in given.get("OTEL_TRACES_SAMPLER", ""):
        return ""
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    return "" if 0 <= number <= 1 else f"{value!r} is not a number between 0 and 1"


def _url(value: str, given: Mapping[str, str]) -> str:
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    # Not repeated: a URL may have a password.
    return "" if good else "is not a URL such as http://localhost:4318"


def _pairs(value: str, given: Mapping[str, str]) -> str:
    pairs = [pair for pair in value.split(",") if pair.strip()]
    good = all("=" in pair and pair.partition("=")[0].strip() and pair.isprintable() for pair in pairs)
    return "" if good else "is not name=value, several of them separated by commas"


def _headers(value: str, given: Mapping[str, str]) -> str:
    for pair in value.split(","):
        found = _HEADER.fullmatch(pair.strip(" \t"))
        if pair.strip(" \t") and (found is None or not _can_be_sent(unquote(found[1]), unquote(found[2]))):
            return (
                "is not name=value, several of them separated by commas; "
                "in a value, quotes, commas, semicolons and backslashes are written as in a URL (%2C)"
            )
    return ""


def _can_be_sent(name: str, value: str) -> bool:
    """Return whether a client of HTTP takes a header, rather than to repeat it in an error."""
    return (
        bool(_TOKEN.fullmatch(name.strip()))
        and value.strip().isprintable()
        and max(value, default="") < "\u0100"
    )


def _file(value: str, given: Mapping[str, str]) -> str:
    try:
        with open(value, "rb"):
            return ""
    except (OSError, ValueError) as error:
        return f"{value!r} cannot be read: {getattr(error, 'strerror', None) or error}"


def _propagators(value: str, given: Mapping[str, str]) -> str:
    installed = _installed("opentelemetry_propagator")
    unknown = [name.strip() for name in value.split(",") if name.strip() not in ("none", *installed)]
    return f"{unknown[0]!r} is not installed; there are {', '.join(sorted(installed))}" if unknown else ""


def _detectors(value: str, given: Mapping[str, str]) -> str:
    installed = _installed("opentelemetry_resource_detector")
    unknown = [name.strip() for name in value.split(",") if name.strip() not in ("*", *installed)]
    return f"{unknown[0]!r} is not installed; there are {', '.join(sorted(installed))}" if unknown else ""


def _part(group: str) -> _Check:
    def check(value: str, given: Mapping[str, str]) -> str:
        return "" if value in _installed(group) else f"{value!r} is not installed"

    return check


def _installed(group: str) -> set[str]:
    from importlib.metadata import entry_points  # which needs what reads mail, and few processes trace

    return {point.name for point in entry_points(group=group)}


# By name, or by its end; and whether a mistake stops everything, because what would be done instead is not
# what the operator wants.
_CHECKS: Mapping[str, tuple[_Check, bool]] = {
    "OTEL_SDK_DISABLED": (_one_of("true", "false"), False),
    "OTEL_PROPAGATORS": (_propagators, False),
    "OTEL_RESOURCE_ATTRIBUTES": (_pairs, False),
    "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": (_detectors, False),
    "OTEL_PYTHON_CONTEXT": (_part("opentelemetry_context"), False),
    "OTEL_PYTHON_TRACER_PROVIDER": (_part("opentelemetry_tracer_provider"), False),
    **dict.fromkeys(
        (
            "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER",
            "OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER",
        ),
        (_part("opentelemetry_otlp_credential_provider"), True),
    ),
    "OTEL_TRACES_SAMPLER": (_one_of(*_SAMPLERS), False),
    "OTEL_TRACES_SAMPLER_ARG": (_ratio, False),
    "OTEL_BSP_SCHEDULE_DELAY": (_count(1), False),
    "OTEL_BSP_MAX_QUEUE_SIZE": (_queue, False),
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": (_batch, False),
    "OTEL_BSP_EXPORT_TIMEOUT": (_count(1), False),
    "*_COUNT_LIMIT": (_count(0), False),
    "*_LENGTH_LIMIT": (_count(0), False),
    **dict.fromkeys(_ENDPOINTS, (_url, True)),
    **{
        f"OTEL_EXPORTER_OTLP_{signal}{name}": checked
        for signal in ("", "TRACES_")
        for name, checked in {
            "TIMEOUT": (_seconds, False),
            "COMPRESSION": (_one_of("none", "gzip", "deflate"), False),
            "HEADERS": (_headers, True),
            "CERTIFICATE": (_file, True),
            "CLIENT_KEY": (_file, True),
            "CLIENT_CERTIFICATE": (_file, True),
        }.items()
    },
}


def checked() -> tuple[str, ...]:
    """Return the names of the variables that are looked at before the SDK reads them; ``*`` stands for the
    begin of several.
    """
    return tuple(_CHECKS)
