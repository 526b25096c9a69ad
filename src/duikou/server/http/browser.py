"""What browsers are told about our answers, and which of their calls are none: a page of another site may not act here.

A browser carries a stranger's page into places that the stranger cannot reach: a server on its user's own machine, open
since it listens on loopback only. Every browser says which site a call comes from (Fetch Metadata, and Origin for all
that could change anything), and which name it looked up (Host): a stranger's own, bound to our address for a moment, is
not one of ours (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from duikou.server.errors import ApiError, Code

CALLS = re.compile(r"(?:/klingai|/kling)?/v1(?:/|$)")
"""Paths of everything that asks for a key or acts."""

PROTECTION = {
    # An answer is no page: nothing in it may run, load, be framed or be taken for another type.
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # addresses of files are secrets
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""Headers of every answer, where its route has none of that name."""
PRIVATE = "no-store"  # what calls answer holds addresses that work without a key


class Protection:
    """Puts `PROTECTION` on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def send_protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in PROTECTION.items():
                    headers.setdefault(name, value)
                if CALLS.match(scope["path"]):
                    headers.setdefault("Cache-Control", PRIVATE)
            await send(message)

        await self.app(scope, receive, send_protected if scope["type"] == "http" else send)


def require_same_site(headers: Headers) -> None:
    """Raise `ApiError` for a call from a page of another site. What no browser sends has neither header."""
    site, origin = headers.get("sec-fetch-site", "none"), headers.get("origin")
    foreign = origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
    if foreign or site.lower() not in ("none", "same-origin"):
        raise ApiError(Code.NO_RIGHT, "Origin: pages of other sites may not call this server.")


def require_own_name(headers: Headers, public_url: str) -> None:
    """Raise `ApiError` where the caller knows this server by a name that is not its own; for servers without keys."""
    host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
    own = urlsplit(public_url).hostname
    if not (_is_address(host) or host == "localhost" or host.endswith(".localhost") or host == own):
        raise ApiError(
            Code.NO_RIGHT,
            f"Host: {host[:80]!r} is no name of this server; without keys it answers to its address, localhost and "
            "the host in DUIKOU_PUBLIC_URL.",
        )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
