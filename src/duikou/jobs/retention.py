"""Forgetting what is over: sessions after a day, videos and finished tasks after a month, in small batches.

Files go before rows: a sweep that is cut short finds the rest next time. What is over is refused from its first
moment, since every lookup asks for it; the sweep only frees the room. Files that no row knows are orphans: of an
attempt that died after it had written them, or of a server that did between a file and its row.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import PurePosixPath

import structlog

from duikou.jobs import keys, metrics
from duikou.jobs.database import Database
from duikou.jobs.files import Files, Stored
from duikou.jobs.store import Store

BATCH = 100  # rows a sweep takes at once: each batch holds the disk for a moment only
KEYS = 500  # files that are looked up at once
SWEEP_EVERY_S = 600
ORPHANS_EVERY_S = 3600.0
ORPHAN_S = 3600.0  # a younger file may be one whose row is just being written

log = structlog.get_logger(__name__)


class Sweeper:
    """A thread of its own. Of those of a fleet one sweeps at a time."""

    def __init__(self, database: Database, store: Store, files: Files, *, stopping: threading.Event) -> None:
        self._database, self._store, self._files, self._stopping = database, store, files, stopping
        self._looked = time.monotonic()
        self._thread = threading.Thread(target=self._serve, name="duikou-sweep", daemon=True)

    def start(self) -> None:
        """Begin to sweep."""
        self._thread.start()

    def join(self) -> None:
        """After the stop was asked for: wait until the batch in hand is done."""
        if self._thread.is_alive():
            self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                with self._database.alone("sweep") as alone:
                    if alone:
                        self._sweep()
            except Exception:
                log.exception("the sweep failed")
            if self._stopping.wait(SWEEP_EVERY_S):
                return

    def _sweep(self) -> None:
        while sweep(self._store, self._files) and not self._stopping.is_set():
            pass
        if time.monotonic() - self._looked >= ORPHANS_EVERY_S:
            self._looked = time.monotonic()
            remove_orphans(self._store, self._files, ORPHAN_S)


def sweep(store: Store, files: Files, batch: int = BATCH) -> int:
    """Forget one batch of each kind of thing that is over; how many were forgotten."""
    sessions = store.expired_sessions(batch)
    for session_id in sessions:
        files.remove(keys.session_key(session_id))
        store.drop_session(session_id)
    tasks = store.expired_tasks(batch)
    for task in tasks:
        files.remove(keys.task_key(task.id))
        store.drop_task(task)
    sources = store.expired_sources(batch)
    for media in sources:
        files.remove(media.key)
        store.drop_media(media.id)
    swept = {"sessions": len(sessions), "tasks": len(tasks), "sources": len(sources)}
    for kind, count in swept.items():
        metrics.swept.labels(kind).inc(count)
    if any(swept.values()):
        log.info("swept", **swept)
    return sum(swept.values())


def remove_orphans(store: Store, files: Files, older_than_s: float = 0.0) -> int:
    """Remove files that belong to nothing in the store; how many. Age 0 only where nothing is on its way."""
    removed = 0
    for place in keys.PLACES:
        for some in _batches(files.listed(place)):
            known = store.known({_owner(stored.key) for stored in some})
            for stored in some:
                if stored.age_s >= older_than_s and _orphaned(stored.key, known):
                    files.remove(stored.key)
                    removed += 1
    metrics.swept.labels("orphans").inc(removed)
    if removed:
        log.info("orphans removed", files=removed)
    return removed


def _batches(listed: Iterable[Stored]) -> Iterator[list[Stored]]:
    files = iter(listed)
    while some := list(islice(files, KEYS)):
        yield some


def _owner(key: str) -> str:
    """Id of what a file belongs to."""
    return PurePosixPath(key).parts[1].partition(".")[0]


def _orphaned(key: str, known: dict[str, int]) -> bool:
    """Whether the file's owner is not known, or counts another attempt than the one that made it."""
    attempt = known.get(_owner(key))
    _, _, *rest = PurePosixPath(key).parts
    return attempt is None or (key.startswith("tasks/") and len(rest) > 1 and rest[0] != str(attempt))
