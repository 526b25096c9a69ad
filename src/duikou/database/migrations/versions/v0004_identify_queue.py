"""The queue that finds faces is called `identify`; it was `analysis`."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Rename the queue of existing tasks."""
    tasks = sa.table("tasks", sa.column("queue", sa.String))
    op.execute(sa.update(tasks).where(tasks.c.queue == "analysis").values(queue="identify"))
