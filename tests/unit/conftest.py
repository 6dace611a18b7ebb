"""Tests here open no port and, but for a few, start no program: they are the inner loop, `pytest tests/unit`.

They may fork, because much of the package is about what a fork shares.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest

#: Tests that run a program for a moment: `openssl`, or a Python that lacks a package or dies.
RUN_A_PROGRAM = frozenset(
    {
        "test_a_full_disk_is_one_clear_line_and_leaves_nothing_behind",
        "test_a_package_that_is_missing_is_named_with_the_extra_that_brings_it",
        "test_a_process_that_dies_before_the_commit_leaves_nothing_to_see",
        "test_ec_keys_are_taken_as_openssl_writes_them",
        "test_importing_the_package_does_not_import_cryptography",
        "test_openssl_accepts_our_ecdsa_signature",
        "test_openssl_finds_nothing_wrong_with_a_pkcs8_of_ours",
        "test_the_rsa_package_signs_what_openssl_signs",
        "test_the_wrapper_stands_alone",
        "test_what_openssl_encrypts_is_called_encrypted",
        "test_what_openssl_makes_of_other_kinds_is_called_by_its_name",
        "test_what_openssl_says_is_the_fingerprint_and_the_public_key",
        "test_without_cryptography_an_ec_key_names_the_extra_to_install",
        "test_without_cryptography_an_rsa_key_can_be_made",
        "test_without_cryptography_every_refusal_has_the_same_words",
        "test_without_cryptography_rsa_keys_sign_with_the_same_bytes",
    }
)

GUARDED: tuple[tuple[Any, str], ...] = (
    (socket.socket, "bind"),
    (socket.socket, "connect"),
    (socket.socket, "connect_ex"),
    (subprocess.Popen, "__init__"),
    (os, "posix_spawn"),
    (os, "system"),
)


def refuse(*arguments: Any, **options: Any) -> NoReturn:
    """Fail the test."""
    pytest.fail("a test in tests/unit starts no program and opens no port; tests/serving is the place for it")


@pytest.fixture(autouse=True)
def no_program_and_no_port(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let a test fail that starts a program, or binds or connects a socket."""
    if request.node.originalname in RUN_A_PROGRAM:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in GUARDED:
            patch.setattr(owner, name, refuse)
        yield
