"""The address under which a caller knows this server: its Host header, or what a trusted proxy reports in its place.

A proxy sends the host, scheme, port and path prefix of its own caller in headers that anyone can send. They count only
where the connection comes from a network that the settings name, and then for everything: for the addresses in
answers, and for the checks that keep pages of other sites out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

from duikou.settings import Network

DEFAULT_PORTS = {"http": 80, "https": 443}
MAX_HOST = 260  # characters: the longest DNS name and a port
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(?::([0-9]{1,5}))?")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")
_PAIR = re.compile(r"""\s*([A-Za-z-]+)\s*=\s*(?:"([^"\\]*)"|([^\s;,"]*))\s*""")  # of the header Forwarded (RFC 7239)


class ForwardedMiddleware:
    """Gives a request the host, scheme and prefix that a trusted proxy reports. proxies: their networks."""

    def __init__(self, app: ASGIApp, proxies: Sequence[Network]) -> None:
        self.app, self._proxies = app, proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and self._is_trusted(scope):
            _apply(scope)
        await self.app(scope, receive, send)

    def _is_trusted(self, scope: Scope) -> bool:
        try:
            address = ip_address((scope.get("client") or ("",))[0].partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address.version == network.version and address in network for network in self._proxies)


def base_url(scope: Scope) -> str:
    """The beginning of addresses in the answer to a request: scheme, host and prefix, without a slash at the end.

    A Host header that is no host takes no part: the address at which the connection arrived takes its place.
    """
    host = checked_host(Headers(scope=scope).get("host", ""))
    if not host:
        name, port = scope["server"]
        host = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
    prefix = scope.get("state", {}).get("prefix", "")
    return f"{scope['scheme']}://{host}{prefix}"


def checked_host(text: str) -> str:
    """A host with or without a port, in small letters; empty where the text is anything else."""
    found = _HOST.fullmatch(text) if len(text) <= MAX_HOST else None
    if found is None or (found[2] is not None and not 0 < int(found[2]) < 65536):
        return ""
    name = found[1]
    if not name.startswith("["):
        return text.lower() if _NAME.fullmatch(name) and ".." not in name else ""
    try:
        IPv6Address(name[1:-1])
    except ValueError:
        return ""
    return text.lower()


def _apply(scope: Scope) -> None:
    """Let a request have the host, scheme and prefix that its proxy reports; what it reports badly is ignored."""
    headers = Headers(scope=scope)
    told = _forwarded(headers.get("forwarded", ""))
    scheme = (_last(headers, "x-forwarded-proto") or told.get("proto", "")).lower()
    if scheme in DEFAULT_PORTS:
        scope["scheme"] = scheme
    host = checked_host(_last(headers, "x-forwarded-host") or told.get("host", ""))
    port = _last(headers, "x-forwarded-port")
    if port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) != DEFAULT_PORTS[scope["scheme"]]:
        known = host or checked_host(headers.get("host", ""))
        if known and ":" not in known.rpartition("]")[2]:  # it has no port of its own
            host = checked_host(f"{known}:{port}") or host
    if host:
        MutableHeaders(scope=scope)["host"] = host
    prefix = _last(headers, "x-forwarded-prefix").rstrip("/")
    if len(prefix) <= MAX_HOST and _PREFIX.fullmatch(prefix) and not {".", ".."} & set(prefix.split("/")):
        scope.setdefault("state", {})["prefix"] = prefix


def _last(headers: Headers, name: str) -> str:
    """The last value of a header: the one of the proxy that connects to this server."""
    return ",".join(headers.getlist(name)).rpartition(",")[2].strip()


def _forwarded(text: str) -> dict[str, str]:
    """The parameters of the last element of a header Forwarded, their names in small letters."""
    found: dict[str, str] = {}
    at = 0
    while (pair := _PAIR.match(text, at)) is not None:
        found[pair[1].lower()] = pair[2] if pair[2] is not None else pair[3]
        at = pair.end()
        if at < len(text) and text[at] == ",":
            found = {}
        at += 1
    return found if at >= len(text) else {}
