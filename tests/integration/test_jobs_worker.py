"""Worker processes: whatever happens in the child is an error here, and the next piece of work finds a child again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from pathlib import Path

import hostile_work
import pytest
import structlog
import stub_work
from live_server import until
from repeats import repeats

from duikou.errors import InputError, MediaError, ModelError, WorkerError
from duikou.sandbox import restrictions
from duikou.sandbox.pool import Lane
from duikou.sandbox.process import LimitError, StoppedError, Worker
from duikou.sandbox.restrictions import Limits, Places
from duikou.telemetry import logs

AMPLE = Limits(wall_s=60, memory_mb=4096)


@pytest.fixture
def stopping() -> threading.Event:
    return threading.Event()


@pytest.fixture
def worker(stopping: threading.Event):
    worker = Worker(AMPLE, stopping)
    yield worker
    worker.stop()


def file(tmp_path: Path, **what) -> Path:
    path = tmp_path / "video"
    path.write_bytes(stub_work.video(**what))
    return path


def identify(worker: Worker, tmp_path: Path, deed: str, tell=None, wanted=None):
    folder = tmp_path / "session"
    folder.mkdir(exist_ok=True)
    return worker.run(stub_work.identify, file(tmp_path, identify=deed), folder, tell=tell, wanted=wanted)


def gone(pid: int | None) -> bool:
    assert pid is not None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_each_piece_of_work_has_a_child_to_itself_made_beforehand(worker, tmp_path) -> None:
    worker.start()
    first = worker.pid
    info = worker.run(stub_work.probe_video, file(tmp_path), "video_url")
    assert (info.width, info.duration_ms) == (1280, 10_000)
    assert gone(first)
    assert worker.pid not in (None, first, os.getpid())
    assert not gone(worker.pid)


def test_progress_comes_through(worker, tmp_path) -> None:
    told = []

    def tell(stage: str, share: float) -> bool:
        told.append((stage, share))
        return True

    identify(worker, tmp_path, "", tell)
    assert told == [("rendering", 0.5)]


@pytest.mark.parametrize(
    ("deed", "error", "text"),
    [
        ("fault", InputError, "face 0 cannot be made to speak"),
        ("damaged", MediaError, "the video is damaged at frame 7"),
        ("no_model", ModelError, "run: make setup"),
        ("bug", ZeroDivisionError, "division by zero"),
        ("odd_bug", WorkerError, "_OddError"),
    ],
)
def test_errors_come_through_and_the_next_child_waits(worker, tmp_path, deed, error, text) -> None:
    with pytest.raises(error, match=text) as caught:
        identify(worker, tmp_path, deed)
    assert type(caught.value) is error
    if isinstance(caught.value, InputError):
        assert caught.value.field in ("face_id", "video")
    assert not gone(worker.pid)


@pytest.mark.parametrize(("deed", "manner"), [("die", "by signal SIGKILL"), ("exit", "with exit code 7")])
def test_a_child_that_dies_is_an_error_and_another_takes_its_place(worker, tmp_path, deed, manner) -> None:
    with pytest.raises(WorkerError, match=f"the worker process died {manner}"):
        identify(worker, tmp_path, deed)
    assert identify(worker, tmp_path, "")


def test_a_child_killed_between_two_pieces_of_work_is_replaced(worker, tmp_path) -> None:
    worker.start()
    os.kill(worker.pid, signal.SIGKILL)
    until(lambda: gone(worker.pid))
    assert identify(worker, tmp_path, "")


def test_work_that_takes_too_long_is_stopped(tmp_path, stopping) -> None:
    worker = Worker(Limits(wall_s=0.5, memory_mb=4096), stopping)
    worker.start()
    pid = worker.pid
    with pytest.raises(LimitError, match=r"stopped after 0\.5 s"):
        identify(worker, tmp_path, "hang")
    assert gone(pid)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is watched through /proc")
def test_work_that_takes_too_much_memory_is_stopped(tmp_path, stopping) -> None:
    worker = Worker(Limits(wall_s=60, memory_mb=600), stopping)
    with pytest.raises(LimitError, match=r"took \d+ MB of memory; the limit is 600 MB"):
        identify(worker, tmp_path, "hog")


def test_work_that_takes_too_much_processor_time_is_stopped(stopping) -> None:
    worker = Worker(Limits(wall_s=60, memory_mb=4096, cpu_s=1), stopping)
    with pytest.raises(LimitError, match="stopped after 1 s of processor time, the limit for one task"):
        worker.run(hostile_work.spin)
    worker.stop()


def test_a_file_that_grows_too_large_is_not_written(tmp_path, stopping) -> None:
    worker = Worker(Limits(wall_s=60, memory_mb=4096, file_mb=2), stopping)
    assert worker.run(hostile_work.write, tmp_path / "small", 2) == 2 << 20
    with pytest.raises(OSError, match="File too large"):
        worker.run(hostile_work.write, tmp_path / "large", 3)
    worker.stop()


@pytest.mark.skipif(restrictions.landlock_version() < 1, reason="this system cannot take files away (Landlock)")
def test_a_child_sees_nothing_but_its_own_files_and_reaches_nobody(worker, tmp_path) -> None:
    places = {"reads": tmp_path / "inner", "outside": tmp_path / "outer", "writes": tmp_path / "own"}
    places["reads"].write_bytes(b"inner")
    places["outside"].write_bytes(b"outer")
    places["writes"].mkdir()
    allowed = Places((places["reads"],), (places["writes"],))
    assert worker.run(hostile_work.attempts, places, places=allowed) == ""
    assert [path.name for path in places["writes"].iterdir()] == ["renamed"]


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("code", "may not answer with posix.system"),
        ("class", "may not answer with hostile_work._Foreign"),
        ("function", "may not answer with builtins.print"),
        ("bomb", "may not answer with such a fraction"),
        ("error", "may not answer with _pickle.PicklingError"),
        ("large", "answered with more than 16777216 bytes"),
        ("noise", "answered with what is no answer"),
    ],
)
def test_a_child_that_was_taken_over_takes_nobody_along(worker, tmp_path, what, sentence) -> None:
    with pytest.raises(WorkerError, match=sentence):
        worker.run(hostile_work.answers, what, tmp_path / "mark")
    assert not (tmp_path / "mark").exists()
    assert identify(worker, tmp_path, "")


def test_a_child_that_stops_within_a_word_is_stopped(tmp_path, stopping, monkeypatch) -> None:
    monkeypatch.setattr("duikou.sandbox.process.GRACE_S", 0.5)
    worker = Worker(Limits(wall_s=1, memory_mb=4096), stopping)
    with pytest.raises(WorkerError, match="died by signal SIGKILL"):
        worker.run(hostile_work.answers, "silence", tmp_path / "mark")
    worker.stop()


def test_log_lines_of_a_child_are_the_servers(worker, capsys) -> None:
    structlog.reset_defaults()
    logs.configure()
    worker.run(hostile_work.logs)
    lines = [json.loads(text) for text in capsys.readouterr().err.splitlines()]
    (line,) = [line for line in lines if line["event"] == "told by the child"]
    assert len([line for line in lines if line["event"] == "noise"]) == 999
    assert (line["figure"], line["level"], "timestamp" in line) == (7, "info", True)


def test_work_whose_result_nobody_wants_is_stopped(worker, tmp_path) -> None:
    with pytest.raises(StoppedError, match="no longer wanted"):
        identify(worker, tmp_path, "hang", wanted=lambda: False)


def test_a_stop_ends_the_work_at_once(worker, tmp_path, stopping) -> None:
    worker.start()
    threading.Timer(0.3, stopping.set).start()
    with pytest.raises(StoppedError, match="the server is stopping"):
        identify(worker, tmp_path, "hang")


def test_a_lane_tries_once_more_when_a_child_died(tmp_path, stopping) -> None:
    lane = Lane("test", 1, AMPLE, stopping)
    lane.start()
    (tmp_path / "session").mkdir()
    always = file(tmp_path, identify="die")
    first = lane.submit(stub_work.die_once, tmp_path / "mark")
    second = lane.submit(stub_work.identify, always, tmp_path / "session")
    assert first.result(30) == "alive"
    with pytest.raises(WorkerError, match="SIGKILL"):
        second.result(30)
    stopping.set()
    lane.join()
    with pytest.raises(StoppedError):
        lane.submit(stub_work.identify, always, tmp_path).result(1)


def test_a_lane_that_stops_leaves_nobody_waiting(tmp_path, stopping) -> None:
    lane = Lane("test", 1, AMPLE, stopping)
    lane.start()
    (tmp_path / "session").mkdir()
    path = file(tmp_path, identify="hang")
    waiting = [lane.submit(stub_work.identify, path, tmp_path / "session") for _ in range(3)]
    time.sleep(0.2)
    stopping.set()
    lane.join()
    for future in waiting:
        with pytest.raises(StoppedError):
            future.result(1)


@pytest.mark.slow_repeats
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counted through /proc")
def test_many_pieces_of_work_leave_no_files_threads_or_children_behind(tmp_path, stopping) -> None:
    def count() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    def children() -> int:
        return sum(len(path.read_text().split()) for path in Path("/proc").glob(f"{forkserver}/task/*/children"))

    worker = Worker(AMPLE, stopping)
    worker.run(stub_work.probe_video, file(tmp_path), "x")
    forkserver = int(Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()[1])
    before, others = count(), children()
    for number in range(repeats(200, 40)):
        with contextlib.suppress(WorkerError, InputError):
            if number % 4:
                worker.run(stub_work.probe_video, file(tmp_path), "x")
            else:
                identify(worker, tmp_path, "die" if number % 8 else "fault")
    assert count() == before
    assert children() == others
    worker.stop()
    assert children() == others - 1
