"""A database of its own for each test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from duikou.database.engine import Database
from duikou.tasks.store import Store


@pytest.fixture
def database(tmp_path: Path, migrated_file: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{shutil.copy(migrated_file, tmp_path)}")
    yield database
    database.close()


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database)
