"""Accounts and their API keys, and the secrets that all servers of a database share.

A plain key is random, and only its digest is stored. The secret of a signing pair is stored as it is, since checking a
signature needs the secret itself (HS256, RFC 7518, 3.2).
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa
import structlog

from duikou.database import tables
from duikou.database.engine import Database
from duikou.database.ids import new_id, now_ms
from duikou.errors import InputError, NotFoundError

OPEN = ""
"""The account that owns everything while no key exists."""

MAX_NAME = 64  # characters; the column's width
MAX_PRIORITY = 100  # times the share of an ordinary account
KEY_BYTES = 32  # of a plain key, a signing secret and a webhook secret: too many to guess
HINT = 10  # first characters of a key, which let its owner recognize it

log = structlog.get_logger(__name__)


class KeyKind(StrEnum):
    """What a caller sends: the key itself, or a token signed with it."""

    PLAIN = "plain"
    SIGNING = "signing"


@dataclass(frozen=True)
class Key:
    """One key of an account. Times are Unix ms, 0 is never.

    public: digest of a plain key, access key of a signing pair. secret: of a signing pair. hint: first characters.
    """

    id: str
    account: str
    kind: KeyKind
    public: str
    secret: str
    hint: str
    created_at: int
    revoked_at: int


@dataclass(frozen=True)
class NewKey:
    """A new key with its secret, which is shown once. access: empty for a plain key."""

    key: Key
    access: str
    secret: str


class Accounts:
    """Queries on accounts, keys and shared secrets."""

    def __init__(self, database: Database, *, clock: Callable[[], int] = now_ms) -> None:
        self._database, self._clock = database, clock

    def any(self) -> bool:
        """Whether a key was ever created. From then on every call needs one, even after all were revoked."""
        with self._database.reading() as connection:
            return connection.execute(sa.select(tables.keys.c.id).limit(1)).first() is not None

    def require(self, account: str) -> None:
        """Raise `NotFoundError` where there is no account of that name; the open account always exists."""
        with self._database.reading() as connection:
            if account != OPEN and _secret(connection, account) is None:
                raise NotFoundError(
                    f"there is no account {account!r}; `duikou keys list` shows all that have a key", field="account"
                )

    def make(self, account: str, kind: KeyKind) -> NewKey:
        """Create a key of an account, and the account where there is none of that name. Raises `InputError`."""
        _check_name(account)
        shown, access = f"dk-{secrets.token_urlsafe(KEY_BYTES)}", ""
        public, secret = digest(shown), ""
        if kind is KeyKind.SIGNING:
            access = public = f"ak-{secrets.token_urlsafe(16)}"
            secret = shown = secrets.token_urlsafe(KEY_BYTES)
        hint = (access or shown)[:HINT]
        key = Key(new_id(), account, kind, public, secret, hint, self._clock(), 0)
        with self._database.writing() as connection:
            self._ensure(connection, account)
            connection.execute(sa.insert(tables.keys).values(key.__dict__))
        log.info("key made", key_id=key.id, account=account, kind=str(kind))
        return NewKey(key, access, shown)

    def all(self) -> list[Key]:
        """Every key, oldest first, including revoked ones."""
        t = tables.keys
        with self._database.reading() as connection:
            return [_key(row) for row in connection.execute(sa.select(t).order_by(t.c.created_at, t.c.id))]

    def revoke(self, key_id: str) -> Key:
        """Revoke a key for good. Raises `NotFoundError`."""
        t = tables.keys
        with self._database.writing() as connection:
            change = sa.update(t).where(t.c.id == key_id, t.c.revoked_at == 0).values(revoked_at=self._clock())
            connection.execute(change)
            row = connection.execute(sa.select(t).where(t.c.id == key_id)).one_or_none()
        if row is None:
            raise NotFoundError(f"there is no key {key_id!r}; `duikou keys list` shows them", field="key")
        log.info("key revoked", key_id=key_id)
        return _key(row)

    def find(self, public: str) -> Key | None:
        """The key with that digest or access key, unless it was revoked."""
        t = tables.keys
        with self._database.reading() as connection:
            row = connection.execute(sa.select(t).where(t.c.public == public, t.c.revoked_at == 0)).one_or_none()
        return _key(row) if row else None

    def callback_secret(self, account: str) -> str:
        """The secret that signs an account's webhooks: `whsec_` and base64 (Standard Webhooks). Created if missing."""
        with self._database.reading() as connection:
            found = _secret(connection, account)
        if found is None:
            with self._database.writing() as connection:
                found = self._ensure(connection, account)
        return found

    def set_priority(self, account: str, priority: int) -> None:
        """Set how many times the share of a priority-1 account an account gets.

        Raises `InputError`, and `NotFoundError` where there is no such account.
        """
        if not 1 <= priority <= MAX_PRIORITY:
            raise InputError(f"{priority} lies outside 1 to {MAX_PRIORITY}", field="priority")
        self.require(account)
        t = tables.accounts
        with self._database.writing() as connection:
            self._ensure(connection, account)
            connection.execute(sa.update(t).where(t.c.name == account).values(priority=priority))
        log.info("priority set", account=account, priority=priority)

    def secret(self, name: str, first: bytes) -> bytes:
        """A secret that all processes on this database share; `first` becomes it where there is none of that name."""
        t = tables.secrets
        with self._database.writing() as connection:
            self._database.one_by_one(connection, f"secret {name}")
            found = connection.scalar(sa.select(t.c.value).where(t.c.name == name))
            if found is None:
                connection.execute(sa.insert(t).values(name=name, value=first.hex()))
        return first if found is None else bytes.fromhex(found)

    def _ensure(self, connection: sa.Connection, account: str) -> str:
        """The account's webhook secret; creates the account where there is none of that name."""
        self._database.one_by_one(connection, f"account {account}")
        found = _secret(connection, account)
        if found is None:
            found = f"whsec_{base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}"
            values = {"name": account, "callback_secret": found, "created_at": self._clock()}
            connection.execute(sa.insert(tables.accounts).values(values))
        return found


def _check_name(account: str) -> None:
    if not account or len(account) > MAX_NAME or not account.isprintable() or account != account.strip():
        raise InputError(
            f"a name has 1 to {MAX_NAME} printable characters and no space around them, not {account!r}",
            field="account",
        )


def digest(key: str) -> str:
    """The stored form of a plain key. With 256 random bits, SHA-256 needs neither salt nor stretching."""
    return hashlib.sha256(key.encode()).hexdigest()


def _secret(connection: sa.Connection, account: str) -> str | None:
    t = tables.accounts
    return connection.scalar(sa.select(t.c.callback_secret).where(t.c.name == account))


def _key(row: sa.Row[tuple[object, ...]]) -> Key:
    return Key(**{**row._mapping, "kind": KeyKind(row.kind)})
