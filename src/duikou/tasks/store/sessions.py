"""Queries on sessions. A session is created by the task that finds its faces: see `TaskStore.complete_identify`."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from duikou.database import tables
from duikou.database.engine import Database
from duikou.tasks.models import SessionRecord
from duikou.tasks.rows import media_from, session_from, session_row


class SessionStore:
    """Videos whose faces are known."""

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        self._database, self._clock = database, clock

    def find(self, account: str, session_id: str) -> SessionRecord | None:
        """An unexpired session of the account, or `None`."""
        session = self.get(session_id)
        return session if session and session.account == account else None

    def get(self, session_id: str) -> SessionRecord | None:
        """An unexpired session of any account, or `None`."""
        t = tables.sessions
        query = sa.select(t).where(t.c.id == session_id, t.c.expires_at > self._clock())
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
            if row is None:
                return None
            source = connection.execute(sa.select(tables.media).where(tables.media.c.id == row.source_id)).one_or_none()
        return session_from(row._mapping, media_from(source._mapping)) if source else None

    def remove(self, session_id: str) -> None:
        """Delete the row of a session."""
        with self._database.writing() as connection:
            connection.execute(sa.delete(tables.sessions).where(tables.sessions.c.id == session_id))


def insert_session(connection: sa.Connection, session: SessionRecord) -> None:
    """Insert a new session, whose source is stored already, within the caller's transaction."""
    connection.execute(sa.insert(tables.sessions).values(session_row(session)))
