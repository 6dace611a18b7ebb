"""Listings are read in a short way where they are as S3 writes them, and say the same as by an XML parser."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cfmiddleware.storage.s3 import plainxml

HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    "<Name>b</Name><Prefix>a/</Prefix><NextContinuationToken>t=/+</NextContinuationToken><KeyCount>2</KeyCount>"
    "<MaxKeys>1000</MaxKeys><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
)
OBJECT = (
    "<Contents><Key>a/x%20y%C3%BC</Key><LastModified>2026-11-23T12:00:00.000Z</LastModified>"
    "<ETag>&quot;0&quot;</ETag><Size>71</Size><StorageClass>STANDARD</StorageClass></Contents>"
)
OTHER = "<Contents><Key>b</Key><LastModified>2026-11-23T12:00:00Z</LastModified><Size>0</Size></Contents>"
OWNED = OTHER.replace("<Size>", "<Owner><ID>me</ID></Owner><Size>")
END = "</ListBucketResult>"


@pytest.mark.parametrize(
    ("document", "short"),
    [
        (HEAD + OBJECT + OTHER + END, True),
        (HEAD.replace("true", "false") + OTHER + END + "\n", True),
        (HEAD + OTHER.replace("<Size>", "<Type>Normal</Type><Size>") + END, True),
        (HEAD + OWNED + OTHER + END, False),
        (HEAD + OBJECT + "\n" + OTHER + END, False),
        (HEAD + OBJECT + "<CommonPrefixes><Prefix>c/</Prefix></CommonPrefixes>" + END, False),
        (HEAD + OBJECT.replace("a/", "a&amp;") + END, False),
        (HEAD.replace("<EncodingType>url</EncodingType>", "") + OBJECT + END, False),
        (HEAD + END, False),
        ("<ListBucketResult/>", False),
        (HEAD + "<!-- " + OBJECT + " -->" + OTHER + END, False),
        (HEAD + OBJECT.replace("<Size>71</Size>", "") + END, False),
    ],
)
def test_both_ways_say_the_same(document: str, short: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    content = document.encode()
    assert (plainxml._plain_listing(content) is not None) == short
    found = plainxml.listing(content)
    monkeypatch.setattr(plainxml, "_plain_listing", lambda content: None)
    assert found == plainxml.listing(content)


@pytest.mark.parametrize("read", [plainxml.listing, plainxml.deleted])
@pytest.mark.parametrize(
    "page", [b"<html><body>Log in</body></html>", b"<Error><Code>SlowDown</Code></Error>"]
)
def test_a_page_of_somebody_else_is_neither_a_list_nor_a_delete(
    read: Callable[[bytes], object], page: bytes
) -> None:
    with pytest.raises(ValueError, match="the answer is no "):
        read(page)


@pytest.mark.parametrize("length", [30, 400, 560, len(HEAD + OBJECT + OTHER)])
def test_a_listing_that_is_cut_off_is_none(length: int) -> None:
    content = (HEAD + OBJECT + OTHER + END).encode()[:length]
    with pytest.raises(ValueError, match="not XML"):
        plainxml.listing(content)
