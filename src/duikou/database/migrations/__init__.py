"""Migrations from an empty database, or from any former version, to the current tables."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

BEFORE_MIGRATIONS = "0001"  # the version of databases that do not store their version


def migrate(connection: sa.Connection) -> None:
    """Apply the missing migrations inside the caller's transaction, which must hold the database's write lock."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    known = sa.inspect(connection).get_table_names()
    if "tasks" in known and "alembic_version" not in known:
        command.stamp(config, BEFORE_MIGRATIONS)
    command.upgrade(config, "head")
