"""What `import cfmiddleware` gives, and what it does not import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import cfmiddleware
from cfmiddleware.signing.keys import generate
from cfmiddleware.version import __version__

NAMES = ["AccessLog", "CloudFrontMiddleware", "Config", "ConfigError", "Edge", "Registry", "__version__"]


def test_the_names_are_public():
    assert sorted(cfmiddleware.__all__) == NAMES
    assert set(NAMES) <= set(dir(cfmiddleware))


@pytest.mark.parametrize("name", NAMES[:-1])
def test_a_name_is_the_class_of_that_name(name: str):
    found = getattr(cfmiddleware, name)

    assert isinstance(found, type)
    assert found.__name__ == name


def test_the_version_is_the_packages():
    assert cfmiddleware.__version__ == __version__


def test_an_unknown_name_is_an_attribute_error_and_an_import_error():
    with pytest.raises(AttributeError, match=r"^module 'cfmiddleware' has no attribute 'Confg'$"):
        _ = cfmiddleware.Confg
    with pytest.raises(ImportError):
        from cfmiddleware import Confg  # noqa: F401


def test_all_names_can_be_imported_at_once():
    found: dict[str, object] = {}
    exec("from cfmiddleware import *", found)

    assert set(NAMES) - {"__version__"} <= found.keys()


@pytest.mark.parametrize(
    ("name", "unneeded"),
    [
        ("__version__", ["cfmiddleware.middleware", "cfmiddleware.errors", "cfmiddleware.config", "yaml"]),
        (
            "CloudFrontMiddleware",
            [
                "yaml",
                "boto3",
                "botocore",
                "urllib3",
                "werkzeug",
                "cfmiddleware.config",
                "cfmiddleware.registry",
                "cfmiddleware.storage",
            ],
        ),
        ("ConfigError", ["cfmiddleware.middleware", "cfmiddleware.config"]),
        ("Registry", ["yaml", "boto3", "cfmiddleware.config", "cfmiddleware.middleware"]),
        ("AccessLog", ["yaml", "cfmiddleware.config", "cfmiddleware.registry"]),
    ],
)
def test_a_name_imports_only_what_it_needs(name: str, unneeded: list[str]):
    program = f"import sys; from cfmiddleware import {name}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert set(done.stdout.split()).isdisjoint(unneeded)


def test_an_app_that_is_wrapped_by_a_configuration_file_needs_neither_werkzeug_nor_boto3(tmp_path: Path):
    (tmp_path / "pk-K1.pem").write_text(generate("rsa").private_pem)
    (tmp_path / "config.yml").write_text(
        "middleware: {storage: [{name: cloudfront, options: "
        "{baseurl: 'https://d111111abcdef8.cloudfront.net', privatekey: pk-K1.pem}}]}"
    )
    program = (
        "import sys; from cfmiddleware import Config\n"
        "wrapped = Config.load('config.yml').wrap(lambda environ, start_response: [])\n"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert {*done.stdout.split()} & {"boto3", "botocore", "urllib3", "werkzeug"} == set()
