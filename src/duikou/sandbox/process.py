"""One piece of hostile and heavy work in a child process of its own, and its supervision from the server's side.

Decoders and models run in there: whatever they do to the process, the server lives on. Each piece of work has a child
to itself, confined to its own files, so that nothing of one caller's file outlives it; the next child is made
beforehand, by a fork that takes milliseconds.

Memory is watched from outside (resident size of the child and of its children) and not limited by `RLIMIT_AS` or
`RLIMIT_DATA`: model runtimes map files and reserve address space far beyond what they touch, so that such a limit
either bites on healthy work or never. The child also offers itself to the kernel's out-of-memory killer before the
server does. Without `/proc` (not Linux) memory is not watched.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import structlog

from duikou.errors import DuikouError, WorkerError
from duikou.progress import Progress
from duikou.sandbox import messages, restrictions
from duikou.sandbox.messages import Done, Failed, LogLine, Message, StageProgress
from duikou.sandbox.restrictions import Limits, Places
from duikou.telemetry import logs
from duikou.units import MIB

POLL_S = 0.25  # how soon a breach of a limit or a stop is seen; results wake the server at once
TELL_EVERY_S = 0.2  # a worker tells its progress at most this often, and whenever the stage changes
OOM_SCORE = 800  # of 1000: the kernel short of memory stops a worker, not the server
JOIN_S = 5  # a killed process is gone long before
GRACE_S = 5  # past the wall limit, after which a child that does not even answer is killed
LOG_LINES = 1000  # of one piece of work; honest work writes a few

log = structlog.get_logger(__name__)
_starting = threading.Lock()


class LimitError(WorkerError):
    """A worker was stopped because it took too long or too much memory; another try would end the same way."""


class StoppedError(WorkerError):
    """A worker was stopped because the server is stopping or its result is no longer wanted."""


class Worker:
    """The server's side of one child process after another. Used by one thread at a time."""

    def __init__(self, limits: Limits, stopping: threading.Event) -> None:
        self._limits = limits
        self._stopping = stopping
        self._process: ForkServerProcess | None = None
        self._pipe: Connection | None = None
        atexit.register(self.stop)  # else the interpreter would wait for the child at its end

    def start(self) -> None:
        """Make the child now, so that the next piece of work need not wait. Where none can be made, that one tells."""
        with contextlib.suppress(WorkerError):
            self._alive()

    def run(
        self,
        function: Callable[..., Any],
        *args: Any,
        places: Places | None = None,
        limits: Limits | None = None,
        tell: Callable[[str, float], object] | None = None,
        wanted: Callable[[], bool] | None = None,
    ) -> Any:
        """`function(*args, progress)` in a child, which ends with it.

        function: a function of a module. places: the only files that it sees, `None` for all. limits: other ones than
        this worker's usual. tell: called with the child's progress. wanted: where it says no the work is stopped.
        Raises what the function raised, `LimitError`, `StoppedError`, or `WorkerError` where the child died or none
        could be made.
        """
        read = messages.reader(function)
        pipe, limits = self._alive(), limits or self._limits
        # A child that stops in the middle of a word would hold us in the reading of it: this ends that, too.
        last_resort = threading.Timer(limits.wall_s + GRACE_S, _kill, [self._process])
        last_resort.daemon = True
        last_resort.start()
        try:
            pipe.send((function, args, structlog.contextvars.get_contextvars(), limits, places))
            return self._await(pipe, read, limits, tell, wanted)
        except _WorkError as failure:
            raise failure.error from None
        except (EOFError, ConnectionError) as error:
            code = self._end(wait_s=JOIN_S)
            if code == -signal.SIGXCPU:
                raise LimitError(
                    f"the work was stopped after {limits.cpu_s:g} s of processor time, the limit for one task"
                ) from error
            raise WorkerError(f"the worker process died {_manner(code)}") from error
        finally:
            last_resort.cancel()
            self._end()
            if not self._stopping.is_set():
                self.start()

    def stop(self) -> None:
        """End the child; the next `run` starts another."""
        self._end()
        atexit.unregister(self.stop)

    def _alive(self) -> Connection:
        if self._process is not None and self._process.is_alive() and self._pipe is not None:
            return self._pipe
        self._end()
        context = _context()
        self._pipe, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs,), name="duikou-worker")
        try:
            _start(process)
        except (OSError, EOFError) as error:  # too many files or processes, or no way to the one that forks
            log.exception("no worker process can be made")
            self._end()
            reason = getattr(error, "strerror", None) or error  # without the name of a file
            raise WorkerError(f"no worker process can be made: {reason}") from error
        finally:
            theirs.close()  # so that the child's death is an end of file here
        self._process = process
        return self._pipe

    def _await(
        self,
        pipe: Connection,
        read: Callable[[bytes], Message],
        limits: Limits,
        tell: Callable[[str, float], object] | None,
        wanted: Callable[[], bool] | None,
    ) -> Any:
        deadline, lines = time.monotonic() + limits.wall_s, 0
        while True:
            if pipe.poll(POLL_S):
                match messages.receive(pipe, read):
                    case Done(value=value):
                        return value
                    case Failed() as failed:
                        raise _WorkError(failed.exception())
                    case LogLine(level=level, event=event, fields=fields):
                        lines += 1
                        if lines <= LOG_LINES:
                            logs.relay(level, event, fields)
                    case StageProgress(stage=stage, share=share) if tell is not None:
                        tell(stage, share)
            self._require_limits(limits, deadline)
            if wanted is not None and not wanted():
                raise StoppedError("the work was stopped because its result is no longer wanted")

    def _require_limits(self, limits: Limits, deadline: float) -> None:
        """Raise `StoppedError` when the server is stopping, `LimitError` when the child exceeds a limit."""
        if self._stopping.is_set():
            raise StoppedError("the server is stopping")
        if time.monotonic() > deadline:
            raise LimitError(f"the work was stopped after {limits.wall_s:g} s, the limit for one task")
        if (resident_mb := self._resident_mb()) > limits.memory_mb:
            raise LimitError(
                f"the work was stopped because it took {resident_mb} MB of memory; the limit is {limits.memory_mb} MB"
            )

    def _resident_mb(self) -> int:
        return _resident_bytes(self._process.pid) // MIB if self._process and self._process.pid else 0

    def _end(self, wait_s: float = 0.0) -> int | None:
        """Kill the child and all it started; its exit code. One that dies by itself within `wait_s` keeps its own."""
        process, pipe = self._process, self._pipe
        self._process = self._pipe = None
        if pipe is not None:
            pipe.close()
        if process is None or process.pid is None:
            return None
        if wait_s:
            process.join(wait_s)
        _kill(process)
        process.join(JOIN_S)
        code = process.exitcode
        with contextlib.suppress(ValueError):  # the system does not let go of it yet
            process.close()
        return code


