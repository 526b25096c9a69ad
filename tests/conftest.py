"""Fixtures for every test: a data folder for the user, log lines that stay out of the report, and real services."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TextIO

import pytest
import structlog
from hypothesis import HealthCheck, settings
from services import S3, Postgres, Rabbit, need
from threadpoolctl import threadpool_limits

from duikou.database.engine import Database

# How long an example takes says nothing on a machine that does much else.
settings.register_profile("any-speed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-speed")


def pytest_configure() -> None:
    """Let the process that forks children find the helpers, so that it imports them once and not each child again.

    Renders do not step back for the other tests, which run at the same time. BLAS uses only the thread that calls it,
    as in a whole job: on small arrays its threads wait for each other, longer the more tests run beside them.
    """
    os.environ.setdefault("DUIKOU_RENDER_NICENESS", "0")
    threads = os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # of what is loaded from now on, here and in children
    threadpool_limits(int(threads), user_api="blas")  # of what is loaded already
    paths = [str(Path(__file__).parent / "helpers"), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no process is left alone with one of them at the end."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage while tests are collected, nor later in what was imported and collected."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _children_can_be_interrupted() -> Iterator[None]:
    """What a shell's background job starts would ignore interrupts, as the job itself does."""
    held = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, held)


@pytest.fixture(scope="session", autouse=True)
def _user_data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A data folder for the user, so that no test makes a certificate in the real one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("user-data")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _log_lines_are_captured() -> Iterator[None]:
    """Send log lines that a server writes between two tests to the captured standard error.

    pytest captures only while a fixture or a test runs. A server in a thread may write its line a moment later, and
    the line would stand between the dots of the report.
    """
    captured, usual = sys.stderr, structlog.PrintLogger

    def logger(file: TextIO) -> structlog.PrintLogger:
        return usual(captured if file is sys.__stderr__ else file)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(structlog, "PrintLogger", logger)
        yield


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database that has its tables: making them takes longer than copying the file."""
    path = tmp_path_factory.mktemp("migrated") / "test.db"
    Database(f"sqlite:///{path}").close()
    return path


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A cluster for all tests of this process; each takes its own database. A test that stops one makes its own."""
    need("postgres")
    with Postgres() as service:
        yield service


@pytest.fixture(scope="session")
def rabbit() -> Iterator[Rabbit]:
    """A broker for all tests of this process; each takes its own virtual host."""
    need("rabbit")
    with Rabbit() as service:
        yield service


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """An object storage for all tests of this process; each takes its own bucket."""
    need("s3")
    with S3() as service:
        yield service
