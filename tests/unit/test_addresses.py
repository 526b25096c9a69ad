from ipaddress import ip_network

import pytest

from duikou.media.fetch import is_allowed

PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "203.0.114.1",
    "172.15.255.255",
    "172.32.0.1",
    "100.63.255.255",
    "100.128.0.1",
    "2606:4700:4700::1111",
    "2a00:1450:4001:81b::200e",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
]
REFUSED = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",  # CGNAT
    "100.100.100.200",  # metadata
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",  # metadata
    "169.254.169.254",  # metadata
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",  # metadata
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::127.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::8.8.8.8",
    "64:ff9b:1::10.0.0.1",
    "100::1",
    "2001::1",
    "2001:0:808:808:0:0:f5ff:fffe",  # Teredo: a public server, 10.0.0.1 behind it
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:a00:1::1",
    "2002:a9fe:a9fe::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",  # metadata
    "fe80::1",
    "fe80::1%1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_dialled(address: str) -> None:
    assert is_allowed(address)


@pytest.mark.parametrize("address", REFUSED)
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
