"""A worker of a fleet, as `duikou worker` runs it: with a folder, a database, a storage and a broker, without HTTP."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import structlog
from prometheus_client import start_http_server

from duikou.database.engine import Database
from duikou.errors import InputError, StorageError
from duikou.settings import Settings, misspelt
from duikou.storage.data_folder import DataFolder
from duikou.storage.factory import reached_files
from duikou.tasks.accounts import Accounts
from duikou.tasks.states import Queue
from duikou.tasks.store import Store
from duikou.telemetry import logs, metrics, output
from duikou.telemetry.traces import traces
from duikou.workers.executor import Executor, WorkPolicy
from duikou.workers.work import Work

PATIENCE_S = 60.0  # with a file storage that does not answer: an attempt survives a short outage

FORMER_NAMES = {"analysis": "identify"}  # of queues; scripts and manifests of former versions hold them

log = structlog.get_logger(__name__)


def queues_of(text: str) -> tuple[Queue, ...]:
    """`render,identify` as queues. Raises `InputError`."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    names = [FORMER_NAMES.get(name, name) for name in names]
    if not names or set(names) - set(Queue):
        raise InputError(f"expected some of {', '.join(Queue)}, got {text!r}", field="queues")
    return tuple(dict.fromkeys(Queue(name) for name in names))


def serve(
    settings: Settings,
    queues: Sequence[Queue],
    *,
    ready: Callable[[], None] | None = None,
    work: Work | None = None,
) -> None:
    """Run tasks of these queues, `settings.workers` at once, until SIGTERM or SIGINT.

    ready: called once messages can arrive. Raises `StorageError` where the folder, the database, the storage or the
    broker cannot be used, also where the broker begins to refuse later; `InputError` where a setting is missing.
    """
    if not settings.broker_url:
        raise InputError(
            "a worker takes tasks from a broker; set DUIKOU_BROKER_URL, DUIKOU_DATABASE_URL and "
            "DUIKOU_STORAGE_URL as for the servers (`duikou serve` alone needs no worker)",
            field="broker_url",
        )
    logs.configure(settings.secrets())
    from duikou.workers import celery_app  # Celery is installed only for a fleet

    stopping = threading.Event()
    folder = DataFolder(settings.data, settings.min_free_mb)
    with ExitStack() as opened:
        opened.enter_context(output.captured())
        for sentence in misspelt(os.environ):
            log.warning(sentence)
        folder.open()
        opened.callback(folder.close)
        database = Database(settings.database_url)
        opened.callback(database.close)
        files = reached_files(settings.storage_url, folder.root, folder.scratch, PATIENCE_S)
        folder.watch(files.folder)
        executor = Executor(
            Store(database),
            files,
            folder,
            work or Work(),
            WorkPolicy.of(settings, folder, Accounts(database)),
            stopping=stopping,
        )
        celery_app.require_broker(settings)
        if settings.worker_metrics_port:
            _serve_metrics(settings.worker_metrics_port, settings.host)
        traces.start(settings.otel_endpoint, "worker")
        opened.callback(traces.stop)
        log.info("worker started", queues=[str(queue) for queue in queues], concurrency=settings.workers)
        celery_app.work(settings, executor, queues=queues, concurrency=settings.workers, stopping=stopping, ready=ready)
        log.info("worker stopped")


def _serve_metrics(port: int, host: str) -> None:
    try:
        start_http_server(port, host, registry=metrics.registry)
    except OSError as error:
        raise StorageError(f"worker_metrics_port: cannot listen on port {port}: {error.strerror or error}") from error
