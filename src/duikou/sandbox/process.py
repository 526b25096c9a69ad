"""Runs one piece of untrusted or heavy work in a child process, and supervises it from the parent.

Decoders and models run in the child: whatever they do to the process, the server lives on. Each piece of work has a
child of its own, restricted to its own files, so that nothing of one caller's file outlives it. The next child is
forked beforehand, which takes milliseconds.

Memory is watched from outside (resident size of the child and its children) rather than limited by `RLIMIT_AS` or
`RLIMIT_DATA`: model runtimes map files and reserve far more address space than they touch, so such a limit would stop
healthy work or nothing. The child also volunteers to the kernel's out-of-memory killer before the server. Without
`/proc` (not Linux) memory is not watched. Threads are counted from outside, too.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from duikou.errors import DuikouError, WorkerError
from duikou.progress import Progress
from duikou.sandbox import messages, restrictions
from duikou.sandbox.control_groups import MEMORY_FACTOR, ControlGroup
from duikou.sandbox.messages import Done, Failed, LogLine, Message, StageProgress
from duikou.sandbox.output import ChildOutput
from duikou.sandbox.restrictions import AllowedPaths, Limits
from duikou.telemetry import logs
from duikou.units import MIB

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, ForkServerProcess  # Unix has them

POLL_S = 0.25  # how soon a stop or an exceeded limit is noticed; results wake the parent at once
PROGRESS_EVERY_S = 0.2  # least time between two progress messages of one stage
OOM_SCORE = 800  # of 1000: a kernel short of memory stops a child before the server
JOIN_S = 5  # a killed process ends long before
GRACE_S = 5  # after the wall limit, until a child that blocks the parent's read is killed
LOG_LINES = 1000  # of one piece of work; honest work writes a few

log = structlog.get_logger(__name__)
_starting = threading.Lock()


class LimitError(WorkerError):
    """The work took too long or too much memory and was stopped. Another attempt would end the same way."""


class StoppedError(WorkerError):
    """The work was stopped because the server is stopping or its result is no longer wanted."""


class SandboxProcess:
    """The parent's side of one child process after another. Used by one thread at a time.

    preload: a module that imports all that the work needs. A restricted child can no longer read the files of modules.
    """

    def __init__(self, limits: Limits, stopping: threading.Event, *, preload: str = __name__) -> None:
        self._limits, self._stopping, self._preload = limits, stopping, preload
        self._process: ForkServerProcess | None = None
        self._pipe: Connection | None = None
        self._output: ChildOutput | None = None
        self._group = ControlGroup(0, ())
        atexit.register(self.stop)  # else the interpreter would wait for the child at exit

    def start(self) -> None:
        """Make the next child now, so that `run` need not wait. A failure is raised by that `run`."""
        with contextlib.suppress(WorkerError):
            self._alive()

    def run(
        self,
        function: Callable[..., Any],
        *args: Any,
        allowed: AllowedPaths | None = None,
        limits: Limits | None = None,
        report: Callable[[str, float], object] | None = None,
        wanted: Callable[[], bool] | None = None,
    ) -> Any:
        """Run `function(*args, progress)` in a child of its own and return its value.

        function: a function of a module, with a return annotation. allowed: the only files that it sees, `None` for
        all. limits: in place of the usual ones. report: called with the child's progress. wanted: the work is stopped
        when this returns False.
        Raises what the function raised (see `Failed.exception`), `LimitError`, `StoppedError`, or `WorkerError` where
        the child died, sent an invalid message or could not be started.
        """
        read = messages.reader(function)
        pipe, limits, group = self._alive(), limits or self._limits, self._group
        group.limit(limits.memory_mb, limits.threads)
        work = pickle.dumps((function, args))
        # A child that stops in the middle of a message blocks the read; killing it ends that, too.
        last_resort = threading.Timer(limits.wall_s + GRACE_S, _kill, [self._process])
        last_resort.daemon = True
        last_resort.start()
        try:
            pipe.send((work, structlog.contextvars.get_contextvars(), limits, allowed, self._preload))
            return self._await(pipe, read, limits, report, wanted)
        except _WorkError as failure:
            raise failure.error from None
        except (EOFError, ConnectionError) as error:
            code = self._end(wait_s=JOIN_S)
            if code == -signal.SIGXCPU:
                raise LimitError(
                    f"the work was stopped after {limits.cpu_s:g} s of processor time, the limit for one task"
                ) from error
            if group.starved:
                most = MEMORY_FACTOR * limits.memory_mb
                raise LimitError(
                    f"the work was stopped because it took more than {most} MB of memory, pages of files among it"
                ) from error
            raise WorkerError(f"the worker process died {_exit_reason(code)}") from error
        finally:
            last_resort.cancel()
            self._end()
            if not self._stopping.is_set():
                self.start()

    def stop(self) -> None:
        """Kill the child; the next `run` starts another."""
        self._end()
        atexit.unregister(self.stop)

    def _alive(self) -> Connection:
        if self._process is not None and self._process.is_alive() and self._pipe is not None:
            return self._pipe
        self._end()
        context = _context(self._preload)
        self._pipe, theirs = context.Pipe()
        read, written = context.Pipe(duplex=False)
        self._output = ChildOutput(read)
        process = context.Process(target=_serve, args=(theirs, written), name="duikou-worker")
        try:
            _start(process)
        except (OSError, EOFError) as error:  # too many files or processes, or the fork server is gone
            log.exception("cannot start a worker process")
            self._end()
            reason = getattr(error, "strerror", None) or error  # without the file name
            raise WorkerError(f"cannot start a worker process: {reason}") from error
        finally:
            theirs.close()  # so that the child's death is an end of file here
            written.close()
        self._process, self._output.pid = process, process.pid or 0
        self._group = ControlGroup(process.pid or 0)
        return self._pipe

    def _await(
        self,
        pipe: Connection,
        read: Callable[[bytes], Message],
        limits: Limits,
        report: Callable[[str, float], object] | None,
        wanted: Callable[[], bool] | None,
    ) -> Any:
        deadline, lines = time.monotonic() + limits.wall_s, 0
        while True:
            output = self._output.waits() if self._output is not None else []
            ready = wait([pipe, *output], POLL_S)
            if self._output is not None and output and output[0] in ready:
                self._output.hear()
            if pipe in ready:
                match messages.receive(pipe, read):
                    case Done(value=value):
                        return value
                    case Failed() as failed:
                        raise _WorkError(failed.exception())
                    case LogLine(level=level, event=event, fields=fields):
                        lines += 1
                        if lines <= LOG_LINES:
                            logs.relay(level, event, fields)
                    case StageProgress(stage=stage, share=share) if report is not None:
                        report(stage, share)
            self._require_limits(limits, deadline)
            if wanted is not None and not wanted():
                raise StoppedError("the work was stopped because its result is no longer wanted")

    def _require_limits(self, limits: Limits, deadline: float) -> None:
        """Raise `StoppedError` when the server is stopping, `LimitError` when the child exceeds a limit."""
        if self._stopping.is_set():
            raise StoppedError("the server is stopping")
        if time.monotonic() > deadline:
            raise LimitError(f"the work was stopped after {limits.wall_s:g} s, the limit for one task")
        if (threads := self._threads()) > limits.threads:
            raise LimitError(f"the work was stopped because it ran {threads} threads; the limit is {limits.threads}")
        if (resident_mb := self._resident_mb()) > limits.memory_mb:
            raise LimitError(
                f"the work was stopped because it took {resident_mb} MB of memory; the limit is {limits.memory_mb} MB"
            )

    def _threads(self) -> int:
        try:
            return sum(1 for _ in Path(f"/proc/{self._process.pid}/task").iterdir()) if self._process else 0
        except OSError:
            return 0

    def _resident_mb(self) -> int:
        return _resident_bytes(self._process.pid) // MIB if self._process and self._process.pid else 0

    def _end(self, wait_s: float = 0.0) -> int | None:
        """Kill the child and all that it started; its exit code, its own if it exits by itself within `wait_s`."""
        process, pipe, output = self._process, self._pipe, self._output
        self._process = self._pipe = self._output = None
        if pipe is not None:
            pipe.close()
        code = None
        if process is not None and process.pid is not None:
            if wait_s:
                process.join(wait_s)
            _kill(process)
            process.join(JOIN_S)
            code = process.exitcode
            with contextlib.suppress(ValueError):  # the system does not let go of it yet
                process.close()
        if output is not None:
            output.close()
        self._group.remove()
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
    with contextlib.suppress(ValueError):  # already joined
        if process.pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)  # it leads its own process group; see `_serve`
        process.kill()


def _context(preload: str) -> ForkServerContext:
    """Children are forked from a clean process that has imported `preload` and runs nothing.

    A fork of the server would copy its threads and locks; a spawned child would spend seconds on imports.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([preload, __name__])
    return context


