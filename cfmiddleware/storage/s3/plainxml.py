"""The XML of S3's lists and deletes (Amazon S3 API Reference, ListObjectsV2 and DeleteObjects)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any
from urllib.parse import unquote
from xml.etree.ElementTree import Element, ParseError, fromstring
from xml.sax.saxutils import escape

# A key with anything else is written by boto3.
_PLAIN_KEY = re.compile(r"[ -~]+")

_NAMESPACE = re.compile(r"\{[^}]*\}")


def is_plain(key: str) -> bool:
    """Return whether a key can stand in a document of :func:`deletion`."""
    return _PLAIN_KEY.fullmatch(key) is not None


def deletion(keys: Iterable[str]) -> bytes:
    """Return the body of a DeleteObjects whose answer names failures alone."""
    objects = "".join(f"<Object><Key>{escape(key)}</Key></Object>" for key in keys)
    return (
        f'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{objects}<Quiet>true</Quiet></Delete>'
    ).encode()


def deleted(content: bytes) -> dict[str, Any]:
    """Return what the answer to a DeleteObjects says, as boto3 does.

    :raises ValueError: if it cannot be read.
    """
    return {"Errors": [_fields(child) for child in _root(content) if _name(child) == "Error"]}


def listing(content: bytes) -> dict[str, Any]:
    """Return what the answer to a ListObjectsV2 says, as boto3 does, less what nobody asks for.

    :raises ValueError: if it cannot be read.
    """
    found: dict[str, Any] = {}
    encoded = False
    for child in _root(content):
        name = _name(child)
        if name in ("Contents", "CommonPrefixes"):
            found.setdefault(name, []).append(_fields(child))
        elif name == "EncodingType":
            encoded = child.text == "url"
        elif name == "IsTruncated":
            found[name] = child.text == "true"
        elif name == "NextContinuationToken":
            found[name] = child.text or ""
    for entry in (*found.get("Contents", ()), *found.get("CommonPrefixes", ())):
        for name in ("Key", "Prefix"):
            if encoded and name in entry:
                entry[name] = unquote(entry[name])
        if "Size" in entry:
            entry["Size"] = int(entry["Size"])
        if "LastModified" in entry:
            entry["LastModified"] = datetime.fromisoformat(entry["LastModified"])
    return found


def _root(content: bytes) -> Element:
    try:
        return fromstring(content)  # noqa: S314 (S3's own; boto3 reads it with the same parser)
    except ParseError as error:
        raise ValueError("the answer is not XML") from error


def _name(element: Element) -> str:
    return _NAMESPACE.sub("", element.tag)


def _fields(element: Element) -> dict[str, Any]:
    return {_name(child): child.text or "" for child in element}
