"""`duikou serve` and `duikou worker`: the processes that run until they are stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Final

import typer

from duikou.cli.terminal import AsJson, read_settings, server_packages
from duikou.tasks.states import Queue

DEFAULT_QUEUES: Final = f"{Queue.RENDER},{Queue.IDENTIFY}"


def serve(
    host: Annotated[str | None, typer.Option(help="Address to bind to.", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(help="Port to bind to; 0 picks a free one.", show_default="8000")] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for sessions, tasks and results.", show_default="duikou-data"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the HTTP server.

    Every setting can also be given in the environment, as DUIKOU_HOST and so on.
    """
    with server_packages():
        from duikou.server import serve as run_server

    settings = read_settings(host=host, port=port, data=data)
    run_server(settings, ready=lambda url: _ready(f"duikou is ready at {url}", as_json, url=url))


def worker(
    queues: Annotated[
        str, typer.Option(metavar="NAMES", help=f"Queues to serve: {', '.join(Queue)}.")
    ] = DEFAULT_QUEUES,
    concurrency: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Tasks to run at once.", show_default="DUIKOU_WORKERS, else 1"),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for work in progress, not shared.", show_default="duikou-data"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run tasks that servers have accepted.

    For a fleet, with DUIKOU_DATABASE_URL, DUIKOU_BROKER_URL and DUIKOU_STORAGE_URL as for the servers. After SIGTERM
    the worker finishes its tasks and starts no new ones.
    """
    with server_packages():
        from duikou.workers import worker

    settings = read_settings(workers=concurrency, data=data, options={"workers": "--concurrency"})
    worker.serve(settings, worker.queues_of(queues), ready=lambda: _ready("duikou worker is ready", as_json))


def _ready(sentence: str, as_json: bool, **more: str) -> None:
    typer.echo(json.dumps({"event": "ready", **more}) if as_json else sentence)
