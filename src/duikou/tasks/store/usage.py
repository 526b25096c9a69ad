"""Queries on what accounts store, and on the uploads that go first where there is too much of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from duikou.database import tables
from duikou.database.engine import Database
from duikou.tasks.models import Media, MediaKind
from duikou.tasks.rows import media_from
from duikou.tasks.store.errors import QuotaError
from duikou.tasks.store.media import insert_media, needed_by_session, needed_by_task
from duikou.units import DAY_MS, MIB

BATCH = 100  # uploads that are looked at at once
LEAST = 256 << 10  # bytes that an unused upload counts at least: a million tiny ones would be slow to add up
WHAT_TO_DO = "delete tasks that are no longer needed, or wait until some of it expires"


@dataclass(frozen=True)
class StorageLimits:
    """How many bytes an account may store in all, and in uploads that no call has used; 0 is no limit.

    Each of the latter counts as `LEAST` bytes at least.
    """

    stored: int = 0
    unused: int = 0


NO_LIMITS = StorageLimits()


class UsageStore:
    """What accounts store: videos, uploads and results, the speech and references of tasks, and sessions."""

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        self._database, self._clock = database, clock

    def add(self, media: Media, limits: StorageLimits = NO_LIMITS) -> list[Media]:
        """Insert a new file. The uploads whose rows went for it, and whose files are to be removed.

        Uploads that no call has used make room for it, the account's oldest first. Where they do not suffice, none
        goes, and it raises `QuotaError`. Files that an account adds at the same moment are counted one after another.
        """
        with self._database.writing() as connection:
            gone: list[Media] = []
            if limits.stored or limits.unused:
                self._database.one_by_one(connection, f"files of {media.account}")
                gone = _made_room(connection, media, limits)
            insert_media(connection, media)
        return gone

    def require_room(self, account: str, limits: StorageLimits) -> None:
        """Raise `QuotaError` where an account stores as much as it may, even without its unused uploads."""
        if limits.stored:
            with self._database.reading() as connection:
                stored = _stored(connection, account)
                if stored - _unused_bytes(connection, account) >= limits.stored:
                    raise _quota(stored, limits)

    def require_share(self, account: str, left: int, *, replaces: bool) -> list[Media]:
        """Let an account store no more within a day than is left for all, if it is not the only one.

        left: bytes on the disk above its floor. So however much an account brings, others find as much again; a server
        with a single account, or without keys, may fill its disk. replaces: whether unused uploads of the account go
        for what it brings, the oldest first. Returns those whose files are to be removed. Raises `QuotaError` where
        they do not suffice, and then none goes.
        """
        with self._database.reading() as connection:
            accounts = connection.scalar(sa.select(sa.func.count(tables.keys.c.account.distinct()))) or 0
            alone = accounts < 2
            stored = 0 if alone else _stored(connection, account, since=self._clock() - DAY_MS)
        if (left >= 0 or not replaces) if alone else stored <= left:
            return []
        with self._database.writing() as connection:
            self._database.one_by_one(connection, f"files of {account}")
            if alone:
                return _taken(connection, account, -left)
            gone = _taken(connection, account, _half(stored - left)) if replaces else []
            freed = sum(media.size for media in gone)
            if stored - freed > left + freed:
                raise QuotaError(
                    f"The server's disk is nearly full, and this account has stored {stored / MIB:.1f} MB within a "
                    f"day, which is more than the {max(left, 0) / MIB:.1f} MB left for all; {WHAT_TO_DO}."
                )
        return gone

    def take_unused(self, account: str, left: int) -> list[Media]:
        """Delete the rows of unused uploads of whoever has most of them, while that is more than is left for all.

        account: for whose call, which may be about to use its own; they stay. left: bytes on the disk above its floor;
        what goes is added to it. The oldest go first. Returns those whose files are to be removed.
        """
        gone: list[Media] = []
        t, size = tables.media, sa.func.sum(tables.media.c.size)
        sums = sa.select(t.c.account, size).where(*_unused(), t.c.account != account).group_by(t.c.account)
        most = sums.having(size > left).order_by(size.desc()).limit(1)
        with self._database.reading() as connection:
            if connection.execute(most).first() is None:
                return gone
        with self._database.writing() as connection:
            self._database.one_by_one(connection, "unused uploads")
            while True:
                row = connection.execute(most).one_or_none()
                if row is None or row[1] <= left:
                    return gone
                taken = _taken(connection, row[0], _half(row[1] - left))
                if not taken:
                    return gone
                left += sum(media.size for media in taken)
                gone += taken


def _half(too_much: int) -> int:
    """Bytes to remove: each that goes is one less of somebody's and one more that is left."""
    return (too_much + 1) // 2


