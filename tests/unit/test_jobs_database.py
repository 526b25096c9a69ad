"""The database's versions: from nothing, from any version before, and from several processes at once."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from duikou.errors import StorageError
from duikou.jobs import migrations, tables
from duikou.jobs.database import Database
from duikou.jobs.state import ChoiceRecord, FaceNote, FaceSummary, MediaKind, TaskStatus
from duikou.jobs.store import Store
from duikou.timebase import Interval

MEDIA = {
    "id": "1000000000000000001",
    "account": "",
    "kind": "source",
    "key": "media/1000000000000000001.mp4",
    "suffix": ".mp4",
    "size": 5,
    "duration_ms": 10_000,
    "created_at": 1,
    "expires_at": 2**50,
}
FACE = {
    "id": "0",
    "interval": {"start_ms": 0, "end_ms": 9_000},
    "notes": [{"code": "small_face", "message": "small", "interval": {"start_ms": 1, "end_ms": 2}}],
}
SESSION = {
    "id": "1000000000000000002",
    "account": "",
    "source_id": MEDIA["id"],
    "faces": [FACE],
    "created_at": 1,
    "expires_at": 2**50,
}
CHOICE = {
    "sound": "tasks/3/sound_0",
    "face_id": "0",
    "sound_start_ms": 0,
    "sound_end_ms": 3_000,
    "insert_ms": 500,
    "sound_volume": 1.0,
    "original_volume": 0.5,
}
TASK = {
    "id": "1000000000000000003",
    "account": "",
    "external_id": "mine",
    "fingerprint": "f",
    "session_id": SESSION["id"],
    "source_id": MEDIA["id"],
    "source_suffix": ".mp4",
    "source_duration_ms": 10_000,
    "choices": [CHOICE],
    "status": "submitted",
    "reason": "",
    "attempt": 1,
    "tries": 1,
    "progress": 0.25,
    "stage": "rendering",
    "not_before": 7,
    "result_id": "",
    "result_duration_ms": 0,
    "created_at": 5,
    "updated_at": 6,
    "expires_at": 0,
}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'test.db'}"


def make_old(url: str, *, versioned: bool) -> None:
    """A database as the first version left it, with a row in each table."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        if not versioned:
            connection.execute(sa.text("DROP TABLE alembic_version"))
        old = sa.MetaData()
        old.reflect(connection)
        assert "accounts" not in old.tables
        assert "callback_url" not in old.tables["tasks"].c
        for name, row in (("media", MEDIA), ("sessions", SESSION), ("tasks", TASK)):
            # Reflected columns no longer know that they are JSON; today's do.
            today = tables.metadata.tables[name]
            connection.execute(sa.insert(sa.table(name, *(sa.column(c, today.c[c].type) for c in row))).values(row))
    engine.dispose()


def differences(url: str) -> list[object]:
    """Between the tables that the code expects and those that are there."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection), tables.metadata)
    engine.dispose()
    return found


@pytest.mark.parametrize("versioned", [True, False])
def test_a_database_of_the_first_version_keeps_its_rows(url: str, versioned: bool) -> None:
    make_old(url, versioned=versioned)
    assert differences(url)
    database = Database(url)
    store = Store(database)
    media, session = store.media("", MEDIA["id"]), store.session("", SESSION["id"])
    assert media
    assert {**media.__dict__} == {**MEDIA, "kind": MediaKind.SOURCE}
    assert session
    note = FaceNote("small_face", "small", Interval(1, 2))
    assert session.faces == (FaceSummary("0", Interval(0, 9_000), (note,), (0, 0, 0, 0)),)
    task = store.task_by_external_id("", "mine")
    assert task
    kept = {name: getattr(task, name) for name in TASK}
    assert kept == {**TASK, "choices": (ChoiceRecord(**CHOICE),), "status": TaskStatus.SUBMITTED}
    added = (task.sync_mode, task.watermark, task.watermark_id, task.callback_url, task.files_url, task.began_at)
    assert added == ("", False, "", "", "", 0)
    claimed = store.claim()
    assert claimed
    assert (claimed.id, claimed.attempt, claimed.tries) == (TASK["id"], 2, 2)
    database.close()
    assert differences(url) == []


def test_a_new_database_has_the_tables_that_the_code_expects(url: str) -> None:
    for _ in range(2):
        Database(url).close()
        assert differences(url) == []


def test_a_database_of_a_later_version_is_refused(url: str) -> None:
    Database(url).close()
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(StorageError, match="is of a version that this duikou does not know; run the one that"):
        Database(url)


def test_a_folder_that_is_missing_is_told_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"^data: the database sqlite:.* cannot be opened: .*No such file"):
        Database(f"sqlite:///{tmp_path / 'absent' / 'test.db'}")


def _open(url: str, start) -> None:
    start.wait()
    database = Database(url)
    database.ping()
    database.close()


@pytest.mark.parametrize("old", [True, False])
def test_processes_that_open_one_database_at_once_all_succeed(url: str, old: bool) -> None:
    if old:
        make_old(url, versioned=False)
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(4)
    processes = [context.Process(target=_open, args=(url, start)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    assert differences(url) == []
