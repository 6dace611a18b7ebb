"""What a type checker says of the wrapper's keyword arguments.

The extra `test` does not bring mypy, so only `pytest -m types` runs this file, as `scripts/types` does.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from lab import PROJECT

pytestmark = pytest.mark.types

SETTINGS = PROJECT / "setup.cfg"

CALLS = """
from collections.abc import Callable
from pathlib import Path

from cfmiddleware import CloudFrontMiddleware
from cfmiddleware.wsgi.types import App


def good(app: App) -> App:
    return CloudFrontMiddleware(
        app,
        baseurl="https://d111111abcdef8.cloudfront.net",
        privatekey=Path("pk-K1.pem"),
        duration=1200,
        window="5m",
        networks=["10.0.0.0/8"],
        iprangesfile=Path("ip-ranges.json"),
        originpath=None,
        clock=lambda: 0.0,
    )


def misspelt(app: App) -> App:
    return CloudFrontMiddleware(app, baseurl="https://d.example", privatekey="k.pem", durration="20m")


def mistyped(app: App) -> App:
    return CloudFrontMiddleware(app, baseurl="https://d.example", privatekey=b"k.pem")
"""


def test_good_keywords_pass_and_a_misspelt_or_mistyped_one_fails(tmp_path: Path):
    from mypy import api

    file = tmp_path / "calls.py"
    file.write_text(CALLS)

    found, trouble, _ = api.run(
        ["--strict", f"--config-file={SETTINGS}", f"--cache-dir={tmp_path}/cache", str(file)]
    )

    assert trouble == ""
    errors = [line for line in found.splitlines() if ": error: " in line]
    lines = CALLS.splitlines()
    assert len(errors) == 2, found
    assert f"calls.py:{lines.index('def misspelt(app: App) -> App:') + 2}: error: " in errors[0]
    assert 'Unexpected keyword argument "durration"' in errors[0]
    assert f"calls.py:{lines.index('def mistyped(app: App) -> App:') + 2}: error: " in errors[1]
    assert 'Argument "privatekey"' in errors[1]
