"""Whose analysis a session holds, and how many callers wait for a task that makes one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add columns. Rows of former versions have no digest: nothing is shared with them, or kept of them."""
    for name in ("digest", "analyser"):
        op.add_column("sessions", sa.Column(name, sa.String(64), nullable=False, server_default=""))
    op.create_index("sessions_analysis", "sessions", ["account", "digest"])
    op.add_column("tasks", sa.Column("digest", sa.String(64), nullable=False, server_default=""))
    op.add_column("tasks", sa.Column("callers", sa.Integer, nullable=False, server_default="1"))
