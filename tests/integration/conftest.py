"""A data folder for each module, and a store for each test over both databases."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from rows import Clock
from services import Postgres

from duikou.database import tables
from duikou.database.engine import Database
from duikou.tasks.store import Store


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def migrated_url(postgres: Postgres) -> str:
    """The address of a database in PostgreSQL that has its tables: making them takes longer than emptying them."""
    url = postgres.fresh()
    Database(url).close()
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path, migrated_file: Path) -> str:
    """Where the test's database is."""
    if request.param == "sqlite":
        return f"sqlite:///{shutil.copy(migrated_file, tmp_path)}"
    url: str = request.getfixturevalue("migrated_url")
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database with empty tables."""
    database = Database(database_url)
    if database.shared:
        with database.writing() as connection:
            connection.execute(sa.text(f"TRUNCATE {', '.join(tables.metadata.tables)} RESTART IDENTITY"))
    yield database
    database.close()


@pytest.fixture
def store(database: Database, clock: Clock) -> Store:
    return Store(database, clock=clock)
