"""A real server: how soon it is ready, its first job, calls while it renders, and what a second worker brings."""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.performance import processes
from benchmarks.performance.clips import LEAD_MS, Clip
from benchmarks.performance.rows import percentile
from demo.run import address_of
from duikou.client import Duikou, FaceChoice, Session, Task
from duikou.media.probe import probe_audio

WARM_S = 5.0  # after the server is ready; its workers import models meanwhile
CALLERS = 8  # that ask at the same time
QUERY_S = 8.0  # of asking
TASKS = 4  # for each worker
STOP_S = 30
QUERY = "/v1/videos/advanced-lip-sync/"
NO_LIMITS = {"DUIKOU_REQUESTS_PER_S": "0", "DUIKOU_TASKS_AT_ONCE": "0"}
FREE_BOX = b"\0\0\0\x08free"  # of an mp4 file; players skip it


@dataclass(frozen=True)
class Server:
    """A running server. ready_s: from its start until it accepted calls. folder: for files of the measurement."""

    url: str
    ready_s: float
    folder: Path

    def client(self) -> Duikou:
        """A client of it."""
        return Duikou(self.url)


@contextmanager
def server(workers: int = 1, cores: int = 0) -> Iterator[Server]:
    """`duikou serve` with a new data folder, on so many cores (0: all), until the block ends."""
    with tempfile.TemporaryDirectory(prefix="duikou-bench-") as name:
        folder = Path(name)
        command = [*processes.DUIKOU, "serve", "--port", "0", "--data", str(folder / "data")]
        environment = {**os.environ, **NO_LIMITS, "DUIKOU_WORKERS": str(workers)}
        start = time.perf_counter()
        with (
            (folder / "log").open("wb") as log,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment) as process,
        ):
            processes.pin(process.pid, cores)
            try:
                url = address_of(process)
                yield Server(url, time.perf_counter() - start, folder)
            finally:
                process.terminate()
                try:
                    process.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    process.kill()


def ready_s() -> float:
    """Seconds until a new server accepts calls."""
    with server() as one:
        return one.ready_s


def first_and_second(clip: Clip) -> tuple[tuple[float, float], tuple[float, float]]:
    """Seconds of the first and of the second job of a new server that has been ready for a while.

    Of each job: finding the faces, and the lip sync. The two have videos of different digests: a server finds the faces
    of one video only once.
    """
    found = []
    with server() as one, one.client() as client:
        time.sleep(WARM_S)
        for number in range(2):
            video = another(clip.video, one.folder / f"{number}.mp4", number)
            upload = client.upload(video)
            start = time.perf_counter()
            session = client.identify(upload)
            identified_s = time.perf_counter() - start
            found.append((identified_s, took_s(client.wait(client.lip_sync(session, choice(session, clip))))))
    return found[0], found[1]


@dataclass(frozen=True)
class Queries:
    """Answers in a second to calls that ask for a task, and the milliseconds that 50 and 99 % of them took at most."""

    per_s: float
    median_ms: float
    slowest_ms: float


def queries(clip: Clip, seconds: float = QUERY_S) -> Queries:
    """Calls of several callers, each asking again at once, while the server renders; server and render on one core.

    Raises `RuntimeError` where the render ended before the calls did, or a call was refused.
    """
    with server(cores=1) as one, one.client() as client:
        session = client.identify(clip.video)
        tasks = [client.lip_sync(session, choice(session, clip)) for _ in range(2)]
        while client.get(tasks[0]).status == "submitted":
            time.sleep(0.05)
        took = asked(one.url, QUERY + tasks[0].id, seconds)
        if client.get(tasks[1]).finished:
            raise RuntimeError("the server had finished rendering before the last call; use a longer clip")
        for task in reversed(tasks):
            if not client.get(task).finished:
                client.cancel(task)
    return Queries(len(took) / seconds, percentile(took, 0.5) * 1000, percentile(took, 0.99) * 1000)


def asked(url: str, path: str, seconds: float, callers: int = CALLERS) -> list[float]:
    """The seconds that each answer took. Raises `RuntimeError` for one that is not 200."""
    took: list[float] = []
    wrong: list[int] = []
    end = time.perf_counter() + seconds

    def call() -> None:
        connection = http.client.HTTPConnection(urlsplit(url).netloc)
        while (start := time.perf_counter()) < end and not wrong:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            took.append(time.perf_counter() - start)
            if answer.status != 200:
                wrong.append(answer.status)
        connection.close()

    threads = [threading.Thread(target=call, name=f"bench-caller-{number}") for number in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong:
        raise RuntimeError(f"a call for a task was answered with {wrong[0]}")
    return took


def tasks_per_hour(clip: Clip, workers: int, each: int = TASKS) -> float:
    """Lip syncs of a known session in an hour, with so many workers on as many cores."""
    with server(workers, cores=workers) as one, one.client() as client:
        time.sleep(WARM_S)
        session = client.identify(clip.video)
        spoken = choice(session, clip)
        client.wait(client.lip_sync(session, spoken))  # a worker's first task is not counted
        tasks = [client.lip_sync(session, spoken) for _ in range(workers * each)]
        done = [client.wait(task) for task in tasks]
        start_ms = min(task.created_at_ms for task in done)
        return len(done) * 3_600_000 / (max(task.updated_at_ms for task in done) - start_ms)


def took_s(task: Task) -> float:
    """Seconds from a task's submission to its end, by the server's clock."""
    return (task.updated_at_ms - task.created_at_ms) / 1000


def choice(session: Session, clip: Clip) -> FaceChoice:
    """The face that shows longest speaks for as long as it shows."""
    face = max(session.faces, key=lambda one: one.end_ms - one.start_ms)
    at_ms = face.start_ms + LEAD_MS
    length_ms = min(probe_audio(clip.speech).duration_ms, face.end_ms - LEAD_MS - at_ms)
    return FaceChoice(clip.speech, face.id, trim_end_ms=length_ms, insert_ms=at_ms)


def another(video: Path, copy: Path, number: int) -> Path:
    """A copy that differs in its digest alone."""
    shutil.copyfile(video, copy)
    with copy.open("ab") as file:
        file.write(FREE_BOX * (number + 1))
    return copy
