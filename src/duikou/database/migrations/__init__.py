"""Bringing a database to the tables of today, from nothing or from any version before."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

BEFORE_MIGRATIONS = "0001"  # what databases hold that were made before they kept their version


def migrate(connection: sa.Connection) -> None:
    """Apply what is missing, inside the caller's transaction, which must hold the database's write lock."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    known = sa.inspect(connection).get_table_names()
    if "tasks" in known and "alembic_version" not in known:
        command.stamp(config, BEFORE_MIGRATIONS)
    command.upgrade(config, "head")
