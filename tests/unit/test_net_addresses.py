"""Which addresses may be dialled: a table with the borders just outside each range, and properties of all addresses."""

import errno
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duikou.net.addresses import AddressPolicy, is_allowed, is_disguised

PUBLIC = [
    # the last before and the first behind each range that is refused
    "1.0.0.0",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "168.63.129.15",
    "168.63.129.17",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "191.255.255.255",
    "192.0.1.0",
    "192.0.3.0",
    "192.88.98.255",
    "192.88.100.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "198.51.99.255",
    "198.51.101.0",
    "203.0.112.255",
    "203.0.114.0",
    "223.255.255.255",
    "2001:200::",
    "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
    "2001:db9::",
    "2003::",
    "2606:4700:4700::1111",
    "2a00:1450:4001:81b::200e",
    "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "3fff:1000::",
    # forms that carry a public one
    "8.8.8.8",
    "::ffff:8.8.8.8",
    "::8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
    "2001:4860::5efe:808:808",
]
REFUSED = [
    # the first and the last of each range
    "0.0.0.0",
    "0.255.255.255",
    "10.0.0.0",
    "10.255.255.255",
    "100.64.0.0",  # CGNAT
    "100.127.255.255",
    "127.0.0.0",
    "127.0.0.1",
    "127.255.255.255",
    "169.254.0.0",
    "169.254.255.255",
    "172.16.0.0",
    "172.31.255.255",
    "192.0.0.0",
    "192.0.0.255",
    "192.0.2.0",
    "192.0.2.255",
    "192.88.99.0",
    "192.88.99.255",
    "192.168.0.0",
    "192.168.255.255",
    "198.18.0.0",
    "198.19.255.255",
    "198.51.100.0",
    "198.51.100.255",
    "203.0.113.0",
    "203.0.113.255",
    "224.0.0.0",
    "239.255.255.255",
    "240.0.0.0",
    "255.255.255.255",
    "::",
    "::1",
    "64:ff9b:1::8.8.8.8",  # NAT64's local prefix
    "64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
    "100::",
    "100::ffff:ffff:ffff:ffff",
    "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "2001::",
    "2001::1",
    "2001:20::",
    "2001:2f:ffff:ffff:ffff:ffff:ffff:ffff",
    "2001:db8::",
    "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
    "3fff::",
    "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
    "4000::",
    "5f00::1",
    "fc00::",
    "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "fe80::",
    "fe80::1%1",
    "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "fec0::1",
    "ff00::",
    "ff02::1",
    "ff0e::1",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    # forms that carry an inner one
    "::127.0.0.1",
    "::10.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",  # SIIT
    "64:ff9b::127.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::10.0.0.1",
    "2001:0:808:808:0:0:f5ff:fffe",  # Teredo: a public server, 10.0.0.1 behind it
    "2002:7f00:1::1",
    "2002:a00:1::1",
    "2002:a9fe:a9fe::1",
    "2001:4860::5efe:a00:1",  # ISATAP
    "2001:4860::200:5efe:7f00:1",
]
METADATA = [
    "169.254.169.254",
    "169.254.170.2",
    "169.254.170.23",
    "169.254.0.23",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd20:ce::254",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_dialled(address: str) -> None:
    assert is_allowed(address)


@pytest.mark.parametrize("address", REFUSED + METADATA)
def test_all_others_may_not(address: str) -> None:
    assert not is_allowed(address)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("127.0.0.1", "127.0.0.0/8"),
        ("::ffff:127.0.0.1", "127.0.0.0/8"),
        ("64:ff9b::10.1.2.3", "10.0.0.0/8"),
        ("10.1.2.3", "10.0.0.0/8"),
        ("::1", "::1/128"),
        ("fd12::1", "fd12::/16"),
        ("64:ff9b:1::10.0.0.1", "64:ff9b:1::/48"),
        ("fe80::1%1", "fe80::/10"),
    ],
)
def test_the_operator_may_allow_a_network(address: str, network: str) -> None:
    assert is_allowed(address, [ip_network(network)])
    assert not is_allowed(address, [ip_network("192.168.7.0/24"), ip_network("fd99::/64")])


def test_one_allowed_network_opens_no_other() -> None:
    allowed = [ip_network("127.0.0.0/8")]
    assert not is_allowed("10.0.0.1", allowed)
    assert not is_allowed("::1", allowed)
    assert not is_allowed("169.254.169.254", allowed)


@pytest.mark.parametrize("address", METADATA)
def test_a_wide_network_opens_no_metadata_service(address: str) -> None:
    everything = [ip_network("0.0.0.0/0"), ip_network("::/0")]
    assert not is_allowed(address, everything)
    assert is_allowed(address, [ip_network(address)])
    assert not is_allowed(f"::ffff:{address}" if "." in address else address, everything)


@pytest.mark.parametrize(
    "host",
    [
        *("2130706433", "0177.0.0.1", "0x7f.0.0.1", "0x7f000001", "017700000001", "127.1", "127.0.1", "1.2.3.4.5", "0"),
        *("0x", "08.8.8.8", "256.1.1.1", "127.0.0.1.", "a.1", "example.0x1", "1.2.3.999999999999"),
    ],
)
def test_numbers_in_disguise(host: str) -> None:
    assert is_disguised(host)


