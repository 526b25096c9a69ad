"""Which addresses a caller's URL may lead to. Plain arithmetic; `fetch` checks every socket that it opens."""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final, Self

from duikou.settings import Network, Settings

Address = IPv4Address | IPv6Address

_NAT64 = ip_network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address
_IPV4_COMPATIBLE = ip_network("::/96")  # RFC 4291, 2.5.5.1, deprecated: the same
_ISATAP: Final = (0x0000_5EFE, 0x0200_5EFE)  # RFC 5214, 6.1: bits 64 to 95; the last 32 are an IPv4 address
_GLOBAL_UNICAST = ip_network("2000::/3")  # RFC 4291: all that is routed publicly
_METADATA: Final = tuple(
    ip_network(network)
    for network in (
        "169.254.169.254/32",  # AWS, Google, Azure, OpenStack and most others
        "169.254.170.2/32",  # AWS, credentials of a container's task
        "169.254.170.23/32",  # AWS, credentials of a pod
        "169.254.0.23/32",  # Tencent
        "100.100.100.200/32",  # Alibaba
        "168.63.129.16/32",  # Azure's platform services, a public address that only guests reach
        "192.0.0.192/32",  # Oracle
        "fd00:ec2::254/128",  # AWS
        "fd00:ec2::23/128",  # AWS, credentials of a pod
        "fd20:ce::254/128",  # Google
    )
)
"""Metadata services of clouds, which give credentials to any process of a machine."""
_NEVER_PUBLIC: Final = (
    *_METADATA,
    ip_network(
        "192.0.0.0/24"
    ),  # RFC 6890: protocol assignments, metadata services among them; not in every Python's list
    ip_network("192.88.99.0/24"),  # RFC 7526: relays of 6to4, which carry on to inner addresses
    ip_network("2001:20::/28"),  # RFC 7343: ORCHIDv2, identifiers and no addresses
    ip_network("3fff::/20"),  # RFC 9637: documentation; newer than Python's own list
)
_NOT_HERE: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL, errno.ENODEV)  # of bind and socket
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")


@dataclass(frozen=True)
class AddressPolicy:
    """Where the server may connect for a caller: public addresses, and what the operator allows.

    private: networks that are allowed although they are not public.
    own_port: the server's own port, denied on every address of this machine; 0 for none.
    nameservers: DNS servers for callers' names, each an address with or without a port; empty for the system's.
    """

    private: tuple[Network, ...] = ()
    own_port: int = 0
    nameservers: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The policy of the settings."""
        return cls(settings.private_sources, settings.port, settings.nameservers)

    def allows(self, address: Address | str, port: int) -> bool:
        """Whether a connection to that address and port is allowed."""
        return is_allowed(address, self.private) and not (port == self.own_port and port and _is_here(address))


def is_allowed(address: Address | str, private: Sequence[Network] = ()) -> bool:
    """Whether a connection to `address` is allowed: it is public, or inside one of the networks in `private`.

    IPv6 forms that embed an IPv4 address (mapped, compatible, NAT64, 6to4, Teredo, ISATAP) are judged by that address.
    Refused are private, shared (CGNAT), loopback, link-local, multicast, reserved, unspecified and documentation
    addresses. NAT64's local prefix 64:ff9b:1::/48 (RFC 8215) is local. A wider network in `private` does not open the
    metadata services of clouds inside it: only an entry with the exact address does.
    """
    address = _plain(address)
    embedded = _embedded(address)
    if any(_is_in(one, _METADATA) for one in (address, *embedded)):
        private = [network for network in private if network.prefixlen == network.max_prefixlen]
    return all(_is_in(one, private) or _is_public(one) for one in embedded) or _is_in(address, private)


def is_disguised(host: str) -> bool:
    """Whether a URL's host is a number that some resolvers read as an IPv4 address, without being a plain one.

    Decimal, octal, hexadecimal and shortened forms (2130706433, 0177.0.0.1, 0x7f.1, 127.1): browsers and `inet_aton`
    read them as addresses, others as names (WHATWG URL standard, "ends in a number").
    """
    labels = host.removesuffix(".").rsplit(".", 1)
    if not _NUMBER.fullmatch(labels[-1]):
        return False
    try:
        IPv4Address(host)
    except AddressValueError:
        return True
    return False


def _plain(address: Address | str) -> Address:
    """The address without the zone of a link-local one."""
    address = ip_address(address) if isinstance(address, str) else address
    return IPv6Address(int(address)) if isinstance(address, IPv6Address) and address.scope_id is not None else address


def _embedded(address: Address) -> tuple[Address, ...]:
    """The IPv4 addresses that an IPv6 address embeds; the address itself where it embeds none."""
    if isinstance(address, IPv4Address):
        return (address,)
    if address.teredo is not None:
        return address.teredo
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    last = IPv4Address(int(address) & 0xFFFF_FFFF)
    if address in _NAT64 or address in _IPV4_COMPATIBLE:
        return (last,)
    if int(address) >> 32 & 0xFFFF_FFFF in _ISATAP:
        return (address, last)
    return (address,)


def _is_public(address: Address) -> bool:
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not address.is_unspecified
        and not _is_in(address, _NEVER_PUBLIC)
        and (address.version == 4 or address in _GLOBAL_UNICAST)
    )


def _is_in(address: Address, networks: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _is_here(address: Address | str) -> bool:
    """Whether an address belongs to this machine, at this moment: only those can be bound."""
    return any(_can_bind(one) for one in {_plain(address), *_embedded(_plain(address))})


def _can_bind(address: Address) -> bool:
    """Whether this machine has the address; a link-local one on any interface, whatever zone a URL named."""
    if address.version == 4:
        return _binds(socket.AF_INET, (str(address), 0))
    zones = [index for index, _ in socket.if_nameindex()] if address.is_link_local else [0]
    return any(_binds(socket.AF_INET6, (str(address), 0, 0, zone)) for zone in zones)


def _binds(family: socket.AddressFamily, where: tuple[str | int, ...]) -> bool:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind(where)
    except OSError as error:
        return error.errno not in _NOT_HERE  # without a free descriptor, say, nobody knows
    return True
