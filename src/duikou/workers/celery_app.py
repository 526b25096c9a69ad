"""A fleet: servers send messages to a broker and workers receive them. Celery, on RabbitMQ or Redis.

A message only says that a task waits in a queue; the worker then claims the next task in the database. So a duplicate
message does no harm, a lost one is sent again, and the order of messages does not matter.
"""

from __future__ import annotations

import importlib.util
import logging
import queue
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import structlog

from duikou.errors import StorageError
from duikou.sandbox.process import SandboxProcess
from duikou.settings import Settings
from duikou.tasks.states import Queue
from duikou.tasks.store import Store
from duikou.workers.executor import Executor

try:
    import celery
    from celery import bootsteps, signals
    from celery.exceptions import CPendingDeprecationWarning, Reject, SecurityWarning
    from kombu.entity import Queue as MessageQueue
    from kombu.messaging import Consumer
except ImportError as error:  # pragma: no cover - a machine without the extra
    raise StorageError("broker_url: a fleet needs Celery; install duikou[fleet]") from error

MESSAGE = "duikou.work"
BROKER_TIMEOUT_S = 5.0  # for the broker to answer a sender
RETRY_S = 1.0  # between attempts to reach the broker
RESEND_EVERY_S = 2.0  # between two comparisons of waiting tasks and messages
MAX_RESENT = 1000  # messages at once where many were lost; more follow once they are used up
SEARCHES_IN_A_ROW = 10  # for one message; RabbitMQ takes a message back that is not acknowledged for half an hour
REDIS_VISIBILITY = 2  # times the longest task, after which Redis delivers an unacknowledged message again

REFUSALS = (
    (
        r"ACCESS_REFUSED|NOAUTH|WRONGPASS|invalid username-password|Authentication required",
        "the message broker refuses the user and the password",
    ),
    (
        r"NOT_ALLOWED|vhost .* not found|not allowed|access to vhost",
        "the message broker has no such virtual host for this user",
    ),
)
"""What a broker says and what it means: no other try would help."""

log = structlog.get_logger(__name__)


def queue_name(queue: Queue) -> str:
    """Name of a queue at the broker."""
    return f"duikou.{queue}"


def _message_queue(queue: Queue, arguments: dict[str, str] | None) -> Any:
    make: Any = MessageQueue
    return make(queue_name(queue), queue_arguments=arguments, durable=True)


def application(settings: Settings) -> celery.Celery:
    """A Celery app for the settings' broker. It does not connect yet."""
    app = celery.Celery("duikou", broker=settings.broker_url, set_as_current=False)
    redis = settings.broker_url.startswith(("redis://", "rediss://"))
    if redis and importlib.util.find_spec("redis") is None:
        raise StorageError("broker_url: Redis needs the package redis; install duikou[fleet]")
    arguments = None if redis else {"x-queue-type": "quorum"}  # replicated, on disk
    transport: dict[str, Any] = (
        {"visibility_timeout": REDIS_VISIBILITY * settings.task_timeout_s}
        if redis
        else {
            "confirm_publish": True,
            "connect_timeout": BROKER_TIMEOUT_S,
            "read_timeout": BROKER_TIMEOUT_S,
            "write_timeout": BROKER_TIMEOUT_S,
        }
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
        worker_enable_remote_control=False,  # would make one queue per worker, which nobody reads
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_timeout=BROKER_TIMEOUT_S,
        broker_connection_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_heartbeat=10,
        broker_transport_options=transport,
    )
    return app


class RefusedError(StorageError):
    """The broker answers, and takes no connection with these settings."""


def require_broker(settings: Settings) -> None:
    """Raise `StorageError` where the broker does not answer, or takes no connection with these settings."""
    try:
        _ping(application(settings))
    except StorageError as error:
        raise type(error)(f"broker_url: {error}") from None


def require_welcome(settings: Settings) -> None:
    """Raise `RefusedError` where the broker takes no connection with these settings. One that is away may come back."""
    try:
        require_broker(settings)
    except RefusedError:
        raise
    except StorageError as error:
        log.warning("the server starts without its message broker", reason=str(error))


def _ping(app: celery.Celery) -> None:
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=BROKER_TIMEOUT_S)
    except Exception as error:  # of several libraries, which repeat parts of the address
        said = " ".join(map(str, _chain(error)))
        for pattern, meaning in REFUSALS:
            if re.search(pattern, said):
                raise RefusedError(meaning) from error
        raise StorageError("the message broker does not answer") from error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


