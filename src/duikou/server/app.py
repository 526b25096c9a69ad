"""The application and the server around it."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
import uvicorn
from fastapi import FastAPI

from duikou.errors import StorageError
from duikou.jobs import logs
from duikou.jobs.manager import Jobs
from duikou.jobs.work import Work
from duikou.server import files, middleware, routes
from duikou.server.desk import Desk
from duikou.settings import Settings

DRAIN_S = 30  # after a stop was asked for, answers that are on their way get so long

log = structlog.get_logger(__name__)


def create_app(settings: Settings, work: Work | None = None) -> FastAPI:
    """The ASGI application. Its lifespan takes the data folder and starts the workers, and gives both back.

    work: what workers do; only tests give another one. Starting raises `StorageError` where the folder is in use.
    """
    jobs = Jobs(settings, work)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        jobs.start()
        try:
            yield
        finally:
            jobs.stop()

    # The pages of FastAPI load their scripts from a CDN: none here.
    app = FastAPI(
        title="duikou",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.desk = Desk(settings, jobs)
    middleware.install(app)
    for prefix in routes.PREFIXES:
        app.include_router(routes.api, prefix=prefix)
    app.include_router(routes.operation)
    app.include_router(files.router)
    return app


def serve(settings: Settings, ready: Callable[[str], None] | None = None, work: Work | None = None) -> None:
    """Serve until SIGINT or SIGTERM; `ready` is called with the address once connections are accepted.

    Raises `StorageError` where the data folder or the port cannot be used.
    """
    logs.configure()
    if not _is_loopback(settings.host):
        log.warning("no authentication yet: whoever reaches this address can use the server", host=settings.host)
    app = create_app(settings, work)
    listener = _listen(settings.host, settings.port)
    host, port = listener.getsockname()[:2]
    server = _Server(
        uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=DRAIN_S,
            server_header=False,
        )
    )
    server.ready = lambda: ready(f"http://{f'[{host}]' if ':' in host else host}:{port}") if ready else None
    server.stop = app.state.desk.jobs.stop
    # The jobs are started here and not in the lifespan, where uvicorn would turn a clear error into a trace.
    desk: Desk = app.state.desk
    with listener:
        desk.jobs.start()
        try:
            server.run(sockets=[listener])
        finally:
            desk.jobs.stop()


class _Server(uvicorn.Server):
    """Tells when it accepts connections, and stops the jobs before it gives the signal that ended it to the process."""

    ready: Callable[[], None]
    stop: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        await asyncio.to_thread(self.stop)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise StorageError(f"port: cannot listen on {host}:{port}: {error.strerror or error}.") from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
