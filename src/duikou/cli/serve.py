"""`duikou serve`, `duikou studio` and `duikou worker`: the processes that run until they are stopped."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from duikou.cli.terminal import AsJson, read_settings, say, server_packages, warn
from duikou.net.reach import local_url, reachable_urls
from duikou.tasks.states import Queue

if TYPE_CHECKING:
    from duikou.settings import Settings

HOME: Final = "127.0.0.1"  # where `duikou studio` listens: it is for the user of this machine
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

    def ready(url: str) -> None:
        own = local_url(url)
        said = [f"duikou is ready at {own}", f"Studio: {own}/", *_seen_by_others(url, settings)]
        _ready("\n".join(said), as_json, url=own, public_url=settings.public_url or None)

    run_server(settings, ready=ready)


def studio(
    port: Annotated[int | None, typer.Option(help="Port to bind to.", show_default="DUIKOU_PORT, else free")] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for sessions, tasks and results.", show_default="duikou-data"),
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the page's address.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run the HTTP server for this machine alone, and open its page in the browser.

    Every setting but the host can also be given in the environment, as DUIKOU_DATA and so on. Ctrl-C stops it.
    """
    with server_packages():
        from duikou.server import serve as run_server

    settings = read_settings(host=HOME, port=port, data=data)
    if "port" not in settings.model_fields_set:
        settings = settings.model_copy(update={"port": 0})

    def ready(url: str) -> None:
        _ready(f"Studio: {url}/", as_json, url=url)
        if not no_browser:  # in a thread: a browser in the terminal would hold the server
            threading.Thread(target=_open, args=(f"{url}/",), name="duikou-browser", daemon=True).start()

    run_server(settings, ready=ready)


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


def _open(url: str) -> None:
    import webbrowser

    if not webbrowser.open(url):
        warn([f"no browser could be opened; open {url} in one"], heading="")


def _seen_by_others(url: str, settings: Settings) -> list[str]:
    """What other machines call this server, and what addresses in answers begin with."""
    if settings.public_url:
        return [f"Addresses in answers begin with {settings.public_url.rstrip('/')}"]
    others = reachable_urls(url)
    if not others:
        return []
    return [
        f"Other machines reach it at {' or '.join(others)}",
        "Addresses in answers begin with what each caller calls this server; behind a proxy, set DUIKOU_PUBLIC_URL",
    ]


def _ready(sentence: str, as_json: bool, **more: str | None) -> None:
    told = {name: value for name, value in more.items() if value is not None}
    say(json.dumps({"event": "ready", **told}) if as_json else sentence)
