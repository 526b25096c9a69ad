"""A fleet in a few processes: many workers and servers that are real but for the work and the calls.

Of a worker the consumer, the claim, the heartbeats and the outcome are the real ones (`duikou.workers.celery_app.work`,
`Executor`, `Store`); what is not is the child process, in whose place the worker's thread sleeps. Of a server all of
`startup.running` is real, dispatcher, monitor, webhooks and sweeper; what is not is HTTP.
"""

from __future__ import annotations

import logging
import multiprocessing
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import structlog

from duikou.database.engine import Database
from duikou.database.ids import new_id, now_ms
from duikou.pipeline.choice import FaceChoice
from duikou.progress import Progress, silent
from duikou.server import startup
from duikou.settings import Settings
from duikou.storage import keys
from duikou.storage.base import Files
from duikou.storage.data_folder import DataFolder
from duikou.storage.factory import open_files
from duikou.tasks.models import FaceRecord, Media, MediaKind, SessionRecord
from duikou.tasks.service import NewRender, TaskService
from duikou.tasks.states import Queue
from duikou.tasks.store import Store
from duikou.tasks.store.sessions import insert_session
from duikou.timebase import Interval
from duikou.workers import celery_app
from duikou.workers.executor import SHARED_HEARTBEAT_S, Executor, WorkPolicy
from duikou.workers.work import RenderJob, SignJob, Work

STAGES = ("following the face", "listening", "choosing", "rendering")
VIDEO_MS = 10_000
HOUR_MS = 3_600_000
READY_S = 120.0  # until a process has imported everything on a busy machine
CALLERS = 16  # threads of one server that submit
RESULT = b"result"


@dataclass(frozen=True)
class Place:
    """Where a fleet has its database, broker and files."""

    database_url: str
    broker_url: str
    folder: Path

    def settings(self, name: str, **more: Any) -> Settings:
        """Of one of its processes."""
        return Settings(
            data=self.folder / name,
            database_url=self.database_url,
            broker_url=self.broker_url,
            storage_url=f"file://{self.folder}/files",
            min_free_mb=0,
            tasks_at_once=0,
            **more,
        )


def render(order: RenderJob, progress: Progress) -> int:
    """Sleep as long as the choice says, and leave a result."""
    choice = order.choices[0]
    for number, stage in enumerate(STAGES):
        progress(stage, number / len(STAGES))
        time.sleep(((choice.trim_end_ms or 0) - choice.trim_start_ms) / 1000 / len(STAGES))
    order.output.write_bytes(RESULT)
    return VIDEO_MS


def sign(order: SignJob, progress: Progress) -> None:
    """Nothing: no real file is made."""


