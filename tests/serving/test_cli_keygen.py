"""`cfmiddleware keygen`: a pair of files, both or none, and what to do with them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from lab.clients import find_program

from cfmiddleware.cli import main
from cfmiddleware.signing.keys import load_private_key, load_public_key


@pytest.mark.parametrize(("arguments", "algorithm"), [([], "rsa"), (["--type", "ecdsa"], "ecdsa")])
def test_both_halves_of_a_pair_are_written(tmp_path: Path, arguments: list[str], algorithm: str):
    assert main(["keygen", *arguments, "--out", str(tmp_path / "new")]) == 0

    private = load_private_key((tmp_path / "new.pem").read_text(), "new.pem")
    public = load_public_key((tmp_path / "new.pub.pem").read_text(), "new.pub.pem")
    assert private.algorithm == public.algorithm == algorithm
    assert private.fingerprint == public.fingerprint


def test_openssl_takes_the_pair_for_what_cloudfront_wants(tmp_path: Path):
    openssl = find_program("openssl")
    for kind, words in (("rsa", "Public-Key: (2048 bit)"), ("ecdsa", "prime256v1")):
        main(["keygen", "--type", kind, "--out", str(tmp_path / kind)])

        command = [openssl, "pkey", "-pubin", "-in", str(tmp_path / f"{kind}.pub.pem"), "-noout", "-text"]

        assert words in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_private_half_is_for_its_owner_alone(tmp_path: Path):
    main(["keygen", "--out", str(tmp_path / "new")])

    assert (tmp_path / "new.pem").stat().st_mode & 0o777 == 0o600


def test_it_says_what_to_do_with_the_public_half(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    main(["keygen", "--out", str(tmp_path / "new")])
    said = capsys.readouterr().out

    assert f"paste {tmp_path}/new.pub.pem" in said
    for words in (
        "Create public key",
        "Create key group",
        "Restrict viewer access",
        "keypairid",
        "pk-<id>.pem",
        "cfmiddleware check",
    ):
        assert words in said
    assert "-----BEGIN" not in said
    assert said.endswith("\n  cfmiddleware template config.yml\n")


def test_a_name_that_has_the_id_needs_no_option_for_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["keygen", "--out", str(tmp_path / "pk-K2JCJMDEHXQW5F")]) == 0
    said = capsys.readouterr().out
    assert "keypairid to that id" not in said
    assert "Its name says that the id is K2JCJMDEHXQW5F" in said


@pytest.mark.parametrize("there", ["cloudfront.pem", "cloudfront.pub.pem"])
def test_nothing_is_overwritten_and_no_half_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], there: str
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / there).write_text("precious")

    assert main(["keygen", "--type", "ecdsa"]) == 2

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"cfmiddleware: {there}: there is a file already; choose another name\n"
    assert [file.name for file in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "precious"


@pytest.mark.parametrize("out", ["none/new", "none/", ".", "..", "/", ""])
def test_a_place_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], out: str
):
    monkeypatch.chdir(tmp_path)

    assert main(["keygen", "--type", "ecdsa", "--out", out]) == 2

    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)

    assert main(["keygen", "--type", "ecdsa", "--out", "keys/cloudfront"]) == 2

    assert capsys.readouterr().err == (
        "cfmiddleware: keys/cloudfront.pem: cannot be written: there is no directory keys; make it first\n"
    )
