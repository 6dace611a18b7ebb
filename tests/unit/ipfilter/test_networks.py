"""Sets of networks, and AWS's document about its own."""

from __future__ import annotations

import functools
import ipaddress
import json
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lab import PROJECT

from cfmiddleware.ipfilter.awsranges import read_ranges
from cfmiddleware.ipfilter.networks import Networks, parse_network, place_of
from cfmiddleware.wsgi.client import parse_address

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: A copy of AWS's own document, used where there is one. The generated one has its shape.
REAL = PROJECT.resolve().parent / "shared" / "data" / "aws-ip-ranges.json"


@st.composite
def networks(draw: st.DrawFn) -> Network:
    if draw(st.booleans()):
        address = draw(st.ip_addresses(v=4) | st.integers(0, 1 << 10).map(ipaddress.IPv4Address))
        return ipaddress.ip_network((address, draw(st.integers(0, 32))), strict=False)
    address = draw(st.ip_addresses(v=6) | st.integers(0, 1 << 10).map(ipaddress.IPv6Address))
    return ipaddress.ip_network((address, draw(st.integers(0, 128))), strict=False)


def neighbours(network: Network) -> list[str]:
    """Return the first and the last address of a network, and those just outside of it."""
    first, last = int(network[0]), int(network[-1])
    kind = type(network[0])
    most = (1 << network.max_prefixlen) - 1
    return [str(kind(n)) for n in (first - 1, first, last, last + 1) if 0 <= n <= most]


def scan(among: list[Network], text: str) -> bool:
    """Return what a linear scan finds. It is written with the standard library's networks alone."""
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in unmapped(network) for network in among)


def unmapped(network: Network) -> Network:
    """Return the IPv4 network that is written as an IPv6 one (``::ffff:192.0.2.0/120``), or *network*."""
    first = network.network_address
    if isinstance(first, ipaddress.IPv6Address) and first.ipv4_mapped is not None and network.prefixlen >= 96:
        return ipaddress.IPv4Network((first.ipv4_mapped, network.prefixlen - 96))
    return network


def set_of(among: list[Network]) -> Networks:
    return Networks(parse_network(str(network)) for network in among)


odd_texts = st.text(alphabet="0123456789abcdefABCDEFx:.%/ \n\0\uff11\ud800", max_size=45)
spelt = st.ip_addresses().flatmap(
    lambda address: st.sampled_from([str(address), address.exploded, str(address).upper()])
)
mapped = st.ip_addresses(v=4).map(lambda address: f"::ffff:{address}")


@given(odd_texts | spelt | mapped | st.text(max_size=20))
@example("192.0.02.1")
@example("::ffff:192.0.02.1")
@example("1:2:3:4:5:6:7::")
@example("::2:3:4:5:6:7:8")
@example("1::2:3:4:5:6:7:8")
@example("::1.2.3.4")
@example("::ffff:0:1.2.3.4")
@example("00001::")
@example("fe80::1%1")
@example("1.2.3")
@example("")
def test_an_address_is_what_the_wrapper_takes_for_one(text: str):
    address = parse_address(text)
    if address is None:
        assert place_of(text) is None
    else:
        assert place_of(text) == int(address) - (1 << 32) * (address.version == 4)


@given(st.lists(networks(), max_size=12), st.lists(spelt | mapped, max_size=4))
@example([ipaddress.ip_network("::/0"), ipaddress.ip_network("::ffff:0:0/96")], [])
def test_a_set_holds_what_a_linear_scan_finds(among: list[Network], further: list[str]):
    built = set_of(among)
    for text in [*further, *(text for network in among for text in neighbours(network))]:
        assert built.holds(text) == scan(among, text), text


@given(st.lists(networks(), max_size=12), st.randoms(use_true_random=False))
def test_the_order_and_repetitions_of_networks_do_not_matter(among: list[Network], shuffle: random.Random):
    again = among * 2
    shuffle.shuffle(again)
    texts = [text for network in among for text in neighbours(network)]
    assert [set_of(among).holds(text) for text in texts] == [set_of(again).holds(text) for text in texts]


