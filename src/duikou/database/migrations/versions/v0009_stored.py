"""What accounts store: bytes of sessions and tasks, and when an upload was first used."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add columns, and the indexes by which an account's files and the unused uploads are found.

    Uploads that a session or a task starts from have been used; when is not known.
    """
    op.add_column("media", sa.Column("used_at", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("sessions", sa.Column("size", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("tasks", sa.Column("size", sa.BigInteger, nullable=False, server_default="0"))
    op.create_index("media_account", "media", ["account", "created_at", "size"])
    op.create_index("media_unused", "media", ["used_at", "account", "created_at", "size"])
    op.execute(
        "UPDATE media SET used_at = created_at WHERE kind <> 'upload' OR "
        "id IN (SELECT source_id FROM sessions UNION SELECT source_id FROM tasks)"
    )
