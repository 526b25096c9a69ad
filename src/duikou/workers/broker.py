"""Many machines: servers put messages into a broker, workers take them out. Celery, on RabbitMQ or Redis.

A message says only that something waits in a queue; what a worker then claims is the task whose turn it is. So a
message that comes twice is idle, one that is lost is sent again by whoever watches, and no order of messages is unfair.
"""

from __future__ import annotations

import importlib.util
import logging
import queue
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from duikou.errors import StorageError
from duikou.sandbox.process import Worker
from duikou.settings import Settings
from duikou.tasks.states import Queue
from duikou.tasks.store import Store
from duikou.workers.executor import Executor

try:
    import celery
    from celery import signals
    from celery.exceptions import CPendingDeprecationWarning, Reject, SecurityWarning
    from kombu.entity import Queue as MessageQueue
    from kombu.exceptions import OperationalError
except ImportError as error:  # pragma: no cover - a machine without the extra
    raise StorageError("broker_url: a fleet needs Celery; install duikou[fleet]") from error

MESSAGE = "duikou.work"
ANSWER_S = 5.0  # of the broker, to one who sends
RETRY_S = 1.0  # between attempts at reaching the broker
RING_EVERY_S = 2.0  # between two comparisons of queues and messages
MOST_RUNG = 1000  # messages at once where many were lost; once they are used up there are more
REDIS_HOLD = 2  # times the longest task, after which Redis thinks a message's taker dead

log = structlog.get_logger(__name__)


def queue_name(queue: Queue) -> str:
    """What the broker calls a queue."""
    return f"duikou.{queue}"


def _message_queue(queue: Queue, arguments: dict[str, str] | None) -> Any:
    make: Any = MessageQueue
    return make(queue_name(queue), queue_arguments=arguments, durable=True)


def application(settings: Settings) -> celery.Celery:
    """Celery, told of our broker and queues. Nothing is dialled."""
    app = celery.Celery("duikou", broker=settings.broker_url, set_as_current=False)
    redis = settings.broker_url.startswith(("redis://", "rediss://"))
    if redis and importlib.util.find_spec("redis") is None:
        raise StorageError("broker_url: Redis needs the package redis; install duikou[fleet]")
    arguments = None if redis else {"x-queue-type": "quorum"}  # kept by several nodes, on disk
    transport: dict[str, Any] = (
        {"visibility_timeout": REDIS_HOLD * settings.task_timeout_s}
        if redis
        else {"confirm_publish": True, "connect_timeout": ANSWER_S, "read_timeout": ANSWER_S, "write_timeout": ANSWER_S}
    )
    app.conf.update(
        task_queues=[_message_queue(name, arguments) for name in Queue],
        task_default_queue=queue_name(Queue.RENDER),
        task_serializer="json",
        accept_content=["json"],
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,  # a queue of its own for each worker, which none of ours reads
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_timeout=ANSWER_S,
        broker_connection_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_heartbeat=10,
        broker_transport_options=transport,
    )
    return app


