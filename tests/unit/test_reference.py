"""Which paths are blob paths."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfmiddleware.digest import Digest
from cfmiddleware.reference import MAX_NAME_LENGTH, BlobPath, is_name, is_tag, parse_blob_path

SHA256 = "sha256:" + "0123456789abcdef" * 4
SHA512 = "sha512:" + "0123456789abcdef" * 8

# The grammar as the specification writes it. It backtracks, so the names put to it are short.
SPECIFIED = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*")

short_names = st.text(alphabet="a0._-/B\n%", max_size=12)


@given(short_names)
def test_a_name_is_what_the_specification_says(name: str):
    assert is_name(name) == (SPECIFIED.fullmatch(name) is not None)


@given(short_names, st.sampled_from([SHA256, SHA512]), st.sampled_from(["", "/registry", "/a/v2"]))
def test_a_blob_path_is_the_prefix_v2_a_name_blobs_and_a_digest(name: str, digest: str, prefix: str):
    expected = BlobPath(name, Digest.parse(digest)) if SPECIFIED.fullmatch(name) else None
    assert parse_blob_path(f"{prefix}/v2/{name}/blobs/{digest}", prefix) == expected


@given(st.text(max_size=400))
def test_whatever_is_read_as_a_blob_path_is_written_back_the_same(path: str):
    blob = parse_blob_path(path)
    assert blob is None or path == f"/v2/{blob.repository}/blobs/{blob.digest}"


@given(st.data())
def test_one_character_put_in_taken_out_or_changed_never_leaves_the_path_of_the_same_blob(
    data: st.DataObject,
):
    path = f"/v2/team/app/blobs/{SHA256}"
    at = data.draw(st.integers(0, len(path)))
    cut = data.draw(st.integers(0, 1))
    other = path[:at] + data.draw(st.text(max_size=1)) + path[at + cut :]
    if other != path:
        assert parse_blob_path(other) != BlobPath("team/app", Digest.parse(SHA256))


@pytest.mark.parametrize(
    "path",
    [
        f"/v2/blobs/{SHA256}",
        f"/v2//blobs/{SHA256}",
        f"/v2/a//b/blobs/{SHA256}",
        f"//v2/a/blobs/{SHA256}",
        f"/v2/a/../b/blobs/{SHA256}",
        f"/v2/./a/blobs/{SHA256}",
        f"/v2/a/blobs/{SHA256}/",
        f"/v2/a/blobs/{SHA256}\n",
        f"/v2/a/blobs//{SHA256}",
        f"/v2/a/blobs/{SHA256.replace('a', 'A')}",
        f"/v2/a/blobs/{SHA256[:-1]}",
        f"/v2/a/blobs/{SHA256}0",
        f"/v2/a/blobs/{SHA512.replace('512', '256')}",
        f"/v2/a/blobs/md5:{'0' * 32}",
        "/v2/a/blobs/sha256:",
        "/v2/a/blobs/uploads/",
        f"/v2/a/manifests/{SHA256}",
        f"/v2/á/blobs/{SHA256}",
        f"/V2/a/blobs/{SHA256}",
        f"v2/a/blobs/{SHA256}",
        "",
        "/",
    ],
)
def test_what_resembles_a_blob_path_is_none(path: str):
    assert parse_blob_path(path) is None


def test_a_name_may_hold_blobs_and_digests_of_its_own():
    name = f"blobs/blobs/v2/{SHA256[7:]}/blobs"
    assert parse_blob_path(f"/v2/{name}/blobs/{SHA512}") == BlobPath(name, Digest.parse(SHA512))


def test_a_name_has_255_characters_at_the_most():
    longest = "a" * MAX_NAME_LENGTH
    assert parse_blob_path(f"/registry/v2/{longest}/blobs/{SHA512}", "/registry") is not None
    assert parse_blob_path(f"/registry/v2/{longest}a/blobs/{SHA256}", "/registry") is None


def test_a_path_outside_the_prefix_is_none():
    assert parse_blob_path(f"/v2/a/blobs/{SHA256}", "/registry") is None
    assert parse_blob_path(f"/registry2/v2/a/blobs/{SHA256}", "/registry") is None
    assert parse_blob_path(f"/registry/v2/a/blobs/{SHA256}") is None


@pytest.mark.parametrize(
    "bait", ["a" * 1_000_000 + "!", "a-" * 500_000 + "!", "/".join(["a"] * 500_000) + "_"]
)
def test_a_megabyte_of_bait_is_read_to_its_end_without_going_back(bait: str):
    # Were there backtracking, this would not end while anybody waits.
    assert parse_blob_path(f"/v2/{bait}/blobs/{SHA256}") is None
    assert not is_name(bait[:200] + "!")


@given(st.text(alphabet="aZ09_.-/", max_size=130))
def test_a_tag_is_what_the_specification_says(tag: str):
    assert is_tag(tag) == (re.fullmatch(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", tag) is not None)
