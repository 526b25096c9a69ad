"""Protection of browser users: security headers on every answer, and refusal of calls from pages of other sites.

A browser runs untrusted pages next to servers that their authors cannot reach, such as one without keys that listens on
the loopback interface of the user's machine. Browsers report which site a call comes from (Fetch Metadata, and Origin
on calls that could change anything) and which name they looked up (Host). A host name that is not the server's, briefly
resolved to the server's address, is DNS rebinding.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from duikou.server.errors import ApiError, ErrorCode

API_PATHS = re.compile(r"(?:/klingai|/kling)?/v1(?:/|$)")
"""Paths of every call that needs a key or has effects."""

SECURITY_HEADERS = {
    # An answer is not a page: nothing in it may run, load, be framed or be taken for another type.
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # URLs of files are secrets
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""Headers of every answer whose route does not set them itself."""
EXPOSED = (
    *("X-Request-Id", "Retry-After", "WWW-Authenticate", "ETag", "Accept-Ranges", "Content-Range", "Content-Length"),
    "Content-Disposition",
)
"""Headers of an answer that pages of allowed origins may read, besides those that any page may."""
NO_STORE = "no-store"  # answers hold URLs that work without a key


class SecurityHeadersMiddleware:
    """Adds `SECURITY_HEADERS` to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                if API_PATHS.match(scope["path"]):
                    headers.setdefault("Cache-Control", NO_STORE)
            await send(message)

        await self.app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class CrossOriginMiddleware:
    """Lets pages of named origins call (CORS), with a key in a header and never with a cookie.

    Every answer says that it depends on the origin, so that no cache gives one site what another was allowed.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self.app, self._origins = app, origins
        self._named = CORSMiddleware(
            app,
            allow_origins=origins,
            allow_methods=("GET", "HEAD", "POST", "DELETE"),
            allow_headers=("*",),
            allow_private_network=True,
            expose_headers=EXPOSED,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def send_varied(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).add_vary_header("Origin")
            await send(message)

        if scope["type"] == "http" and Headers(scope=scope).get("origin") in self._origins:
            await self._named(scope, receive, send)
        else:
            await self.app(scope, receive, send_varied if scope["type"] == "http" else send)


def require_same_origin(headers: Headers, allowed: Collection[str] = ()) -> None:
    """Raise `ApiError` for a call from a page of another site that is not among the allowed origins.

    Clients other than browsers send neither header.
    """
    site, origin = headers.get("sec-fetch-site", "none"), headers.get("origin")
    if origin in allowed:
        return
    foreign = origin is not None and origin.partition("://")[2].lower() != headers.get("host", "").lower()
    if foreign or site.lower() not in ("none", "same-origin"):
        raise ApiError(ErrorCode.NO_RIGHT, "Origin: pages of other sites may not call this server.")


def require_known_host(headers: Headers, public_url: str) -> None:
    """Raise `ApiError` where the Host header is not a name of this server; for servers without keys."""
    host = _hostname(headers.get("host", ""))
    public = urlsplit(public_url).hostname
    if not (_is_address(host) or host == "localhost" or host.endswith(".localhost") or host == public):
        raise ApiError(
            ErrorCode.NO_RIGHT,
            f"Host: {host[:80]!r} is not a name of this server; without keys it accepts its address, localhost and "
            "the host of DUIKOU_PUBLIC_URL.",
        )


def _hostname(host: str) -> str:
    """The name or the address in a Host header; empty where the header holds neither."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
