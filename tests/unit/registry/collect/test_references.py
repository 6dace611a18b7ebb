"""What a stored manifest refers to, whatever its media type."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfmiddleware.digest import Digest
from cfmiddleware.registry.collect.references import load_with_references, references

DIGESTS = [Digest.of(bytes([number])) for number in range(4)] + [Digest.of(b"", "sha512")]

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=3)
    | st.sampled_from([*map(str, DIGESTS), "sha256:"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["digest", "blobSum", "subject", "layers", "x"]), inner, max_size=4)
    ),
    max_leaves=20,
)


def walked(value: Any) -> set[Digest]:
    """Return what a walk through all of a value finds."""
    found: set[Digest] = set()
    if isinstance(value, dict):
        found.update(
            digest for digest in DIGESTS for name in ("digest", "blobSum") if value.get(name) == str(digest)
        )
        value = list(value.values())
    return found.union(*map(walked, value)) if isinstance(value, list) else found


@given(st.dictionaries(st.sampled_from(["config", "layers", "subject", "digest"]), values, max_size=4))
def test_every_descriptor_at_any_depth_counts(fields: dict[str, Any]) -> None:
    loaded, found = load_with_references(json.dumps(fields).encode())
    assert found is not None
    assert (loaded, found.digests) == (fields, walked(fields))


def test_the_subject_is_one_of_them() -> None:
    content = json.dumps({"subject": {"digest": str(DIGESTS[0])}}).encode()
    found = references(content)
    assert found is not None
    assert (found.subject, found.digests) == (DIGESTS[0], {DIGESTS[0]})


def test_what_is_named_twice_counts_twice() -> None:
    """Programs do not agree on which of two members with one name counts."""
    one, other = (json.dumps({"digest": str(digest)}) for digest in DIGESTS[:2])
    found = references(f'{{"config": {one}, "config": {other}}}'.encode())
    assert found is not None
    assert found.digests == {*DIGESTS[:2]}


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b'{"a":', b"\xff", b"[" * 100_000])
def test_what_is_no_object_refers_to_nothing(content: bytes) -> None:
    assert load_with_references(content) == (None, None)
