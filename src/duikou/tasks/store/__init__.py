"""Every query on media, sessions and tasks, in one part for each.

The task row is the only truth. Every change of status is a compare-and-set on the status and the attempt number, so of
two writers one wins and the other learns that it lost. Nothing here assumes that two machines' clocks agree: heartbeats
show who is alive, and no task waits longer than it may after a clock was set back.
"""

from __future__ import annotations

from collections.abc import Callable

from duikou.database.engine import Database
from duikou.database.ids import now_ms
from duikou.tasks.store.expiry import ExpiryStore
from duikou.tasks.store.media import MediaStore
from duikou.tasks.store.queue import QueueStore
from duikou.tasks.store.sessions import SessionStore
from duikou.tasks.store.tasks import TaskStore
from duikou.tasks.store.usage import UsageStore


class Store:
    """The parts of the store over one database. Safe to use from several threads. clock: Unix time in ms."""

    def __init__(self, database: Database, *, clock: Callable[[], int] = now_ms) -> None:
        self.media = MediaStore(database, clock)
        self.usage = UsageStore(database, clock)
        self.sessions = SessionStore(database, clock)
        self.tasks = TaskStore(database, clock)
        self.queue = QueueStore(database, clock)
        self.expiry = ExpiryStore(database, clock)


__all__ = ["Store"]
