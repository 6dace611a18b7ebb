"""`Forwarded` (RFC 7239) is read as a whole or not at all, and nobody shifts what a proxy has written."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cfmiddleware.wsgi.client import client_address
from cfmiddleware.wsgi.forwarded import elements, first_element

REMOTE = {"REMOTE_ADDR": "10.0.0.1"}


def client(header: str, proxies: int, **more: str) -> str:
    return str(client_address({**REMOTE, "HTTP_FORWARDED": header, **more}, proxies))


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("", []),
        ("for=192.0.2.43", [{"for": "192.0.2.43"}]),
        ('For="[2001:db8:cafe::17]:4711"', [{"for": "[2001:db8:cafe::17]:4711"}]),
        (
            "for=192.0.2.60;proto=http;by=203.0.113.43",
            [{"for": "192.0.2.60", "proto": "http", "by": "203.0.113.43"}],
        ),
        ("for=a, for=b", [{"for": "a"}, {"for": "b"}]),
        (' for = a ; proto = https , for = "b" ', [{"for": "a", "proto": "https"}, {"for": "b"}]),
        (",, for=a,,", [{"for": "a"}]),
        (r'host="a\"b\\c"', [{"host": r"a\c".replace("a", 'a"b')}]),
        ("for=a;", [{"for": "a"}]),
        ('for="a,b;c=d"', [{"for": "a,b;c=d"}]),
        *(
            (broken, [])
            for broken in ("for", "for=", "=a", "for=a b", 'for="a', "for=a;for=b", "for=a;,for=b")
        ),
        *((broken, []) for broken in ("for=[::1]", "for=1.2.3.4:80", 'for="a"b', "for=a, x", 'for="a\\')),
    ],
)
def test_it_is_read_by_the_grammar(header: str, found: list[dict[str, str]]):
    assert elements(header) == found


def test_of_the_first_element_nothing_else_is_read():
    assert first_element('proto=https;host="reg.example.com", ((') == {
        "proto": "https",
        "host": "reg.example.com",
    }
    assert first_element('proto="https') == {}


def test_it_says_who_the_client_is_where_there_is_no_x_forwarded_for():
    header = 'for=198.51.100.1, for="203.0.113.9:4711", for="[2001:db8::1]:80"'
    assert client(header, 1) == "2001:db8::1"
    assert client(header, 2) == "203.0.113.9"
    assert client(header, 3) == "198.51.100.1"
    assert client(header, 4) == "None"
    assert client(header, 0) == "10.0.0.1"
    assert client(header, 1, HTTP_X_FORWARDED_FOR="192.0.2.1") == "192.0.2.1"
    assert client(header, 1, HTTP_X_FORWARDED_FOR="") == "None"


@pytest.mark.parametrize("node", ["unknown", "_hidden", '"_hidden:80"', '""', "10.0.0"])
def test_a_node_that_is_not_an_address_is_unknown(node: str):
    assert client(f"for={node}", 1) == "None"
    assert client("by=192.0.2.1", 1) == "None"


@given(
    st.text(alphabet='for=;,"\\ 1.x', max_size=30),
    st.sampled_from(["for=198.51.100.1", 'for="198.51.100.1:80"', 'by="_a";for="198.51.100.1";host="a,b:1"']),
)
def test_a_client_never_shifts_what_the_proxy_appends(forged: str, appended: str):
    address = client_address({**REMOTE, "HTTP_FORWARDED": f"{forged}, {appended}"}, 1)
    assert address in (None, ipaddress.ip_address("198.51.100.1"))


@given(st.text(max_size=40))
def test_no_text_makes_it_fail(text: str):
    elements(text)
    first_element(text)
