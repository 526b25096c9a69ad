"""The ASGI application and the server that runs it."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from enum import Enum
from types import FrameType
from typing import Literal

import structlog
import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from duikou.errors import StorageError
from duikou.server import openapi, startup
from duikou.server.auth import AuthMiddleware
from duikou.server.dependencies import AppContext
from duikou.server.http import middleware
from duikou.server.http.connections import BACKLOG, Connection, connection_limit
from duikou.server.routes import docs, files, health, lip_sync, studio, uploads
from duikou.settings import Settings, misspelt
from duikou.telemetry import logs, output
from duikou.workers.work import Work

GRACE_S = 30  # time for running requests to finish once the server stops
DRAIN_POLL_S = 0.2  # between checks whether a task is still running

log = structlog.get_logger(__name__)


def create_app(settings: Settings, work: Work | None = None) -> FastAPI:
    """The ASGI application. Its lifespan locks the data folder and starts the workers, and releases both at the end.

    work: what workers do; only tests replace it. Startup raises `StorageError` if the data folder is in use.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with startup.running(settings, work) as app.state.context:
            yield

    app = FastAPI(
        **openapi.app_info(settings.public_url),
        lifespan=lifespan,
        openapi_url=None,  # served by routes.docs: FastAPI's pages load their scripts from a CDN
        redirect_slashes=False,
        # duikou.telemetry does this; FastAPI's telemetry would send error texts where the environment enables it.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.add_middleware(AuthMiddleware)
    middleware.install(app, settings)
    for prefix in lip_sync.PREFIXES:
        tags: list[str | Enum] = [openapi.tag_of(prefix)]
        app.include_router(lip_sync.api, prefix=prefix, tags=tags)
        app.include_router(uploads.router, prefix=prefix, tags=tags)
        app.include_router(uploads.json_router, prefix=prefix, tags=tags)
    app.include_router(files.router)
    app.include_router(health.router)
    app.include_router(studio.router)
    docs.install(app)
    return app


def configure(app: ASGIApp, settings: Settings, *, lifespan: Literal["on", "off"]) -> uvicorn.Config:
    """uvicorn's configuration for the application. Raises the process's limit of open files for the connections."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=Connection,
        ws="none",
        lifespan=lifespan,
        backlog=BACKLOG,
        limit_concurrency=connection_limit(settings.connections),
        log_config=None,
        log_level=logging.ERROR,  # its warnings concern requests that this server answers and logs
        access_log=False,
        proxy_headers=False,  # uvicorn would believe any process of this machine; see `own_address`
        timeout_graceful_shutdown=GRACE_S,
        server_header=False,
    )


def serve(settings: Settings, ready: Callable[[str], None] | None = None, work: Work | None = None) -> None:
    """Serve until SIGINT or SIGTERM. Calls `ready` with the URL once the server accepts connections.

    Raises `StorageError` if the data folder or the port cannot be used.
    """
    logs.configure(settings.secrets())
    app = create_app(settings, work)
    with ExitStack() as opened:
        opened.enter_context(output.captured())
        for sentence in misspelt(os.environ):
            log.warning(sentence)
        listener = opened.enter_context(_listen(settings.host, settings.port))
        host, port = listener.getsockname()[:2]

        def started() -> None:
            if ready:
                ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")

        # Start the service here: an error in the lifespan would become a traceback of uvicorn.
        context = opened.enter_context(startup.running(settings, work, own_port=port))
        app.state.context = context
        if not _is_loopback(settings.host) and not context.accounts.any():
            raise StorageError(
                f"host: {_shown(settings.host)} can be reached from other machines, and no key exists yet; "
                f"create one with `duikou keys make NAME --data {settings.data}`"
            )
        _Server(configure(app, settings, lifespan="off"), context, started, opened.close).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Calls `ready` when it accepts connections, and `stop` before uvicorn re-raises the signal.

    After SIGTERM it refuses new work and runs on for up to `drain_s` while tasks are running. A second signal ends it
    at once.
    """

    def __init__(
        self, config: uvicorn.Config, context: AppContext, ready: Callable[[], None], stop: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._service, self._drain_s = context.service, context.settings.drain_s
        self._ready, self._stop = ready, stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        drains = sig == signal.SIGTERM and self._drain_s > 0 and not self._service.draining
        self._service.drain()
        if drains:
            # The thread logs: a signal may interrupt this one while it holds the lock of the log.
            threading.Thread(target=self._exit_when_idle, args=(sig,), name="duikou-drain", daemon=True).start()
        else:
            super().handle_exit(sig, frame)

    def _exit_when_idle(self, sig: int) -> None:
        """Exit by this signal once no task is running or the time is up, unless a second signal comes first."""
        log.info("draining", seconds=self._drain_s)
        until = time.monotonic() + self._drain_s
        while time.monotonic() < until and self._service.busy and not self.should_exit:
            time.sleep(DRAIN_POLL_S)
        if not self.should_exit:
            super().handle_exit(sig, None)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        await asyncio.to_thread(self._stop)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
        # asyncio sets this only where the socket names its protocol; without, an answer waits 40 ms for a client.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        reason = (error.strerror or type(error).__name__).partition(" (")[0]  # the rest repeats the address
        raise StorageError(f"port: cannot listen on {_shown(host)}:{port}: {reason}.") from None


def _shown(host: str) -> str:
    """The address that the server binds to, as errors show it. A setting that is no address is not repeated."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host if host == "localhost" else "this host"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
