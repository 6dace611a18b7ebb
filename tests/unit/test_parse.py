"""Options, whatever they were written in."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cfmiddleware import parse
from cfmiddleware.errors import ConfigError


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99))
def test_gos_durations_are_the_sum_of_their_parts(hours: int, minutes: int, seconds: int):
    total = int(datetime.timedelta(hours=hours, minutes=minutes, seconds=seconds).total_seconds())
    assume(total > 0)
    assert parse.seconds(f"{hours}h{minutes}m{seconds}s", "duration") == total


@given(st.integers(1, 10**9))
def test_a_number_of_seconds_is_the_same_as_a_number_and_as_text(number: int):
    assert parse.seconds(number, "duration") == parse.seconds(str(number), "duration") == number
    assert parse.seconds(f" {number}s ", "duration") == number


@pytest.mark.parametrize(
    ("value", "expected"), [("20m", 1200), ("1h30m", 5400), ("1.5m", 90), ("2000ms", 2), (60.0, 60)]
)
def test_durations_as_people_write_them(value: object, expected: int):
    assert parse.seconds(value, "duration") == expected


@pytest.mark.parametrize(
    "value", ["", "m", "20 m", "-5s", "1d", "20m!", "\u0662m", "1e3", "nan", "inf", "0s"]
)
def test_what_is_no_duration_is_refused(value: object):
    with pytest.raises(ConfigError, match=r"^duration: "):
        parse.seconds(value, "duration")


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), True, None, [], 0, -1, 0.5, "1500ms", "9" * 200]
)
def test_what_is_no_number_of_whole_seconds_is_refused(value: object):
    with pytest.raises(ConfigError, match=r"^duration: "):
        parse.seconds(value, "duration")


@given(st.integers(0, 10**6), st.sampled_from("kmgt"), st.booleans(), st.booleans())
def test_sizes_know_powers_of_ten_and_of_two(number: int, unit: str, binary: bool, upper: bool):
    word = f"{number}{unit}{'i' if binary else ''}b"
    power = " kmgt".index(unit)
    expected = number * (1024**power if binary else 1000**power)
    assert parse.size(word.upper() if upper else word, "minimumsize") == expected


@pytest.mark.parametrize("value", ["", "MB", "-1", "1.5MB", "1 XB", "1MBit", True, None, 1.0, -1, "9" * 30])
def test_what_is_no_size_is_refused(value: object):
    with pytest.raises(ConfigError, match=r"^minimumsize: "):
        parse.size(value, "minimumsize")


@given(st.text(max_size=12))
def test_whatever_the_text_an_option_is_read_or_refused_in_one_line(word: str):
    readers = (parse.seconds, parse.size, parse.integer, parse.boolean, parse.text)
    for reader in readers:
        said = ""
        try:
            reader(word, "option")
        except ConfigError as error:
            said = str(error)
        assert not said or (said.startswith("option: ") and said.isprintable())


@pytest.mark.parametrize("value", [True, "true", "YES", " on ", "1", 1])
def test_true_has_many_names(value: object):
    assert parse.boolean(value, "bindip") is True


@pytest.mark.parametrize("value", [False, "false", "No", "off", "0", 0])
def test_false_has_many_names(value: object):
    assert parse.boolean(value, "bindip") is False


@pytest.mark.parametrize("value", ["", "maybe", 2, None, [], "none", 1.0])
def test_what_is_neither_is_refused(value: object):
    with pytest.raises(ConfigError, match=r"^bindip: "):
        parse.boolean(value, "bindip")


@pytest.mark.parametrize("value", ["", "x", "1.0", True, None, "-1", 101, "\u0663"])
def test_a_number_out_of_bounds_or_none_at_all_is_refused(value: object):
    with pytest.raises(ConfigError, match=r"^trustedproxies: .* from 0 to 100$"):
        parse.integer(value, "trustedproxies", maximum=100)


def test_a_choice_is_read_in_any_case_and_a_mistake_suggests_the_nearest():
    assert parse.choice(" HEAD ", "probe", ("get", "head", "none")) == "head"
    with pytest.raises(ConfigError, match="did you mean 'head'"):
        parse.choice("haed", "probe", ("get", "head", "none"))


def test_none_is_not_the_word_none():
    """It would open a registry to everybody, and an empty value in YAML is None."""
    with pytest.raises(ConfigError, match=r"^probe: "):
        parse.choice(None, "probe", ("get", "head", "none"))


def test_a_number_without_quotes_is_text_too():
    assert parse.text(123, "keypairid") == "123"
    assert parse.optional_text(123, "keypairid") == "123"


@pytest.mark.parametrize("value", [None, "", "  "])
def test_text_that_may_be_left_out_is_empty_then(value: object):
    assert parse.optional_text(value, "bucket") == ""
    with pytest.raises(ConfigError, match=r"^bucket: "):
        parse.text(value, "bucket")


@pytest.mark.parametrize("value", [True, [], {}, 1.5, b"x"])
def test_what_is_no_text_is_refused(value: object):
    with pytest.raises(ConfigError, match=r"^bucket: "):
        parse.optional_text(value, "bucket")


def test_a_long_value_is_cut_short_in_its_error():
    with pytest.raises(ConfigError) as caught:
        parse.boolean("x" * 10_000, "bindip")
    assert len(str(caught.value)) < 120


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(ConfigError, match=r"^storage\.s3\.buckt: .*did you mean 'bucket'"):
        parse.refuse_unknown(["bucket", "buckt"], ("bucket", "region"), "storage.s3.")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ()),
        ("", ()),
        (" , ", ()),
        ([], ()),
        ("eu-west-3", ("eu-west-3",)),
        ("eu-west-3, us-east-1,", ("eu-west-3", "us-east-1")),
        (["eu-west-3", " us-east-1 "], ("eu-west-3", "us-east-1")),
        (("RS256", "ES256"), ("RS256", "ES256")),
        ({"10.0.0.0/8"}, ("10.0.0.0/8",)),
        ([12], ("12",)),
    ],
)
def test_words_are_a_list_or_one_text_with_commas(value: object, expected: tuple[str, ...]):
    assert parse.words(value, "awsregion") == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": 1}, "awsregion: must be a list, or text with commas between the words"),
        (5, "awsregion: must be a list, or text with commas between the words"),
        (True, "awsregion: must be a list, or text with commas between the words"),
        (["a", None], "awsregion[1]: None is not text"),
        (["a", ""], "awsregion[1]: '' is not text"),
        ([["a"]], "awsregion[0]: ['a'] is not text"),
    ],
)
def test_what_is_not_a_list_of_words_is_refused(value: object, message: str):
    with pytest.raises(ConfigError) as caught:
        parse.words(value, "awsregion")
    assert str(caught.value) == message


@pytest.mark.parametrize("value", [None, "", {}, [], False])
def test_an_empty_value_is_an_empty_section(value: object):
    assert parse.section(value, "http") == {}


@pytest.mark.parametrize("value", ["tls", 5, True, ["tls"]])
def test_what_is_not_a_section_is_refused(value: object):
    with pytest.raises(ConfigError, match=r"^http: must be a section of options$"):
        parse.section(value, "http")
    with pytest.raises(ConfigError, match=r"^delete: must be a section with 'enabled'$"):
        parse.section(value, "delete", "with 'enabled'")


def test_a_positive_number_is_at_least_one():
    assert parse.positive("1", "maxtags") == 1
    with pytest.raises(ConfigError, match=r"^maxtags: 0 is not a whole number of at least 1$"):
        parse.positive(0, "maxtags")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("127.0.0.1:5000", ("127.0.0.1", 5000)),
        ("redis_1.example.com.:6379", ("redis_1.example.com.", 6379)),
        ("[::1]:0", ("::1", 0)),
        (":65535", ("", 65535)),
    ],
)
def test_a_host_and_its_port(value: str, expected: tuple[str, int]):
    assert parse.host_and_port(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        "",
        "a",
        "a:",
        "a:b",
        "a:65536",
        "::1:5000",
        "[1:2]:5000",
        "[]:1",
        "-a:1",
        "a..b:1",
        "http://a:1",
        "a:1\n",
    ],
)
def test_what_is_not_a_host_and_a_port_is_none(value: str):
    assert parse.host_and_port(value) is None


@pytest.mark.parametrize("value", [None, 5000, ["a:1"]])
def test_a_host_and_a_port_are_text(value: object):
    assert parse.host_and_port(value) is None


def test_the_documentation_of_an_options_class_is_that_of_its_fields():
    class Options:
        """What can be told.

        :param bucket: the bucket's name; ``a:b``
            on two lines.
        :param region: where it is.
        :raises ConfigError: for nothing.
        """

    assert parse.documented(Options) == {
        "bucket": "the bucket's name; ``a:b`` on two lines.",
        "region": "where it is.",
    }


def test_a_class_without_documentation_has_none():
    assert parse.documented(type("Options", (), {})) == {}
