"""Where a long listing is cut: whatever the keys are, the parts are all of it and no key is in two."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from cfmiddleware.storage.s3.keyranges import KeyRange, ranges

BASE = "root/docker/registry/v2/"


def hexadecimal(number: int) -> str:
    return hashlib.sha256(b"%d" % number).hexdigest()


def blob(number: int) -> str:
    return f"{BASE}blobs/sha256/{hexadecimal(number)[:2]}/{hexadecimal(number)}/data"


def link(number: int) -> str:
    return f"{BASE}repositories/a/_layers/sha256/{hexadecimal(number)}/link"


KEYS = st.one_of(
    st.builds(blob, st.integers(0, 999)),
    st.builds(link, st.integers(0, 999)),
    st.text("0123456789abcdef/", max_size=80),
)


@given(
    KEYS,
    KEYS,
    st.lists(KEYS, max_size=20),
    st.one_of(st.just(""), KEYS),
    st.integers(1, 8),
    st.integers(1, 16),
    st.integers(1, 8),
)
def test_each_key_that_comes_after_is_in_one_part(
    first: str, last: str, keys: list[str], until: str, pages: int, at_once: int, longest: int
) -> None:
    first, last = sorted((first, last))
    until = until if until > last else ""
    parts = list(ranges(first, last, until, pages=pages, at_once=at_once, longest=longest))
    if not parts:
        return
    assert parts[0].after == last
    assert parts[-1].until == until
    for key in keys:
        holds = [part for part in parts if part.after < key and (not part.until or key <= part.until)]
        assert len(holds) == (last < key and (not until or key <= until))


def lengths(keys: list[str], parts: list[KeyRange]) -> list[int]:
    return [sum(part.after < key and (not part.until or key <= part.until) for key in keys) for part in parts]


def test_a_part_fits_into_as_many_pages_as_it_may_have() -> None:
    for name in (blob, link):
        keys = sorted(map(name, range(20_000)))
        for pages, longest in ((1, 1), (1, 4), (4, 4)):
            parts = list(ranges(keys[0], keys[pages * 1000 - 1], pages=pages, longest=longest))
            counts = lengths(keys, parts)
            assert sum(counts) == 20_000 - pages * 1000
            assert max(counts) <= longest * 1000
            assert min(counts[:-1]) > longest * 750


def test_a_short_rest_is_cut_into_as_many_parts_as_are_listed_at_a_time() -> None:
    keys = sorted(map(blob, range(20_000)))
    parts = list(ranges(keys[0], keys[999], at_once=8, longest=4))
    assert len(parts) in (8, 9)
    assert len(list(ranges(keys[0], keys[9_999], pages=10, at_once=64, longest=4))) in (11, 12)


def test_keys_without_digests_are_not_cut() -> None:
    assert list(ranges(f"{BASE}tags/v1/current/link", f"{BASE}tags/v9/current/link")) == []
    assert list(ranges(blob(1), link(1))) == []
    assert KeyRange("a", "") not in list(ranges("a", "a"))
