"""Which address a request is counted by, whatever its client writes into X-Forwarded-For."""

import ipaddress
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_svc.throttling import ClientAddresses

TRUSTED = [ipaddress.ip_network(each) for each in ("10.0.0.0/8", "192.0.2.7/32", "2001:db8:aaaa::/48", "::1/128")]
PROXIES = ClientAddresses(TRUSTED)


def client(peer: str, *lines: str, proxies: ClientAddresses = PROXIES) -> str | None:
    headers = [(b"x-forwarded-for", line.encode("latin-1")) for line in lines]
    return proxies.of({"type": "http", "client": (peer, 1), "headers": [(b"host", b"x"), *headers]})


@pytest.mark.parametrize(
    ("peer", "lines", "expected"),
    [
        # a peer that is no proxy is the client, whatever it writes
        ("203.0.113.5", [], "203.0.113.5"),
        ("203.0.113.5", ["198.51.100.1"], "203.0.113.5"),
        ("203.0.113.5", ["10.0.0.1, 198.51.100.1"], "203.0.113.5"),
        ("::ffff:203.0.113.5", ["198.51.100.1"], "203.0.113.5"),
        ("2001:db8:1:2:3:4:5:6", ["198.51.100.1"], "2001:db8:1:2::/64"),
        # one proxy
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["2001:db8:1:2:ffff::1"], "2001:db8:1:2::/64"),
        ("10.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", [" \t198.51.100.1\t "], "198.51.100.1"),
        # forged entries to the left
        ("10.0.0.1", ["1.2.3.4, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.2.3.4", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["10.0.0.9, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["<script>, unknown,, 198.51.100.1"], "198.51.100.1"),
        # chains of proxies
        ("10.0.0.1", ["198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1", "192.0.2.7", "10.0.0.2"], "198.51.100.1"),
        ("2001:db8:aaaa::1", ["198.51.100.1, 2001:db8:aaaa:9::2, ::ffff:10.1.1.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1, 192.0.2.8, 10.0.0.2"], "192.0.2.8"),
        # what is no address ends the walk: the hop that wrote it is the client
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, unknown, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["198.51.100.1,,10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["198.51.100.1:1234"], "10.0.0.1"),
        ("10.0.0.1", ["[2001:db8:1::1]"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1/32"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.01"], "10.0.0.1"),
        ("10.0.0.1", ["0xc6.51.100.1"], "10.0.0.1"),
        ("10.0.0.1", ["١٩٨.51.100.1".encode().decode("latin-1")], "10.0.0.1"),
        ("10.0.0.1", ["3325256705"], "10.0.0.1"),
        # all trusted: the leftmost
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("::1", ["2001:db8:aaaa:1:2::, 10.0.0.2"], "2001:db8:aaaa:1::/64"),
        # one customer's network is one client
        ("2001:db8:1:2::1", [], "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", [], "2001:db8:1:2::/64"),
        ("fe80::1%eth0", [], "fe80::/64"),
    ],
)
def test_each_chain_leads_to_its_client(peer: str, lines: list[str], expected: str) -> None:
    assert client(peer, *lines) == expected


def test_untrusted_peers_forwarded_fields_are_ignored() -> None:
    proxies = ClientAddresses(())
    for peer in ("10.0.0.1", "127.0.0.1"):
        assert client(peer, "198.51.100.1", proxies=proxies) == peer


def test_clients_are_not_distinguished_without_trusted_proxies() -> None:
    assert client("203.0.113.5", proxies=ClientAddresses(None)) is None
    assert PROXIES.of({"type": "http", "headers": []}) is None
    assert PROXIES.of({"type": "http", "client": None, "headers": []}) is None


def numbers(network: str) -> st.SearchStrategy[str]:
    return st.ip_addresses(network=network).flatmap(spellings)


def spellings(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> st.SearchStrategy[str]:
    """The ways to write an address, which mean the same."""
    if isinstance(address, ipaddress.IPv4Address):
        mapped = ipaddress.IPv6Address(f"::ffff:{address}")
        return st.sampled_from([str(address), f"::ffff:{address}", mapped.exploded, mapped.compressed.upper()])
    return st.sampled_from([address.compressed, address.exploded, address.compressed.upper(), f"{address}%eth0"])


proxy = st.sampled_from(TRUSTED).flatmap(lambda network: numbers(str(network)))
stranger = st.one_of(
    numbers("198.51.100.0/24"), numbers("2001:db8:1::/48"), st.ip_addresses().flatmap(spellings)
)  # the last one is trusted now and then
junk = st.one_of(
    st.sampled_from(["", "unknown", "_hidden", "198.51.100.1:80", "[2001:db8::1]", "10.0.0.1/8", "256.1.1.1", "::g"]),
    st.text(st.characters(max_codepoint=255, exclude_characters=",\r\n\0"), max_size=20),
)
entry = st.one_of(proxy, stranger, junk)
space = st.sampled_from(["", " ", "\t", " \t "])


@st.composite
def fields(draw: st.DrawFn, entries: st.SearchStrategy[list[str]]) -> list[str]:
    """The lines in which entries may arrive."""
    lines: list[str] = []
    for each in draw(entries):
        padded = draw(space) + each + draw(space)
        if draw(st.booleans()) and lines:
            lines[-1] += f",{padded}"
        else:
            lines.append(padded)
    return lines


def parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.strip(" \t"))
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def trusts(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return any(address in network for network in TRUSTED)


def network_of(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    if address.version == 4:
        return str(address)
    packed = address.packed[:8] + bytes(8)
    return str(ipaddress.ip_network((packed, 64)))


def expected(peer: str, lines: Sequence[str]) -> str:
    """Work out the client from the left: of all hops, the leftmost that only trusted ones stand behind."""
    hops = [parsed(each) for each in ",".join(lines).split(",")] if lines else []
    hops.append(parsed(peer))
    for place, hop in enumerate(hops):
        behind = hops[place + 1 :]
        if hop is not None and all(each is not None and trusts(each) for each in behind):
            return network_of(hop)
    raise AssertionError("the peer is an address")


@given(st.one_of(proxy, stranger), fields(st.lists(entry, max_size=8)))
def test_it_is_what_python_says_of_the_hops(peer: str, lines: list[str]) -> None:
    assert client(peer, *lines) == expected(peer, lines)


@given(st.lists(st.one_of(proxy, junk, stranger), max_size=5), numbers("198.51.100.0/24"), st.lists(proxy, max_size=4))
def test_forged_headers_do_not_change_the_client(forged: list[str], own: str, chain: list[str]) -> None:
    *forwarded, peer = [own, *chain]
    assert client(peer, *forged, *forwarded) == client(peer, *forwarded) == expected(own, [])
