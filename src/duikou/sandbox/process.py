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

import contextlib
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any

import structlog

from duikou.errors import WorkerError
from duikou.sandbox import child, forkserver, messages
from duikou.sandbox.control_groups import MEMORY_FACTOR, ControlGroup
from duikou.sandbox.forkserver import Child
from duikou.sandbox.messages import Done, Failed, Inbox, InvalidMessageError, LogLine, Message, Question, StageProgress
from duikou.sandbox.output import ChildOutput
from duikou.sandbox.restrictions import AllowedPaths, Limits
from duikou.telemetry import logs
from duikou.units import MIB

POLL_S = 0.25  # how soon a stop or an exceeded limit is noticed; results wake the parent at once
JOIN_S = 5  # a killed process ends long before

log = structlog.get_logger(__name__)


class LimitError(WorkerError):
    """The work took too long or too much memory and was stopped. Another attempt would end the same way."""


class StoppedError(WorkerError):
    """The work was stopped because the server is stopping or its result is no longer wanted."""


class SandboxProcess:
    """The parent's side of one child process after another. Used by one thread at a time.

    preload: a module that imports all that the work needs. A restricted child can no longer read the files of modules.
    """

    def __init__(self, limits: Limits, stopping: threading.Event, *, preload: str = child.__name__) -> None:
        self._limits, self._stopping, self._preload = limits, stopping, preload
        self._child: Child | None = None
        self._pipe: Connection | None = None
        self._output: ChildOutput | None = None
        self._group = ControlGroup(0, ())

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
        answer: Callable[[bytes], bytes] | None = None,
    ) -> Any:
        """Run `function(*args, progress)` in a child of its own and return its value.

        function: a function of a module, with a return annotation. allowed: the only files that it sees, `None` for
        all. limits: in place of the usual ones. report: called with the child's progress, which never goes back.
        wanted: the work is stopped when this returns False. answer: what `child.ask` returns for a question.
        Raises what the function raised (see `Failed.exception`), `LimitError`, `StoppedError`, `InvalidMessageError`
        where the child sent what is no message, or `WorkerError` where it died or could not be started. What `answer`
        raises is raised, too.
        """
        read = messages.reader(function)
        pipe, limits, group = self._alive(), limits or self._limits, self._group
        group.limit(limits.memory_mb, limits.threads)
        try:
            pipe.send((pickle.dumps((function, args)), limits, allowed))
            return self._await(pipe, read, limits, report, wanted, answer)
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
            self._end()
            if not self._stopping.is_set():
                self.start()

    def stop(self) -> None:
        """Kill the child; the next `run` starts another."""
        self._end()

    def _alive(self) -> Connection:
        if self._child is not None and self._child.alive and self._pipe is not None:
            return self._pipe
        self._end()
        self._pipe, theirs = Pipe()
        read, written = Pipe(duplex=False)
        self._output = ChildOutput(read)
        try:
            self._child = forkserver.with_preloaded(self._preload).fork(theirs, written)
        except (OSError, EOFError) as error:  # too many files or processes, or the fork server is gone
            log.exception("cannot start a worker process")
            self._end()
            reason = getattr(error, "strerror", None) or error  # without the file name
            raise WorkerError(f"cannot start a worker process: {reason}") from error
        finally:
            theirs.close()  # so that the child's death is an end of file here
            written.close()
        self._output.pid = self._child.pid
        self._group = ControlGroup(self._child.pid)
        return self._pipe

    def _await(
        self,
        pipe: Connection,
        read: Callable[[bytes], Message],
        limits: Limits,
        report: Callable[[str, float], object] | None,
        wanted: Callable[[], bool] | None,
        answer: Callable[[bytes], bytes] | None,
    ) -> Any:
        deadline, inbox, talk = time.monotonic() + limits.wall_s, Inbox(pipe), _Talk(pipe, report, answer)
        while True:
            content = inbox.next()
            if content is None:
                output = self._output.waits() if self._output is not None else []
                ready = wait([pipe, *output], POLL_S)
                if self._output is not None and output and output[0] in ready:
                    self._output.hear()
                if pipe in ready:
                    inbox.fetch()
            else:
                match read(content):
                    case Done(value=value):
                        return value
                    case Failed() as failed:
                        raise _WorkError(failed.exception())
                    case message:
                        talk.take(message, len(content))
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
            return sum(1 for _ in Path(f"/proc/{self._child.pid}/task").iterdir()) if self._child else 0
        except OSError:
            return 0

    def _resident_mb(self) -> int:
        return _resident_bytes(self._child.pid) // MIB if self._child is not None else 0

    def _end(self, wait_s: float = 0.0) -> int | None:
        """Kill the child and all that it started; its exit code, its own if it exits by itself within `wait_s`."""
        process, pipe, output = self._child, self._pipe, self._output
        self._child = self._pipe = self._output = None
        if pipe is not None:
            pipe.close()
        code = None
        if process is not None:
            if wait_s:
                process.wait(wait_s)
            process.kill()
            code = process.wait(JOIN_S)
            process.close()
        if output is not None:
            output.close()
        self._group.remove()
        return code


class _Talk:
    """What a child says while it works. report, answer: see `SandboxProcess.run`."""

    def __init__(
        self,
        pipe: Connection,
        report: Callable[[str, float], object] | None,
        answer: Callable[[bytes], bytes] | None,
    ) -> None:
        self._pipe, self._report, self._answer = pipe, report, answer
        self._lines = self._bytes = 0
        self._share = 0.0

    def take(self, message: Message, size: int) -> None:
        """Do what a message of `size` bytes asks for. Lines beyond what one piece of work may log are dropped."""
        match message:
            case LogLine(level=level, event=event, fields=fields):
                self._lines += 1
                self._bytes += size
                if self._lines <= messages.LOG_LINES and self._bytes <= messages.LOG_BYTES:
                    logs.relay(level, event, fields)
            case StageProgress(stage=stage, share=share) if self._report is not None:
                self._share = max(self._share, share)
                self._report(stage, self._share)
            case Question() as question:
                self._reply(question.asked())

    def _reply(self, question: bytes) -> None:
        if self._answer is None:
            raise InvalidMessageError("the worker process asked, though nobody answers this work")
        try:
            reply = self._answer(question)
        except Exception as error:
            raise _WorkError(error) from error
        self._pipe.send_bytes(reply)


class _WorkError(Exception):
    """Carries an error of the work past the handlers of the pipe's own errors."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


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
