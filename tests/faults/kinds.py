"""The faults. Each strikes at a random moment while tasks are under way, and is over when its function returns."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from celery import Celery
from server_settings import settings

from duikou.tasks.stalled import DEAD_S
from duikou.tasks.states import Queue
from duikou.workers.celery_app import MESSAGE, application, queue_name
from tests.faults import stage
from tests.faults.rounds import Fault
from tests.faults.systems import Part, Setup, System, descendants, eventually

LONG = 0.2  # share of trials in which a fault lasts as long as it may
MESSAGES = 1_000  # that nobody asked for
DAY_S = 24 * 3600
EXIT_S = 180.0  # for what it has in hand
TAKEN_S = 180.0  # for another to be free


def _moment(rng: random.Random, most_s: float) -> None:
    """Pass a part of a task's time: no two trials strike at the same point."""
    time.sleep(rng.uniform(0, most_s))


def _lasting(rng: random.Random, least_s: float, usual_s: float, most_s: float) -> float:
    return most_s if rng.random() < LONG else rng.uniform(least_s, usual_s)


# What dies


def _killed(victims: Callable[[System, random.Random], list[Part]]) -> Callable[[System, random.Random], float]:
    def inject(system: System, rng: random.Random) -> float:
        system.busy(rng)
        _moment(rng, 1.5)
        dead = victims(system, rng)
        at = time.time()
        system.kill(*dead)
        system.again(*dead)
        return at

    return inject


def _server(system: System, rng: random.Random) -> list[Part]:
    return [rng.choice(system.servers)]


def _worker(system: System, rng: random.Random) -> list[Part]:
    return [system.busy(rng)]


def _both(system: System, rng: random.Random) -> list[Part]:
    return [*_server(system, rng), *_worker(system, rng)]


def _all(system: System, _rng: random.Random) -> list[Part]:
    return system.parts


def child_killed(system: System, rng: random.Random) -> float:
    """The processes in which a server's work is done."""
    part = system.busy(rng)
    _moment(rng, 1.0)
    at = time.time()
    for pid in descendants(part.popen.pid):
        with suppress(FileNotFoundError, ProcessLookupError):
            if _parent(pid) != part.popen.pid:  # what forks them is left
                os.kill(pid, signal.SIGKILL)
    return at


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


# What is stopped in good order


def terminated(system: System, rng: random.Random) -> float:
    """Whoever renders is asked to stop, and started again."""
    part = system.busy(rng)
    _moment(rng, 0.5)
    at = time.time()
    part.popen.send_signal(signal.SIGTERM)
    part.popen.wait(EXIT_S)
    code = part.end(signal.SIGTERM)
    assert code in (0, -signal.SIGTERM), f"{part.name} ended with {code}"
    system.again(part)
    return at


def frozen(system: System, rng: random.Random) -> float:
    """A worker that stands still until another has taken its task, and then goes on as if nothing were."""
    part = system.busy(rng)
    held = part.rendering
    family = [part.popen.pid, *(descendants(part.popen.pid) if rng.random() < 0.5 else [])]
    at = time.time()
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    try:
        held &= part.rendering  # not what it had just done
        others = [one for one in system.workers if one is not part]
        eventually(
            "another takes the task of the one that stands still",
            lambda: held <= {event.task_id for one in others for event in one.events if event.at > at},
            TAKEN_S,
        )
        _moment(rng, 3.0)
    finally:
        for pid in family:
            os.kill(pid, signal.SIGCONT)
    return at


# What is away


def _away(service: str, end: str, *how: str) -> Callable[[System, random.Random], float]:
    def inject(system: System, rng: random.Random) -> float:
        system.busy(rng)
        _moment(rng, 1.0)
        one = getattr(system.services, service)
        at = time.time()
        getattr(one, end)(*how)
        time.sleep(_lasting(rng, 0.5, 4.0, 10.0))
        one.start()
        return at

    return inject


def _storage_away(how: str) -> Callable[[System, random.Random], float]:
    def inject(system: System, rng: random.Random) -> float:
        line = system.storage_line
        assert line is not None
        _moment(rng, 2.0)
        at = time.time()
        getattr(line, how)()
        time.sleep(_lasting(rng, 2.0, 8.0, 30.0))
        line.open()
        return at

    return inject


def cut_off(system: System, rng: random.Random) -> float:
    """One worker reaches the database no longer, for long enough that others take what it had."""
    part = system.busy(rng)
    line = system.database_lines[system.workers.index(part)]
    _moment(rng, 0.5)
    at = time.time()
    line.hang()
    time.sleep(rng.uniform(2.0, DEAD_S + 6.0))
    line.open()
    return at


def disk_full(system: System, rng: random.Random) -> float:
    """Somebody else takes all the room, to the last byte."""
    _moment(rng, 2.0)
    disks = rng.sample(system.disks, rng.randint(1, len(system.disks)))
    at = time.time()
    for disk in disks:
        _fill(disk / "ballast")
    time.sleep(_lasting(rng, 1.0, 4.0, 8.0))
    for disk in disks:
        (disk / "ballast").unlink()
    return at


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 12))
        except OSError:
            pass


