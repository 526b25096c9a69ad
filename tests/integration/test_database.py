"""Both databases: their versions from nothing and from any before, several openers at once, and faults that pass."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import structlog
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from crowd import at_once, open_database, processes_at_once
from rows import begun, media, task
from services import HOST, Gateway, Postgres, need

from duikou.database import engine as module
from duikou.database import migrations, tables
from duikou.database.engine import Database
from duikou.errors import StorageError
from duikou.faces.track import FaceWarning
from duikou.media.scope import OriginalScope
from duikou.pipeline.choice import FaceChoice
from duikou.tasks.accounts import Accounts
from duikou.tasks.models import FaceRecord, IdentifyTask, MediaKind, RenderTask
from duikou.tasks.outbox import Outbox
from duikou.tasks.places import Places
from duikou.tasks.rows import task_from, task_row
from duikou.tasks.states import Queue, TaskStatus
from duikou.tasks.store import Store
from duikou.tasks.store.queue import Heartbeat
from duikou.telemetry import logs
from duikou.timebase import Interval

SILENT = "the database does not answer"
PASSWORD = "geheim-1234"

MEDIA: dict[str, Any] = {
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
SESSION: dict[str, Any] = {
    "id": "1000000000000000002",
    "account": "",
    "source_id": MEDIA["id"],
    "faces": [FACE],
    "created_at": 1,
    "expires_at": 2**50,
}
CHOICE: dict[str, Any] = {
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
FIRST = {"media": MEDIA, "sessions": SESSION, "tasks": TASK}
SECOND = {
    "media": MEDIA,
    "sessions": SESSION,
    "tasks": {**TASK, "watermark": True, "callback_url": "http://127.0.0.1/", "began_at": 9},
    "accounts": {"name": "", "callback_secret": "whsec_AAAA", "created_at": 1},
    "callbacks": {"id": "4", "task_id": TASK["id"], "task": TASK, "tries": 1, "not_before": 8},
}
FIFTH = {
    "media": MEDIA,
    "sessions": {**SESSION, "rejected": []},
    "tasks": {**TASK, "turn": 0.0, "queue": "render", "trace": "t"},
}
OLD = {
    "unversioned": ("0001", FIRST),
    "0001": ("0001", FIRST),
    "0002": ("0002", SECOND),
    "0005": ("0005", FIFTH),
}
"""Databases as former versions left them, with a row in each table; the first ones did not keep their version."""


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """The address of an empty database in PostgreSQL."""
    url = postgres.fresh()
    yield url
    postgres.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'test.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


def make_old(url: str, name: str) -> None:
    version, rows = OLD[name]
    make_version(url, version, rows)
    if name == "unversioned":
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            connection.execute(sa.text("DROP TABLE alembic_version"))
        engine.dispose()


def make_version(url: str, version: str, rows: dict[str, Any]) -> None:
    """A database of that version with these rows, one or several of a table."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        config.attributes["connection"] = connection
        command.upgrade(config, version)
        old = sa.MetaData()
        old.reflect(connection)
        assert ("accounts" in old.tables) == ("callback_url" in old.tables["tasks"].c) == (version > "0001")
        assert ("turn" in old.tables["tasks"].c) == (version > "0002")
        for table, row in rows.items():
            # Reflected columns no longer know that they are JSON; today's do.
            today = tables.metadata.tables[table]
            some = row if isinstance(row, list) else [row]
            columns = [sa.column(c, today.c[c].type) for c in some[0]]
            connection.execute(sa.insert(sa.table(table, *columns)).values(some))
    engine.dispose()


