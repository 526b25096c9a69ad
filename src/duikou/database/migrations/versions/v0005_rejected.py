"""Why people who were seen in a session's video are not among its faces."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add a column."""
    op.add_column("sessions", sa.Column("rejected", sa.JSON, nullable=False, server_default="[]"))
