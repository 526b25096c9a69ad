"""Queues, turns and signs of life of tasks, priorities of accounts, and what all servers of a fleet must know."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add columns, indexes and a table."""
    op.add_column("tasks", sa.Column("queue", sa.String(16), nullable=False, server_default="render"))
    op.add_column("tasks", sa.Column("turn", sa.Float(53), nullable=False, server_default="0"))
    op.add_column("tasks", sa.Column("beat", sa.Integer, nullable=False, server_default="0"))
    op.add_column("tasks", sa.Column("fault", sa.String(16), nullable=False, server_default=""))
    op.add_column("tasks", sa.Column("request_id", sa.String(36), nullable=False, server_default=""))
    op.add_column("tasks", sa.Column("trace", sa.String(64), nullable=False, server_default=""))
    op.drop_index("tasks_queue", "tasks")
    op.create_index("tasks_queue", "tasks", ["queue", "status", "turn", "id"])
    op.create_index("tasks_turn", "tasks", ["queue", "turn"])
    op.create_index("tasks_account", "tasks", ["account", "status", "queue"])
    op.create_index("tasks_expiry", "tasks", ["expires_at"])
    op.create_index("media_key", "media", ["key"])
    op.add_column("accounts", sa.Column("priority", sa.Integer, nullable=False, server_default="1"))
    op.create_table(
        "secrets",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
