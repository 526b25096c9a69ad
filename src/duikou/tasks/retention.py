"""Deletes what has expired, in small batches: sessions after a day, videos and finished tasks after a month.

Files are deleted before their rows, so that the next sweep finishes one that was interrupted. Every lookup refuses
expired rows anyway; the sweep only frees the space. Files without a row are orphans: of an attempt that died after
writing them, or of a server that died between a file and its row.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import PurePosixPath
from typing import Literal

import structlog

from duikou.database.engine import Database
from duikou.storage import keys
from duikou.storage.base import Files, StoredFile
from duikou.tasks.models import Media
from duikou.tasks.store import Store
from duikou.telemetry import metrics

BATCH = 100  # rows of a sweep's batch: each batch keeps the disk busy for a moment only
KEYS = 500  # files of one lookup
SWEEP_EVERY_S = 600
AT_ONCE = 16  # deletions
ORPHANS_EVERY_S = 6 * 3600.0
ORPHAN_S = 3600.0  # the row of a younger file may still be on its way

log = structlog.get_logger(__name__)


class RetentionSweeper:
    """Two threads: one sweeps every few minutes, one removes orphans a few times a day, since that lists all files.

    In a fleet one process sweeps at a time.
    """

    def __init__(self, database: Database, store: Store, files: Files, *, stopping: threading.Event) -> None:
        self._database, self._store, self._files, self._stopping = database, store, files, stopping
        self._threads = [
            threading.Thread(target=self._serve, args=(do, every_s, wait_s), name=f"duikou-{do.__name__}", daemon=True)
            for do, every_s, wait_s in (
                (self.sweep, SWEEP_EVERY_S, 0),
                (self.orphans, ORPHANS_EVERY_S, ORPHANS_EVERY_S),
            )
        ]

    def start(self) -> None:
        """Begin to sweep."""
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait, after the stop was requested, until the current batch is done."""
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def sweep(self) -> None:
        """Delete everything that has expired."""
        while not self._stopping.is_set() and sweep(self._store, self._files):
            pass

    def orphans(self) -> None:
        """Delete files that have no row and are not about to get one."""
        remove_orphans(self._store, self._files, ORPHAN_S, self._stopping)

    def _serve(self, do: Callable[[], None], every_s: float, wait_s: float) -> None:
        while not self._stopping.wait(wait_s):
            wait_s = every_s
            try:
                with self._database.alone(do.__name__) as alone:
                    if alone:
                        do()
            except Exception:
                log.exception("the sweep failed", what=do.__name__)


def sweep(store: Store, files: Files, batch: int = BATCH) -> int:
    """Delete one batch of expired sessions, tasks and sources; how many were deleted."""
    sessions = store.expiry.sessions(batch)
    _remove(files, [keys.session_key(session_id) for session_id in sessions])
    for session_id in sessions:
        store.sessions.remove(session_id)
    tasks = store.expiry.tasks(batch)
    _remove(files, [keys.task_key(task.id) for task in tasks])
    for task in tasks:
        store.tasks.remove(task)
    sources = store.expiry.sources(batch)
    _remove(files, [media.key for media in sources])
    for media in sources:
        store.media.remove(media.id)
    swept = {"sessions": len(sessions), "tasks": len(tasks), "sources": len(sources)}
    for kind, count in swept.items():
        metrics.swept.labels(kind).inc(count)
    if any(swept.values()):
        log.info("swept", **swept)
    return sum(swept.values())


def drop_unanswered(store: Store, files: Files, media_id: str) -> None:
    """Remove a received video where nothing came of it: see `MediaStore.unanswered`."""
    media = store.media.unanswered(media_id)
    if media is not None:
        files.remove(media.key)
        store.media.remove(media.id)


def remove_unused(files: Files, uploads: Sequence[Media], why: Literal["account", "disk"]) -> None:
    """Remove the files of unused uploads whose rows went to make room. A file that stays is an orphan, swept later."""
    for media in uploads:
        log.info("unused upload removed", media_id=media.id, account=media.account, bytes=media.size, why=why)
        metrics.uploads_removed.labels(why).inc()
    _remove(files, [media.key for media in uploads])


def remove_orphans(
    store: Store, files: Files, older_than_s: float = 0.0, stopping: threading.Event | None = None
) -> int:
    """Delete files that have no row; how many. An age of 0 is safe only while nothing is being written."""
    removed = 0
    for place in keys.PLACES:
        for some in _batches(files.list(place)):
            if stopping is not None and stopping.is_set():
                return removed
            known = store.expiry.known({_owner(stored.key) for stored in some})
            orphans = [one.key for one in some if one.age_s >= older_than_s and _orphaned(one.key, known)]
            _remove(files, orphans)
            metrics.swept.labels("orphans").inc(len(orphans))
            removed += len(orphans)
    if removed:
        log.info("orphans removed", files=removed)
    return removed


def _remove(files: Files, some: Sequence[str]) -> None:
    """Delete several at once: an object storage takes its time for each."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(files.remove, some):
            pass


def _batches(listed: Iterable[StoredFile]) -> Iterator[list[StoredFile]]:
    files = iter(listed)
    while some := list(islice(files, KEYS)):
        yield some


def _owner(key: str) -> str:
    """Id of the media, session or task that a file belongs to."""
    return PurePosixPath(key).parts[1].partition(".")[0]


def _orphaned(key: str, known: dict[str, int]) -> bool:
    """Whether the file's owner is unknown, or is a task whose current attempt is not the one that wrote the file."""
    attempt = known.get(_owner(key))
    _, _, *rest = PurePosixPath(key).parts
    return attempt is None or (key.startswith("tasks/") and len(rest) > 1 and rest[0] != str(attempt))
