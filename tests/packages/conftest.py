"""The archives, built once for all tests of them."""

from __future__ import annotations

import pytest
from lab.packages import Built, build


@pytest.fixture(scope="package")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("built"))