def _start(process: ForkServerProcess) -> None:
    """Start a child that does not run the main program's file first, as multiprocessing would have it.

    Work is found by its module's name. For the `duikou` command that file costs each child half a second of imports.
    """
    main = sys.modules["__main__"]
    with _starting:
        file = main.__dict__.pop("__file__", None)
        try:
            process.start()
        finally:
            if file is not None:
                main.__file__ = file


def _kill(process: ForkServerProcess) -> None:
    with contextlib.suppress(ValueError):  # over and forgotten in the meantime
        if process.pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)  # it leads a group of its own; see `_serve`
        process.kill()


def _context() -> ForkServerContext:
    """Children are forked from a clean process that has imported the work but runs nothing.

    A fork of the server would copy its threads and locks; a spawned child would spend seconds on imports after every
    death of its forerunner.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["duikou.workers.work", "duikou.sandbox.process"])
    return context


class _WorkError(Exception):
    """Carries what the work raised in the child past the handlers of the pipe's own errors."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _serve(pipe: Connection) -> None:
    """Main function of the child: do the one thing that is sent. It ends with the server, too."""
    os.setsid()  # a group of its own: ended together, and not by the terminal's interrupt
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE))
    restrictions.take_calls()
    threading.Thread(target=_follow_parent, daemon=True).start()
    one_at_a_time = threading.Lock()  # work logs from several threads

    def send(message: str) -> None:
        with one_at_a_time:
            pipe.send_bytes(message.encode())

    logs.send(lambda level, event, fields: send(LogLine.of(level, event, fields).model_dump_json()))
    try:
        function, args, context, limits, places = pipe.recv()  # pickled: the parent is trusted
    except EOFError:
        return
    restrictions.limit(limits)
    if places is not None:
        restrictions.take_files(places)
    with structlog.contextvars.bound_contextvars(**context):
        send(_answer(function, args, _teller(send)))


def _answer(function: Callable[..., Any], args: tuple[Any, ...], tell: Progress) -> str:
    try:
        return messages.done(function, function(*args, tell))
    except Exception as error:
        unexpected = not isinstance(error, DuikouError)
        log.info("work failed", work=function.__name__, error=repr(error), exc_info=unexpected)
        return Failed.of(error).model_dump_json()


def _follow_parent() -> None:
    """A server that was killed takes its workers along: nobody would read what they make."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.killpg(0, signal.SIGKILL)


def _teller(send: Callable[[str], None]) -> Progress:
    last_stage, last_at = "", 0.0

    def tell(stage: str, share: float) -> None:
        nonlocal last_stage, last_at
        at = time.monotonic()
        if stage != last_stage or at - last_at >= TELL_EVERY_S:
            last_stage, last_at = stage, at
            send(StageProgress.of(stage, share).model_dump_json())

    return tell


def _resident_bytes(pid: int) -> int:
    """Resident memory of a process and its descendants; 0 where it cannot be told."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        threads = Path(f"/proc/{pid}/task").iterdir()  # a child is listed with the thread that started it
        children = [child for thread in threads for child in (thread / "children").read_text().split()]
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(_resident_bytes(int(child)) for child in children)


def _manner(code: int | None) -> str:
    if code is None:
        return "for an unknown reason"
    if code >= 0:
        return f"with exit code {code}"
    try:
        return f"by signal {signal.Signals(-code).name}"
    except ValueError:
        return f"by signal {-code}"
