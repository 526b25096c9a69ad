"""Who makes a call."""

from __future__ import annotations

from dataclasses import dataclass

from duikou.server.signed_urls import FileUrls


@dataclass(frozen=True)
class Caller:
    """Who calls, and the URLs of files as this call writes them."""

    account: str
    urls: FileUrls