def test_overlapping_and_adjacent_networks_become_one():
    texts = ["10.0.0.0/9", "10.128.0.0/9", "10.1.0.0/16", "10.255.255.255", "192.0.2.0/24", "2001:db8::/32"]
    assert len(Networks(map(parse_network, texts))) == 3


def test_ipv4_and_ipv6_do_not_mix():
    assert not Networks([parse_network("0.0.0.0/0")]).holds("::1")
    assert not Networks([parse_network("::/0")]).holds("192.0.2.1")
    assert Networks([parse_network("0.0.0.0/0")]).holds("255.255.255.255")
    assert Networks([parse_network("::/0")]).holds("::")


def test_a_network_of_ipv4_within_ipv6_is_the_ipv4_network():
    assert parse_network("::ffff:10.0.0.0/104") == parse_network("10.0.0.0/8")
    with pytest.raises(ValueError, match="no such length"):
        parse_network("::ffff:10.0.0.0/8")


def test_a_bare_address_is_a_network_of_its_own():
    assert parse_network("192.0.2.1") == parse_network("192.0.2.1/32")
    assert parse_network("2001:db8::1") == parse_network("2001:db8::1/128")


def test_an_empty_set_holds_nothing_and_no_set_holds_what_is_no_address():
    assert not Networks().holds("192.0.2.1")
    everything = Networks(map(parse_network, ["0.0.0.0/0", "::/0"]))
    assert not any(everything.holds(text) for text in ("", "unknown", "192.0.2.1:80", "192.0.2.0/24"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/8",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/08",
        "10.0.0.0/+8",
        "10.0.0.0/8/8",
        "10.0.0.0/255.0.0.0",
        "10.0.0.0/\uff18",
        "10.0.0.1/8",
        "2001:db8::1/32",
        "2001:db8::/129",
        "10.0.0/8",
        "here",
    ],
)
def test_what_is_no_network_is_refused_in_one_line(text: str):
    with pytest.raises(ValueError, match="is not a network") as caught:
        parse_network(text)
    assert str(caught.value).isprintable()


# AWS's document


def generated() -> bytes:
    """Return a document of the shape of AWS's: some thousand prefixes, many within others."""
    chance = random.Random(20220224)
    regions = ["GLOBAL", "eu-west-3", "us-east-1", "ap-northeast-2", "sa-east-1"]

    def entries(count: int, field: str, bits: int, lengths: range, starts: list[int]) -> list[dict[str, str]]:
        found = []
        for _ in range(count):
            length = chance.choice(lengths)
            size = 1 << (bits - length)
            start = (chance.choice(starts) + (chance.getrandbits(16) << (bits - 28))) // size * size
            kind = ipaddress.IPv4Address if bits == 32 else ipaddress.IPv6Address
            region, service = chance.choice(regions), chance.choice(["AMAZON", "EC2", "S3"])
            prefix = f"{kind(start)}/{length}"
            found.append(
                {field: prefix, "region": region, "service": service, "network_border_group": region}
            )
        return found

    v4 = [int(ipaddress.ip_address(text)) for text in ("3.0.0.0", "52.0.0.0", "99.80.0.0")]
    v6 = [int(ipaddress.ip_address(text)) for text in ("2600:1f00::", "2a05:d000::")]
    tree = {
        "syncToken": "1645662201",
        "createDate": "2022-02-24-00-23-21",
        "prefixes": entries(3000, "ip_prefix", 32, range(11, 33), v4),
        "ipv6_prefixes": entries(800, "ipv6_prefix", 128, range(24, 65), v6),
    }
    return json.dumps(tree).encode()


@functools.cache
def document(name: str) -> bytes:
    return generated() if name == "generated" else REAL.read_bytes()


def entries_of(content: bytes) -> list[tuple[Network, str]]:
    """Return each prefix and its region."""
    tree = json.loads(content)
    texts = [(entry["ip_prefix"], entry["region"]) for entry in tree["prefixes"]]
    texts += [(entry["ipv6_prefix"], entry["region"]) for entry in tree["ipv6_prefixes"]]
    return [(ipaddress.ip_network(text), region) for text, region in texts]


@functools.cache
def everything(name: str) -> tuple[Networks, list[Network]]:
    """Return a document as it is read here, and as the standard library reads it."""
    content = document(name)
    return read_ranges(content).networks, [network for network, _ in entries_of(content)]


