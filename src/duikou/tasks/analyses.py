"""Finding the faces of videos for callers who wait: once for each account and video, however often it is asked for.

* Equal calls that run at the same time share one task, and each gets a session of its own, on its own video.
* A session holds what was found. While it is kept, it answers every later call on the same bytes.
* When the last caller has left, a task that still waits ends at once. A running one goes on for a moment, since clients
  that give up try again; then it ends, unless its last third has begun (`duikou.workers.heartbeat`).

Nothing is shared between accounts: no account can tell what another one has sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import structlog

from duikou import digests
from duikou.database.ids import new_id, now_ms
from duikou.errors import DuikouError, InputError, ModelError, StorageError, WorkerError
from duikou.sandbox.process import LimitError, StoppedError
from duikou.storage import keys
from duikou.storage.base import Files, storage_errors
from duikou.tasks.models import IDENTIFY_KEPT_MS, Analysis, IdentifyTask, Media, SessionRecord
from duikou.tasks.new import new_task
from duikou.tasks.retention import drop_unanswered
from duikou.tasks.states import Fault, Queue
from duikou.tasks.store import Store
from duikou.tasks.store.errors import IdTakenError
from duikou.tasks.store.queue import TaskLimits
from duikou.tasks.waiting import CompletionWaiter
from duikou.telemetry import metrics

ABANDONED = "nobody waits for it any more"
TRIES = 3  # with analyses whose files turn out to be gone
ERRORS: dict[Fault, type[DuikouError]] = {
    Fault.LIMIT: LimitError,
    Fault.MODEL: ModelError,
    Fault.STORAGE: StorageError,
    Fault.WORKER: WorkerError,
    Fault.CANCELLED: StoppedError,
}
"""What a caller gets where the task fails; an input error is one of the video."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class AnalysisPolicy:
    """analyser: the version of what finds faces. session_ms: how long a session is kept. limits: of waiting tasks."""

    analyser: str
    session_ms: int
    limits: TaskLimits


class Analyses:
    """Makes sessions. wake: tells whoever works on a queue that a task waits there. Used from one event loop."""

    def __init__(
        self,
        store: Store,
        files: Files,
        waiter: CompletionWaiter,
        wake: Callable[[Queue], None],
        policy: AnalysisPolicy,
    ) -> None:
        self._store, self._files, self._waiter, self._wake, self._policy = store, files, waiter, wake, policy

    async def session(self, source: Media, digest: str) -> SessionRecord:
        """A new session on a stored video. digest: of its bytes; see `digest_of`.

        Raises `InputError` for a video that cannot be read, `TooManyTasksError`, and those of `ERRORS`.
        """
        for _ in range(TRIES):
            task = IdentifyTask(**new_task(source.account, source), digest=digest)
            shared = await self._shared(task)
            if isinstance(shared, Analysis):
                session = await asyncio.to_thread(self._again, shared, source)
                how: Literal["analysed", "shared", "kept"] = "kept"
            elif shared.id == task.id:
                self._wake(task.queue)
                session_id = await self._awaited(shared)
                session = await asyncio.to_thread(self._store.sessions.find, source.account, session_id)
                how = "analysed"
            else:
                analysis = await asyncio.to_thread(self._store.sessions.analysis, await self._awaited(shared))
                session = await asyncio.to_thread(self._again, analysis, source) if analysis else None
                how = "shared"
            if session is not None:
                metrics.sessions_made.labels(how).inc()
                log.info("session made", session_id=session.id, faces=len(session.faces), how=how)
                return session
        raise StorageError("the session that was found is gone")

    async def _shared(self, task: IdentifyTask) -> IdentifyTask | Analysis:
        """See `TaskStore.share`. A caller who leaves meanwhile is not counted."""
        share, policy = self._store.tasks.share, self._policy
        sharing = asyncio.ensure_future(asyncio.to_thread(share, task, policy.analyser, policy.limits))
        try:
            return await asyncio.shield(sharing)
        except asyncio.CancelledError:
            found = await sharing
            if isinstance(found, IdentifyTask):
                await asyncio.to_thread(self._leave, found)
            raise

    async def _awaited(self, task: IdentifyTask) -> str:
        """Wait until a task is over; the id of the session that it made."""
        try:
            await self._waiter.until_finished(task.id)
        except BaseException:
            await asyncio.shield(asyncio.to_thread(self._leave, task))
            raise
        ended = await asyncio.to_thread(self._store.tasks.get, task.id)
        if not isinstance(ended, IdentifyTask):
            raise StoppedError(ABANDONED)
        if ended.fault is Fault.INPUT:
            raise InputError(ended.reason, field="video")
        if ended.fault is not None:
            raise ERRORS[ended.fault](ended.reason)
        return ended.session_id or ""

    def _leave(self, task: IdentifyTask) -> None:
        """Count one caller less. Where that fails, the task goes on to its end."""
        try:
            if self._store.tasks.leave(task, ABANDONED, expires_at=now_ms() + IDENTIFY_KEPT_MS):
                drop_unanswered(self._store, self._files, task.source.id)
        except Exception:
            log.warning("a caller has left, which cannot be written", task_id=task.id, exc_info=True)

    def _again(self, analysis: Analysis, source: Media) -> SessionRecord | None:
        """A session with the analysis of another one, on a video of the same bytes. `None` where its files are gone."""
        at = now_ms()
        session = SessionRecord(
            id=new_id(),
            account=source.account,
            source=source,
            faces=analysis.found.faces,
            created_at=at,
            expires_at=at + self._policy.session_ms,
            rejected=analysis.found.rejected,
            digest=analysis.digest,
            analyser=analysis.analyser,
            size=analysis.size,
        )
        key = keys.session_key(session.id)
        try:
            if not self._files.copy_folder(keys.session_key(analysis.session_id), key):
                self._store.sessions.disown(analysis)
                return None
            self._store.sessions.add(session)
        except IdTakenError:  # its files belong to another session
            return None
        except BaseException:
            self._files.remove(key)
            raise
        return session


def digest_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex. Raises `StorageError`."""
    with storage_errors():
        return digests.sha256(path)
