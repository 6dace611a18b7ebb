"""Which tags the rules are about, and which they protect."""

from __future__ import annotations

import pytest
from lab.aging import policy

CI = {"tags": ("ci-*",), "keep": {"last": 1}}
ABOUT = "sha256-" + "a" * 64


def place(rules, repository: str, tag: str) -> str | None:
    rule = rules.rule_of(repository, tag)
    return None if rule is None else rule.place


def test_the_first_entry_with_keep_that_has_a_tag_decides():
    rules = policy(
        {"protect": ("nothing",)},
        {"repositories": ("team/*",), **CI},
        CI,
        {"tags": ("?", "v*"), "keep": {"younger": 1.0}},
    )
    assert place(rules, "team/a/b", "ci-1") == "retention[1]"
    assert place(rules, "other", "ci-1") == "retention[2]"
    assert place(rules, "team", "ci-1") == "retention[2]"
    assert place(rules, "other", "x") == place(rules, "other", "v1") == "retention[3]"
    assert place(rules, "other", "xy") is None
    assert place(rules, "other", "CI-1") is None


def test_protection_holds_wherever_its_entry_stands():
    rules = policy(CI, {"protect": ("ci-9*",), "repositories": ("team/*",)}, {"immutable": ("ci-99",)})
    assert rules.protection("other", "ci-9") is None
    assert str(rules.protection("team/a", "ci-9")) == "protect: ci-9*"
    assert str(rules.protection("team/a", "ci-99")) == "immutable: ci-99"
    assert not rules.is_immutable("team/a", "ci-9")
    assert rules.is_immutable("other", "ci-99")
    assert (rules.protects_in("other"), policy(CI).protects_in("other")) == (True, False)


@pytest.mark.parametrize("tag", ["release-1", "RELEASE-1", "Release-x", "release-"])
def test_protection_takes_no_notice_of_letter_case(tag: str):
    assert policy({"protect": ("Release-*",)}).protection("a", tag)
    assert policy({"immutable": ("release-*",)}).is_immutable("a", tag)


@pytest.mark.parametrize("tag", ["arelease-1", "release", "my-release-1", "release_1", "\u017f-1"])
def test_a_pattern_is_the_whole_tag(tag: str):
    assert policy({"protect": ("release-*", "s-1")}).protection("a", tag) is None


def test_tags_named_after_a_digest_are_meant_only_by_patterns_that_say_so():
    for tag in (ABOUT, ABOUT + ".sig", ABOUT + ".att"):
        rules = policy({"keep": {"last": 1}, "protect": ("p*",), "immutable": ("*",)})
        assert place(rules, "a", tag) is None
        assert not rules.is_immutable("a", tag)
        assert place(policy({"tags": ("sha256-*.*", "sha256-*"), "keep": {"last": 1}}), "a", tag)
        assert policy({"immutable": ("sha256-*",)}).is_immutable("a", tag)
        assert policy({"protect": ("*",)}).protection("a", tag)
    assert place(policy({"keep": {"last": 1}}), "a", "sha256-notes")


def test_a_pattern_with_many_stars_is_no_trap():
    rules = policy({"protect": ("*a" * 60 + "b",)})
    assert rules.protection("a", "a" * 128) is None
