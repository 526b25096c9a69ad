"""The addresses under which this machine's own server can be reached."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from urllib.parse import urlsplit

FAR = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}  # RFC 5737, RFC 3849: documentation, never assigned


def local_url(url: str) -> str:
    """How this machine reaches a server that listens at `url`, whose host is an address."""
    host, port = _parts(url)
    address = ip_address(host)
    if not address.is_unspecified:
        return url
    return f"http://127.0.0.1:{port}" if address.version == 4 else f"http://[::1]:{port}"


def reachable_urls(url: str) -> list[str]:
    """How other machines may reach a server that listens at `url`; none for a server of this machine alone."""
    host, port = _parts(url)
    address = ip_address(host)
    if address.is_loopback:
        return []
    if not address.is_unspecified:
        return [url]
    found = [socket.gethostname(), _outward(socket.AF_INET if address.version == 4 else socket.AF_INET6)]
    hosts = [f"[{one}]" if ":" in one else one for one in dict.fromkeys(found) if one and one != "localhost"]
    return [f"http://{one}:{port}" for one in hosts]


def _outward(family: socket.AddressFamily) -> str:
    """The address from which this machine would reach others; empty without a network. Sends nothing."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((FAR[family], 9))
            address = str(probe.getsockname()[0])
    except OSError:
        return ""
    return "" if ip_address(address.partition("%")[0]).is_loopback else address


def _parts(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return (parts.hostname or "").partition("%")[0], parts.port or 80
