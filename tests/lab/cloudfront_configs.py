"""Configurations with keys, as operators have them before and after CloudFront is set up."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from cfmiddleware.cloudfront.wanted import Wanted, wanted
from cfmiddleware.config import Config
from cfmiddleware.signing.keys import load_private_key
from lab.signing_material import rsa_pem

#: The storage of `config_file`, unless it is told another.
S3 = {"bucket": "images", "region": "eu-west-3", "rootdirectory": "/team/prod"}


def write_key(file: Path, number: int = 1, age: int = 0) -> str:
    """Write both halves of a key as `keygen` does; return the public one.

    :param age: how many seconds ago the private half was written.
    """
    file.parent.mkdir(exist_ok=True)
    file.write_text(rsa_pem(number))
    public = load_private_key(rsa_pem(number), "test").public_pem
    file.with_name(file.name.removesuffix(".pem") + ".pub.pem").write_text(public)
    modified = file.stat().st_mtime - age
    os.utime(file, (modified, modified))
    return public


def config_file(
    directory: Path, options: dict[str, Any] | None = None, storage: dict[str, Any] | None = None
) -> Path:
    """Write a `config.yml` whose keys are in the directory `keys` beside it.

    :param options: the wrapper's options.
    :param storage: the section `storage`, or options of S3 beside those of `S3`.
    """
    if storage is None or not storage.keys() & {"s3", "filesystem", "inmemory"}:
        storage = {"s3": {**S3, **(storage or {})}}
    entry = {"name": "cloudfront", "options": {"privatekey": "keys", **(options or {})}}
    file = directory / "config.yml"
    tree = {"version": "0.1", "storage": storage, "middleware": {"storage": [entry]}}
    file.write_text(yaml.safe_dump(tree))
    return file


def want(
    directory: Path, options: dict[str, Any] | None = None, storage: dict[str, Any] | None = None
) -> Wanted:
    """Return what CloudFront must be for the `config.yml` of those arguments."""
    return wanted(Config.load(config_file(directory, options, storage), {}))
