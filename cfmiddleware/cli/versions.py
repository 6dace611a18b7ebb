"""What ``cfmiddleware --version`` says: the version, and of what it stands on."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from cfmiddleware.version import __version__

# What is needed, and what is used where it is installed.
_LIBRARIES = (
    "werkzeug",
    "boto3",
    "rsa",
    "PyYAML",
    "cryptography",
    "gunicorn",
    "gevent",
    "bcrypt",
    "PyJWT",
    "redis",
    "prometheus-client",
    "opentelemetry-sdk",
    "duckdb",
)


def versions() -> str:
    """Return the package's version on a line, and those of Python and the libraries on the next."""
    return f"cfmiddleware {__version__}\nPython {platform.python_version()}, {', '.join(_installed())}"


def _installed() -> Iterator[str]:
    for name in _LIBRARIES:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
