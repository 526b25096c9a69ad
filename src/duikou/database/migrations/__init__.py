"""The tables of an empty database, and migrations from any former version to the current one."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy as sa

from duikou.database.tables import metadata

VERSION: Final = "0010"
"""The current version of the tables: that of the newest module in `versions`."""
BEFORE_MIGRATIONS: Final = "0001"  # the version of databases that do not store their version
_STORED: Final = sa.Table(
    "alembic_version",
    sa.MetaData(),
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
"""Where Alembic keeps the version."""


class UnknownVersionError(Exception):
    """The database has a version that this duikou does not know."""


def version_of(connection: sa.Connection) -> str:
    """The version that a database stores; empty for none."""
    if not sa.inspect(connection).has_table(_STORED.name):
        return ""
    return str(connection.scalar(sa.select(_STORED.c.version_num)))


def migrate(connection: sa.Connection) -> None:
    """Bring the tables to the current version inside the caller's transaction, which must hold the write lock.

    An empty database gets them at once. Only one of a former version needs Alembic, which takes a tenth of a server's
    start to import. Raises `UnknownVersionError`.
    """
    stored = version_of(connection)
    if stored == VERSION:
        return
    if stored or sa.inspect(connection).has_table("tasks"):
        _upgrade(connection, stored)
        return
    metadata.create_all(connection, checkfirst=False)
    _STORED.create(connection, checkfirst=False)
    connection.execute(sa.insert(_STORED).values(version_num=VERSION))


def _upgrade(connection: sa.Connection, stored: str) -> None:
    """Apply the missing migrations."""
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        if not stored:
            command.stamp(config, BEFORE_MIGRATIONS)
        command.upgrade(config, "head")
    except CommandError as error:
        raise UnknownVersionError(str(error)) from error
