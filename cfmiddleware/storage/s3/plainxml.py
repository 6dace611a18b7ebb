"""The XML of S3's lists and deletes (Amazon S3 API Reference, ListObjectsV2 and DeleteObjects)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Any
from urllib.parse import unquote
from xml.etree.ElementTree import Element, ParseError, fromstring

# A key with anything else is written by boto3.
_PLAIN_KEY = re.compile(r"[ -~]+")

_NAMESPACE = re.compile(r"\{[^}]*\}")


def is_plain(key: str) -> bool:
    """Return whether a key can stand in a document of :func:`deletion`."""
    return _PLAIN_KEY.fullmatch(key) is not None


def _escaped(key: str) -> str:
    return key.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def deletion(keys: Iterable[str]) -> bytes:
    """Return the body of a DeleteObjects whose answer names failures alone."""
    objects = "".join(f"<Object><Key>{_escaped(key)}</Key></Object>" for key in keys)
    return (
        f'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{objects}<Quiet>true</Quiet></Delete>'
    ).encode()


def deleted(content: bytes) -> dict[str, Any]:
    """Return what the answer to a DeleteObjects says, as boto3 does.

    :raises ValueError: if it cannot be read.
    """
    root = _root(content, "DeleteResult")
    return {"Errors": [_fields(child) for child in root if _name(child) == "Error"]}


def listing(content: bytes) -> dict[str, Any]:
    """Return what the answer to a ListObjectsV2 says, as boto3 does, less what nobody asks for.

    :raises ValueError: if it cannot be read.
    """
    plain = _plain_listing(content)
    if plain is not None:
        return plain
    root = _root(content, "ListBucketResult")
    space = root.tag.removesuffix(_name(root))
    encoded = root.findtext(f"{space}EncodingType") == "url"
    found: dict[str, Any] = {
        "IsTruncated": root.findtext(f"{space}IsTruncated") == "true",
        "NextContinuationToken": root.findtext(f"{space}NextContinuationToken") or "",
    }
    key, size, modified = f"{space}Key", f"{space}Size", f"{space}LastModified"
    objects = []
    for child in root.iterfind(f"{space}Contents"):
        name = child.findtext(key) or ""
        item: dict[str, Any] = {"Key": unquote(name) if encoded else name}
        if length := child.findtext(size):
            item["Size"] = int(length)
        if when := child.findtext(modified):
            item["LastModified"] = _time(when)
        objects.append(item)
    folders = [child.findtext(f"{space}Prefix") or "" for child in root.iterfind(f"{space}CommonPrefixes")]
    if objects:
        found["Contents"] = objects
    if folders:
        found["CommonPrefixes"] = [{"Prefix": unquote(name) if encoded else name} for name in folders]
    return found


# An object of a listing as S3 writes it: the key, the time, other fields, the size, other fields.
_OBJECT = re.compile(
    r"<Contents><Key>([^<&]+)</Key><LastModified>([0-9TZ:.+-]+)</LastModified>"
    r"(?:<(?!Size)\w+>[^<]*</\w+>)*+<Size>([0-9]+)</Size>(?:<\w+>[^<]*</\w+>)*+</Contents>",
    re.ASCII,
)
_END = "</ListBucketResult>"


def _plain_listing(content: bytes) -> dict[str, Any] | None:
    """Return what a listing of objects alone says, where all of it is as S3 writes it; else None.

    A million objects are a thousand such documents, and an XML parser takes five times as long.
    """
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError:
        return None
    start = text.find("<Contents>")
    end = text.rfind("</Contents>") + len("</Contents>")
    head, rest = text[:start], text[end:]
    objects = _OBJECT.findall(text) if start >= 0 else []
    around = head + rest
    if (
        not objects
        or not text.rstrip().endswith(_END)
        or text.count("</Contents><Contents>") != len(objects) - 1
        or "<CommonPrefixes" in around
        or "<!" in around
        or "<EncodingType>url</EncodingType>" not in around
    ):
        return None
    token = re.search(r"<NextContinuationToken>([^<&]*)</NextContinuationToken>", around)
    truncated = "<IsTruncated>true</IsTruncated>" in around
    if truncated and token is None:
        return None
    return {
        "IsTruncated": truncated,
        "NextContinuationToken": token[1] if token else "",
        "Contents": [
            {
                "Key": unquote(key) if "%" in key else key,
                "Size": int(size),
                "LastModified": _time(when),
            }
            for key, when, size in objects
        ],
    }


# What was written in the same second has the same time.
@lru_cache(maxsize=256)
def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _root(content: bytes, name: str) -> Element:
    """Return the root of a document. One with another name is from something else than S3, such as a proxy's
    page: as a list it would be empty, and nothing is to be taken for gone by it.
    """
    try:
        root = fromstring(content)  # noqa: S314 (S3's own; boto3 reads it with the same parser)
    except ParseError as error:
        raise ValueError("the answer is not XML") from error
    if _name(root) != name:
        raise ValueError(f"the answer is no {name}")
    return root


def _name(element: Element) -> str:
    return _NAMESPACE.sub("", element.tag)


def _fields(element: Element) -> dict[str, Any]:
    return {_name(child): child.text or "" for child in element}