documents = pytest.mark.parametrize("name", ["generated", *(["real"] if REAL.exists() else [])])


@documents
@given(st.data())
def test_a_linear_scan_of_awss_ranges_finds_the_same(name: str, data: st.DataObject):
    built, among = everything(name)
    near = st.sampled_from(among).flatmap(lambda network: st.sampled_from(neighbours(network)))
    text = data.draw(near | spelt | mapped)
    assert built.holds(text) == scan(among, text)


@documents
def test_of_all_prefixes_and_their_neighbours_those_in_a_prefix_are_held(name: str):
    """A linear scan for each would take minutes: whether it is in a prefix is looked up length by length."""
    built, among = everything(name)
    starts: dict[tuple[int, int], set[int]] = {}
    for network in among:
        starts.setdefault((network.version, network.prefixlen), set()).add(int(network[0]))
    seen = {True: 0, False: 0}
    for text in {text for network in among for text in neighbours(network)}:
        address = ipaddress.ip_address(text)
        expected = any(
            (int(address) >> (shift := address.max_prefixlen - length)) << shift in firsts
            for (version, length), firsts in starts.items()
            if version == address.version
        )
        assert built.holds(text) == expected, text
        seen[expected] += 1
    assert min(seen.values()) > 100


@documents
def test_only_the_regions_asked_for_count(name: str):
    content = document(name)
    some = read_ranges(content, frozenset(("eu-west-3", "global")))
    among = [network for network, region in entries_of(content) if region in ("eu-west-3", "GLOBAL")]
    for network, _ in entries_of(content)[::17]:
        assert some.networks.holds(str(network[0])) == scan(among, str(network[0]))
    assert some.missing == ()


def test_regions_that_are_not_there_are_named():
    ranges = read_ranges(document("generated"), frozenset(("eu-west-3", "eu-wets-1", "moon-1")))
    assert ranges.missing == ("eu-wets-1", "moon-1")
    assert len(ranges.networks) > 0


def test_the_time_of_publication_is_read_and_need_not_be_there():
    tree = json.loads(document("generated"))
    assert read_ranges(json.dumps(tree).encode()).published == 1645662201
    for token in (None, 12, "soon", "1" * 5000):
        assert read_ranges(json.dumps({**tree, "syncToken": token}).encode()).published == 0


ONE = {"ip_prefix": "192.0.2.0/24", "region": "eu-west-3"}
SIX = [{"ipv6_prefix": "2001:db8::/32", "region": "eu-west-3"}]


def with_prefixes(*prefixes: object) -> bytes:
    return json.dumps({"prefixes": prefixes, "ipv6_prefixes": SIX}).encode()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not JSON"),
        (b"<html>", "not JSON"),
        (b"\xff\xfe\xff", "not JSON"),
        (b"[" * 200_000, "not JSON"),
        (b"[]", "not a list"),
        (b"{}", "no prefixes"),
        (with_prefixes(), "no prefixes"),
        (json.dumps({"prefixes": [ONE]}).encode(), "no ipv6_prefixes"),
        (json.dumps({"prefixes": {"a": ONE}, "ipv6_prefixes": SIX}).encode(), "no prefixes"),
        (with_prefixes(ONE, {}), "lacks ip_prefix"),
        (with_prefixes(ONE, None), "lacks ip_prefix"),
        (with_prefixes(ONE, "x"), "lacks ip_prefix"),
        (with_prefixes({**ONE, "region": 3}), "lacks ip_prefix or region"),
        (with_prefixes({**ONE, "ip_prefix": "192.0.2.0/2"}), "not a network"),
        (with_prefixes({**ONE, "ip_prefix": "x\n" * 999}), "not a network"),
    ],
)
def test_a_document_that_is_not_whole_is_refused_in_one_short_line(content: bytes, reason: str):
    with pytest.raises(ValueError, match=reason) as caught:
        read_ranges(content)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 100


@given(st.integers(0, 3000))
def test_a_document_that_breaks_off_is_refused(length: int):
    content = document("generated")
    with pytest.raises(ValueError, match="not JSON"):
        read_ranges(content[: len(content) - 1 - length])
