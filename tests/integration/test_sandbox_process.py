"""Sandboxed children: whatever happens in one is an error here, and the next piece of work has a new one."""

from __future__ import annotations

import contextlib
import errno
import json
import operator
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import hostile_work
import prying_work
import pytest
import structlog
import stub_work
from live_server import held, release, until
from repeats import repeats

from duikou import parallel
from duikou.errors import InputError, MediaError, ModelError, WorkerError
from duikou.sandbox import forkserver, messages, restrictions
from duikou.sandbox.messages import InvalidMessageError, UnexpectedError
from duikou.sandbox.pool import SandboxPool
from duikou.sandbox.process import LimitError, SandboxProcess, StoppedError
from duikou.sandbox.restrictions import AllowedPaths, Limits
from duikou.settings import Settings
from duikou.telemetry import logs

AMPLE = Limits(wall_s=60, memory_mb=4096)


@pytest.fixture
def stopping() -> threading.Event:
    return threading.Event()


@pytest.fixture
def make(stopping: threading.Event) -> Iterator[Callable[[Limits], SandboxProcess]]:
    """Makes the parent's side of a child, which is gone after the test."""
    with contextlib.ExitStack() as made:

        def make(limits: Limits) -> SandboxProcess:
            worker = SandboxProcess(limits, stopping, preload=stub_work.__name__)
            made.callback(worker.stop)
            return worker

        yield make


@pytest.fixture
def worker(make: Callable[[Limits], SandboxProcess]) -> SandboxProcess:
    return make(AMPLE)


@pytest.fixture(autouse=True)
def no_child_is_left() -> Iterator[None]:
    """Each test begins without children and leaves none."""
    assert not children()
    yield
    until(lambda: not children())


def child() -> int:
    """Process id of the one child that there is."""
    (pid,) = children()
    return pid


def children() -> set[int]:
    """Process ids of the children of every fork server of this process."""
    servers = _below(os.getpid())
    return {pid for server in servers if _word(server, 1) == "-c" for pid in _below(server)}