def differences(url: str) -> list[object]:
    """Between the tables that the code expects and those that are there."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection), tables.metadata)
    engine.dispose()
    return found


# Versions


@pytest.mark.parametrize("name", OLD)
def test_a_database_of_a_former_version_keeps_its_rows(empty_url: str, name: str) -> None:
    make_old(empty_url, name)
    assert differences(empty_url)
    database = Database(empty_url)
    store, (_, rows) = Store(database), OLD[name]
    media, session = store.media.find("", MEDIA["id"]), store.sessions.find("", SESSION["id"])
    assert media
    assert {**media.__dict__} == {**MEDIA, "kind": MediaKind.SOURCE}
    assert session
    warning = FaceWarning("small_face", "small", Interval(1, 2))
    assert session.faces == (FaceRecord("0", Interval(0, 9_000), (warning,), (0, 0, 0, 0)),)
    assert (session.digest, session.analyser) == ("", ""), "no other session is made of it"
    task = store.tasks.find_by_external_id("", "mine")
    assert task
    kept = task_row(task)
    assert {column: kept[column] for column in rows["tasks"]} == rows["tasks"]
    assert (task.status, task.source.id, task.began_at) == (
        TaskStatus.SUBMITTED,
        MEDIA["id"],
        rows["tasks"].get("began_at"),
    )
    made_with = OriginalScope.SPEECH  # the only one that former versions knew
    assert task.choices == (FaceChoice("tasks/3/sound_0", "0", 0, 3_000, 500, 1.0, 0.5, original_scope=made_with),)
    assert (task.queue, task.turn, task.heartbeat, task.fault) == (Queue.RENDER, 0.0, 0, None)
    assert (task.expires_at, task.result, task.sync_mode) == (None, None, None)
    if "accounts" in rows:
        assert Accounts(database).callback_secret("") == rows["accounts"]["callback_secret"]
        (callback,) = Outbox(database).claim(Places(9), lease_ms=1)
        assert (callback.id, callback.task.id, callback.tries) == ("4", TASK["id"], 2)
    claimed = store.queue.claim()
    assert isinstance(claimed, RenderTask)
    assert (claimed.id, claimed.attempt, claimed.tries) == (TASK["id"], 2, 2)
    database.close()
    assert differences(empty_url) == []


def test_searches_of_a_former_version_wait_in_the_queue_of_today(empty_url: str) -> None:
    search = {**TASK, "id": "7", "external_id": None, "session_id": "", "choices": [], "queue": "analysis"}
    make_version(empty_url, "0003", {"tasks": [search, {**TASK, "queue": "gpu"}]})
    database = Database(empty_url)
    with database.reading() as connection:
        queues = {row.id: row.queue for row in connection.execute(sa.select(tables.tasks))}
    assert queues == {"7": "identify", TASK["id"]: "gpu"}
    claimed = Store(database).queue.claim(Queue.IDENTIFY)
    assert isinstance(claimed, IdentifyTask)
    assert (claimed.id, claimed.queue, claimed.session_id) == ("7", Queue.IDENTIFY, None)
    database.close()


def test_a_row_that_a_former_server_writes_during_an_upgrade_is_read() -> None:
    former = task_from({**TASK, "session_id": "", "queue": "analysis"})
    assert (type(former), former.queue) == (IdentifyTask, Queue.IDENTIFY)


def test_a_new_database_has_the_tables_that_the_code_expects(empty_url: str) -> None:
    for _ in range(2):
        Database(empty_url).close()
        assert differences(empty_url) == []


def test_the_tables_of_a_new_database_are_those_that_migrations_make(empty_url: str) -> None:
    make_version(empty_url, "head", {})
    migrated = described(empty_url)
    engine = sa.create_engine(empty_url)
    with engine.begin() as connection:
        tables.metadata.drop_all(connection)
        connection.execute(sa.text("DROP TABLE alembic_version"))
    engine.dispose()
    Database(empty_url).close()
    assert described(empty_url) == migrated


def test_the_current_version_is_that_of_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_heads() == [migrations.VERSION]


def described(url: str) -> dict[str, Any]:
    """Columns, keys and indexes of every table, and the version."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        look = sa.inspect(connection)
        found: dict[str, Any] = {
            name: (
                {column["name"]: {**column, "type": str(column["type"])} for column in look.get_columns(name)},
                look.get_pk_constraint(name),
                sorted(look.get_indexes(name), key=lambda one: str(one["name"])),
                sorted(one["column_names"] for one in look.get_unique_constraints(name)),
            )
            for name in look.get_table_names()
        }
        found["version"] = migrations.version_of(connection)
    engine.dispose()
    return found


