"""Who the client is."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfmiddleware.wsgi.client import client_address, parse_address

addresses = st.ip_addresses(v=4).map(str)
headers = st.lists(st.one_of(addresses, st.text(alphabet='1."[]:, \t', max_size=12)), max_size=4).map(
    ",".join
)


@given(headers)
def test_without_proxies_the_peer_is_the_client_whatever_is_forwarded(header: str):
    environ = {"REMOTE_ADDR": "192.0.2.1", "HTTP_X_FORWARDED_FOR": header}
    assert client_address(environ) == ipaddress.ip_address("192.0.2.1")


@given(headers, st.lists(addresses, min_size=1, max_size=4))
def test_behind_proxies_the_client_is_whom_the_outermost_of_them_saw(forged: str, seen: list[str]):
    """Each proxy appends its peer's address; the client fills in whatever it likes before that."""
    header = ",".join([forged, *seen] if forged else seen)
    environ = {"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": header}
    assert client_address(environ, len(seen)) == ipaddress.ip_address(seen[0])


@given(st.lists(addresses, max_size=3), st.integers(1, 3))
def test_with_too_few_values_the_client_is_unknown(values: list[str], missing: int):
    environ = {"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": ", ".join(values)}
    assert client_address(environ, len(values) + missing) is None


def test_without_any_header_the_client_behind_a_proxy_is_unknown():
    assert client_address({"REMOTE_ADDR": "10.0.0.1"}, 1) is None


@pytest.mark.parametrize(
    "value",
    [
        '"192.0.2.1"',
        '"192.0.2.1',
        "'192.0.2.1'",
        "192.0.2.1:",
        "192.0.2.1:x",
        "192.0.2.1:123456",
        "192.0.2.1:80:80",
        "[2001:db8::1",
        "[2001:db8::1]80",
        "[2001:db8::1]:",
        "[fe80::1%eth0]:80",
        "fe80::1%eth0",
        "192.0.2",
        "192.0.2.256",
        "192.0.02.1",
        "0x7f.0.0.1",
        "3221225985",
        "192.0.2.1/32",
        "\uff11\uff19\uff12.0.2.1",
        "localhost",
        "unknown",
        "",
        "192.0.2.1\x00",
    ],
)
def test_what_is_not_an_address_is_none(value: str):
    assert parse_address(value) is None
    assert client_address({"HTTP_X_FORWARDED_FOR": value}, 1) is None
    assert client_address({"REMOTE_ADDR": value}) is None


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("192.0.2.1:8080", "192.0.2.1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:80", "2001:db8::1"),
        ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::1", "::1"),
    ],
)
def test_a_port_behind_an_address_is_left_out(value: str, address: str):
    assert client_address({"REMOTE_ADDR": value}) == ipaddress.ip_address(address)
    assert client_address({"HTTP_X_FORWARDED_FOR": f"x, {value}, 10.0.0.1"}, 2) == ipaddress.ip_address(
        address
    )


@given(st.text(max_size=30))
def test_no_text_makes_it_fail(text: str):
    parse_address(text)
    client_address({"HTTP_X_FORWARDED_FOR": text}, 2)


def test_a_quoted_comma_does_not_shift_the_values():
    environ = {"HTTP_X_FORWARDED_FOR": '"192.0.2.66, 198.51.100.1", 198.51.100.1'}
    assert client_address(environ, 1) == ipaddress.ip_address("198.51.100.1")
    assert client_address(environ, 2) is None


def test_an_ipv4_address_within_ipv6_is_the_ipv4_address():
    assert parse_address("::ffff:192.0.2.1") == ipaddress.ip_address("192.0.2.1")
    assert parse_address("2001:db8::1") == ipaddress.ip_address("2001:db8::1")


def test_a_client_on_a_unix_socket_is_unknown():
    assert client_address({"REMOTE_ADDR": ""}) is None
    assert client_address({}) is None