# What is not as it was


def clocks_jump(system: System, rng: random.Random) -> float:
    """Some clocks are wrong, each by up to a day, and some right again later."""
    for _ in range(2):
        _moment(rng, 1.5)
        for part in rng.sample(system.parts, rng.randint(1, len(system.parts))):
            stage.set_clock(part.clock, rng.choice((0, rng.randint(-DAY_S, DAY_S), rng.randint(-60, 60))))
    return time.time()


def doubled(system: System, rng: random.Random) -> float:
    """Messages that nobody sent, by the thousand."""
    system.busy(rng)
    at = time.time()
    app: Celery = application(settings(system.place, broker_url=system.broker_url, database_url="x", storage_url="x"))
    with app.connection_for_write() as connection, app.amqp.Producer(connection) as producer:
        for _ in range(MESSAGES):
            queue = rng.choice((Queue.RENDER, Queue.RENDER, Queue.IDENTIFY))
            app.send_task(MESSAGE, args=[str(queue)], queue=queue_name(queue), producer=producer)
    app.close()
    return at


def line_cut(system: System, rng: random.Random) -> float:
    """The lines between workers and broker break, again and again: all that was not acknowledged comes again."""
    system.busy(rng)
    at = time.time()
    for _ in range(rng.randint(1, 4)):
        _moment(rng, 1.0)
        for line in system.broker_lines:
            line.cut()
    return at


FLEET, ALONE = Setup(fleet=True), Setup(fleet=False)
FLEET_IN_HASTE = Setup(fleet=True, settings={"worker_drain_s": 1})
FLEET_ON_SMALL_DISKS, ALONE_ON_SMALL_DISK = Setup(fleet=True, small_disk=True), Setup(fleet=False, small_disk=True)
ALONE_AT_LEISURE = Setup(fleet=False, settings={"drain_s": 60})
FAULTS = (
    Fault("fleet-worker-killed", "kill -9 of a worker that renders", FLEET, _killed(_worker), prompt=True),
    Fault("fleet-server-killed", "kill -9 of one of two servers", FLEET, _killed(_server), attempts=1),
    Fault("fleet-both-killed", "kill -9 of a server and a worker", FLEET, _killed(_both), prompt=True),
    Fault("fleet-all-killed", "kill -9 of all servers and workers", FLEET, _killed(_all)),
    Fault("fleet-worker-frozen", "a worker stands still, another takes over", FLEET, frozen, (2.0, 3.0), clean=True),
    Fault("fleet-worker-cut-off", "a worker is cut off from the database", FLEET, cut_off),
    Fault("fleet-worker-drained", "SIGTERM to a worker that renders", FLEET, terminated, attempts=1, clean=True),
    Fault(
        "fleet-worker-hands-back",
        "the same, with work longer than `worker_drain_s`",
        FLEET_IN_HASTE,
        terminated,
        (2.5, 4.0),
        tries=1,
        attempts=2,
        clean=True,
    ),
    Fault("fleet-broker-stopped", "RabbitMQ stopped, started again", FLEET, _away("rabbit", "stop"), attempts=1),
    Fault("fleet-broker-killed", "kill -9 of RabbitMQ", FLEET, _away("rabbit", "kill"), attempts=1),
    Fault("fleet-database-stopped", "PostgreSQL stopped, started again", FLEET, _away("postgres", "stop", "immediate")),
    Fault("fleet-database-killed", "kill -9 of PostgreSQL", FLEET, _away("postgres", "kill")),
    Fault("fleet-storage-refuses", "S3 refuses connections, up to 30 s", FLEET, _storage_away("close"), attempts=1),
    Fault("fleet-storage-503", "S3 answers 503, up to 30 s", FLEET, _storage_away("answer503"), attempts=1),
    Fault("fleet-disk-full", "the disks of workers are full", FLEET_ON_SMALL_DISKS, disk_full),
    Fault("fleet-clocks", "clocks jump, each by up to a day", FLEET, clocks_jump, attempts=1),
    Fault("fleet-messages", "1,000 messages too many", FLEET, doubled, attempts=1, clean=True),
    Fault("fleet-lines-cut", "lines to RabbitMQ cut", FLEET, line_cut, attempts=1),
    Fault("server-child-killed", "kill -9 of the process that renders", ALONE, child_killed, prompt=True),
    Fault("server-killed", "kill -9 of the server", ALONE, _killed(_all)),
    Fault("server-stopped", "SIGTERM to the server", ALONE, terminated, tries=1, attempts=2, clean=True),
    Fault("server-drained", "the same with `drain_s`", ALONE_AT_LEISURE, terminated, attempts=1, clean=True),
    Fault("server-disk-full", "the server's disk is full", ALONE_ON_SMALL_DISK, disk_full),
    Fault("server-clock", "the server's clock jumps", ALONE, clocks_jump, attempts=1),
)
