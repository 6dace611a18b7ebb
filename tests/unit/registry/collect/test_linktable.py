"""The compact table of links does what a dictionary of Python's own does."""

from __future__ import annotations

import random
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from cfmiddleware.digest import Digest
from cfmiddleware.registry.collect.fingerprints import Fingerprints
from cfmiddleware.registry.collect.linktable import Link, LinkTable

DIGESTS = st.lists(
    st.builds(Digest.of, st.binary(max_size=2), st.sampled_from(["sha256", "sha512"])), unique=True
)


@given(DIGESTS, st.randoms())
def test_a_table_of_links_is_a_mapping_by_digest(digests: list[Digest], draw: random.Random) -> None:
    real = {
        digest: Link(draw.choice([digest, Digest.of(b"x")]), float(n)) for n, digest in enumerate(digests)
    }
    table = LinkTable()
    for digest, link in real.items():
        table.add(digest, link)

    assert dict(table) == real
    assert len(table) == len(real)
    assert dict(table.at(place) for place, *_ in table.numbered()) == real
    for place, number, modified, data in table.numbered():
        digest, link = table.at(place)
        assert (int(digest.hex[:16], 16), link.modified) == (number, modified)
        assert link.data == (digest if data is None else data)
    assert Digest.of(b"not there") not in table


def test_what_is_not_a_digest_is_not_taken_for_one() -> None:
    table = LinkTable()
    for text in ("A" * 64, " " * 128, "0" * 63, "0" * 62 + " 0", "x" * 64, ""):
        assert not table.add_plain("sha256", text, 0.0)
    assert not table.add_plain("sha512", "0" * 128, 0.0)
    assert len(table) == 0


def test_a_million_fit_where_a_set_and_a_dictionary_would_take_ten_times_as_much() -> None:
    count = 100_000
    tracemalloc.start()
    try:
        numbers = Fingerprints(number << 44 | number for number in range(count))
        assert 5 in numbers or numbers
        table = LinkTable()
        for number in range(count):
            table.add_plain("sha256", f"{number:064x}", 0.0)
        assert len(table) == count
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    # Eight and forty bytes each, and what the arrays have in reserve.
    assert taken < 60 * count
