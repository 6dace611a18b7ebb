"""Configurations of tests: a file that works, and the line that one with a mistake gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from cfmiddleware.config import Config
from cfmiddleware.errors import ConfigError

WRAPPED = """
version: 0.1
log: {level: debug}
storage:
  inmemory:
  delete: {enabled: true}
http: {addr: 127.0.0.1:5055, prefix: /registry}
middleware:
  storage:
    - name: cloudfront
      options:
        baseurl: https://d111111abcdef8.cloudfront.net
        privatekey: keys/pk-KEXAMPLE1.pem
        duration: 10m
edge:
"""


def load(directory: Path, text: str | bytes, environ: Mapping[str, str] | None = None) -> Config:
    file = directory / "config.yml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Config.load(file, environ or {})


def build(config: Config) -> None:
    """Ask a configuration for everything that a command would ask it for."""
    config.app()
    config.data()
    if config.edge_address() is not None:
        config.edge()


def refusal(directory: Path, text: str | bytes, environ: Mapping[str, str] | None = None) -> str:
    """Return the error's line without the directory in front of the file's name."""
    with pytest.raises(ConfigError) as caught:
        build(load(directory, text, environ))
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.startswith(f"{directory}/config.yml")
    return message.removeprefix(f"{directory}/")


def line_of_refusal(action: Callable[[], object]) -> str | None:
    """Return the message of the error that *action* raises for a bad configuration, None for a good one."""
    try:
        action()
    except ConfigError as error:
        return str(error)
    return None