class FleetDispatcher:
    """Sends messages, from a thread of its own: a call that made a task never waits for the broker."""

    def __init__(self, settings: Settings, store: Store, *, stopping: threading.Event) -> None:
        self._app, self._store, self._stopping = application(settings), store, stopping
        self._bells: queue.SimpleQueue[Queue | None] = queue.SimpleQueue()
        self._missing: dict[Queue, int] = {}
        self._compare, self._compared = threading.Event(), 0.0
        self._thread = threading.Thread(target=self._serve, name="duikou-bells", daemon=True)

    busy = False
    """Nothing is done in a process that only sends."""

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def wake(self, queue: Queue) -> None:
        """A task was submitted."""
        self._bells.put(queue)

    def join(self) -> None:
        """Send what is still to be sent, where the broker takes it."""
        self._bells.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def ping(self) -> None:
        """Raise `StorageError` where the broker does not answer."""
        try:
            with self._app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, timeout=ANSWER_S)
        except (OSError, OperationalError) as error:
            raise StorageError("the message broker does not answer") from error

    def resend_lost_wakeups(self) -> None:
        """Have what was lost sent again. Whoever watches does not wait for the broker."""
        self._compare.set()

    def _ring(self) -> None:
        """Send messages for tasks that are due while the broker holds none, twice in a row."""
        before, self._missing = self._missing, {}
        due = {name: self._store.queue.due(name, MOST_RUNG) for name in Queue}
        if not any(due.values()):
            return
        with self._app.connection_for_read(connect_timeout=ANSWER_S) as connection, connection.channel() as channel:
            for name, count in due.items():
                bound = self._app.amqp.queues[queue_name(name)](channel)
                if count and not bound.queue_declare().message_count:
                    self._missing[name] = count
        for name, count in self._missing.items():
            if lost := min(count, before.get(name, 0)):
                log.info("rung again", queue=str(name), messages=lost)
            for _ in range(lost):
                self.wake(name)

    def _serve(self) -> None:
        while True:
            if self._bells.empty():  # else what is still to be sent would be taken for lost, and sent for ever
                self._look()
            try:
                name = self._bells.get(timeout=RETRY_S)
            except queue.Empty:
                continue
            if name is None:
                return
            try:
                self._app.send_task(MESSAGE, args=[str(name)], queue=queue_name(name), retry=False)
            except Exception as error:
                # Whoever watches sends it again.
                log.warning("a message cannot be sent", queue=str(name), error=repr(error))
                self._stopping.wait(RETRY_S)
                if not self._forget():
                    return

    def _look(self) -> None:
        if not self._compare.is_set() or time.monotonic() - self._compared < RING_EVERY_S:
            return
        self._compare.clear()
        self._compared = time.monotonic()
        try:
            self._ring()
        except Exception as error:
            log.warning("queues and messages cannot be compared", error=repr(error))

    def _forget(self) -> bool:
        """Drop what is still to be sent. False where nothing is sent any more."""
        while not self._bells.empty():
            if self._bells.get() is None:
                return False
        return True


def work(
    settings: Settings,
    executor: Executor,
    *,
    queues: Sequence[Queue],
    concurrency: int,
    stopping: threading.Event,
    ready: Callable[[], None] | None = None,
) -> None:
    """Do tasks of these queues, so many at once, until SIGTERM or SIGINT.

    Then nothing more is begun, what is in hand is finished for as long as `worker_drain_s` says, and handed back after
    that. A second signal hands it back at once.
    """
    app, draining = application(settings), threading.Event()
    workers: queue.LifoQueue[Worker] = queue.LifoQueue()
    for _ in range(concurrency):
        worker = executor.worker()
        worker.start()  # imports take seconds: no task waits for them
        workers.put(worker)

    @app.task(name=MESSAGE, shared=False)  # type: ignore[untyped-decorator]
    def _work(name: str) -> None:
        if draining.is_set():
            raise Reject("the worker is about to stop", requeue=True)
        worker = workers.get()
        try:
            executor.do_one(Queue(name), worker)
        finally:
            workers.put(worker)

    def drain(*_: object, **__: object) -> None:
        if draining.is_set():
            stopping.set()
            return
        draining.set()
        log.info("draining", seconds=settings.worker_drain_s)
        timer = threading.Timer(settings.worker_drain_s, stopping.set)
        timer.daemon = True
        timer.start()

    def started(*_: object, **__: object) -> None:
        if ready is not None:
            ready()

    signals.setup_logging.connect(_leave_logging)
    warnings.filterwarnings("ignore", category=SecurityWarning)  # of root that reads pickles: here all is JSON
    chatty = logging.getLogger("kombu.transport.native_delayed_delivery")
    chatty.setLevel(logging.ERROR)  # it warns of messages for later, which nobody sends
    signals.worker_shutting_down.connect(drain)
    signals.worker_ready.connect(started)
    executor.start()
    consumer = app.Worker(
        pool="threads",
        concurrency=concurrency,
        queues=[queue_name(name) for name in queues],
        loglevel="WARNING",
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    # Of what is in hand while the broker is away: it goes on, as we want it. To make a worker turns the warning on.
    warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)
    try:
        consumer.start()
    finally:
        signals.setup_logging.disconnect(_leave_logging)
        signals.worker_shutting_down.disconnect(drain)
        signals.worker_ready.disconnect(started)
        stopping.set()
        while not workers.empty():
            workers.get().stop()
        executor.join()


def _leave_logging(*_: object, **__: object) -> None:
    """Celery sets up no logging of its own where someone answers when it is about to."""
