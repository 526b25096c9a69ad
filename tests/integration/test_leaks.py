"""Two hundred jobs, good and bad, and the server holds as much as before."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import stub_work
from live_server import Process, create, ended, identify, order, sources, until
from receiver import receiver

JOBS = 200
GOOD, FAULTY, FATAL = "s", "fault", "exit"  # every fifth job fails at once, every fiftieth after three dead workers


@dataclass(frozen=True)
class Held:
    """What a server process holds."""

    files: int
    threads: int
    children: int
    incoming: int
    temporary: int

    @classmethod
    def by(cls, pid: int, data: Path, temporary: Path) -> Held:
        """As it is now."""
        place = Path(f"/proc/{pid}")
        return cls(
            len(list((place / "fd").iterdir())),
            len(list((place / "task").iterdir())),
            sum(len(path.read_text().split()) for path in place.glob("task/*/children")),
            len(list((data / "incoming").iterdir())),
            len(list(temporary.iterdir())),
        )


@pytest.fixture
def temporary() -> Iterator[Path]:
    """The server's folder for temporary files; its path is short, since a socket of the system's lies in it."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counted through /proc")
def test_two_hundred_jobs_leave_nothing_behind(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    files = {f"{name}__mp3": stub_work.sound(render="" if name == GOOD else name) for name in (GOOD, FAULTY, FATAL)}
    monkeypatch.setenv("TMPDIR", str(temporary))
    with (
        sources(a__mp4=stub_work.video(), damaged__mp4=stub_work.video(identify="damaged"), **files) as site,
        receiver(200) as ear,
        Process(data, workers=2, requests_per_s=0, tasks_at_once=0) as server,
        ThreadPoolExecutor(4) as callers,
    ):
        session_id = identify(server.client, f"{site}/a.mp4")["session_id"]

        def job(number: int) -> str:
            if number % 10 == 0:
                assert server.client.post(
                    "/v1/videos/identify-face", json={"video_url": f"{site}/damaged.mp4"}
                ).is_error
                assert server.client.post("/v1/files", content=b"nonsense").is_error
            sound = FATAL if number % 50 == 1 else FAULTY if number % 5 == 0 else GOOD
            asked = order(session_id, f"{site}/{sound}.mp3") | {"callback_url": ear.url}
            task = ended(server.client, create(server.client, asked))
            for video in task["task_result"]["videos"]:
                assert server.client.get(video["url"]).status_code == 200
            return str(task["task_status"])

        list(callers.map(job, range(20)))
        pid = server.popen.pid
        before = Held.by(pid, data, temporary)
        results = list(callers.map(job, range(JOBS)))
        assert (results.count("succeed"), results.count("failed")) == (156, 44)

        def settled() -> bool:
            now = Held.by(pid, data, temporary)
            return all(getattr(now, name) <= getattr(before, name) for name in ("files", "children", "incoming"))

        until(settled)
        after = Held.by(pid, data, temporary)
        assert after.threads <= before.threads + 2  # pools that grow to their size
        assert after.temporary <= before.temporary  # the processes' own folders
        unfinished = [path for path in (data / "tasks").glob("*/[0-9]") if not (path / "result.mp4").exists()]
        assert unfinished == []
        assert server.end(signal.SIGTERM) in (0, -signal.SIGTERM)