class FleetDispatcher:
    """Sends messages from its own thread, so that a request that creates a task never waits for the broker."""

    def __init__(self, settings: Settings, store: Store, *, stopping: threading.Event) -> None:
        self._app, self._store, self._stopping = application(settings), store, stopping
        self._wakeups: queue.SimpleQueue[Queue | None] = queue.SimpleQueue()
        self._missing: dict[Queue, int] = {}
        self._compare_due, self._compared = threading.Event(), 0.0
        self._thread = threading.Thread(target=self._serve, name="duikou-wakeups", daemon=True)

    elsewhere = True
    busy = False
    """A process that only sends runs no task."""

    def start(self) -> None:
        """Start sending."""
        self._thread.start()

    def wake(self, queue: Queue) -> None:
        """A task was submitted."""
        self._wakeups.put(queue)

    def join(self) -> None:
        """Send the remaining messages, if the broker accepts them."""
        self._wakeups.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def ping(self) -> None:
        """Raise `StorageError` where the broker does not answer."""
        _ping(self._app)

    def resend_lost_wakeups(self) -> None:
        """Send lost messages again; returns at once, the sending thread does the work."""
        self._compare_due.set()

    def _resend(self) -> None:
        """Send messages for due tasks whose queue at the broker was empty in two comparisons in a row."""
        before, self._missing = self._missing, {}
        due = {name: self._store.queue.due(name, MAX_RESENT) for name in Queue}
        if not any(due.values()):
            return
        with (
            self._app.connection_for_read(connect_timeout=BROKER_TIMEOUT_S) as connection,
            connection.channel() as channel,
        ):
            for name, count in due.items():
                bound = self._app.amqp.queues[queue_name(name)](channel)
                if count and not bound.queue_declare().message_count:
                    self._missing[name] = count
        for name, count in self._missing.items():
            if lost := min(count, before.get(name, 0)):
                log.info("lost messages sent again", queue=str(name), messages=lost)
            for _ in range(lost):
                self.wake(name)

    def _serve(self) -> None:
        while True:
            if self._wakeups.empty():  # else unsent messages would count as lost and multiply
                self._compare_queues()
            try:
                name = self._wakeups.get(timeout=RETRY_S)
            except queue.Empty:
                continue
            if name is None:
                return
            try:
                self._app.send_task(MESSAGE, args=[str(name)], queue=queue_name(name), retry=False)
            except Exception as error:
                # `resend_lost_wakeups` makes up for it.
                log.warning("cannot send a message", queue=str(name), error=repr(error))
                self._stopping.wait(RETRY_S)
                if not self._drop_unsent():
                    return

    def _compare_queues(self) -> None:
        if not self._compare_due.is_set() or time.monotonic() - self._compared < RESEND_EVERY_S:
            return
        self._compare_due.clear()
        self._compared = time.monotonic()
        try:
            self._resend()
        except Exception as error:
            log.warning("cannot compare tasks and messages", error=repr(error))

    def _drop_unsent(self) -> bool:
        """Drop unsent messages. False if the thread has to end."""
        while not self._wakeups.empty():
            if self._wakeups.get() is None:
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
    """Run tasks of these queues, `concurrency` at once, until SIGTERM or SIGINT.

    Where the queues hold renders too, a search for faces has a place of its own beside them: its caller waits.
    After the signal no task is started; running ones may finish within `worker_drain_s` and are handed back after that.
    A second signal hands them back at once.
    """
    app, draining = application(settings), threading.Event()
    opened = ExitStack()
    opened.callback(executor.join)
    processes = opened.enter_context(_children(executor, concurrency, stopping))

    @app.task(name=MESSAGE, shared=False)  # type: ignore[untyped-decorator]
    def _work(name: str) -> None:
        if draining.is_set():
            raise Reject("the worker is stopping", requeue=True)
        process = processes.get()
        try:
            executor.run_next(Queue(name), process)
        finally:
            processes.put(process)

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

    with opened:
        for signal, receiver in (
            (signals.setup_logging, _leave_logging),
            (signals.worker_shutting_down, drain),
            (signals.worker_ready, started),
        ):
            signal.connect(receiver)
            opened.callback(signal.disconnect, receiver)
        executor.start()
        others = opened.enter_context(_searching(app, executor, queues, draining))
        worker = _celery_worker(app, others, concurrency)
        worker.start()
        if worker.exitcode:  # Celery has logged why
            raise StorageError("broker_url: the message broker has ended the connection for good; see the log")


