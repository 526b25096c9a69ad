"""Queries for retention: what has expired and is no longer needed, and which ids are in use."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import sqlalchemy as sa

from duikou.database import tables
from duikou.database.engine import Database
from duikou.tasks.models import Media, MediaKind, Task
from duikou.tasks.rows import media_from, task_from
from duikou.tasks.states import UNFINISHED
from duikou.tasks.store.media import needed_by_session, needed_by_task


class ExpiryStore:
    """What may be deleted. Every query returns at most `limit` rows."""

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        self._database, self._clock = database, clock

    def sessions(self, limit: int) -> list[str]:
        """Ids of expired sessions that no unfinished task needs."""
        t = tables.sessions
        needed = sa.exists().where(tables.tasks.c.session_id == t.c.id, tables.tasks.c.status.in_(UNFINISHED))
        query = sa.select(t.c.id).where(t.c.expires_at <= self._clock(), ~needed).limit(limit)
        with self._database.reading() as connection:
            return list(connection.scalars(query))

    def sources(self, limit: int) -> list[Media]:
        """Expired sources and uploads that no session and no unfinished task needs."""
        t = tables.media
        over = (t.c.kind != MediaKind.RESULT, t.c.expires_at <= self._clock())
        query = sa.select(t).where(*over, ~needed_by_session(), ~needed_by_task()).limit(limit)
        with self._database.reading() as connection:
            return [media_from(row._mapping) for row in connection.execute(query)]

    def tasks(self, limit: int) -> list[Task]:
        """Expired tasks whose results neither a session nor an unfinished task needs."""
        t = tables.tasks
        needed = sa.or_(
            sa.exists().where(tables.sessions.c.source_id.in_((t.c.result_id, t.c.watermark_id))),
            needed_by_task(t.c.result_id),
            needed_by_task(t.c.watermark_id),
        )
        query = (
            sa.select(t)
            .where(t.c.expires_at > 0, t.c.expires_at <= self._clock(), ~needed)
            .order_by(t.c.expires_at)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [task_from(row._mapping) for row in connection.execute(query)]

    def known(self, ids: Iterable[str]) -> dict[str, int]:
        """Which of these ids media, a session or a task has; with the current attempt of a task, else 0."""
        wanted = list(ids)
        columns = (
            (tables.media, sa.literal(0)),
            (tables.sessions, sa.literal(0)),
            (tables.tasks, tables.tasks.c.attempt),
        )
        query = sa.union_all(*(sa.select(t.c.id, attempt).where(t.c.id.in_(wanted)) for t, attempt in columns))
        with self._database.reading() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}