class _WorkError(Exception):
    """Carries an error of the work past the handlers of the pipe's own errors."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _serve(pipe: Connection, output: Connection) -> None:
    """Main function of the child: run the one call that is sent. It also ends when the parent ends.

    output: takes what libraries write to the standard output and error.
    """
    os.setsid()  # its own process group: killed together, and not by the terminal's interrupt
    with output:
        for stream in (1, 2):
            os.dup2(output.fileno(), stream)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE))
    sending = threading.Lock()  # work logs from several threads

    def send(message: str) -> None:
        with sending:
            pipe.send_bytes(message.encode())

    logs.forward(lambda level, event, fields: send(LogLine.of(level, event, fields).model_dump_json()))
    try:
        work, context, limits, allowed, preload = pipe.recv()  # pickled: the parent is trusted
    except EOFError:
        return
    restrictions.apply_limits(limits)
    restrictions.step_back(limits.niceness)
    restrictions.restrict(allowed, limits.threads)
    # No thread is started before, since it would stay outside, and so nothing is imported before.
    threading.Thread(target=_die_with_parent, daemon=True).start()
    import_module(preload)  # again only where the fork server was started for other work
    function, args = pickle.loads(work)
    with structlog.contextvars.bound_contextvars(**context):
        send(_result(function, args, _progress(send)))


def _result(function: Callable[..., Any], args: tuple[Any, ...], progress: Progress) -> str:
    try:
        return messages.done(function, function(*args, progress))
    except Exception as error:
        unexpected = not isinstance(error, DuikouError)
        log.info("work failed", work=function.__name__, error=repr(error), exc_info=unexpected)
        return Failed.of(error).model_dump_json()


def _die_with_parent() -> None:
    """Kill the child and all that it started once the parent is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.killpg(0, signal.SIGKILL)


def _progress(send: Callable[[str], None]) -> Progress:
    last_stage, last_at = "", 0.0

    def report(stage: str, share: float) -> None:
        nonlocal last_stage, last_at
        at = time.monotonic()
        if stage != last_stage or at - last_at >= PROGRESS_EVERY_S:
            last_stage, last_at = stage, at
            send(StageProgress.of(stage, share).model_dump_json())

    return report


def _resident_bytes(pid: int) -> int:
    """Resident memory of a process and its descendants; 0 where it cannot be read."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        threads = Path(f"/proc/{pid}/task").iterdir()  # a child is listed under the thread that started it
        children = [child for thread in threads for child in (thread / "children").read_text().split()]
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(_resident_bytes(int(child)) for child in children)


def _exit_reason(code: int | None) -> str:
    if code is None:
        return "for an unknown reason"
    if code >= 0:
        return f"with exit code {code}"
    try:
        return f"by signal {signal.Signals(-code).name}"
    except ValueError:
        return f"by signal {-code}"
