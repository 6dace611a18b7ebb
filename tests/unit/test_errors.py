"""The errors that pass from room to room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cfmiddleware.errors import ConfigError, cannot_be_read, shown_path


@pytest.mark.parametrize("text", ["a\nb", "\x1b[2J", "\u2028"])
def test_a_message_is_one_line_whatever_the_operator_wrote(text: str):
    assert str(ConfigError(f"{text}: unknown")).isprintable()


@pytest.mark.parametrize(
    ("read", "line"),
    [
        (lambda here: (here / "none").read_text(), "cannot be read: No such file or directory"),
        (lambda here: here.read_text(), "cannot be read: Is a directory"),
        (lambda here: (here / "a\0b").read_text(), "cannot be read: that is not a path"),
        (lambda here: b"\xff".decode(), "cannot be read: it is not UTF-8 text"),
    ],
)
def test_why_a_file_cannot_be_read(tmp_path: Path, read: Callable[[Path], object], line: str):
    with pytest.raises((OSError, ValueError)) as caught:
        read(tmp_path)
    assert cannot_be_read(caught.value) == line


def test_an_error_of_the_system_without_words_is_named():
    assert cannot_be_read(TimeoutError()) == "cannot be read: TimeoutError"


KEY = "MIIEowIBAAKCAQEA" + "q7Jx+/9A" * 200 + "=="


@pytest.mark.parametrize(
    "secret",
    [
        *(KEY, KEY[:64], "\n".join(KEY[n : n + 64] for n in range(0, 640, 64)), "alice:pw", "hunter2"),
        *("correct-horse-battery-staple", "s3cr3t/P4ssw0rd!", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJlLW9mLXRoZS10b2tlbi1pbi1iYXNlNjQ",
        *("-----BEGIN PRIVATE KEY-----\nMIIE", "a\0b-secret"),
    ],
)
def test_a_secret_that_is_given_as_a_path_is_shown_shortened(tmp_path: Path, secret: str):
    for shown in (shown_path(secret), shown_path(tmp_path / secret)):
        assert shown.endswith("...")
        hidden = shown.removesuffix("...").removeprefix(f"{tmp_path}/")
        assert len(hidden) <= len(secret) / 4
        assert len(hidden) <= 8


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/registry/pk-K2JCJMDEHXQW5F.pem", "/no/such/file", "none.pem", "certs/tls.key", "htpasswd"),
        *("/auth/htpasswd", "/run/secrets/registry_key", "/var/run/aws/ip-ranges.json", "ca-bundle.crt", ""),
    ],
)
def test_a_path_that_is_named_as_files_are_is_shown_whole(path: str):
    assert shown_path(path) == path


def test_what_is_there_is_no_secret(tmp_path: Path):
    file = tmp_path / KEY[:60].replace("/", "")
    file.mkdir()
    assert shown_path(file) == str(file)
