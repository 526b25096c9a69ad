"""Media, sessions and tasks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the first tables."""
    op.create_table(
        "media",
        sa.Column("id", sa.String(19), primary_key=True),
        sa.Column("account", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("key", sa.String(200), nullable=False),
        sa.Column("suffix", sa.String(8), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("duration_ms", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_index("media_expiry", "media", ["kind", "expires_at"])
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(19), primary_key=True),
        sa.Column("account", sa.String(64), nullable=False),
        sa.Column("source_id", sa.String(19), nullable=False),
        sa.Column("faces", sa.JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_sessions_source_id", "sessions", ["source_id"])
    op.create_index("ix_sessions_expires_at", "sessions", ["expires_at"])
    op.create_table(
        "tasks",
        sa.Column("id", sa.String(19), primary_key=True),
        sa.Column("account", sa.String(64), nullable=False),
        sa.Column("external_id", sa.String(256)),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("session_id", sa.String(19), nullable=False),
        sa.Column("source_id", sa.String(19), nullable=False),
        sa.Column("source_suffix", sa.String(8), nullable=False),
        sa.Column("source_duration_ms", sa.BigInteger, nullable=False),
        sa.Column("choices", sa.JSON, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("progress", sa.Float, nullable=False),
        sa.Column("stage", sa.String(64), nullable=False),
        sa.Column("not_before", sa.BigInteger, nullable=False),
        sa.Column("result_id", sa.String(19), nullable=False),
        sa.Column("result_duration_ms", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("account", "external_id"),
    )
    op.create_index("ix_tasks_session_id", "tasks", ["session_id"])
    op.create_index("ix_tasks_source_id", "tasks", ["source_id"])
    op.create_index("tasks_queue", "tasks", ["status", "not_before", "created_at"])
    op.create_index("tasks_list", "tasks", ["account", "created_at"])
