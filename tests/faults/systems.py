"""Installations of real processes on which faults are tried: a single server, or a fleet with its services."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

import stub_work
from disks import small
from live_server import Program, caller, identify, sources
from receiver import Receiver, receiver
from services import HOST, S3, Gateway, Postgres, Rabbit

from duikou.database.engine import Database
from duikou.errors import StorageError
from duikou.storage.base import Files
from duikou.storage.factory import open_files
from duikou.tasks.outbox import Outbox
from duikou.tasks.store import Store
from tests.faults import stage

HELPERS, ROOT = Path(__file__).parents[1] / "helpers", Path(__file__).parents[2]
START = "from tests.faults import stage; stage.follow_clock();"
SERVE = f"{START} from duikou.server import serve; serve(given, lambda url: print(url, flush=True), stage.WORK)"
WORK = (
    f"{START} from duikou.workers import worker; from duikou.tasks.states import Queue;"
    "queues = (Queue.RENDER, Queue.IDENTIFY);"
    "worker.serve(given, queues, ready=lambda: print('ready', flush=True), work=stage.WORK)"
)
LATE = "late writer ignored"  # logged when an attempt ends that was given up before
POLL_S = 0.1
GONE_S = 60.0  # for the children of a dead process to end
DISK_MB = 24
FLOOR = {"min_free_mb": 8, "max_video_mb": 1, "max_audio_mb": 1}  # on so small a disk
LASTING = {"session_hours": 72}  # else a session expires, correctly, when a clock jumps


def eventually(what: str, true: Callable[[], Any], wait_s: float) -> Any:
    """Like `live_server.until`, also while the database is away. Raises `AssertionError` with `what`."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            if value := true():
                return value
        except StorageError:
            pass
        assert time.monotonic() < deadline, f"not within {wait_s:g} s: {what}"
        time.sleep(POLL_S)


@dataclass(frozen=True)
class Setup:
    """The kind of an installation. fleet: two servers, two workers and their services; else one server with its folder.

    settings: of its processes, in addition to the usual ones. small_disk: whether rendering has a small disk.
    """

    fleet: bool
    settings: dict[str, Any] = field(default_factory=dict)
    small_disk: bool = False


@dataclass(frozen=True)
class Event:
    """One state change of a task, or one that came too late, as its process logged it.

    at: Unix seconds by the correct clock.
    """

    task_id: str
    status: str
    attempt: int
    queue: str
    at: float


class Part(Program):
    """One process of an installation."""

    def __init__(
        self, code: str, name: str, place: Path, environment: dict[str, str], settings: dict[str, Any]
    ) -> None:
        self.name, self.data, self.clock = name, place / name, place / f"{name}.clock"
        self.code, self.environment, self.settings = code, environment, settings
        self._events: list[Event] = []
        self._read = 0
        if not self.clock.exists():
            stage.set_clock(self.clock, 0)
        paths = filter(None, (str(ROOT), str(HELPERS), os.environ.get("PYTHONPATH", "")))
        own = {"PYTHONPATH": os.pathsep.join(paths), stage.CLOCK: str(self.clock)}
        super().__init__(code, self.data, environment={**environment, **own}, **settings)
        self.client = caller(self.said if code is SERVE else "http://127.0.0.1")

    @property
    def events(self) -> list[Event]:
        """The state changes that it has logged so far."""
        lines = self.log[self._read :]
        self._read += len(lines)
        for line in lines:
            told = json.loads(line) if line.startswith("{") and ('"event": "task ' in line or LATE in line) else {}
            if "attempt" in told:
                at = datetime.fromisoformat(told["timestamp"]).timestamp()
                status = told["event"].removeprefix("task ")
                self._events.append(Event(told["task_id"], status, told["attempt"], told.get("queue", ""), at))
        return list(self._events)

    @property
    def rendering(self) -> set[str]:
        """Ids of the tasks that it is working on."""
        found: set[str] = set()
        for event in self.events:
            if event.status != "processing":
                found.discard(event.task_id)
            elif event.queue == "render":
                found.add(event.task_id)
        return found

    def said_of(self, words: Iterable[str], first: int) -> list[str]:
        """Its log lines from the one of that number on that have one of these words."""
        return [line for line in self.log[first:] if any(word in line for word in words)]


@dataclass
class System:
    """An installation with all that a trial needs. parts: those that run now; former: those that ran before."""

    place: Path
    servers: list[Part]
    workers: list[Part]
    database: Database
    files: Files
    ear: Receiver
    site: str
    services: Services | None = None
    broker_url: str = ""
    database_lines: list[Gateway] = field(default_factory=list)
    broker_lines: list[Gateway] = field(default_factory=list)
    storage_line: Gateway | None = None
    disks: list[Path] = field(default_factory=list)
    former: list[Part] = field(default_factory=list)
    session_id: str = ""

    def __post_init__(self) -> None:
        self.store, self.outbox = Store(self.database), Outbox(self.database)

    @property
    def parts(self) -> list[Part]:
        """Every process that runs."""
        return [*self.servers, *self.workers]

    @property
    def events(self) -> list[Event]:
        """What all of them did with tasks, in the order of time."""
        return sorted((event for part in (*self.former, *self.parts) for event in part.events), key=lambda one: one.at)

    def busy(self, rng: random.Random) -> Part:
        """One of those that render, once there is one."""
        renderers = self.workers or self.servers

        def found() -> list[Part]:
            return [part for part in renderers if part.rendering]

        part: Part = rng.choice(eventually("a task is under way", found, 120))
        return part

    def kill(self, *parts: Part) -> None:
        """End processes at the same moment, as a power cut would; what they started has to follow by itself."""
        families = [pid for part in parts for pid in descendants(part.popen.pid)]
        for part in parts:
            os.kill(part.popen.pid, signal.SIGKILL)
        for part in parts:
            part.end(signal.SIGKILL)
        eventually("the children of the dead are gone", lambda: not any(map(_runs, families)), GONE_S)

    def again(self, *parts: Part) -> None:
        """Start ended processes again, on their own folders."""
        made = _started(self.place, *((part.code, part.name, part.environment, part.settings) for part in parts))
        for part, new in zip(parts, made, strict=True):
            place = self.servers if part in self.servers else self.workers
            self.former.append(part)
            place[place.index(part)] = new

    def close(self) -> None:
        """End everything."""
        for part in (*self.former, *self.parts):
            part.client.close()
            part.__exit__()
        self.database.close()


