"""Forgetting what is over: sessions after a day, videos and finished tasks after a month, in small batches.

Files go before rows: a sweep that is cut short finds the rest next time. What is over is refused from its first
moment, since every lookup asks for it; the sweep only frees the room. Files that no row knows are orphans: of an
attempt that died after it had written them, or of a server that did between a file and its row.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import PurePosixPath

import structlog

from duikou.database.engine import Database
from duikou.storage import keys
from duikou.storage.base import Files, StoredFile
from duikou.tasks.store import Store
from duikou.telemetry import metrics

BATCH = 100  # rows a sweep takes at once: each batch holds the disk for a moment only
KEYS = 500  # files that are looked up at once
SWEEP_EVERY_S = 600
AT_ONCE = 16  # removals
ORPHANS_EVERY_S = 6 * 3600.0
ORPHAN_S = 3600.0  # a younger file may be one whose row is just being written

log = structlog.get_logger(__name__)


class Sweeper:
    """Two threads: what is over goes every few minutes; orphans, for which all files are listed, a few times a day.

    Of those of a fleet one sweeps at a time.
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
        """After the stop was asked for: wait until what is in hand is done."""
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def sweep(self) -> None:
        """Forget all that is over."""
        while not self._stopping.is_set() and sweep(self._store, self._files):
            pass

    def orphans(self) -> None:
        """Remove files that no row knows, and are not about to get one."""
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
    """Forget one batch of each kind of thing that is over; how many were forgotten."""
    sessions = store.expired_sessions(batch)
    _remove(files, [keys.session_key(session_id) for session_id in sessions])
    for session_id in sessions:
        store.drop_session(session_id)
    tasks = store.expired_tasks(batch)
    _remove(files, [keys.task_key(task.id) for task in tasks])
    for task in tasks:
        store.drop_task(task)
    sources = store.expired_sources(batch)
    _remove(files, [media.key for media in sources])
    for media in sources:
        store.drop_media(media.id)
    swept = {"sessions": len(sessions), "tasks": len(tasks), "sources": len(sources)}
    for kind, count in swept.items():
        metrics.swept.labels(kind).inc(count)
    if any(swept.values()):
        log.info("swept", **swept)
    return sum(swept.values())


def remove_orphans(
    store: Store, files: Files, older_than_s: float = 0.0, stopping: threading.Event | None = None
) -> int:
    """Remove files that belong to nothing in the store; how many. Age 0 only where nothing is on its way."""
    removed = 0
    for place in keys.PLACES:
        for some in _batches(files.list(place)):
            if stopping is not None and stopping.is_set():
                return removed
            known = store.known({_owner(stored.key) for stored in some})
            orphans = [one.key for one in some if one.age_s >= older_than_s and _orphaned(one.key, known)]
            _remove(files, orphans)
            metrics.swept.labels("orphans").inc(len(orphans))
            removed += len(orphans)
    if removed:
        log.info("orphans removed", files=removed)
    return removed


def _remove(files: Files, some: Sequence[str]) -> None:
    """Remove several at once: an object storage takes its time for each."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(files.remove, some):
            pass


def _batches(listed: Iterable[StoredFile]) -> Iterator[list[StoredFile]]:
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
