"""The expressions of `validation.manifests.urls`: what matches, what is refused, and how long it takes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab.examples import examples

from cfmiddleware.registry.store.urlpattern import Pattern

#: The first is the example of Distribution's reference.
CASES = [
    (r"^https?://([^/]+\.)*example\.com/", "https://a.b.example.com/layer", True),
    (r"^https?://([^/]+\.)*example\.com/", "https://example.com.evil.org/layer", False),
    (r"^https?://www\.example\.com/", "http://www.example.com/", True),
    (r"evil", "https://a/evil/b", True),
    (r"^$", "", True),
    (r"^$", "a", False),
    (r"tar$", "https://a/tar", True),
    (r"tar$", "https://a/tar/", False),
    (r"\Ahttps:.*gz\z", "https://a/b.gz", True),
    (r"(?i)EXAMPLE", "https://Example.com", True),
    (r"(?:a|bc)+d", "xabcd", True),
    (r"(?P<host>a{2,3})/", "aa/", True),
    (r"^a{2,3}/", "aaaa/", False),
    (r"^a{2}$", "aa", True),
    (r"^a{2,}$", "aaaaa", True),
    (r"^[a-c.\-\d]+$", "a.b-c9", True),
    (r"^[^a-c]+$", "xyza", False),
    (r"^[]a]+$", "]a", True),
    (r"^[a-]+$", "a-", True),
    (r"a.*?b+?c??", "axxb", True),
    (r"^\w+\W\w+$", "ab-cd", True),
    (r"^\x41\.\?$", "A.?", True),
    (r"a{", "a{", True),
    (r"a|", "", True),
    (r"()*b", "b", True),
]


@pytest.mark.parametrize(("pattern", "text", "matches"), CASES)
def test_it_matches_what_such_an_expression_matches(pattern: str, text: str, matches: bool):
    assert Pattern(pattern).is_in(text) is matches
    assert Pattern(pattern).is_in(text) is matches  # steps are remembered


@pytest.mark.parametrize(
    "pattern",
    [
        *(
            "(",
            ")",
            "a)",
            "[a",
            "*",
            "a**",
            "+",
            r"\b",
            r"\1",
            "a{3,2}",
            "a{1001}",
            "(?=a)",
            "(?!a)",
            "(?<=a)b",
        ),
        *("[z-a]", "[[:alpha:]]", r"[\D]", "\\", r"\x4", r"\pL", "((a{1000}){1000})", "(" * 5000),
    ],
)
def test_what_is_not_known_is_refused(pattern: str):
    with pytest.raises(ValueError, match=r"."):
        Pattern(pattern)


def test_a_text_made_for_it_takes_no_longer_than_another():
    """Python's own engine would take years. Steps are counted, of which each character costs one."""
    pattern = Pattern(r"^https?://([^/]+\.)*example\.com/")
    steps = 0
    step = pattern._step

    def counted(*arguments: object) -> object:
        nonlocal steps
        steps += 1
        return step(*arguments)  # type: ignore[arg-type]

    pattern._step = counted  # type: ignore[method-assign,assignment]
    text = "https://" + "a." * 10_000

    assert not pattern.is_in(text)
    assert steps < 50


PATTERNS = st.recursive(
    st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\.", "^", "$", r"\d", "()"]),
    lambda inner: (
        st.tuples(inner, inner).map("".join)
        | st.tuples(inner, inner).map(lambda pair: f"(?:{pair[0]}|{pair[1]})")
        | st.tuples(inner, st.sampled_from(["*", "+", "?", "{0,2}", "{2}", "{1,}", "*?"])).map(
            lambda pair: f"(?:{pair[0]}){pair[1]}"
        )
    ),
    max_leaves=8,
)


@settings(max_examples=examples(300), deadline=None)
@given(PATTERNS, st.text("ab.1", max_size=8))
def test_it_matches_where_pythons_own_engine_does(pattern: str, text: str):
    expected = re.search(pattern.replace("$", r"\Z"), text) is not None

    assert Pattern(pattern).is_in(text) is expected


@settings(max_examples=examples(300), deadline=None)
@given(st.text(r"ab\[](){}|*+?.^$-,:<>P12dDx", max_size=12), st.text("ab", max_size=4))
def test_whatever_is_written_matches_or_is_refused(pattern: str, text: str):
    try:
        made = Pattern(pattern)
    except ValueError:
        return
    made.is_in(text)