class Services:
    """A database, a broker and a storage, started once and used by one system after the other."""

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @cached_property
    def postgres(self) -> Postgres:
        """The database."""
        return self._stack.enter_context(Postgres())

    @cached_property
    def rabbit(self) -> Rabbit:
        """The broker."""
        return self._stack.enter_context(Rabbit())

    @cached_property
    def s3(self) -> S3:
        """The storage."""
        return self._stack.enter_context(S3())


@contextmanager
def installed(setup: Setup, place: Path, services: Services) -> Iterator[System]:
    """An installation in that folder, with a session in it."""
    with ExitStack() as stack:
        site = stack.enter_context(sources(a__mp4=stub_work.video()))
        ear = stack.enter_context(receiver())
        make = _fleet if setup.fleet else _alone
        system = make(setup, place, services, ear, site, stack)
        system.session_id = identify(system.servers[0].client, f"{site}/a.mp4")["session_id"]
        yield system


def _alone(setup: Setup, place: Path, _: Services, ear: Receiver, site: str, stack: ExitStack) -> System:
    data = place / "server"
    data.mkdir(parents=True)
    disks = [stack.enter_context(small(data, DISK_MB))] if setup.small_disk else []
    given = {**LASTING, **setup.settings, **(FLOOR if setup.small_disk else {})}
    database = Database(f"sqlite:///{data / 'duikou.db'}")
    system = System(place, [], [], database, open_files("", data, data / "scratch", 10), ear, site, disks=disks)
    stack.callback(system.close)
    system.servers.append(Part(SERVE, "server", place, {}, given))
    return system


def _fleet(setup: Setup, place: Path, services: Services, ear: Receiver, site: str, stack: ExitStack) -> System:
    """Lines that can be cut are between each worker and its database and broker, and between all and the storage."""
    postgres, rabbit, s3 = services.postgres, services.rabbit, services.s3
    line = stack.enter_context(Gateway(HOST, s3.port))
    bucket = s3.bucket()
    common = {
        **LASTING,
        **setup.settings,
        "database_url": postgres.fresh(),
        "broker_url": rabbit.fresh(),
        "storage_url": _storage(bucket, line.endpoint),
    }
    place.mkdir(parents=True)
    with patch.dict(os.environ, S3.environment):  # the files as we see them, with no line between
        files = open_files(_storage(bucket, s3.endpoint), place, place / "scratch", 10)
    database = Database(common["database_url"])
    system = System(place, [], [], database, files, ear, site, services, common["broker_url"], storage_line=line)
    stack.callback(system.close)
    workers = []
    for name in ("worker_1", "worker_2"):
        own = dict(common)
        for what, service, lines in (
            ("database_url", postgres, system.database_lines),
            ("broker_url", rabbit, system.broker_lines),
        ):
            lines.append(stack.enter_context(Gateway(HOST, service.port)))
            own[what] = own[what].replace(f":{service.port}/", f":{lines[-1].port}/")
        if setup.small_disk:
            (place / name).mkdir()
            system.disks.append(stack.enter_context(small(place / name, DISK_MB)))
            own |= FLOOR
        workers.append((WORK, name, S3.environment, own))
    servers = [(SERVE, name, S3.environment, common) for name in ("server_1", "server_2")]
    made = _started(place, *workers, *servers)
    system.workers, system.servers = made[:2], made[2:]
    return system


def _started(place: Path, *what: tuple[str, str, dict[str, str], dict[str, Any]]) -> list[Part]:
    """Processes that start at the same time: code, name, environment and settings of each."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda one: Part(one[0], one[1], place, one[2], one[3]), what))


class Installations:
    """One installation at a time, used again for what wants the same setup."""

    def __init__(self, place: Path) -> None:
        self._place, self._number = place, 0
        self._stack, self._services = ExitStack(), Services()
        self.setup: Setup | None = None

    def __enter__(self) -> Self:
        self._services.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.give_up()
        self._services.__exit__()

    def like(self, setup: Setup) -> System:
        """One of that setup. Raises `PermissionError` where a small disk cannot be mounted."""
        if setup != self.setup:
            self.give_up()
            self._number += 1
            place = self._place / str(self._number)
            self._system = self._stack.enter_context(installed(setup, place, self._services))
            self.setup = setup
        return self._system

    def give_up(self) -> None:
        """End the present one, which may be broken."""
        self.setup = None
        self._stack.close()


def descendants(pid: int) -> list[int]:
    """What a process started, and what that started."""
    lists = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    children = [int(child) for listed in lists for child in listed]
    return [one for child in children for one in (child, *descendants(child))]


def zombies(pid: int) -> list[int]:
    """Those of them that are dead and not yet missed."""
    return [child for child in descendants(pid) if _state(child) == "Z"]


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _runs(pid: int) -> bool:
    return _state(pid) not in ("", "Z")


def _storage(bucket: str, endpoint: str) -> str:
    return f"s3://{bucket}/?endpoint={endpoint}&region=us-east-1"
