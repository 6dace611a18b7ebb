"""Tests here open no port and, but for a few, start no program: they are the inner loop, `pytest tests/unit`.

They may fork, because much of the package is about what a fork shares.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import pickle
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest

#: Tests that run a Python for a moment, which lacks a package, or dies.
RUN_A_PROGRAM = frozenset(
    {
        "test_a_full_disk_is_one_clear_line_and_leaves_nothing_behind",
        "test_a_package_that_is_missing_is_named_with_the_extra_that_brings_it",
        "test_a_process_that_dies_before_the_commit_leaves_nothing_to_see",
        "test_a_server_in_c_that_forks_without_a_word_to_python_is_noticed",
        "test_importing_the_package_does_not_import_cryptography",
        "test_of_many_processes_that_create_an_object_one_wins",
        "test_the_origin_path_is_said_where_nobody_has_set_up_logging",
        "test_the_wrapper_stands_alone",
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
    (os, "posix_spawn"),
    (os, "system"),
)


START = subprocess.Popen.__init__


def is_of_the_test() -> bool:
    """Return whether the test itself calls: a thread in the background may be left from another test."""
    return threading.current_thread() is threading.main_thread()


def refuse() -> NoReturn:
    """Fail the test."""
    pytest.fail("a test in tests/unit starts no program and opens no port; tests/serving is the place for it")


def guarded(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return what stands in the place of *original*: it fails the test that calls it."""

    def call(*arguments: Any, **options: Any) -> Any:
        if is_of_the_test():
            refuse()
        return original(*arguments, **options)

    return call


def only_openssl(self: Any, args: Any, *arguments: Any, **options: Any) -> None:
    """Start `openssl`, which makes keys where `cryptography` is not installed, and nothing else."""
    if is_of_the_test() and os.path.basename(args[0]) != "openssl":
        self.returncode = 0
        refuse()
    with pytest.MonkeyPatch.context() as patch:
        # Python 3.13 may start it by os.posix_spawn, which is refused to tests.
        patch.setattr(subprocess, "_USE_POSIX_SPAWN", False)
        START(self, args, *arguments, **options)


@pytest.fixture(scope="session", autouse=True)
def cheap() -> Iterator[None]:
    """Leave out what costs most and what no test here sees.

    OpenSSL takes 50 ms to check an RSA key that is loaded, and most tests load the same one: it is kept. That
    files are synced is seen by the call; only a power cut would show more, so no test waits for the disk.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        if importlib.util.find_spec("cryptography"):
            from cfmiddleware.signing import cryptography_backend

            patch.setattr(
                cryptography_backend, "RSASigningKey", functools.cache(cryptography_backend.RSASigningKey)
            )
        yield


@pytest.fixture(autouse=True)
def no_process_for_large_manifests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read large manifests and write large events here, with what a process of their own would be given and
    would answer.
    """

    def call(seconds: float, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        function, arguments, keywords = pickle.loads(pickle.dumps((function, arguments, keywords)))
        try:
            return pickle.loads(pickle.dumps(function(*arguments, **keywords)))
        except Exception as error:
            raise pickle.loads(pickle.dumps(error)) from None

    monkeypatch.setattr("cfmiddleware.registry.store.turns.call_in_child", call)
    monkeypatch.setattr("cfmiddleware.notifications.delivery.call_in_child", call)


@pytest.fixture(autouse=True)
def no_program_and_no_port(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let a test fail that starts a program, or binds or connects a socket."""
    if request.node.originalname in RUN_A_PROGRAM:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in GUARDED:
            patch.setattr(owner, name, guarded(getattr(owner, name)))
        patch.setattr(subprocess.Popen, "__init__", only_openssl)
        yield
