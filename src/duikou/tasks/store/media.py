"""Queries on media."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from duikou.database import tables
from duikou.database.engine import Database
from duikou.tasks.models import IDENTIFY_KEPT_MS, Media, MediaKind
from duikou.tasks.rows import media_from, media_row
from duikou.tasks.states import UNFINISHED


class MediaStore:
    """Source videos, uploads and results."""

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        self._database, self._clock = database, clock

    def add(self, media: Media) -> None:
        """Insert a new file."""
        with self._database.writing() as connection:
            insert_media(connection, media)

    def find(self, account: str, media_id: str) -> Media | None:
        """An unexpired file of the account, or `None`."""
        return self._one(*self._unexpired(account), tables.media.c.id == media_id)

    def find_by_key(self, account: str, key: str) -> Media | None:
        """An unexpired file of the account by its key in the file storage, or `None`."""
        return self._one(*self._unexpired(account), tables.media.c.key == key)

    def get(self, media_id: str) -> Media | None:
        """A file of any account, expired or not; `None` where it is gone."""
        return self._one(tables.media.c.id == media_id)

    def extend(self, media_id: str, expires_at: int) -> None:
        """Keep a file until then, unless it is kept for longer anyway."""
        t = tables.media
        with self._database.writing() as connection:
            change = sa.update(t).where(t.c.id == media_id, t.c.expires_at < expires_at)
            connection.execute(change.values(expires_at=expires_at))

    def use(self, media_id: str, expires_at: int) -> bool:
        """The same for a file that a call uses, so that it no longer makes room for others. False where it is gone."""
        t = tables.media
        longer = sa.case((t.c.expires_at < expires_at, expires_at), else_=t.c.expires_at)
        with self._database.writing() as connection:
            change = sa.update(t).where(t.c.id == media_id).values(expires_at=longer, used_at=self._clock())
            return connection.execute(change).rowcount == 1

    def unanswered(self, media_id: str) -> Media | None:
        """A received video whose faces no caller was told, and are neither known nor looked for; else `None`."""
        t = tables.media
        fresh = (t.c.kind == MediaKind.SOURCE, t.c.expires_at <= t.c.created_at + IDENTIFY_KEPT_MS)
        return self._one(t.c.id == media_id, *fresh, ~needed_by_session(), ~needed_by_task())

    def remove(self, media_id: str) -> None:
        """Delete the row of a file."""
        with self._database.writing() as connection:
            connection.execute(sa.delete(tables.media).where(tables.media.c.id == media_id))

    def _one(self, *match: sa.ColumnElement[bool]) -> Media | None:
        with self._database.reading() as connection:
            row = connection.execute(sa.select(tables.media).where(*match)).one_or_none()
        return media_from(row._mapping) if row else None

    def _unexpired(self, account: str) -> tuple[sa.ColumnElement[bool], ...]:
        t = tables.media
        return t.c.account == account, t.c.expires_at > self._clock()


def insert_media(connection: sa.Connection, media: Media) -> None:
    """Insert a new file within the caller's transaction. Only uploads may be unused."""
    used_at = 0 if media.kind is MediaKind.UPLOAD else media.created_at
    connection.execute(sa.insert(tables.media).values(media_row(media) | {"used_at": used_at}))


def keep_source(connection: sa.Connection, media_id: str, expires_at: int) -> None:
    """Keep what a task starts from until then, within the caller's transaction. Results end with their own tasks."""
    t = tables.media
    change = sa.update(t).where(t.c.id == media_id, t.c.kind != MediaKind.RESULT, t.c.expires_at < expires_at)
    connection.execute(change.values(expires_at=expires_at))


def needed_by_session() -> sa.ColumnElement[bool]:
    """Whether a session starts from the file of a query's row."""
    return sa.exists().where(tables.sessions.c.source_id == tables.media.c.id)


def needed_by_task(media_id: sa.ColumnElement[str] = tables.media.c.id) -> sa.ColumnElement[bool]:
    """Whether an unfinished task starts from it. media_id: in a query on other rows, the column of the file's id."""
    t = tables.tasks.alias()
    return sa.exists().where(t.c.source_id == media_id, t.c.status.in_(UNFINISHED))
