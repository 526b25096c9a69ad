"""Callers' URLs before any connection is made: which could be fetched, and which never could.

It does without the HTTP client of `duikou.net.fetch`, which takes long to import.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Final

from yarl import URL

from duikou.errors import FetchError
from duikou.net.addresses import Address, AddressPolicy, is_disguised

MAX_URL_CHARACTERS: Final = 4096  # presigned storage URLs reach about 2,000
PUBLIC: Final = AddressPolicy()
LOOPBACK: Final = (ip_address("127.0.0.1"), ip_address("::1"))
MAX_NAME, MAX_LABEL = 253, 63  # characters of a name in DNS, and of a part between two dots
_LABEL: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?")


def check_url(url: str, field: str, policy: AddressPolicy = PUBLIC) -> None:
    """Raise `FetchError` where no connection to `url` could ever be made: it is no http or https URL, or its host is an
    address that is not allowed.

    Names are not resolved, but for those that lead to this machine (`localhost`, RFC 6761) or nowhere (`.invalid`):
    what a name leads to may change, and the answer would map the server's network.
    """
    parsed = checked(url, field)
    host = (parsed.host or "").rstrip(".").lower()
    addresses: tuple[Address, ...] = ()
    if host == "localhost" or host.endswith(".localhost"):
        addresses = LOOPBACK
    elif host.rpartition(".")[2] != "invalid" and _is_name(host):
        try:
            addresses = (ip_address(host),)
        except ValueError:
            return
    if not any(policy.allows(address, parsed.port or 0) for address in addresses):
        raise unreachable(field)


def checked(url: str | URL, field: str) -> URL:
    """The URL as it will be requested. Raises `FetchError`."""
    text = str(url)
    if len(text) > MAX_URL_CHARACTERS:
        raise FetchError(f"the address is longer than {MAX_URL_CHARACTERS} characters.", field=field)
    try:
        parsed = URL(url)
        host, port = parsed.host, parsed.port  # decoded at first use: a host of other scripts, or what claims to be one
    except Exception as error:  # yarl raises more than ValueError, such as an IndexError
        raise FetchError("this is not a URL.", field=field) from error
    if parsed.scheme not in ("http", "https") or not host:
        raise FetchError("only http and https URLs are taken.", field=field)
    if parsed.user is not None or parsed.password is not None:
        raise FetchError("the URL must not hold a user or a password.", field=field)
    if port == 0:
        raise FetchError("port 0 cannot be reached.", field=field)
    if is_disguised(host):
        raise unreachable(field)
    return parsed


def unreachable(field: str) -> FetchError:
    """The one error for unknown names, dead hosts and refused addresses."""
    return FetchError(
        "the host cannot be reached from here; if its address is private, the operator must allow it in "
        "DUIKOU_PRIVATE_SOURCES.",
        field=field,
    )


def _is_name(host: str) -> bool:
    """Whether a host is an address or may be a name in DNS (RFC 1035, 2.3.4; RFC 5891 for other scripts)."""
    if ":" in host:
        return True
    try:
        labels = host.encode("idna").decode().split(".") if not host.isascii() else host.split(".")
    except UnicodeError:
        return False
    return len(host) <= MAX_NAME and all(0 < len(label) <= MAX_LABEL and _LABEL.fullmatch(label) for label in labels)
