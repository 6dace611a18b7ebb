"""Secrets in files of their own: `..._FILE` variables, and options whose names end in `file`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from lab.configurations import WRAPPED, build, load, refusal

from cfmiddleware.config import Config
from cfmiddleware.config.secretfiles import SECRETS

SECRET = "open sesame/+="

TREE: dict[str, Any] = {
    "storage": {"s3": {"bucket": "images", "region": "eu-west-1"}},
    "redis": {"addr": "localhost:6379", "mastername": "registry"},
    "http": {},
    "edge": {"storage": {"s3": {"bucket": "images", "region": "eu-west-1"}}, "publickeys": {"K": "k.pem"}},
}


@pytest.fixture
def directory(directory: Path) -> Path:
    (directory / "secret").write_text(f"{SECRET}\n")
    (directory / "empty.txt").write_text("\n")
    return directory


def at(config: Config, path: tuple[str, ...]) -> Any:
    """Return the options of a section of `SECRETS`."""
    settings = config.settings
    if path == ("redis",):
        return settings.redis
    driver = settings.storage.driver if path[0] == "storage" else settings.edge and settings.edge.storage
    return driver.options  # type: ignore[union-attr]


def text(*path: str, **options: str) -> str:
    tree = yaml.safe_load(yaml.safe_dump(TREE))
    node = tree
    for step in path:
        node = node[step]
    node.update(options)
    return yaml.safe_dump(tree)


def beside(option: str) -> dict[str, str]:
    """Return what must stand beside an option."""
    keys = {"accesskey": "A", "secretkey": "B"}
    needed = keys if option in ("accesskey", "secretkey", "sessiontoken") else {}
    return {name: value for name, value in needed.items() if name != option}


EVERY = [(path, option) for path, options in SECRETS.items() for option in options if path != ("http",)]


@pytest.mark.parametrize(("path", "option"), EVERY)
def test_a_secret_may_lie_in_a_file_that_an_option_names(directory: Path, path: tuple[str, ...], option: str):
    config = load(directory, text(*path, **beside(option), **{f"{option}file": "secret"}))

    assert getattr(at(config, path), option) == SECRET


@pytest.mark.parametrize(("path", "option"), EVERY)
def test_a_secret_may_lie_in_a_file_that_a_variable_names(
    directory: Path, path: tuple[str, ...], option: str
):
    variable = "_".join(["REGISTRY", *path, option, "FILE"]).upper()

    config = load(directory, text(*path, **beside(option)), {variable: str(directory / "secret")})

    assert getattr(at(config, path), option) == SECRET


def test_a_secret_that_is_not_needed_may_lie_in_a_file_too(directory: Path, caplog: pytest.LogCaptureFixture):
    load(directory, text("http", secretfile="secret"))
    load(directory, text(), {"REGISTRY_HTTP_SECRET_FILE": str(directory / "secret")})

    assert caplog.messages == []


def test_any_other_option_may_be_in_a_file_that_a_variable_names(directory: Path):
    build(
        load(
            directory,
            WRAPPED.replace("privatekey: keys/pk-KEXAMPLE1.pem", "keypairid: KEXAMPLE1"),
            {"REGISTRY_MIDDLEWARE_STORAGE_0_OPTIONS_PRIVATEKEY_FILE": "keys/pk-KEXAMPLE1.pem"},
        )
    )


def test_a_file_of_digits_is_text(directory: Path):
    (directory / "digits").write_text("0123456\n")

    config = load(directory, text(), {"REGISTRY_REDIS_PASSWORD_FILE": "digits"})

    assert at(config, ("redis",)).password == "0123456"


@pytest.mark.parametrize(
    ("options", "environ", "line"),
    [
        (
            {"passwordfile": "none.txt"},
            {},
            "redis.passwordfile: none.txt cannot be read: No such file or directory",
        ),
        ({"passwordfile": "empty.txt"}, {}, "redis.passwordfile: empty.txt is empty"),
        ({"passwordfile": "keys"}, {}, "redis.passwordfile: keys cannot be read: Is a directory"),
        ({"passwordfile": 5}, {}, "redis.passwordfile: must be the path of a file"),
        (
            {"passwordfile": "secret", "password": SECRET},
            {},
            "redis.passwordfile: goes without 'password'; they say the same",
        ),
        ({}, {"REGISTRY_REDIS_PASSWORD_FILE": ""}, "REGISTRY_REDIS_PASSWORD_FILE: is empty"),
        (
            {},
            {"REGISTRY_REDIS_PASSWORD_FILE": "none.txt"},
            "REGISTRY_REDIS_PASSWORD_FILE: none.txt cannot be read",
        ),
        (
            {},
            {"REGISTRY_REDIS_PASSWORD_FILE": "secret", "REGISTRY_REDIS_PASSWORD": SECRET},
            "REGISTRY_REDIS_PASSWORD_FILE: goes without the variable whose value the file holds",
        ),
        ({}, {"REGISTRY_REDIS_PASSWORT_FILE": "secret"}, "redis.passwort: there is no such option"),
    ],
)
def test_a_file_that_cannot_be_is_told_without_the_secret(
    directory: Path, options: dict[str, Any], environ: dict[str, str], line: str
):
    said = refusal(directory, text("redis", **options), environ)

    assert said.startswith(f"config.yml: {line}")
    assert SECRET not in said


def test_a_files_variable_takes_the_place_of_what_the_file_says(directory: Path):
    config = load(directory, text("redis", password="old"), {"REGISTRY_REDIS_PASSWORD_FILE": "secret"})

    assert at(config, ("redis",)).password == SECRET


@pytest.mark.parametrize("end", ["\\n", "\\r\\n"])
def test_a_key_may_have_its_line_ends_as_letters(directory: Path, pem: str, end: str):
    """As `docker run --env-file` and stores of secrets hand it over."""
    variables = {
        "REGISTRY_MIDDLEWARE_STORAGE_0_OPTIONS_PRIVATEKEY": pem.replace("\n", end),
        "REGISTRY_MIDDLEWARE_STORAGE_0_OPTIONS_KEYPAIRID": "K1",
    }

    build(load(directory, WRAPPED, variables))