class Hand:
    """In place of a `SandboxProcess`: the work is done by the thread that asks for it."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor

    def start(self) -> None:
        """Nothing to make beforehand."""

    def run(self, function: Callable[..., Any], *args: Any, report: Progress = silent, **_: Any) -> Any:
        """Do it."""
        return function(*args, report)

    def stop(self) -> None:
        """Nothing to end."""


class Crowd:
    """In place of an `Executor`: one for each worker, so that each gives signs of life of its own."""

    def __init__(self, make: Callable[[], Executor]) -> None:
        self._make = make
        self._executors: list[Executor] = []

    def new_process(self) -> Hand:
        """One more worker."""
        self._executors.append(self._make())
        return Hand(self._executors[-1])

    def start(self) -> None:
        """Begin to give signs of life."""
        for executor in self._executors:
            executor.start()

    def join(self) -> None:
        """After the last thread is done."""
        for executor in self._executors:
            executor.join()

    def run_next(self, queue: Queue, hand: Any) -> bool:
        """As one worker."""
        return hand.executor.run_next(queue, hand)  # type: ignore[no-any-return]


def work(place: Place, name: str, workers: int, ready: Event) -> None:
    """Main function of a process that is so many workers, until SIGTERM."""
    hush()
    settings, stopping = place.settings(name, workers=workers), threading.Event()
    folder = DataFolder(settings.data)
    folder.open()
    store = Store(Database(settings.database_url))
    files = open_files(settings.storage_url, folder.root, folder.scratch, 1.0)
    policy = replace(WorkPolicy.of(settings, folder), heartbeat_s=SHARED_HEARTBEAT_S)

    def executor() -> Executor:
        return Executor(store, files, folder, Work(render=render, sign=sign), policy, stopping=stopping)

    crowd: Any = Crowd(executor)
    celery_app.work(settings, crowd, queues=[Queue.RENDER], concurrency=workers, stopping=stopping, ready=ready.set)


@dataclass(frozen=True)
class Calls:
    """What a server is asked: `count` tasks, `per_s` of them in a second (0: as fast as it can), by so many accounts in
    turn, each `work_ms` of work.
    """

    count: int
    per_s: float
    work_ms: int
    accounts: tuple[str, ...]
    callers: int = CALLERS


@dataclass(frozen=True)
class Told:
    """How the calls went: seconds that each took in the server, seconds in all, and the most that one was late."""

    took_s: tuple[float, ...]
    wall_s: float
    late_s: float


def serve(place: Place, name: str, pipe: Connection) -> None:
    """Main function of a process that is a server: answers `Calls` from the pipe with `Told`, until `None`."""
    hush()
    settings = place.settings(name, queue_limit=1_000_000)
    with startup.running(settings) as context:
        database = Database(settings.database_url)
        files = open_files(settings.storage_url, place.folder, place.folder, 1.0)
        session = keep_session(database, files, place.folder)
        database.close()
        pipe.send("ready")
        while (calls := pipe.recv()) is not None:
            pipe.send(_submit(context.service, session, place.folder, calls))


def keep_session(database: Database, files: Files, folder: Path) -> SessionRecord:
    """One video with one face, on which all tasks are. folder: on the disk of the files."""
    now = now_ms()
    source = new_id()
    (video := folder / f"{source}.mp4").write_bytes(RESULT)
    size = files.put(video, keys.source_key(source, ".mp4"))
    media = Media(
        *(source, "", MediaKind.SOURCE, keys.source_key(source, ".mp4"), ".mp4", size, VIDEO_MS),
        *(now, now + 24 * HOUR_MS),
    )
    face = FaceRecord("0", Interval(0, VIDEO_MS))
    session = SessionRecord(new_id(), "", media, (face,), now, now + 24 * HOUR_MS)
    (made := folder / session.id).write_bytes(RESULT)
    files.put(made, f"{keys.session_key(session.id)}/session.json")
    Store(database).media.add(media)
    with database.writing() as connection:
        insert_session(connection, session)
    return session


def _submit(service: TaskService, session: SessionRecord, folder: Path, calls: Calls) -> Told:
    took, late = [0.0] * calls.count, [0.0] * calls.callers
    begin = time.monotonic()

    def call(caller: int) -> None:
        for number in range(caller, calls.count, calls.callers):
            due = begin + number / calls.per_s if calls.per_s else 0.0
            time.sleep(max(due - time.monotonic(), 0.0))
            start = time.monotonic()
            late[caller] = max(late[caller], start - due if due else 0.0)
            (sound := folder / f"sound_{threading.get_ident()}").write_bytes(RESULT)
            choice = FaceChoice("", "0", 0, calls.work_ms, 0, 1.0, 1.0)
            new = NewRender(session.source, session.id, (choice,), (sound,), "")
            service.submit(calls.accounts[number % len(calls.accounts)], new)
            took[number] = time.monotonic() - start

    threads = [threading.Thread(target=call, args=(caller,)) for caller in range(calls.callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Told(tuple(took), time.monotonic() - begin, max(late))


class Fleet:
    """The processes of one fleet, as the benchmark holds them."""

    def __init__(self, place: Place, workers: int, processes: int) -> None:
        self.place = place
        self._spawn = multiprocessing.get_context("spawn")
        (place.folder / "files").mkdir(parents=True, exist_ok=True)
        self.pipe, theirs = self._spawn.Pipe()
        self.server: BaseProcess = self._spawn.Process(target=serve, args=(place, "server", theirs))
        self.ready = [self._spawn.Event() for _ in range(processes)]
        share, rest = divmod(workers, processes)
        self.workers: list[BaseProcess] = [
            self._spawn.Process(target=work, args=(place, f"workers_{number}", share + (number < rest), ready))
            for number, ready in enumerate(self.ready)
        ]

    def start(self) -> None:
        """Start them and wait until all are there."""
        for process in (self.server, *self.workers):
            process.start()
        assert self.pipe.poll(READY_S), "the server did not start"
        self.pipe.recv()
        assert all(ready.wait(READY_S) for ready in self.ready), "the workers did not start"

    def begin(self, calls: Calls) -> None:
        """Have the server called; `told` waits for the answer."""
        self.pipe.send(calls)

    def told(self) -> Told:
        """How the calls went."""
        told = self.pipe.recv()
        assert isinstance(told, Told)
        return told

    def stop(self) -> None:
        """End them all."""
        if self.server.is_alive():
            self.pipe.send(None)
            self.server.join(READY_S)
        for process in (self.server, *self.workers):
            if process.is_alive():
                process.kill()
            if process.pid is not None:
                process.join()


@contextmanager
def running(place: Place, workers: int, processes: int) -> Iterator[Fleet]:
    """A fleet until the block ends; its files go."""
    members = Fleet(place, workers, processes)
    try:
        members.start()
        yield members
    finally:
        members.stop()
        shutil.rmtree(place.folder / "files", ignore_errors=True)


def hush() -> None:
    """Log only what goes wrong."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
