"""The registry of no configuration file: for the machine that it runs on."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab.apps import ask, request

from cfmiddleware.config.embedded import embedded


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("127.0.0.1:5000", 403),
        ("localhost:5000", 403),
        ("[::1]:5000", 403),
        ("0.0.0.0:5000", 200),
        (":5000", 200),
    ],
)
def test_a_host_of_elsewhere_is_refused_where_it_listens_on_this_machine_alone(
    address: str, code: int, tmp_path: Path
):
    app = embedded(tmp_path, address).app()
    assert ask(app, request("/v2/", HTTP_HOST="rebind.evil:5000")).code == code
    assert ask(app, request("/v2/", HTTP_HOST="localhost:5000")).code == 200
