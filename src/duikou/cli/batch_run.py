"""Does the jobs of `duikou batch`: here one after the other, at a server several at once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from duikou.cli import remote, remote_errors
from duikou.cli.batch_sessions import Sessions, Shared
from duikou.cli.files import named
from duikou.cli.jobs import Job, as_fields
from duikou.cli.order import Checked
from duikou.cli.terminal import EXIT_ERROR, EXIT_INPUT, silence, warn
from duikou.errors import DuikouError, InputError

if TYPE_CHECKING:
    from duikou.cli.batch_state import BatchState
    from duikou.progress import Progress

DONE: Final = "done"
SKIPPED: Final = "skipped"
FAILED: Final = "failed"
STOP_S: Final = 10.0  # how long Ctrl-C waits for tasks to be cancelled and for downloads to be cleaned up
LOOK_S: Final = 0.5  # between looks for a Ctrl-C that came at a bad moment


@dataclass(frozen=True)
class Ready:
    """A job that was checked. digest: see `Job.digest`."""

    job: Job
    checked: Checked
    digest: str


@dataclass(frozen=True)
class Outcome:
    """What became of a job. The names of the fields are those of the JSON.

    exit_status: that of `duikou sync` for the same lip sync.
    """

    line: int
    video: str
    output: str
    watermark: str | None
    state: str
    seconds: float | None = None
    error: str | None = None
    warnings: tuple[str, ...] = ()
    exit_status: int = 0

    @classmethod
    def of(cls, job: Job, state: str, **more: Any) -> Outcome:
        """The outcome of a job."""
        output = job.order.output
        watermark = None if output.watermark is None else str(output.watermark)
        return cls(job.line, str(job.order.video), str(output.path), watermark, state, **more)

    def as_json(self) -> dict[str, Any]:
        """The outcome in the JSON of `batch`."""
        return {**asdict(self), "warnings": list(self.warnings)}


class Stopped(KeyboardInterrupt):
    """The user stopped the command while a thread was at work."""


class BatchRun:
    """The jobs of one run. outcomes: of those that have ended. quiet: whether warnings are left out."""

    def __init__(self, state: BatchState, jobs: Sequence[Ready], progress: Progress, *, quiet: bool) -> None:
        self.outcomes: list[Outcome] = []
        self._state, self._quiet = state, quiet
        self._waiting = deque(jobs)
        self._board = _Board(progress, len(jobs))
        self._stopping = threading.Event()
        self._cancels: dict[int, Callable[[], None]] = {}
        self._sessions = Sessions(1)

    def here(self, work: Any) -> None:
        """Do one job after the other."""
        while self._waiting:
            self._do(self._waiting.popleft(), work)

    def at(self, server: remote.Server, parallel: int) -> None:
        """Do as many jobs at once. Ctrl-C cancels their tasks."""
        self._sessions = Sessions(parallel)
        faults: list[BaseException] = []
        threads = [
            threading.Thread(target=self._serve, args=(server, faults), daemon=True)
            for _ in range(min(parallel, len(self._waiting)))
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():
                    thread.join(LOOK_S)  # without an end, a Ctrl-C just before it would never be noticed
        except (KeyboardInterrupt, SystemExit):
            self._stop(threads)
            raise
        if faults:
            raise faults[0]

    def _serve(self, server: remote.Server, faults: list[BaseException]) -> None:
        while not self._stopping.is_set():
            try:
                ready = self._waiting.popleft()
            except IndexError:
                return
            try:
                self._do(ready, server)
            except Stopped:
                return
            except BaseException as error:  # the state cannot be written: no job goes on
                faults.append(error)
                self._stopping.set()
                return

    def _stop(self, threads: Sequence[threading.Thread]) -> None:
        self._stopping.set()
        cancelling = [threading.Thread(target=cancel, daemon=True) for cancel in list(self._cancels.values())]
        for thread in cancelling:
            thread.start()
        ends = monotonic() + STOP_S
        for thread in (*cancelling, *threads):
            thread.join(max(ends - monotonic(), 0))

    def _do(self, ready: Ready, work: Any) -> None:
        """Do a job and note how it ended."""
        job, began = ready.job, monotonic()
        warnings = list(ready.checked.doubts)

        def warning(sentence: str) -> None:
            warnings.append(as_fields(sentence))
            if not self._quiet:
                warn([f"line {job.line}: {as_fields(sentence)}"])

        error, status = None, 0
        with self._board.shown(job.line, named(job.order.video).name) as progress:
            try:
                self._perform(ready, work, progress=self._stoppable(progress), warning=warning)
            except InputError as fault:
                error, status = job.in_own_words(fault), EXIT_INPUT
            except DuikouError as fault:
                error, status = str(fault), EXIT_ERROR
                if remote_errors.is_outage(fault):  # the other jobs would wait for the server just as long
                    self._waiting.clear()
            except Exception as fault:
                error, status = f"unexpected {type(fault).__name__}: {fault}", EXIT_ERROR
        spent = round(monotonic() - began, 1)
        state = FAILED if error else DONE
        self._state.add(job.output, ready.digest, done=not error, line=job.line, seconds=spent, error=error)
        more = {"seconds": spent, "error": error, "warnings": tuple(warnings), "exit_status": status}
        self.outcomes.append(Outcome.of(job, state, **more))

    def _perform(self, ready: Ready, work: Any, *, progress: Progress, warning: Callable[[str], object]) -> None:
        checked, order, line = ready.checked, ready.job.order, ready.job.line
        if not isinstance(work, remote.Server):
            shared = Shared(work, self._sessions)
            checked.perform(shared, progress=progress, note=silence, warning=warning)
            return
        name, task = work.earlier(self._state.name(ready.digest))
        self._cancels[line] = lambda: work.cancel(name)
        try:
            if task is not None:
                work.resume(task, order.video, order.output, progress=progress)
            else:
                mine = Shared(replace(work, task_name=name), self._sessions)
                checked.perform(mine, progress=progress, note=silence, warning=warning)
        finally:
            self._cancels.pop(line)

    def _stoppable(self, progress: Progress) -> Progress:
        def update(stage: str, share: float) -> None:
            if self._stopping.is_set():
                raise Stopped
            progress(stage, share)

        return update


class _Board:
    """One progress for all jobs: the share of them that is done, and the stage of the one that began first."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._begun, self._ended = progress, total, 0, 0
        self._shown: dict[int, tuple[str, str, float]] = {}
        self._changing = threading.Lock()

    @contextmanager
    def shown(self, line: int, title: str) -> Iterator[Progress]:
        """The progress of a job, as long as it is in hand."""
        with self._changing:
            self._begun += 1
            name = f"job {self._begun} of {self._total}, {title}"
            self._shown[line] = (name, "beginning", 0.0)

        def update(stage: str, share: float) -> None:
            with self._changing:
                self._shown[line] = (name, stage, share)
                self._tell()

        yield update
        with self._changing:
            self._shown.pop(line, None)
            self._ended += 1
            self._tell()

    def _tell(self) -> None:
        share = (self._ended + sum(share for _, _, share in self._shown.values())) / self._total
        if not self._shown:
            self._progress(f"{self._ended} of {self._total} jobs", share)
            return
        name, stage, _ = next(iter(self._shown.values()))
        more = f" (and {len(self._shown) - 1} more)" if len(self._shown) > 1 else ""
        self._progress(f"{name}: {stage}{more}", share)
