"""The child's side: restricts its own process and runs the one piece of work that is sent."""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import structlog

from duikou import parallel
from duikou.errors import DuikouError, WorkerError
from duikou.progress import Progress
from duikou.sandbox import messages, restrictions
from duikou.sandbox.messages import Failed, LogLine, Question, StageProgress
from duikou.telemetry import logs

PROGRESS_EVERY_S = 0.2  # least time between two progress messages of one stage
OOM_SCORE = 800  # of 1000: a kernel short of memory stops a child before the server

log = structlog.get_logger(__name__)
_ask: Callable[[bytes], bytes] | None = None


def serve(pipe: Connection, output: Connection) -> None:
    """Main function of the child: run the one call that is sent. It also ends when the parent ends.

    output: takes what libraries write to the standard output and error.
    """
    os.setsid()  # its own process group: killed together, and not by the terminal's interrupt
    with output:
        for stream in (1, 2):
            os.dup2(output.fileno(), stream)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE))
    try:
        work, limits, allowed = pipe.recv()  # pickled: the parent is trusted
    except (EOFError, OSError):
        return
    restrictions.apply_limits(limits)
    restrictions.step_back(limits.niceness)
    parallel.take_share(limits.cores)
    restrictions.restrict(allowed, limits.threads)
    # Threads begin here: each has the restrictions of the one that started it, and one without them would be a way out.
    # So nothing of the work is imported before.
    answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_hear, args=(pipe, answers), daemon=True).start()
    send = _sender(pipe)
    logs.forward(_forwarder(send))
    _let_ask(send, answers)
    function, args = pickle.loads(work)
    send(_result(function, args, _progress(send)))


def ask(question: bytes) -> bytes:
    """The parent's answer to a question of the work that runs in this child; see `SandboxProcess.run`."""
    if _ask is None:
        raise WorkerError("this process has no parent to ask")
    return _ask(question)


def _let_ask(send: Callable[[str], None], answers: queue.SimpleQueue[bytes]) -> None:
    global _ask  # noqa: PLW0603 - a process has one parent

    def asking(question: bytes) -> bytes:
        send(Question.of(question).model_dump_json())
        return answers.get()

    _ask = asking


def _sender(pipe: Connection) -> Callable[[str], None]:
    sending = threading.Lock()  # work logs from several threads

    def send(message: str) -> None:
        with sending:
            pipe.send_bytes(message.encode())

    return send


def _forwarder(send: Callable[[str], None]) -> Callable[[str, str, Any], None]:
    """Sends lines for the parent's log, as many as it takes."""
    sent = 0

    def forward(level: str, event: str, fields: Any) -> None:
        nonlocal sent
        sent += 1
        if sent <= messages.LOG_LINES:
            send(LogLine.of(level, event, fields).model_dump_json())

    return forward


def _result(function: Callable[..., Any], args: tuple[Any, ...], progress: Progress) -> str:
    try:
        return messages.done(function, function(*args, progress))
    except Exception as error:
        unexpected = not isinstance(error, DuikouError)
        log.info("work failed", work=function.__name__, error=repr(error), exc_info=unexpected)
        return Failed.of(error).model_dump_json()


def _hear(pipe: Connection, answers: queue.SimpleQueue[bytes]) -> None:
    """Hand on the parent's answers; kill the child and all that it started once the parent is gone."""
    try:
        while True:
            answers.put(pipe.recv_bytes(messages.MAX_QUESTION))
    except (EOFError, OSError):
        with contextlib.suppress(OSError):
            os.killpg(0, signal.SIGKILL)
        os._exit(1)


def _progress(send: Callable[[str], None]) -> Progress:
    last_stage, last_at = "", 0.0

    def report(stage: str, share: float) -> None:
        nonlocal last_stage, last_at
        at = time.monotonic()
        if stage != last_stage or at - last_at >= PROGRESS_EVERY_S:
            last_stage, last_at = stage, at
            send(StageProgress.of(stage, share).model_dump_json())

    return report