def _made_room(connection: sa.Connection, media: Media, limits: StorageLimits) -> list[Media]:
    """Uploads of an account that have to go for one more file. Raises `QuotaError`."""
    over = too_many = 0
    if limits.stored:
        over = _stored(connection, media.account) + media.size - limits.stored
    if limits.unused and media.kind is MediaKind.UPLOAD:
        too_many = _unused_bytes(connection, media.account, LEAST) + max(media.size, LEAST) - limits.unused
    gone = _taken(connection, media.account, over)
    gone += _taken(connection, media.account, too_many - sum(max(one.size, LEAST) for one in gone), LEAST)
    if sum(one.size for one in gone) < over:
        raise _quota(_stored(connection, media.account) + sum(one.size for one in gone), limits, media.size)
    return gone


def _taken(connection: sa.Connection, account: str, size: int, least: int = 0) -> list[Media]:
    """Delete the rows of an account's oldest unused uploads, until they have that many bytes or none is left.

    least: bytes that each counts at least.
    """
    t, taken = tables.media, list[Media]()
    oldest = sa.select(t.c.id, t.c.size).where(t.c.account == account, *_unused())
    while size > 0:
        wanted, found = [], 0
        for row in connection.execute(oldest.order_by(t.c.created_at, t.c.id).limit(BATCH)):
            if found >= size:
                break
            wanted.append(row.id)
            found += max(row.size, least)
        # Again with its conditions: a call may have begun to use one.
        gone = connection.execute(sa.delete(t).where(t.c.id.in_(wanted), *_unused()).returning(t)).all()
        if not gone:
            break
        taken += [media_from(row._mapping) for row in gone]
        size -= sum(max(row.size, least) for row in gone)
    return taken


def _unused() -> tuple[sa.ColumnElement[bool], ...]:
    """Uploads that no call has used. What a session or a task starts from has been, whatever a former version wrote."""
    t = tables.media
    return t.c.kind == MediaKind.UPLOAD, t.c.used_at == 0, ~needed_by_session(), ~needed_by_task()


def _unused_bytes(connection: sa.Connection, account: str, least: int = 0) -> int:
    t = tables.media
    size = sa.func.sum(sa.case((t.c.size < least, least), else_=t.c.size))
    query = sa.select(sa.func.coalesce(size, 0)).where(t.c.account == account, *_unused())
    return int(connection.scalar(query) or 0)


def _stored(connection: sa.Connection, account: str, since: int = 0) -> int:
    """Bytes that an account has stored since then and that are still there."""
    total = 0
    for t in (tables.media, tables.sessions, tables.tasks):
        query = sa.select(sa.func.coalesce(sa.func.sum(t.c.size), 0)).where(t.c.account == account)
        total += int(connection.scalar(query.where(t.c.created_at >= since) if since else query) or 0)
    return total


def _quota(stored: int, limits: StorageLimits, more: int = 0) -> QuotaError:
    new = f", and {more / MIB:.1f} MB would be added" if more else ""
    return QuotaError(
        f"This account stores {stored / MIB:.1f} MB of the {limits.stored // MIB} MB that it may{new}; {WHAT_TO_DO}."
    )
