"""Queries on sessions.

A session is created by the task that finds its faces (`TaskStore.complete_identify`), or with the analysis of another
session on the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from duikou.database import tables
from duikou.database.engine import Database
from duikou.tasks.models import Analysis, SessionRecord
from duikou.tasks.rows import analysis_from, media_from, session_from, session_row
from duikou.tasks.store.errors import IdTakenError

COPY_MS = 600_000  # a session that expires sooner may be swept while its files are copied


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

    def analysis(self, session_id: str) -> Analysis | None:
        """The analysis that a session holds, or `None` where the session is gone. Its source may be gone."""
        t = tables.sessions
        with self._database.reading() as connection:
            row = connection.execute(sa.select(t).where(t.c.id == session_id)).one_or_none()
        return analysis_from(row._mapping) if row else None

    def add(self, session: SessionRecord) -> None:
        """Insert a session whose files and source are stored. Raises `IdTakenError`."""
        try:
            with self._database.writing() as connection:
                insert_session(connection, session)
        except sa.exc.IntegrityError as error:
            raise IdTakenError(session.id) from error

    def disown(self, analysis: Analysis) -> None:
        """Make no more sessions of an analysis, whose files are gone."""
        t = tables.sessions
        with self._database.writing() as connection:
            connection.execute(sa.update(t).where(t.c.id == analysis.session_id).values(digest=""))

    def remove(self, session_id: str) -> None:
        """Delete the row of a session."""
        with self._database.writing() as connection:
            connection.execute(sa.delete(tables.sessions).where(tables.sessions.c.id == session_id))


def insert_session(connection: sa.Connection, session: SessionRecord) -> None:
    """Insert a new session, whose source is stored already, within the caller's transaction."""
    connection.execute(sa.insert(tables.sessions).values(session_row(session)))


def kept_analysis(
    connection: sa.Connection, account: str, digest: str, analyser: str, *, now_ms: int
) -> Analysis | None:
    """The latest analysis of these bytes by that analyser, of an unexpired session of the account, or `None`."""
    t = tables.sessions
    query = (
        sa.select(t)
        .where(t.c.account == account, t.c.digest == digest, t.c.analyser == analyser)
        .where(t.c.expires_at > now_ms + COPY_MS)
        .order_by(t.c.expires_at.desc(), t.c.id)
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    return analysis_from(row._mapping) if row else None
