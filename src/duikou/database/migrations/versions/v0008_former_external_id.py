"""The external id of a task that failed or was cancelled, once a later task has taken it over."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add a column."""
    op.add_column("tasks", sa.Column("former_external_id", sa.String(256)))
