"""Accounts, their keys and callbacks, and what extensions ask of tasks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add tables and columns."""
    op.add_column("tasks", sa.Column("sync_mode", sa.String(16), nullable=False, server_default=""))
    op.add_column("tasks", sa.Column("watermark", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("tasks", sa.Column("watermark_id", sa.String(19), nullable=False, server_default=""))
    op.add_column("tasks", sa.Column("callback_url", sa.Text, nullable=False, server_default=""))
    op.add_column("tasks", sa.Column("files_url", sa.Text, nullable=False, server_default=""))
    op.add_column("tasks", sa.Column("began_at", sa.BigInteger, nullable=False, server_default="0"))
    op.create_table(
        "accounts",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("callback_secret", sa.String(80), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "keys",
        sa.Column("id", sa.String(19), primary_key=True),
        sa.Column("account", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("public", sa.String(64), nullable=False, unique=True),
        sa.Column("secret", sa.String(80), nullable=False),
        sa.Column("hint", sa.String(32), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("revoked_at", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_keys_account", "keys", ["account"])
    op.create_table(
        "callbacks",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(19), nullable=False, unique=True),
        sa.Column("task_id", sa.String(19), nullable=False),
        sa.Column("task", sa.JSON, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("not_before", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_callbacks_task_id", "callbacks", ["task_id"])
    op.create_index("ix_callbacks_not_before", "callbacks", ["not_before"])