def test_a_database_of_a_later_version_is_refused(empty_url: str) -> None:
    Database(empty_url).close()
    engine = sa.create_engine(empty_url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(StorageError, match="of a version that this duikou does not know; run the one that"):
        Database(empty_url)


@pytest.mark.parametrize("old", ["", "unversioned", "0002"], ids=["empty", "unversioned", "second"])
def test_processes_that_open_one_database_at_once_all_succeed(empty_url: str, old: str) -> None:
    if old:
        make_old(empty_url, old)
    processes_at_once(8, open_database, empty_url)
    assert differences(empty_url) == []
    database = Database(empty_url)
    assert [one.external_id for one in Store(database).tasks.unfinished() if isinstance(one, RenderTask)] == (
        ["mine"] if old else []
    )
    database.close()


# One of many


def test_one_at_a_time_is_alone(postgres_url: str) -> None:
    one, other = Database(postgres_url), Database(postgres_url)
    with one.alone("sweep") as first, other.alone("sweep") as second, other.alone("count") as third:
        assert (first, second, third) == (True, False, True)
    with other.alone("sweep") as now:
        assert now
    with pytest.raises(RuntimeError), one.alone("sweep"):
        raise RuntimeError("the sweep failed")
    with other.alone("sweep") as now:
        assert now
    one.close()
    other.close()


def test_a_database_of_one_server_has_one_sweeper(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'test.db'}")
    with database.alone("sweep") as alone:
        assert alone
        Store(database).media.add(media())
    database.close()


def test_what_goes_one_by_one_waits_for_the_one_before(database: Database) -> None:
    steps: list[str] = []

    def step(name: str) -> None:
        with database.writing() as connection:
            database.one_by_one(connection, "steps")
            steps.append(name)
            connection.execute(sa.select(sa.literal(1)))
            steps.append(name)

    at_once(*(partial(step, name) for name in "abcd"))
    assert steps[::2] == steps[1::2]


# Faults


def test_a_folder_that_is_missing_is_told_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"^data: the data folder .*absent cannot be opened: No such file"):
        Database(f"sqlite:///{tmp_path / 'absent' / 'test.db'}")


CLOSED = "the PostgreSQL database x at 127.0.0.1:1 cannot be opened: nothing listens"


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("postgresql+psycopg://duikou:{p}@127.0.0.1:1/x", f"{CLOSED} at its host and port$"),
        ("postgresql+psycopg://duikou@127.0.0.1:1/x?password={p}", CLOSED),
        ("postgresql+psycopg://duikou:{p}@127.0.0.1:x/x", "its port is no number"),
        ("postgresql+nothing://duikou:{p}@127.0.0.1/x", r"must begin with postgresql.*install duikou\[fleet\]"),
        ("nothing://duikou:{p}@127.0.0.1/x", "must begin with postgresql"),
        ("duikou:{p}@127.0.0.1", "cannot be opened"),
        ("postgresql+psycopg://duikou:x@{p}@127.0.0.1:1/x", "write an @ in its password as %40"),
        ("postgresql+psycopg://duikou@127.0.0.1:1/x?sslmode={p}", "cannot be opened"),
        ("mysql://duikou:{p}@127.0.0.1:1/x", "cannot be opened"),
    ],
)
def test_no_password_is_told_of_a_database_that_cannot_be_opened(address: str, told: str) -> None:
    need("postgres")
    with pytest.raises(StorageError, match=f"^database_url: .*{told}") as caught:
        Database(address.format(p=PASSWORD))
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


def test_a_database_that_was_never_made_is_named(postgres: Postgres) -> None:
    url = postgres.url.removesuffix("postgres") + "nobody"
    with pytest.raises(StorageError, match=r"^database_url: .*nobody.*: its server has no database of that name$"):
        Database(url)


@pytest.fixture
def own() -> Iterator[Postgres]:
    """A cluster that may be stopped."""
    need("postgres")
    with Postgres() as service:
        yield service


