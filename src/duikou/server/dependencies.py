"""What the routes share: the settings, the jobs and the way to fetch; one per application, on its state."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from fastapi import Request

from duikou.server.service import Jobs
from duikou.server.signed_urls import FileUrls, UrlSigner
from duikou.settings import Settings


@dataclass(frozen=True)
class Desk:
    """One per application."""

    settings: Settings
    jobs: Jobs

    @cached_property
    def signer(self) -> UrlSigner:
        """Signs the addresses of files."""
        return UrlSigner(self.jobs.secret, self.settings.url_hours)

    def links(self, base: str) -> FileUrls:
        """Makes addresses that begin with `base`."""
        presigned = self.settings.storage_links == "presigned"
        return FileUrls(base.rstrip("/"), self.signer, self.jobs.files if presigned else None)


def desk_of(request: Request) -> Desk:
    """The desk of the application that serves this request."""
    desk = request.app.state.desk
    assert isinstance(desk, Desk)
    return desk


def account_of(request: Request) -> str:
    """Whose call this is, as the gate has found."""
    account = request.state.account
    assert isinstance(account, str)
    return account


def links_of(request: Request) -> FileUrls:
    """Makes the addresses that this request's answer hands out.

    Without a setting they begin with the address at which this connection arrived: unlike the Host header it cannot be
    forged.
    """
    desk = desk_of(request)
    base = desk.settings.public_url
    if not base:
        host, port = request.scope["server"]
        base = f"{request.scope['scheme']}://{f'[{host}]' if ':' in host else host}:{port}"
    return desk.links(base)
