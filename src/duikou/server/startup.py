"""Opens everything that a server needs, in order, and closes it again, also after a failure half-way."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Protocol

import structlog

from duikou.database.engine import Database
from duikou.net.addresses import AddressPolicy
from duikou.sandbox import restrictions, system_calls
from duikou.server import in_flight
from duikou.server.creating import Creator
from duikou.server.dependencies import AppContext
from duikou.server.probing import MediaProber
from duikou.server.receiving import FileReceiver
from duikou.server.schemas import build
from duikou.server.signed_urls import UrlSigner
from duikou.server.streams import EventStreams
from duikou.settings import Settings
from duikou.storage.data_folder import DataFolder
from duikou.storage.factory import reached_files
from duikou.tasks import retention
from duikou.tasks.accounts import Accounts
from duikou.tasks.dispatcher import Dispatcher
from duikou.tasks.metrics import QueueCollector
from duikou.tasks.models import RenderTask
from duikou.tasks.neglect import NeglectMonitor
from duikou.tasks.outbox import Outbox
from duikou.tasks.retention import RetentionSweeper
from duikou.tasks.service import ServiceParts, ServicePolicy, TaskService, resume
from duikou.tasks.stalled import StalledTaskMonitor
from duikou.tasks.states import Queue
from duikou.tasks.store import Store
from duikou.tasks.webhooks import WebhookSender
from duikou.telemetry.traces import traces
from duikou.workers.dispatch import LocalDispatcher
from duikou.workers.executor import Executor, WorkPolicy
from duikou.workers.work import Work

IDENTIFY_WORKERS = 2  # of an embedded server: separate, so that no render delays an answer that a caller waits for.
# One account has one of them, so that its searches, of minutes each, keep nobody else's waiting.
PATIENCE_S = 10.0  # with a file storage that does not answer, while a caller waits
SECRET_BYTES = 32

log = structlog.get_logger(__name__)


class _Part(Protocol):
    """Threads that the server starts, and waits for at its end."""

    def start(self) -> None: ...

    def join(self) -> None: ...


@contextmanager
def running(settings: Settings, work: Work | None = None, *, own_port: int | None = None) -> Iterator[AppContext]:
    """The context of a server that runs until the block ends. Blocks while it starts and while it stops.

    Locks the data folder, deletes what has expired and resumes unfinished tasks; at the end stops every worker, and
    unfinished tasks wait for the next start.

    own_port: where the server listens, if not on the settings' port; callers' URLs must not lead there.
    Raises `StorageError`, and `InputError` where the settings' certificate cannot sign results.
    """
    work = work or Work()
    policy = ServicePolicy.of(settings, work.analyser)
    with ExitStack() as opened:
        parts = _open_parts(settings, work, opened)
        accounts, outbox = Accounts(parts.database), Outbox(parts.database)
        secret = accounts.secret("addresses", parts.folder.former_secret() or secrets.token_bytes(SECRET_BYTES))
        addresses = AddressPolicy.of(settings)
        addresses = addresses if own_port is None else replace(addresses, own_port=own_port)
        service, prober = TaskService(parts, policy), MediaProber(work, parts.stopping)
        receiver = FileReceiver(service, prober, addresses, settings)
        context = AppContext(
            settings,
            service,
            receiver,
            Creator(service, receiver, addresses, settings),
            in_flight.file_calls(settings.calls_at_once),
            EventStreams(service.watcher, settings.events_at_once),
            accounts,
            UrlSigner(secret, settings.url_hours),
            parts.files if settings.storage_links == "presigned" else None,
            QueueCollector(parts.store.queue.loads, outbox.waiting),
        )

        def webhook_body(task: RenderTask) -> bytes:
            return build.task_json(task, context.urls(task.callback.files_url if task.callback else ""))

        threads: list[_Part] = [
            parts.dispatcher,
            prober,
            WebhookSender(outbox, accounts, webhook_body, policy=addresses, stopping=parts.stopping),
            RetentionSweeper(parts.database, parts.store, parts.files, stopping=parts.stopping),
        ]
        if parts.dispatcher.elsewhere:
            threads.append(parts.neglect)
        if parts.database.shared:
            resend = parts.dispatcher.resend_lost_wakeups
            threads.append(StalledTaskMonitor(parts.store, resend, keep_ms=policy.keep_ms, stopping=parts.stopping))
        else:
            resume(parts.store, parts.files, keep_ms=policy.keep_ms)
            retention.remove_orphans(parts.store, parts.files)
        started: list[_Part] = []
        opened.callback(_stop, parts, started)
        for thread in threads:
            thread.start()
            started.append(thread)
        sandbox = {
            "network_blocked": system_calls.available(),
            "files_restricted": restrictions.landlock_version() > 0,
        }
        log.info("tasks started", data=str(parts.folder.root), fleet=bool(settings.broker_url), **sandbox)
        yield context
    log.info("server stopped")


def _open_parts(settings: Settings, work: Work, opened: ExitStack) -> ServiceParts:
    """The parts of the service; `opened` closes them."""
    stopping, draining = threading.Event(), threading.Event()
    folder = DataFolder(settings.data, settings.min_free_mb)
    folder.open()
    opened.callback(folder.close)
    database = Database(settings.database_url or folder.database_url)
    opened.callback(database.close)
    files = reached_files(settings.storage_url, folder.root, folder.scratch, PATIENCE_S)
    folder.watch(files.folder)
    store = Store(database)
    dispatcher: Dispatcher
    if settings.broker_url:
        from duikou.workers import celery_app  # only a fleet has Celery

        celery_app.require_welcome(settings)
        dispatcher = celery_app.FleetDispatcher(settings, store, stopping=stopping)
    else:
        work_policy = WorkPolicy.of(settings, folder, Accounts(database) if database.shared else None)
        executor = Executor(store, files, folder, work, work_policy, stopping=stopping)
        sizes = {Queue.IDENTIFY: IDENTIFY_WORKERS, Queue(settings.render_queue): settings.workers}
        dispatcher = LocalDispatcher(executor, sizes, stopping=stopping, draining=draining)
    traces.start(settings.otel_endpoint, "server")
    opened.callback(traces.stop)
    neglect = NeglectMonitor(store, stopping)
    return ServiceParts(database, store, files, folder, dispatcher, neglect, stopping, draining)


def _stop(parts: ServiceParts, started: list[_Part]) -> None:
    parts.draining.set()
    parts.stopping.set()
    for thread in started:
        thread.join()
