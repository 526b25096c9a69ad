"""Forgetting what is over: sessions after a day, videos and finished tasks after a month, in small batches.

Files go before rows: a sweep that is cut short finds the rest next time. What is over is refused from its first
moment, since every lookup asks for it; the sweep only frees the room.
"""

from __future__ import annotations

import structlog

from duikou.jobs import folder as keys
from duikou.jobs.folder import DataFolder
from duikou.jobs.store import Store

BATCH = 100  # rows a sweep takes at once: each batch holds the disk for a moment only

log = structlog.get_logger(__name__)


def sweep(store: Store, folder: DataFolder, batch: int = BATCH) -> int:
    """Forget one batch of each kind of thing that is over; how many were forgotten."""
    sessions = store.expired_sessions(batch)
    for session_id in sessions:
        folder.remove(keys.session_key(session_id))
        store.drop_session(session_id)
    tasks = store.expired_tasks(batch)
    for task in tasks:
        folder.remove(keys.task_key(task.id))
        store.drop_task(task)
    sources = store.expired_sources(batch)
    for media in sources:
        folder.remove(media.key)
        store.drop_media(media.id)
    if sessions or tasks or sources:
        log.info("swept", sessions=len(sessions), tasks=len(tasks), sources=len(sources))
    return len(sessions) + len(tasks) + len(sources)


def remove_orphans(store: Store, folder: DataFolder) -> int:
    """Remove files that belong to nothing in the store. Only for a start: what is being received has no row yet."""
    known, removed = store.known(), 0
    for place in ("media", "sessions", "tasks"):
        for path in folder.path(place).iterdir():
            if path.stem not in known:
                folder.remove(f"{place}/{path.name}")
                removed += 1
    return removed