def test_a_database_that_comes_back_is_used_again(own: Postgres, capsys: pytest.CaptureFixture[str]) -> None:
    url = own.fresh().replace("postgres@", f"postgres:{PASSWORD}@")
    database = Database(url)
    store = Store(database)
    claimed = begun(store, "1")
    calls: list[Callable[[], object]] = [
        store.queue.claim,
        store.queue.loads,
        database.ping,
        partial(store.tasks.add, task(id="2")),
        partial(store.queue.record_heartbeats, [Heartbeat(claimed, "rendering", 0.5)]),
        partial(store.tasks.complete_render, claimed, media(kind=MediaKind.RESULT)),
        partial(Accounts(database).callback_secret, ""),
        partial(Outbox(database).claim, Places(9), lease_ms=1),
    ]
    logs.configure()
    for stop in (own.stop, own.kill):
        at_once(*[database.ping] * 4)  # several connections that will be cut
        stop()
        for call in calls:
            with pytest.raises(StorageError, match=f"^{SILENT}$") as caught:
                call()
            assert PASSWORD not in "".join(traceback.format_exception(caught.value))
            structlog.get_logger().error("it failed", exc_info=caught.value)
        own.start()
        assert all(not isinstance(gave, Exception) for gave in at_once(*[database.ping] * 8))
        assert [one.id for one in store.tasks.unfinished()] == ["1"]
    assert store.tasks.complete_render(claimed, media(kind=MediaKind.RESULT))
    said = capsys.readouterr().err
    assert said.count("it failed") == 2 * len(calls)
    assert PASSWORD not in said
    database.close()


def test_what_is_written_when_the_database_dies_is_not_kept(own: Postgres) -> None:
    database = Database(own.fresh())
    store, new = Store(database), task(id="1")
    for stop in (own.stop, own.kill):
        with pytest.raises(StorageError, match=SILENT), database.writing() as connection:
            connection.execute(sa.insert(tables.secrets).values(name="half", value="written"))
            stop()
            connection.execute(sa.select(tables.secrets))
        own.start()
        with database.reading() as connection:
            assert list(connection.execute(sa.select(tables.secrets))) == []
    store.tasks.add(new)
    database.close()


def test_a_database_that_dies_makes_nobody_alone_for_ever(own: Postgres) -> None:
    url = own.fresh()
    one, other = Database(url), Database(url)
    with pytest.raises(StorageError, match=SILENT), one.alone("sweep") as alone:
        assert alone
        own.kill()
        own.start()
        with other.alone("sweep") as now:
            assert now
        one.ping()
        raise StorageError(SILENT)
    one.close()
    other.close()


def test_a_connection_that_never_comes_or_is_never_free_is_given_up(
    postgres: Postgres, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = module._POSTGRESQL
    few = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.1}
    hasty = {"connect_args": {**usual["connect_args"], "connect_timeout": 2}}
    monkeypatch.setattr(module, "_POSTGRESQL", {**usual, **few, **hasty})
    with Gateway(HOST, postgres.port) as line:
        database = Database(postgres_url.replace(str(postgres.port), str(line.port)))
        with database.reading(), pytest.raises(StorageError, match=SILENT):
            database.ping()
        line.hang()
        with pytest.raises(StorageError, match=SILENT):
            database.ping()
        line.open()
        database.ping()
        database.close()


def test_a_statement_that_takes_too_long_is_given_up(postgres_url: str) -> None:
    database = Database(postgres_url)
    with pytest.raises(StorageError, match=SILENT), database.writing() as connection:
        connection.execute(sa.text("SET LOCAL statement_timeout = 50"))
        connection.execute(sa.text("SELECT pg_sleep(60)"))
    database.ping()
    database.close()


def test_a_secret_is_in_no_error(database: Database) -> None:
    with database.writing() as connection:
        connection.execute(sa.insert(tables.secrets).values(name="a", value=PASSWORD))
    with pytest.raises(sa.exc.IntegrityError) as caught, database.writing() as connection:
        connection.execute(sa.insert(tables.secrets).values(name="a", value=PASSWORD))
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))
