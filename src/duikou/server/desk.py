"""What the routes share: the settings, the jobs and the way to fetch; one per application, on its state."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from duikou.jobs.manager import Jobs
from duikou.settings import Settings

ACCOUNT = ""  # whose sessions and tasks: with no accounts configured, everything belongs to this one


@dataclass(frozen=True)
class Desk:
    """One per application."""

    settings: Settings
    jobs: Jobs


def desk_of(request: Request) -> Desk:
    """The desk of the application that serves this request."""
    desk = request.app.state.desk
    assert isinstance(desk, Desk)
    return desk


def files_url(request: Request) -> str:
    """The address under which files are served.

    Without a setting it is the address at which this connection arrived: unlike the Host header it cannot be forged.
    """
    public_url = desk_of(request).settings.public_url
    if not public_url:
        host, port = request.scope["server"]
        public_url = f"{request.scope['scheme']}://{f'[{host}]' if ':' in host else host}:{port}"
    return f"{public_url.rstrip('/')}/files"
