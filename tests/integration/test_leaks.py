"""Many tasks, good and bad: the server holds no more than before."""

from __future__ import annotations

import operator
import signal
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import httpx
import pytest
import stub_work
from live_server import Process, caller, create, ended, identify, order, sources, until
from receiver import Receiver, receiver
from repeats import repeats

from tests.faults.systems import descendants

pytestmark = pytest.mark.long

JOBS = repeats(200, 50)
GOOD, FAULTY, FATAL = "s", "fault", "exit"  # every fifth job fails at once, every fiftieth after three dead workers
CHILDREN = 5  # with two workers: one that forks the others, one that probes, one that searches, two that render
DATABASE = "duikou.db"
OPEN = ("01", "08")  # states of a connection in /proc: established, and closed by the other side alone


@dataclass(frozen=True)
class Held:
    """What an idle server process holds.

    files: without those of its database, whose pool opens connections as they are needed. sources: stored videos of
    sessions.
    """

    files: int
    threads: int
    incoming: int
    sources: int
    temporary: int

    @classmethod
    def by(cls, server: Process, ear: Receiver, data: Path, temporary: Path) -> Held:
        """As soon as it is idle: nobody is connected to it or called by it, and every child that died was replaced.

        Resolvers of names may take a moment more to close their files and to end their threads.
        """
        ports = httpx.URL(server.url).port, httpx.URL(ear.url).port
        until(lambda: not any(map(connections, ports)) and len(descendants(server.popen.pid)) == CHILDREN)
        place = Path(f"/proc/{server.popen.pid}")
        return cls(
            sum(not path.startswith(f"{data / DATABASE}") for path in opened(place)),
            len(list((place / "task").iterdir())),
            len(list((data / "incoming").iterdir())),
            len(list((data / "media").glob("*.mp4"))),
            len(list(temporary.iterdir())),
        )

    def at_most(self, other: Held, *, threads: int) -> bool:
        """Whether this is no more than the other, but for so many threads."""
        mine, others = (astuple(replace(one, threads=0)) for one in (self, other))
        return self.threads <= other.threads + threads and all(map(operator.le, mine, others))


def opened(process: Path) -> Iterator[str]:
    """What the files are that a process has open, from its folder in /proc."""
    for path in (process / "fd").iterdir():
        with suppress(FileNotFoundError):  # closed in the meantime
            yield str(path.readlink())


def connections(port: int | None) -> int:
    """Connections to a port of this machine that are open on its side."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{port:04X}") and row[3] in OPEN for row in rows)


@pytest.fixture
def temporary() -> Iterator[Path]:
    """The server's folder for temporary files; its path is short, since a socket of the system's lies in it."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


@pytest.mark.slow_repeats
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counted through /proc")
def test_many_jobs_leave_nothing_behind(tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    files = {f"{name}__mp3": stub_work.sound(render="" if name == GOOD else name) for name in (GOOD, FAULTY, FATAL)}
    monkeypatch.setenv("TMPDIR", str(temporary))
    with (
        sources(a__mp4=stub_work.video(), damaged__mp4=stub_work.video(identify="damaged"), **files) as site,
        receiver(200) as ear,
        Process(data, workers=2, requests_per_s=0, tasks_at_once=0) as server,
    ):
        session_id = identify(server.client, f"{site}/a.mp4")["session_id"]
        server.client.close()

        def job(client: httpx.Client, number: int) -> str:
            if number % 10 == 0:
                assert client.post("/v1/videos/identify-face", json={"video_url": f"{site}/damaged.mp4"}).is_error
                assert client.post("/v1/files", content=b"nonsense").is_error
            sound = FATAL if number % 50 == 1 else FAULTY if number % 5 == 0 else GOOD
            task = ended(client, create(client, order(session_id, f"{site}/{sound}.mp3") | {"callback_url": ear.url}))
            for video in task["task_result"]["videos"]:
                assert client.get(video["url"]).status_code == 200
            return str(task["task_status"])

        def jobs(count: int) -> list[str]:
            told = len(ear.heard)
            with caller(server.url) as client, ThreadPoolExecutor(4) as callers:
                statuses = list(callers.map(lambda number: job(client, number), range(count)))
            until(lambda: sum(one.status in ("succeed", "failed") for one in ear.heard[told:]) == count)
            return statuses

        def held() -> Held:
            return Held.by(server, ear, data, temporary)

        jobs(20)
        at_rest = [held()]
        while len(at_rest) < 20:
            time.sleep(0.1)
            at_rest.append(held())
        before = min(at_rest, key=lambda one: one.files)
        results = jobs(JOBS)
        failed = JOBS // 5 + JOBS // 50
        assert (results.count("succeed"), results.count("failed")) == (JOBS - failed, failed)
        # Pools of threads grow to their size.
        until(lambda: held().at_most(before, threads=2))
        unfinished = [path for path in (data / "tasks").glob("*/[0-9]") if not (path / "result.mp4").exists()]
        assert unfinished == []
        assert server.end(signal.SIGTERM) in (0, -signal.SIGTERM)