@pytest.mark.parametrize("host", ["8.8.8.8", "example.org", "1.example", "0x7f.example.org", "x1", "1a", "::1", "f00d"])
def test_plain_hosts(host: str) -> None:
    assert not is_disguised(host)


def test_the_own_port_is_closed_on_every_address_of_this_machine() -> None:
    reach = AddressPolicy((ip_network("127.0.0.0/8"), ip_network("::1/128"), ip_network("0.0.0.0/32")), own_port=8000)
    for address in ("127.0.0.1", "127.0.0.7", "::ffff:127.0.0.1", "::1", "0.0.0.0"):
        assert not reach.allows(address, 8000)
        assert reach.allows(address, 8001)
    assert reach.allows("8.8.8.8", 8000)


def test_the_own_port_is_closed_on_link_local_addresses_of_every_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {("fe80::1", 2), ("fe80::7", 5), ("2a00:1450::1", 0)}

    class Kernel(socket.socket):
        """Binds as Linux does: a link-local address only with the zone that it is in."""

        def bind(self, where: Any) -> None:
            if (where[0], where[3] if len(where) == 4 else 0) not in own:
                raise OSError(errno.EADDRNOTAVAIL, "no such address here")

    monkeypatch.setattr(socket, "socket", Kernel)
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(1, "lo"), (2, "eth0"), (5, "wlan0")])
    reach = AddressPolicy((ip_network("fe80::/10"), ip_network("fd00::/8")), own_port=8000)
    for address in (
        "fe80::1%eth0",
        "fe80::1%2",
        "fe80::1",
        "fe80::7%wlan0",
        "fe80::7%eth0",
        "FE80:0::1%25eth0",
        "2a00:1450::1",
    ):
        assert not reach.allows(address, 8000), address
        assert reach.allows(address, 8001)
    for address in ("fe80::2%eth0", "fe80::2", "fd00::1", "2a00:1450::2"):
        assert reach.allows(address, 8000), address
    own.add(("fe80::2", 2))  # a machine gets addresses while it runs
    assert not reach.allows("fe80::2%eth0", 8000)


def test_the_own_port_is_closed_where_nobody_can_tell_whose_an_address_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(socket, "socket", full)
    reach = AddressPolicy(own_port=8000)
    assert not reach.allows("8.8.8.8", 8000)
    assert reach.allows("8.8.8.8", 8001)


# Properties of every address

V4, V6 = st.ip_addresses(v=4), st.ip_addresses(v=6)
INNER = [ip_network(one) for one in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "100.64.0.0/10")]
WRAPPED = {
    "mapped": lambda inner: IPv6Address((0xFFFF << 32) | int(inner)),
    "compatible": lambda inner: IPv6Address(int(inner)),
    "nat64": lambda inner: IPv6Address((0x64FF9B << 96) | int(inner)),
    "6to4": lambda inner: IPv6Address((0x2002 << 112) | (int(inner) << 80) | 1),
    "teredo": lambda inner: IPv6Address((0x20010000 << 96) | (0x08080808 << 64) | (int(inner) ^ 0xFFFF_FFFF)),
    "isatap": lambda inner: IPv6Address((0x2A001450 << 96) | (0x5EFE << 32) | int(inner)),
}


@given(V4, st.sampled_from(sorted(WRAPPED)))
def test_no_wrapping_opens_what_is_closed(inner: IPv4Address, how: str) -> None:
    if not is_allowed(inner):
        assert not is_allowed(WRAPPED[how](inner))


@given(V4)
def test_what_is_allowed_is_global_and_in_no_inner_network(address: IPv4Address) -> None:
    if is_allowed(address):
        assert address.is_global
        assert not address.is_multicast
        assert not any(address in network for network in INNER)


@given(V6)
def test_of_the_sixth_version_only_global_unicast_is_allowed(address: IPv6Address) -> None:
    if is_allowed(address) and int(address) >> 32 not in (0, 0xFFFF) and int(address) >> 32 != 0x64FF9B << 64:
        assert int(address) >> 125 == 1
        assert not address.is_private


@given(st.one_of(V4, V6), st.integers(0, 128))
def test_allowing_a_network_never_closes_anything(address: IPv4Address | IPv6Address, bits: int) -> None:
    network = ip_network((address, min(bits, address.max_prefixlen)), strict=False)
    assert is_allowed(address, [network]) >= is_allowed(address)


@given(st.one_of(V4, V6))
def test_text_and_value_are_judged_alike(address: IPv4Address | IPv6Address) -> None:
    assert is_allowed(str(address)) == is_allowed(address) == is_allowed(ip_address(str(address)))


@given(st.integers(0, 2**32 - 1), st.integers(0, 3))
def test_every_spelling_of_an_address_but_its_own_is_a_disguise(value: int, how: int) -> None:
    plain = str(IPv4Address(value))
    spelled = [str(value), hex(value), f"0{value:o}", ".".join(f"0x{int(part):x}" for part in plain.split("."))][how]
    assert is_disguised(spelled)
    assert not is_disguised(plain)
