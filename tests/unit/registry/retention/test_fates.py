"""What becomes of tags, and why, without a storage."""

from __future__ import annotations

from fnmatch import fnmatchcase

from hypothesis import given
from hypothesis import strategies as st
from lab.aging import policy

from cfmiddleware.registry.retention.fates import fates, period
from cfmiddleware.registry.tags import ListedTag

NOW = 1_000_000.0
DAY = 86400.0


def tag(name: str, days: float, size: int = 71) -> ListedTag:
    return ListedTag(name, NOW - days * DAY, size)


def decide(rules, *tags: ListedTag) -> dict[str, tuple[bool, str]]:
    found = fates("team/app", tags, rules, NOW)
    assert [fate.tag.name for fate in found] == sorted(each.name for each in tags)
    return {fate.tag.name: (fate.goes, f"{fate.rule}: {fate.why}".removeprefix(": ")) for fate in found}


def test_a_tag_stays_when_either_keeps_it():
    rules = policy({"keep": {"last": 1, "younger": 3 * DAY}})
    assert decide(rules, tag("new", 1), tag("young", 2), tag("old", 3), tag("older", 9)) == {
        "new": (False, "retention[0]: 1 of the last 1"),
        "young": (False, "retention[0]: younger than 3d"),
        "old": (True, "retention[0]: not one of the last 1 and not younger than 3d"),
        "older": (True, "retention[0]: not one of the last 1 and not younger than 3d"),
    }
    assert [goes for goes, _ in decide(rules, tag("a", 50), tag("b", 60)).values()] == [False, True]


def test_nothing_goes_without_a_rule():
    assert decide(policy({"tags": ("ci-*",), "keep": {"last": 1}}), tag("v1", 999)) == {
        "v1": (False, "no rule")
    }
    assert decide(policy(), tag("v1", 999)) == {"v1": (False, "no rule")}
    assert decide(policy({"keep": {}}), tag("v1", 999)) == {"v1": (False, "retention[0]: keep: all")}


def test_protected_and_broken_tags_stay_and_are_not_counted():
    rules = policy({"keep": {"last": 1}, "protect": ("p*",), "immutable": ("i*",)})
    assert decide(rules, tag("p", 1), tag("i", 1), tag("b", 1, size=0), tag("x", 2), tag("y", 3)) == {
        "p": (False, "protected (protect: p*)"),
        "i": (False, "protected (immutable: i*)"),
        "b": (False, "its link holds no digest"),
        "x": (False, "retention[0]: 1 of the last 1"),
        "y": (True, "retention[0]: not one of the last 1"),
    }


def test_a_signature_says_why_it_stays():
    name = "sha256-" + "0" * 64 + ".sig"
    assert decide(policy({"keep": {"last": 1}}), tag(name, 99))[name] == (
        False,
        "named after a digest, and no rule names such tags",
    )


def test_of_tags_that_were_moved_together_the_higher_number_is_newer():
    rules = policy({"keep": {"last": 2}})
    found = decide(rules, *(tag(f"ci-{number}", 5) for number in (8, 9, 10, 11)))
    assert [name for name, (goes, _) in found.items() if not goes] == ["ci-10", "ci-11"]


def test_a_tag_of_the_future_is_young():
    rules = policy({"keep": {"younger": DAY}})
    assert decide(rules, tag("future", -400))["future"] == (False, "retention[0]: younger than 1d")


def test_sha512_links_are_whole():
    assert decide(policy({"keep": {"last": 1}}), tag("a", 1, size=135), tag("b", 2, size=135))["b"][0]


def test_periods_are_shown_as_they_are_written():
    assert [period(each) for each in (30 * DAY, 36 * 3600, 90, 5400, 1.5)] == [
        "30d",
        "36h",
        "90s",
        "90m",
        "1.5s",
    ]


NAMES = st.text("abA", min_size=1, max_size=3)
PATTERNS = st.lists(st.text("abA*?", min_size=1, max_size=3), min_size=1, max_size=2).map(tuple)
RULES = st.fixed_dictionaries(
    {
        "repositories": st.sampled_from([("*",), ("team/*",), ("x", "team/*"), ("x",)]),
        "tags": PATTERNS,
        "keep": st.one_of(
            st.none(),
            st.fixed_dictionaries(
                {}, optional={"last": st.integers(1, 4), "younger": st.integers(1, 6).map(lambda n: n * DAY)}
            ),
        ),
        "protect": st.one_of(st.just(()), PATTERNS),
        "immutable": st.one_of(st.just(()), PATTERNS),
    }
)


def simple(rules: list[dict], tags: list[ListedTag]) -> set[str]:
    """Return the tags that go, by the words of the documentation."""
    rules = [rule for rule in rules if rule["repositories"] != ("x",)]
    protected = {
        tag.name
        for tag in tags
        for rule in rules
        for pattern in (*rule["protect"], *rule["immutable"])
        if fnmatchcase(tag.name.lower(), pattern.lower())
    }
    left = [tag for tag in tags if tag.name not in protected]
    goes = set()
    for rule in rules:
        if rule["keep"] is None:
            continue
        mine = [tag for tag in left if any(fnmatchcase(tag.name, pattern) for pattern in rule["tags"])]
        left = [tag for tag in left if tag not in mine]
        mine.sort(key=lambda tag: (tag.moved, tag.name))
        kept = set(mine[-rule["keep"]["last"] :] if "last" in rule["keep"] else ())
        if "younger" in rule["keep"]:
            kept |= {tag for tag in mine if NOW - tag.moved < rule["keep"]["younger"]}
        if rule["keep"]:
            goes |= {tag.name for tag in mine if tag not in kept}
    return goes


@given(
    st.lists(RULES, max_size=4),
    st.dictionaries(NAMES, st.integers(-1, 7), max_size=12),
)
def test_the_rules_do_what_the_documentation_says(rules: list[dict], ages: dict[str, int]):
    tags = [tag(name, days) for name, days in ages.items()]
    found = fates("team/app", tags, policy(*rules), NOW)
    assert {fate.tag.name for fate in found if fate.goes} == simple(rules, tags)
    assert {fate.tag.name for fate in found} == set(ages)
