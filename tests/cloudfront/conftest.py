"""The stage that plays of CloudFront share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab.cloudfront_control import running_control
from lab.cloudfront_play import Stage


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """A control plane and the ports of a data plane."""
    with running_control() as (server, kept), Stage(server, kept).open() as stage:
        yield stage