def _below(pid: int) -> set[int]:
    lists = (path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    return {int(pid) for text in lists for pid in text.split()}


def _word(pid: int, number: int) -> str:
    """A word of a process's command line."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return words[number].decode() if number < len(words) else ""


def file(tmp_path: Path, **what) -> Path:
    path = tmp_path / "video"
    path.write_bytes(stub_work.video(**what))
    return path


def identify(worker: SandboxProcess, tmp_path: Path, deed: str, report=None, wanted=None):
    folder = tmp_path / "session"
    folder.mkdir(exist_ok=True)
    return worker.run(stub_work.identify, file(tmp_path, identify=deed), folder, report=report, wanted=wanted)


def gone(pid: int | None) -> bool:
    assert pid is not None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_each_piece_of_work_has_a_child_to_itself_made_beforehand(worker, tmp_path) -> None:
    worker.start()
    first = child()
    info = worker.run(stub_work.probe_video, file(tmp_path), "video_url")
    assert (info.width, info.duration_ms) == (1280, 10_000)
    assert gone(first)
    assert child() not in (first, os.getpid())
    assert not gone(child())


def test_progress_comes_through(worker, tmp_path) -> None:
    told = []

    def report(stage: str, share: float) -> bool:
        told.append((stage, share))
        return True

    identify(worker, tmp_path, "", report)
    assert told == [("rendering", 0.5)]


@pytest.mark.parametrize(
    ("deed", "error", "text"),
    [
        ("fault", InputError, "face 0 cannot be made to speak"),
        ("damaged", MediaError, "the video is damaged at frame 7"),
        ("no_model", ModelError, "run: make setup"),
        ("bug", UnexpectedError, "unexpected ZeroDivisionError; see the server's log"),
        ("odd_bug", UnexpectedError, "unexpected _OddError; see the server's log"),
    ],
)
def test_errors_come_through_and_the_next_child_waits(worker, tmp_path, deed, error, text) -> None:
    with pytest.raises(error, match=text) as caught:
        identify(worker, tmp_path, deed)
    assert type(caught.value) is error
    if isinstance(caught.value, InputError):
        assert caught.value.field in ("face_id", "video")
    assert not gone(child())


@pytest.mark.parametrize(("deed", "manner"), [("die", "by signal SIGKILL"), ("exit", "with exit code 7")])
def test_a_child_that_dies_is_an_error_and_another_takes_its_place(worker, tmp_path, deed, manner) -> None:
    with pytest.raises(WorkerError, match=f"the worker process died {manner}"):
        identify(worker, tmp_path, deed)
    assert identify(worker, tmp_path, "")


def test_a_child_killed_between_two_pieces_of_work_is_replaced(worker, tmp_path) -> None:
    worker.start()
    pid = child()
    os.kill(pid, signal.SIGKILL)
    until(lambda: gone(pid))
    assert identify(worker, tmp_path, "")


def test_work_that_takes_too_long_is_stopped(tmp_path, make) -> None:
    worker = make(Limits(wall_s=0.5, memory_mb=4096))
    worker.start()
    pid = child()
    with pytest.raises(LimitError, match=r"stopped after 0\.5 s"):
        identify(worker, tmp_path, "hang")
    assert gone(pid)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is watched through /proc")
def test_work_that_takes_too_much_memory_is_stopped(tmp_path, make) -> None:
    worker = make(Limits(wall_s=60, memory_mb=600))
    with pytest.raises(LimitError, match=r"took \d+ MB of memory; the limit is 600 MB"):
        identify(worker, tmp_path, "hog")


def test_work_that_takes_too_much_processor_time_is_stopped(make) -> None:
    worker = make(Limits(wall_s=60, memory_mb=4096, cpu_s=1))
    with pytest.raises(LimitError, match="stopped after 1 s of processor time, the limit for one task"):
        worker.run(hostile_work.spin)


def test_a_file_that_grows_too_large_is_not_written(tmp_path, make) -> None:
    worker = make(Limits(wall_s=60, memory_mb=4096, file_mb=2))
    assert worker.run(hostile_work.write, tmp_path / "small", 2) == 2 << 20
    with pytest.raises(OSError, match="File too large"):
        worker.run(hostile_work.write, tmp_path / "large", 3)


def test_a_child_may_keep_large_arrays_in_files_of_its_folder(worker, tmp_path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    assert worker.run(hostile_work.spooled, own, allowed=AllowedPaths((), (own,))) == 10
    assert not list(own.iterdir())


@pytest.mark.skipif(restrictions.landlock_version() < 1, reason="this system cannot take files away (Landlock)")
def test_a_child_sees_nothing_but_its_own_files_and_reaches_nobody(worker, tmp_path) -> None:
    places = {"reads": tmp_path / "inner", "outside": tmp_path / "outer", "writes": tmp_path / "own"}
    places["reads"].write_bytes(b"inner")
    places["outside"].write_bytes(b"outer")
    places["writes"].mkdir()
    allowed = AllowedPaths((places["reads"],), (places["writes"],))
    assert worker.run(hostile_work.attempts, places, allowed=allowed) == ""
    assert [path.name for path in places["writes"].iterdir()] == ["renamed"]


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("pickle", "sent an invalid message: Invalid JSON"),
        ("noise", "sent an invalid message: Invalid JSON"),
        ("deep", "sent an invalid message: Invalid JSON: recursion limit exceeded"),
        ("surrogate", "sent an invalid message: Invalid JSON"),
        ("nul", "sent an invalid message: a text contains NUL"),
        ("inner key", r"sent an invalid message: done\.value\.more: Unexpected keyword argument"),
        ("negative", r"sent an invalid message: done\.value\.duration_ms: Input should be greater than or equal to 0"),
        ("bomb", r"sent an invalid message: done\.value\.rate: .*a rate is a fraction of two whole numbers"),
        ("error's class", r"sent an invalid message: failed\.error: String should match pattern"),
        ("nan", r"sent an invalid message: progress\.share: Input should be"),
        ("large", "sent a message of more than 4194304 bytes"),
    ],
)
def test_a_child_that_was_taken_over_takes_nobody_along(worker, tmp_path, what, sentence) -> None:
    began = time.monotonic()
    with pytest.raises(WorkerError, match=sentence):
        worker.run(hostile_work.send, what, tmp_path / "mark")
    assert time.monotonic() - began < 120  # reading such a message in full would take far longer
    assert not (tmp_path / "mark").exists()
    assert identify(worker, tmp_path, "")


def test_an_error_of_an_unknown_class_is_told_without_its_text(worker) -> None:
    with pytest.raises(UnexpectedError, match=r"^unexpected SystemExit; see the server's log$"):
        worker.run(hostile_work.fail, "SystemExit", 0)


def test_a_full_disk_is_recognised(worker) -> None:
    for number in (errno.ENOSPC, errno.EDQUOT):
        with pytest.raises(OSError, match=os.strerror(number)) as caught:
            worker.run(hostile_work.fail, "OSError", number)
        assert caught.value.errno == number
        assert "private" not in str(caught.value)


def test_a_value_of_another_type_is_an_error_of_the_work(worker) -> None:
    with pytest.raises(UnexpectedError, match="unexpected PydanticSerializationError"):
        worker.run(hostile_work.wrong_type)


def test_texts_that_no_database_takes_are_made_fit(worker, capsys) -> None:
    structlog.reset_defaults()
    logs.configure()
    told = []
    with pytest.raises(MediaError, match=r"the file . is damaged") as caught:
        worker.run(hostile_work.odd_texts, report=lambda stage, share: told.append((stage, share)))
    assert str(caught.value) == "video: the file ? is damaged"
    assert told == [("stage ?" + "x" * 57, 1.0)]
    lines = [json.loads(text) for text in capsys.readouterr().err.splitlines()]
    (line,) = [line for line in lines if line["event"] == "odd ?"]
    assert (line["ratio"], line["name"]) == ("nan", "?")


def test_a_child_that_stops_within_a_word_is_stopped(tmp_path, make) -> None:
    worker = make(Limits(wall_s=1, memory_mb=4096))
    with pytest.raises(LimitError, match="the work was stopped after 1 s"):
        worker.run(hostile_work.send, "silence", tmp_path / "mark")


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


def test_a_pool_tries_once_more_when_a_child_died(tmp_path, stopping) -> None:
    pool = SandboxPool("test", 1, AMPLE, stopping, preload=stub_work.__name__)
    pool.start()
    (tmp_path / "session").mkdir()
    always = file(tmp_path, identify="die")
    first = pool.submit("a", stub_work.die_once, tmp_path / "mark")
    second = pool.submit("a", stub_work.identify, always, tmp_path / "session")
    assert first.result(30) == "alive"
    with pytest.raises(WorkerError, match="SIGKILL"):
        second.result(30)
    stopping.set()
    pool.join()
    with pytest.raises(StoppedError):
        pool.submit("a", stub_work.identify, always, tmp_path).result(1)
    pool.join()


def test_a_pool_makes_all_its_children_beforehand_and_gives_each_call_one(tmp_path, stopping) -> None:
    pool = SandboxPool("test", 2, AMPLE, stopping, preload=stub_work.__name__)
    pool.start()
    until(lambda: len(children()) == 2)
    before = children()
    together = [pool.submit(account, hostile_work.meet, tmp_path, number) for number, account in enumerate("ab")]
    assert {future.result(30) for future in together} == before
    stopping.set()
    pool.join()


@pytest.mark.parametrize("size", [1, 2])
def test_accounts_take_turns_in_a_pool(tmp_path, stopping, size) -> None:
    pool, ends = SandboxPool("test", size, AMPLE, stopping, preload=stub_work.__name__), list[str]()

    def noted(call: str, _: object) -> None:
        ends.append(call)

    (tmp_path / "held").mkdir()
    path = file(tmp_path, identify="held")
    first = pool.submit("a", stub_work.identify, path, tmp_path / "held")
    held(tmp_path)
    path.write_bytes(stub_work.video())
    others = []
    for call in ("a1", "a2", "a3", "b1", "b2", "c1"):
        (tmp_path / call).mkdir()
        others.append(pool.submit(call[0], stub_work.identify, path, tmp_path / call))
        others[-1].add_done_callback(partial(noted, call))
    if size == 2:  # the second child is no child for a
        assert others[4].result(30)
        until(lambda: set(ends) == {"b1", "b2", "c1"})
    release(tmp_path)
    first.result(30)
    for one in others:
        one.result(30)
    until(lambda: len(ends) == 6)
    stopping.set()
    pool.join()
    assert [call for call in ends if call < "b"] == ["a1", "a2", "a3"]
    assert size == 2 or ends == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_log_lines_of_a_pool_carry_the_callers_context(stopping, capsys) -> None:
    structlog.reset_defaults()
    logs.configure()
    pool = SandboxPool("test", 1, AMPLE, stopping, preload=stub_work.__name__)
    with structlog.contextvars.bound_contextvars(request_id="7"):
        future = pool.submit("a", hostile_work.logs)
    future.result(30)
    lines = [json.loads(text) for text in capsys.readouterr().err.splitlines()]
    assert {line["request_id"] for line in lines} == {"7"}
    stopping.set()
    pool.join()


def test_a_pool_that_stops_leaves_nobody_waiting(tmp_path, stopping) -> None:
    pool = SandboxPool("test", 1, AMPLE, stopping, preload=stub_work.__name__)
    pool.start()
    (tmp_path / "session").mkdir()
    path = file(tmp_path, identify="hang")
    waiting = [pool.submit(account, stub_work.identify, path, tmp_path / "session") for account in "aab"]
    time.sleep(0.2)
    stopping.set()
    pool.join()
    for future in waiting:
        with pytest.raises(StoppedError):
            future.result(1)


# What a child holds


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="memory is read through /proc")
def test_a_child_holds_no_setting_and_no_file_of_the_parent(stopping, tmp_path, monkeypatch) -> None:
    names = [f"DUIKOU_{name.upper()}" for name in Settings.model_fields] + ["AWS_SECRET_ACCESS_KEY", "PGPASSWORD"]
    for name in names:
        monkeypatch.setenv(name, f"mArKeD-{name}")
    monkeypatch.setenv("LC_TIME", "C.UTF-8")
    worker = SandboxProcess(AMPLE, stopping, preload=prying_work.__name__)  # its fork server begins only now
    secret = tmp_path / "secret"
    secret.write_text("secret")
    with secret.open() as kept:
        os.set_inheritable(kept.fileno(), True)
        halves = [["mArKeD", f"-{name}"] for name in names]
        try:
            found = worker.run(prying_work.pry, halves, [], allowed=None)
        finally:
            worker.stop()
    assert found["memory"] == [prying_work.PLANTED[0]]
    assert not set(names) & set(found["environments"])
    assert "LC_TIME" in found["environments"]
    assert found["descriptors"] == prying_work.OWN_FILES


def test_only_named_variables_are_passed() -> None:
    given = {
        "LANG": "C",
        "LC_ALL": "C",
        "OMP_NUM_THREADS": "2",
        "PATH": "/",
        "HOME": "/",
        "DUIKOU_DATA": "x",
        "LCX": "",
    }
    assert forkserver.clean_environment(given) == {"LANG": "C", "LC_ALL": "C", "OMP_NUM_THREADS": "2"}


def test_a_fork_server_that_dies_is_replaced(worker, tmp_path) -> None:
    assert identify(worker, tmp_path, "")
    parent = int(Path(f"/proc/{child()}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(parent, signal.SIGKILL)
    until(lambda: gone(parent) or Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[0] == "Z")
    with contextlib.suppress(WorkerError):  # that of the child whose parent is gone
        identify(worker, tmp_path, "")
    assert identify(worker, tmp_path, "")


# What a child sends


@pytest.mark.parametrize("what", hostile_work.FLOODS)
def test_a_flood_ends_the_work_at_once(worker, tmp_path, capsys, what) -> None:
    structlog.reset_defaults()
    logs.configure()
    told = []
    with pytest.raises(InvalidMessageError, match=hostile_work.FLOODS[what]):
        worker.run(hostile_work.flood, what, report=lambda stage, share: told.append(share))
    assert len(capsys.readouterr().err) < 3 * messages.LOG_BYTES
    assert len(told) < 2 * messages.MAX_MESSAGES
    assert identify(worker, tmp_path, "")


def test_limits_hold_while_a_child_floods_its_parent(make) -> None:
    with pytest.raises(LimitError, match="stopped after 1 s"):
        make(Limits(wall_s=1, memory_mb=4096)).run(hostile_work.drip)
    with pytest.raises(LimitError, match="MB of memory; the limit is 600 MB"):
        make(Limits(wall_s=60, memory_mb=600)).run(hostile_work.drip_and_hog)


def test_what_a_child_says_is_cut(worker, capsys) -> None:
    structlog.reset_defaults()
    logs.configure()
    with pytest.raises(MediaError) as caught:
        worker.run(hostile_work.say_much)
    assert len(caught.value.reason) == messages.MAX_REASON
    assert len(capsys.readouterr().err) < 2 * messages.LOG_BYTES


def test_progress_never_goes_back(worker) -> None:
    told = []
    worker.run(hostile_work.go_back, report=lambda stage, share: told.append(share))
    assert told == [0.5, 0.5, 0.75]


def test_a_question_is_answered_only_where_there_is_an_answer(worker) -> None:
    assert worker.run(hostile_work.ask, answer=lambda question: question[::-1]) == "derewsna"
    with pytest.raises(InvalidMessageError, match="though nobody answers"):
        worker.run(hostile_work.ask)
    with pytest.raises(InputError, match="no such thing"):
        worker.run(hostile_work.ask, answer=_refuse)


def _refuse(question: bytes) -> bytes:
    raise InputError("no such thing", field="claim")


# Work that steps back


def test_work_steps_back_with_all_its_threads_and_its_session(make) -> None:
    usual, back = (make(limits).run(hostile_work.standing) for limits in (AMPLE, replace(AMPLE, niceness=7)))
    assert len(usual) == len(back)
    for before, after in zip(usual, back, strict=True):
        assert after == min(before + 7, 19)


def test_work_makes_threads_for_its_share_of_the_cores(make) -> None:
    usual, alone = (make(limits).run(hostile_work.threads_for_work) for limits in (AMPLE, replace(AMPLE, cores=1)))
    assert (usual, alone) == (parallel.cores(), 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="work cannot be kept on one core")
def test_work_that_steps_back_takes_little_of_a_core_that_other_work_wants(make, tmp_path) -> None:
    core, marks = min(os.sched_getaffinity(0)), [tmp_path / "behind", tmp_path / "first"]
    first, behind = make(AMPLE), make(replace(AMPLE, niceness=10))
    with ThreadPoolExecutor(1) as pool:
        over = threading.Event()
        pool.submit(behind.run, hostile_work.hold_core, core, 600.0, marks[0], wanted=lambda: not over.is_set())
        until(marks[0].exists)
        process = behind._child
        assert process is not None
        before = processor_s(process.pid)
        took = first.run(hostile_work.hold_core, core, 0.5, marks[1])
        share = (processor_s(process.pid) - before) / took
        over.set()
    assert share < 0.5, "a tenth where nothing disturbs it"


def processor_s(pid: int | None) -> float:
    """Seconds of processor time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.slow_repeats
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counted through /proc")
def test_many_pieces_of_work_leave_no_files_threads_or_children_behind(tmp_path, worker) -> None:
    def count() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    worker.run(stub_work.probe_video, file(tmp_path), "x")
    before = count()
    for number in range(repeats(200, 40)):
        with contextlib.suppress(WorkerError, InputError):
            if number % 4:
                worker.run(stub_work.probe_video, file(tmp_path), "x")
            else:
                identify(worker, tmp_path, "die" if number % 8 else "fault")
    until(lambda: all(map(operator.le, count(), before)))  # a thread that moves a child ends a moment later
    assert len(children()) == 1
    worker.stop()
    assert not children()