@contextmanager
def _children(executor: Executor, count: int, stopping: threading.Event) -> Iterator[queue.LifoQueue[SandboxProcess]]:
    """Child processes that are ready for work. At the end everything stops."""
    processes: queue.LifoQueue[SandboxProcess] = queue.LifoQueue()
    try:
        for _ in range(count):
            process = executor.new_process()
            process.start()  # imports take seconds: no task waits for them
            processes.put(process)
        yield processes
    finally:
        stopping.set()
        while not processes.empty():
            processes.get().stop()


def _celery_worker(app: celery.Celery, queues: Sequence[Queue], concurrency: int) -> Any:
    warnings.filterwarnings("ignore", category=SecurityWarning)  # about pickles read as root: messages here are JSON
    delayed = logging.getLogger("kombu.transport.native_delayed_delivery")
    delayed.setLevel(logging.ERROR)  # it warns about delayed messages, which nobody sends
    worker = app.Worker(
        pool="threads",
        concurrency=concurrency,
        queues=[queue_name(name) for name in queues],
        loglevel="WARNING",
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    # The warning says that running tasks go on while the broker is away, as they should. Making a worker enables it.
    warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)
    return worker


@contextmanager
def _searching(
    app: celery.Celery, executor: Executor, queues: Sequence[Queue], draining: threading.Event
) -> Iterator[list[Queue]]:
    """Give searches for faces a place of their own where a worker has other queues too: their callers wait.

    Yields the queues that are left. At the end it starts no search and waits for the one that runs.
    """
    others: list[Queue] = [name for name in queues if name is not Queue.IDENTIFY]
    if Queue.IDENTIFY not in queues or not others:
        yield list(queues)
        return
    searches = _Searches(app, executor, draining)
    app.steps["consumer"].add(searches.step())
    try:
        yield others
    finally:
        draining.set()
        searches.join()


class _Searches:
    """Searches for faces beside the renders of a worker: a thread and a child of their own, and a consumer that takes
    one message at a time.
    """

    def __init__(self, app: celery.Celery, executor: Executor, draining: threading.Event) -> None:
        self._app, self._executor, self._draining = app, executor, draining
        self._process = executor.new_process()
        self._process.start()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"duikou-{Queue.IDENTIFY}")

    def step(self) -> type[Any]:
        """The step of Celery's worker that consumes the messages; it starts again with each connection."""
        searches = self

        class Step(bootsteps.ConsumerStep):  # type: ignore[misc]
            def __init__(self, parent: Any, **options: Any) -> None:
                self._parent = parent
                super().__init__(parent, **options)

            def get_consumers(self, channel: Any) -> list[Any]:
                queues = [searches._app.amqp.queues[queue_name(Queue.IDENTIFY)]]
                make: Any = Consumer
                consumer = make(channel, queues, on_message=self._receive)
                consumer.qos(prefetch_count=1)
                return [consumer]

            def _receive(self, message: Any) -> None:
                def acknowledge() -> None:  # in Celery's own thread
                    with suppress(Exception):  # a new connection: the message comes again, and finds nothing to do
                        message.ack()

                searches._thread.submit(searches._search, lambda: self._parent.call_soon_ack(acknowledge))

        return Step

    def join(self) -> None:
        """Wait, once no message arrives any more, until nothing runs here."""
        self._thread.shutdown()
        self._process.stop()

    def _search(self, acknowledge: Callable[[], object]) -> None:
        """Do what waits. A message that is not acknowledged, because the worker stops, goes to another one."""
        try:
            for _ in range(SEARCHES_IN_A_ROW):
                if self._draining.is_set():
                    return
                if not self._executor.run_next(Queue.IDENTIFY, self._process):
                    break
        except Exception:  # what waits gets another message
            log.exception("cannot search for faces")
        acknowledge()


def _leave_logging(*_: object, **__: object) -> None:
    """With a receiver for this signal Celery sets up no logging of its own."""
