"""One child process that does hostile and heavy work, and its supervision from the server's side.

Decoders and models run in there: whatever they do to the process, the server lives on. The child is kept between
pieces of work (its imports and models are expensive) and is made anew after it died or was stopped.

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
import pickle
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import structlog

from duikou.errors import DuikouError, WorkerError
from duikou.jobs import logs
from duikou.jobs.folder import MIB
from duikou.progress import Progress

POLL_S = 0.25  # how soon a breach of a limit or a stop is seen; results wake the server at once
TELL_EVERY_S = 0.2  # a worker tells its progress at most this often, and whenever the stage changes
OOM_SCORE = 800  # of 1000: the kernel short of memory stops a worker, not the server
JOIN_S = 5  # a killed process is gone long before

log = structlog.get_logger(__name__)


class LimitError(WorkerError):
    """A worker was stopped because it took too long or too much memory; another try would end the same way."""


class StoppedError(WorkerError):
    """A worker was stopped because the server is stopping or its result is no longer wanted."""


@dataclass(frozen=True)
class Limits:
    """What one piece of work may take: seconds on the wall clock and MiB of resident memory."""

    wall_s: float
    memory_mb: int


class Worker:
    """The server's side of one child process. Used by one thread at a time."""

    def __init__(self, limits: Limits, stopping: threading.Event) -> None:
        self._limits = limits
        self._stopping = stopping
        self._process: ForkServerProcess | None = None
        self._pipe: Connection | None = None
        atexit.register(self.stop)  # else the interpreter would wait for the child at its end

    def start(self) -> None:
        """Make the child now, so that the first piece of work need not wait for it."""
        self._alive()

    def run(self, function: Callable[..., Any], *args: Any, tell: Callable[[str, float], bool] | None = None) -> Any:
        """`function(*args, progress)` in the child.

        function: a function of a module. tell: called with the child's progress; where it returns False the work is
        stopped. Raises what the function raised, `LimitError`, `StoppedError`, or `WorkerError` where the child died.
        """
        pipe = self._alive()
        try:
            pipe.send((function, args, structlog.contextvars.get_contextvars()))
            value = self._await(pipe, tell)
        except _WorkError as failure:
            raise failure.error from None
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            code = self._end()
            raise WorkerError(f"the worker process died {_manner(code)}") from error
        except BaseException:
            self._end()
            raise
        if self._resident_mb() > self._limits.memory_mb / 2:
            self._end()  # what leaked must not count against the next piece of work
        return value

    def stop(self) -> None:
        """End the child; the next `run` starts another."""
        self._end()
        atexit.unregister(self.stop)

    @property
    def pid(self) -> int | None:
        """Process id of the child, or `None` where there is none."""
        return self._process.pid if self._process else None

    def _alive(self) -> Connection:
        if self._process is not None and self._process.is_alive() and self._pipe is not None:
            return self._pipe
        self._end()
        context = _context()
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), name="duikou-worker")
        self._process.start()
        theirs.close()  # so that the child's death is an end of file here
        return self._pipe

    def _await(self, pipe: Connection, tell: Callable[[str, float], bool] | None) -> Any:
        deadline = time.monotonic() + self._limits.wall_s
        while True:
            if pipe.poll(POLL_S):
                kind, value = pipe.recv()
                if kind == "done":
                    return value
                if kind == "failed":
                    raise _WorkError(value)
                if tell is not None and not tell(*value):
                    raise StoppedError("the work was stopped because its result is no longer wanted")
            if self._stopping.is_set():
                raise StoppedError("the server is stopping")
            if time.monotonic() > deadline:
                raise LimitError(f"the work was stopped after {self._limits.wall_s:g} s, the limit for one task")
            if (resident_mb := self._resident_mb()) > self._limits.memory_mb:
                raise LimitError(
                    f"the work was stopped because it took {resident_mb} MB of memory; the limit is "
                    f"{self._limits.memory_mb} MB"
                )

    def _resident_mb(self) -> int:
        return _resident_bytes(self._process.pid) // MIB if self._process and self._process.pid else 0

    def _end(self) -> int | None:
        """Kill the child and all it started; its exit code."""
        process, pipe = self._process, self._pipe
        self._process = self._pipe = None
        if pipe is not None:
            pipe.close()
        if process is None or process.pid is None:
            return None
        process.join(0.1)  # one that died by itself keeps its own exit code
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # it leads a group of its own; see `_serve`
        process.kill()
        process.join(JOIN_S)
        return process.exitcode


def _context() -> ForkServerContext:
    """Children are forked from a clean process that has imported the work but runs nothing.

    A fork of the server would copy its threads and locks; a spawned child would spend seconds on imports after every
    death of its forerunner.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["duikou.jobs.work"])
    return context


class _WorkError(Exception):
    """Carries what the work raised in the child past the handlers of the pipe's own errors."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _serve(pipe: Connection) -> None:
    """Main function of the child: do what is sent, one after another, until the server closes the pipe or dies."""
    os.setsid()  # a group of its own: ended together, and not by the terminal's interrupt
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE))
    threading.Thread(target=_follow_parent, daemon=True).start()
    logs.configure()
    while True:
        try:
            function, args, context = pipe.recv()
        except EOFError:
            return
        with structlog.contextvars.bound_contextvars(**context):
            pipe.send(_answer(function, args, _teller(pipe)))


def _answer(function: Callable[..., Any], args: tuple[Any, ...], tell: Progress) -> tuple[str, Any]:
    try:
        return "done", function(*args, tell)
    except Exception as error:
        unexpected = not isinstance(error, DuikouError)
        log.info("work failed", work=function.__name__, error=repr(error), exc_info=unexpected)
        return "failed", _portable(error)


def _follow_parent() -> None:
    """A server that was killed takes its workers along: nobody would read what they make."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.killpg(0, signal.SIGKILL)


def _teller(pipe: Connection) -> Progress:
    last_stage, last_at = "", 0.0

    def tell(stage: str, share: float) -> None:
        nonlocal last_stage, last_at
        at = time.monotonic()
        if stage != last_stage or at - last_at >= TELL_EVERY_S:
            last_stage, last_at = stage, at
            pipe.send(("progress", (stage, share)))

    return tell


def _portable(error: Exception) -> Exception:
    """The error itself where it survives the way through the pipe, else its text."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return WorkerError(f"{type(error).__name__}: {error}")
    return error


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
