"""Where blobs lie, and what is left of a key below an Origin Path."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfmiddleware.digest import Digest
from cfmiddleware.errors import ConfigError
from cfmiddleware.middleware.layout import Layout
from cfmiddleware.registry.store import paths
from cfmiddleware.signing.originpath import directory, path_below

DIGEST = Digest.of(b"layer")
HEX = DIGEST.hex
SHA512 = Digest.of(b"layer", "sha512")

segments = st.lists(st.text(alphabet="ab.-", min_size=1, max_size=4), min_size=1, max_size=5)


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ("distribution", f"docker/registry/v2/blobs/sha256/{HEX[:2]}/{HEX}/data"),
        ("quay", f"sha256/{HEX[:2]}/{HEX}"),
        ("oci", f"team/app/blobs/sha256/{HEX}"),
        ("{root}/x/{algorithm}-{hex[:2]}/{repository}/{hex}.bin", f"x/sha256-{HEX[:2]}/team/app/{HEX}.bin"),
    ],
)
def test_a_layout_gives_a_digest_its_key(layout: str, expected: str):
    assert Layout(layout).key("team/app", DIGEST) == expected
    assert Layout(layout, "/team/prod").key("team/app", DIGEST) == f"team/prod/{expected}"


def test_a_digest_keeps_its_algorithm():
    assert Layout("quay").key("app", SHA512) == f"sha512/{SHA512.hex[:2]}/{SHA512.hex}"


def test_a_template_without_a_root_ignores_the_root_directory():
    assert Layout("blobs/{hex}", "/team").key("app", DIGEST) == f"blobs/{HEX}"


@pytest.mark.parametrize("root", ["/a{b}", "/{hex}", "/{hex[:2]}", "/{", "/a.b+(c"])
def test_the_characters_of_a_root_directory_mean_only_themselves(root: str):
    layout = Layout("quay", root)
    assert layout.key("app", DIGEST) == f"{root[1:]}/sha256/{HEX[:2]}/{HEX}"
    assert layout.reaches(root)
    assert not layout.reaches("/aaa")


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        ("distributon", "did you mean 'distribution'?"),
        ("{root}/blobs", "{hex} is missing"),
        ("{root}/{digest}", "{digest} is not a field"),
        ("{root}/{hex[:3]}/{hex}", "did you mean 'hex[:2]'?"),
        ("{root}/{{hex}}", "brace"),
        ("{root}/../{hex}", "segment"),
        ("{root}/a//{hex}", "segment"),
        ("{root}/{hex}/", "segment"),
        ("{root}/a\n/{hex}", "character"),
        ("{hex.__class__}/{hex}", "not a field"),
        ("{}/{hex}", "not a field"),
    ],
)
def test_a_template_that_cannot_work_is_refused_in_one_line(layout: str, said: str):
    with pytest.raises(ConfigError) as caught:
        Layout(layout)
    assert str(caught.value).startswith("layout: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("layout", "root", "originpath"),
    [
        ("distribution", "", ""),
        ("distribution", "", "/docker"),
        ("distribution", "", "/docker/registry/v2/blobs/sha256"),
        ("distribution", "/team/prod", ""),
        ("distribution", "/team/prod", "/team"),
        ("distribution", "/team/prod", "/team/prod"),
        ("oci", "/team", "/team/some/repository"),
        ("quay", "", "/sha512"),
    ],
)
def test_an_origin_path_above_the_keys_is_reached(layout: str, root: str, originpath: str):
    assert Layout(layout, root).reaches(originpath)


@pytest.mark.parametrize(
    ("layout", "root", "originpath"),
    [
        ("distribution", "", "/team"),
        ("distribution", "/team/prod", "/team/pro"),
        ("distribution", "/team/prod", "/team/production"),
        ("distribution", "/team/prod", "/prod"),
        ("distribution", "/team", "/team/quay"),
        ("quay", "", "/sha1"),
        ("{root}{hex}", "/team", "/team"),
    ],
)
def test_an_origin_path_that_no_key_begins_with_is_not(layout: str, root: str, originpath: str):
    assert not Layout(layout, root).reaches(originpath)


@given(segments, segments)
def test_a_key_is_below_an_origin_path_by_whole_segments(key: list[str], origin: list[str]):
    below = path_below("/".join(key), "/" + "/".join(origin))
    if key[: len(origin)] == origin and len(key) > len(origin):
        assert below == "/" + "/".join(key[len(origin) :])
    else:
        assert below is None


@given(segments)
def test_every_key_is_below_a_blank_origin_path(key: list[str]):
    assert path_below("/".join(key), "") == "/" + "/".join(key)


@given(st.text(max_size=20), st.text(alphabet="ab/.", max_size=8).map(lambda text: "/" + text.strip("/")))
def test_the_origin_path_and_what_is_below_it_are_the_key_again(key: str, origin: str):
    origin = origin.rstrip("/")
    below = path_below(key, origin)
    assert below is None or origin + below == "/" + key


@pytest.mark.parametrize("text", ["team/prod", "/team/prod", "/team/prod/", "//team/prod//"])
def test_a_directory_is_the_same_however_its_ends_are_written(text: str):
    assert directory(text, "rootdirectory") == "/team/prod"


@pytest.mark.parametrize("text", ["", "/", "//"])
def test_no_directory_is_the_root_of_the_bucket(text: str):
    assert directory(text, "rootdirectory") == ""


@pytest.mark.parametrize("text", ["/a//b", "/a/../b", "..", "/a/.", "/a\nb", "/a\0"])
def test_a_directory_that_a_url_cannot_carry_is_refused(text: str):
    with pytest.raises(ConfigError, match=r"^rootdirectory: .*not a directory"):
        directory(text, "rootdirectory")


def test_our_own_registry_puts_its_blobs_where_the_default_layout_looks_for_them():
    digest = Digest.of(b"layer")

    assert paths.blob_data(digest) == "/" + Layout().key("team/app", digest)
