"""The JSON that endpoints get: Distribution's, byte for byte but for ids and times."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring as _quoted
from typing import Any, Literal, NamedTuple

#: The media type of an envelope.
MEDIA_TYPE = "application/vnd.docker.distribution.events.v1+json"

Action = Literal["pull", "push", "mount", "delete"]

#: What endpoints can be told of.
ACTIONS: tuple[Action, ...] = ("pull", "push", "mount", "delete")

#: What Distribution says of every blob.
BLOB = "application/octet-stream"

#: Where a registry that tells of a request itself finds who would tell of it otherwise, and says so by
#: setting its ``is_told``. No client can set it: names of header fields begin with ``HTTP_``.
TELLER = "cfmiddleware.teller"

# Go's JSON has these as escapes, so that it can stand in HTML and JavaScript.
_ESCAPES = str.maketrans({char: f"\\u{ord(char):04x}" for char in "&<>\u2028\u2029"})

_one_line = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

_DESCRIPTOR = ("mediaType", "size", "digest", "urls", "annotations", "platform")


class Target(NamedTuple):
    """What an event is about. What is empty is left out.

    :param repository: the name of the repository.
    :param media_type: of the blob or the manifest.
    :param size: in bytes.
    :param digest: of the blob or the manifest.
    :param from_repository: the repository that a blob was mounted from.
    :param url: where the blob or the manifest is.
    :param tag: the tag by which a manifest was pushed, pulled or deleted.
    :param references: the JSON of the descriptors of what a manifest refers to, see :func:`references`.
    """

    repository: str
    media_type: str = ""
    size: int = 0
    digest: str = ""
    from_repository: str = ""
    url: str = ""
    tag: str = ""
    references: str = ""

    def text(self) -> str:
        """Return the JSON of the target, as an event has it."""
        if not self.references:
            return _target_text(self)
        # They come last, and something always comes before them.
        return f'{_target_text(self._replace(references=""))[:-1]},"references":{self.references}}}'


class Happened(NamedTuple):
    """Something that endpoints are told of.

    :param action: what was done.
    :param target: to what.
    """

    action: Action
    target: Target


class NotRecorded(Exception):
    """An event could not be kept, and none may get lost."""


class Requester(NamedTuple):
    """The request that caused an event.

    :param id: the same for all events of a request.
    :param addr: the client's address, with its port where that is known.
    :param host: the host that the client called.
    :param method: the HTTP method.
    :param useragent: what the client calls itself.
    """

    id: str
    addr: str
    host: str
    method: str
    useragent: str

    def text(self) -> str:
        """Return the JSON of the request, as an event has it."""
        addr = f'"addr":{_quoted(self.addr)},' if self.addr else ""
        host = f'"host":{_quoted(self.host)},' if self.host else ""
        return (
            f'{{"id":"{self.id}",{addr}{host}"method":{_quoted(self.method)},'
            f'"useragent":{_quoted(self.useragent)}}}'
        )


class Source(NamedTuple):
    """The registry that an event comes from.

    :param addr: the machine's name and the port.
    :param instance: changes with each start.
    """

    addr: str
    instance: str

    def text(self) -> str:
        """Return the JSON of the source, as an event has it."""
        return _one_line(_filled({"addr": self.addr, "instanceID": self.instance}))


def new_id() -> str:
    """Return an id that nothing else has (RFC 9562, version 4)."""
    text = os.urandom(16).hex()  # a third of the time that the library takes
    variant = "89ab"[int(text[16], 16) & 3]
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"


def event(action: Action, target: Target, requester: Requester, actor: str, source: str) -> str:
    """Return the JSON of a new event, on one line.

    Put together from the JSON of its parts: every redirect waits for this.

    :param actor: the name of the user.
    :param source: the JSON of the registry, see :meth:`Source.text`.
    """
    name = f'"name":{_quoted(actor)}' if actor else ""
    text = (
        f'{{"id":"{new_id()}","timestamp":"{timestamp(time.time_ns())}","action":"{action}",'
        f'"target":{target.text()},"request":{requester.text()},"actor":{{{name}}},"source":{source}}}'
    )
    if text.isascii():
        return text
    # As Go does with what no UTF-8 has, such as half a pair of UTF-16 in a manifest.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@lru_cache(maxsize=1024)  # a few blobs are pulled again and again
def _target_text(target: Target) -> str:
    return _one_line(
        _filled(
            {
                "mediaType": target.media_type,
                "size": target.size,
                "digest": target.digest,
                "length": target.size,
                "repository": target.repository,
                "fromRepository": target.from_repository,
                "url": target.url,
                "tag": target.tag,
            }
        )
    )


def envelope(events: Iterable[str]) -> bytes:
    """Return the body of a request to an endpoint.

    :param events: the JSON of each event, as :func:`event` made it.
    """
    body = {"events": [json.loads(text) for text in events]}
    text = json.dumps(body, indent=3, ensure_ascii=False).translate(_ESCAPES)
    return text.encode()


def timestamp(nanoseconds: int) -> str:
    """Return a time as Go writes it (RFC 3339), in UTC.

    :param nanoseconds: since 1970.
    """
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    fraction = f".{rest:09d}".rstrip("0").rstrip(".")
    return f"{_second(seconds)}{fraction}Z"


@lru_cache(maxsize=4)  # there are many events in a second
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def references(manifest: object) -> str:
    """Return the JSON of the descriptors of what a manifest refers to: its config and its layers, or the
    entries of an index. It is empty where there is none.

    :param manifest: what its JSON says.
    """
    if not isinstance(manifest, dict):
        return ""
    entries = manifest.get("manifests")
    if isinstance(entries, list):
        # As in Distribution, which has the platform beside the descriptor here, and not in it.
        descriptors = [_descriptor(each, _DESCRIPTOR[:-1]) for each in entries if isinstance(each, dict)]
    else:
        layers = manifest.get("layers")
        found = [manifest.get("config"), *(layers if isinstance(layers, list) else ())]
        descriptors = [_descriptor(each, _DESCRIPTOR) for each in found if isinstance(each, dict)]
    return _one_line(descriptors) if descriptors else ""


def _descriptor(given: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    found = {name: given[name] for name in names if given.get(name)}
    if isinstance(found.get("annotations"), dict):
        found["annotations"] = dict(sorted(found["annotations"].items()))
    return found


def _filled(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if value}
