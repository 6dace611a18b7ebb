"""`cfmiddleware sign`: what it prints is what the edge accepts."""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from cfmiddleware.cli import main
from cfmiddleware.config.embedded import embedded
from cfmiddleware.digest import Digest
from cfmiddleware.signing.keys import generate, load_public_key
from cfmiddleware.signing.verify import Refused, Verifier

DIGEST = Digest.of(b"layer")
PATH = f"/docker/registry/v2/blobs/sha256/{DIGEST.hex[:2]}/{DIGEST.hex}/data"

CONFIG = """
storage: {s3: {region: eu-west-1, bucket: images, rootdirectory: /team}}
middleware:
  storage:
    - name: cloudfront
      options: {baseurl: https://d1.example, privatekey: pk-KFILE.pem, duration: 1h}
"""


@pytest.fixture
def verifier(tmp_path: Path) -> Verifier:
    """What accepts the key that lies in the test's directory as `pk-KFILE.pem`, under two ids."""
    pair = generate("ecdsa")
    (tmp_path / "pk-KFILE.pem").write_text(pair.private_pem)
    (tmp_path / "config.yml").write_text(CONFIG)
    key = load_public_key(pair.public_pem, "the test's")
    return Verifier({"KFILE": key, "KOTHER": key})


def signed(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Return the one line that the command prints."""
    assert main(["sign", *map(str, arguments)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count("\n") == 1
    return out.removesuffix("\n")


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["sign", *map(str, arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


def lifetime(url: str) -> float:
    return int(parse_qs(urlsplit(url).query)["Expires"][0]) - time.time()


def test_a_digest_becomes_what_a_pull_would_be_sent_to(capsys, tmp_path: Path, verifier: Verifier):
    url = signed(capsys, DIGEST, "--config", tmp_path / "config.yml")

    # The Origin Path is /team, so the URL's path begins below it.
    assert url.startswith(f"https://d1.example{PATH}?Expires=")
    assert 45 * 60 - 5 < lifetime(url) <= 60 * 60
    verifier.check(url, time.time(), None)


def test_a_url_is_signed_as_it_is(capsys, tmp_path: Path, verifier: Verifier):
    url = signed(capsys, "https://d1.example/some%20page?x=1", "--config", tmp_path / "config.yml")

    assert url.startswith("https://d1.example/some%20page?x=1&Expires=")
    verifier.check(url, time.time(), None)


def test_a_url_needs_only_a_key(capsys, tmp_path: Path, verifier: Verifier):
    url = signed(capsys, "https://d1.example/a", "--privatekey", tmp_path / "pk-KFILE.pem")

    verifier.check(url, time.time(), None)


def test_plain_options_do_without_a_file(capsys, tmp_path: Path, verifier: Verifier):
    options = ["--baseurl", "d2.example", "--privatekey", tmp_path / "pk-KFILE.pem", "--keypairid", "KOTHER"]

    url = signed(capsys, DIGEST, *options, "--duration", "10m", "--hash", "sha256", "--layout", "quay")

    assert url.startswith(f"https://d2.example/sha256/{DIGEST.hex[:2]}/{DIGEST.hex}?Expires=")
    assert parse_qs(urlsplit(url).query)["Key-Pair-Id"] == ["KOTHER"]
    assert parse_qs(urlsplit(url).query)["Hash-Algorithm"] == ["SHA256"]
    assert lifetime(url) <= 10 * 60
    verifier.check(url, time.time(), None)


def test_plain_options_take_the_place_of_the_files(capsys, tmp_path: Path, verifier: Verifier):
    options = ["--config", tmp_path / "config.yml", "--rootdirectory", "/team", "--originpath", ""]

    url = signed(capsys, DIGEST, *options)

    assert url.startswith(f"https://d1.example/team{PATH}?")
    verifier.check(url, time.time(), None)


def test_a_layout_with_repositories_needs_the_name(capsys, tmp_path: Path, verifier: Verifier):
    options = ["--config", tmp_path / "config.yml", "--layout", "oci"]

    url = signed(capsys, DIGEST, *options, "--repository", "team/app")

    assert f"/team/app/blobs/sha256/{DIGEST.hex}?" in url
    verifier.check(url, time.time(), None)


def test_an_address_is_bound(capsys, tmp_path: Path, verifier: Verifier):
    url = signed(capsys, DIGEST, "--config", tmp_path / "config.yml", "--address", "192.0.2.7")

    verifier.check(url, time.time(), "192.0.2.7")
    with pytest.raises(Refused):
        verifier.check(url, time.time(), "192.0.2.8")


def test_the_data_directory_of_serve_has_all_that_is_needed(capsys, tmp_path: Path):
    edge = embedded(tmp_path / "data", edge_address="127.0.0.1:5001").edge()

    url = signed(capsys, DIGEST, "--data", tmp_path / "data")

    assert url.startswith(f"http://127.0.0.1:5001{PATH}?")
    (file,) = (tmp_path / "data" / "keys").iterdir()
    assert f"Key-Pair-Id={file.name.removeprefix('pk-').removesuffix('.pem')}" in url
    assert edge is not None


def test_signing_makes_no_data_directory(capsys, tmp_path: Path):
    line = refusal(capsys, DIGEST, "--data", tmp_path / "data")

    assert "there is no key pair; run 'cfmiddleware serve' once, or give --config" in line
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sha256:12"], "'sha256:12' is neither a URL nor a digest: a digest is sha256: and 64"),
        (["https://d.example/a b"], "is not a URL that can be signed: encode it first"),
        (["https://d.example/\x1b"], "is not a URL that can be signed"),
        (["https://d.example/a#b"], "leave out any fragment"),
        (["https://d.example/a?x=1&Signature=s"], "the URL has a parameter 'Signature', which is Cloud"),
        ([str(DIGEST), "--address", "::1"], "--address: '::1' is not an IPv4 address"),
        ([str(DIGEST), "--address", "x"], "--address: 'x' is not an IPv4 address"),
        ([str(DIGEST), "--repository", "UP"], "--repository: 'UP' is not a repository's name"),
        ([str(DIGEST), "--duration", "soon"], "duration: 'soon' is not a duration"),
        ([str(DIGEST), "--hash", "md5"], "hash: 'md5' is none of sha1, sha256"),
        ([str(DIGEST), "--originpath", "/other"], "originpath: no key can start with '/other'"),
        ([str(DIGEST), "--baseurl", "ftp://x"], "baseurl: "),
    ],
)
def test_what_cannot_be_signed_is_told(capsys, tmp_path: Path, verifier: Verifier, arguments, words: str):
    assert words in refusal(capsys, *arguments, "--config", tmp_path / "config.yml")


def test_a_key_that_is_not_there_is_told(capsys, tmp_path: Path):
    options = ["--baseurl", "d.example", "--privatekey", tmp_path / "none.pem"]

    assert "none.pem: cannot be read: No such file or directory" in refusal(capsys, DIGEST, *options)


def test_a_distribution_must_be_named_for_a_digest(capsys, tmp_path: Path, verifier: Verifier):
    line = refusal(capsys, DIGEST, "--privatekey", tmp_path / "pk-KFILE.pem")

    assert "baseurl: this option is required" in line
