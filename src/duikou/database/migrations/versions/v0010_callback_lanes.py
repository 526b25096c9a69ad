"""Whose a callback is and which host receives it, so that accounts and receivers take turns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

AT_ONCE = 1_000  # rows that are read and written at once


def upgrade() -> None:
    """Add columns, fill them, and add the indexes that a turn is found by."""
    for name, width in (("account", 64), ("receiver", 262)):
        op.add_column("callbacks", sa.Column(name, sa.String(width), nullable=False, server_default=""))
    _fill(op.get_bind())
    op.create_index("callbacks_account", "callbacks", ["account", "not_before"])
    op.create_index("callbacks_receiver", "callbacks", ["account", "receiver", "not_before", "number"])


def _fill(connection: sa.Connection) -> None:
    new = (sa.column("account", sa.String), sa.column("receiver", sa.String))
    t = sa.table("callbacks", sa.column("number", sa.BigInteger), sa.column("task", sa.JSON), *new)
    last = -1
    while rows := connection.execute(
        sa.select(t.c.number, t.c.task).where(t.c.number > last).order_by(t.c.number).limit(AT_ONCE)
    ).all():
        filled = sa.update(t).where(t.c.number == sa.bindparam("of"))
        filled = filled.values(account=sa.bindparam("account"), receiver=sa.bindparam("receiver"))
        connection.execute(filled, [{"of": row.number, **_lane(row.task)} for row in rows])
        last = rows[-1].number


def _lane(task: Mapping[str, Any]) -> dict[str, str]:
    """Account, and host and port, of a task as its callback holds it."""
    try:
        parts = urlsplit(str(task.get("callback_url", "")))
        usual = {"http": 80, "https": 443}.get(parts.scheme, 0)
        receiver = f"{(parts.hostname or '').rstrip('.')}:{parts.port or usual}"
    except ValueError:
        receiver = ""
    return {"account": str(task.get("account", "")), "receiver": receiver[:262]}
