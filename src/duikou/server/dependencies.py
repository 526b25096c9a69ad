"""What the routes share: one `AppContext` for each running application, on its state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from duikou.server.caller import Caller
from duikou.server.creating import Creator
from duikou.server.in_flight import CallLimit
from duikou.server.own_address import base_url
from duikou.server.receiving import FileReceiver
from duikou.server.signed_urls import FileUrls, UrlSigner
from duikou.server.streams import EventStreams
from duikou.server.threads import LISTS, THREADS, Turns
from duikou.settings import Settings
from duikou.storage.base import Files
from duikou.tasks.accounts import Accounts
from duikou.tasks.metrics import QueueCollector
from duikou.tasks.service import TaskService


@dataclass(frozen=True)
class AppContext:
    """The parts of a running server. presigner: the file storage, where the settings ask for its presigned URLs.

    threads, lists: how many of them each account may have at once.
    """

    settings: Settings
    service: TaskService
    receiver: FileReceiver
    creator: Creator
    calls: CallLimit
    streams: EventStreams
    accounts: Accounts
    signer: UrlSigner
    presigner: Files | None
    queue_metrics: QueueCollector
    threads: Turns = field(default_factory=lambda: Turns(THREADS))
    lists: Turns = field(default_factory=lambda: Turns(LISTS))

    def urls(self, base: str) -> FileUrls:
        """Builds file URLs that begin with `base`."""
        return FileUrls(base.rstrip("/"), self.signer, self.presigner)


def context_of(request: Request) -> AppContext:
    """The context of the application that serves this request."""
    context = request.app.state.context
    assert isinstance(context, AppContext)
    return context


def account_of(request: Request) -> str:
    """The caller's account, as `AuthMiddleware` has found it."""
    account = request.state.account
    assert isinstance(account, str)
    return account


def urls_of(request: Request) -> FileUrls:
    """Builds the file URLs of this request's answer: they begin with the setting, else as the caller's own does."""
    context = context_of(request)
    return context.urls(context.settings.public_url or base_url(request.scope))


# FastAPI calls these in the event loop; it would call others in threads, which they do not need.


async def _context(request: Request) -> AppContext:
    return context_of(request)


async def _caller(request: Request) -> Caller:
    return Caller(account_of(request), urls_of(request))


Context = Annotated[AppContext, Depends(_context)]
CallerParam = Annotated[Caller, Depends(_caller)]
