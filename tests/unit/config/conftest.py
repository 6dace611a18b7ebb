"""A directory with a key, and configurations in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cfmiddleware.signing.keys import generate


@pytest.fixture(scope="session")
def pem() -> str:
    return generate("ecdsa").private_pem


@pytest.fixture
def directory(tmp_path: Path, pem: str) -> Path:
    """A directory with a key in it, which `WRAPPED` names relative to itself."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "pk-KEXAMPLE1.pem").write_text(pem)
    return tmp_path
