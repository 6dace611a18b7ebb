"""Addresses to listen on."""

from __future__ import annotations

import pytest

from cfmiddleware.config.address import Address
from cfmiddleware.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("127.0.0.1:5000", "127.0.0.1:5000"),
        ("localhost:0", "localhost:0"),
        (":5000", "0.0.0.0:5000"),
        ("[::1]:5000", "[::1]:5000"),
    ],
)
def test_an_address_is_written_as_in_distribution(text: str, shown: str):
    assert str(Address.parse(text, "addr")) == shown


@pytest.mark.parametrize(
    "text", ["", "5000", "a:b", "a:65536", "::1:5000", "http://a:1", "a:1\n", None, 5000]
)
def test_what_is_no_address_is_refused(text: object):
    with pytest.raises(ConfigError, match=r"addr: .* is not an address; write it like 127\.0\.0\.1:5000"):
        Address.parse(text, "addr")
