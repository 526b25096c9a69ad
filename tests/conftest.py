"""For every test: a user's data folder of its own, so that no certificate is made in the real one; real services."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from services import S3, Postgres, Rabbit, need


@pytest.fixture(scope="session", autouse=True)
def _users_data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("users-data")))
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A cluster for all tests of this process; each takes a database of its own. Whoever stops one makes his own."""
    need("postgres")
    with Postgres() as service:
        yield service


@pytest.fixture(scope="session")
def rabbit() -> Iterator[Rabbit]:
    """A broker for all tests of this process; each takes a virtual host of its own."""
    need("rabbit")
    with Rabbit() as service:
        yield service


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """An object storage for all tests of this process; each takes a bucket of its own."""
    need("s3")
    with S3() as service:
        yield service
