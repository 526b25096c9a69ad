"""Backups that are restored: the next server serves the results and goes on with the tasks that waited."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import stub_work
from live_server import create, ended, held, identify, in_thread, make_key, order, release, sources
from server_settings import settings
from services import Postgres, need

from duikou.cli import main
from duikou.database import snapshot
from duikou.database.ids import now_ms
from duikou.errors import StorageError
from duikou.storage.data_folder import DataFolder
from duikou.storage.local import LocalFiles
from duikou.tasks import backup as backups

PAGE = (Path(__file__).parents[2] / "docs/operations.md").read_text().partition("## Backup")[2]


def commands(word: str) -> list[str]:
    """The commands of the page's section on backups that begin with this word, each on one line."""
    found: list[str] = re.findall(rf"^{word} [^\n]+$", PAGE.replace("\\\n", " "), re.MULTILINE)
    assert found
    return found


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    status = main.run(["backup", *arguments])
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def result(client: httpx.Client, task_id: str) -> bytes:
    """The result of a task, as its caller fetches it."""
    videos = ended(client, task_id)["task_result"]["videos"]
    answer = client.get(httpx.URL(videos[0]["url"]).raw_path.decode())
    assert answer.status_code == 200
    return answer.content


def test_a_folder_is_backed_up_while_its_server_works_and_goes_on_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, kept, other = tmp_path / "data", tmp_path / "kept", tmp_path / "other"
    (command,) = commands("duikou backup")
    assert command.split()[:2] == ["duikou", "backup"]
    files = {"a__mp4": stub_work.video(), "s__mp3": stub_work.sound(), "held__mp3": stub_work.sound(render="held")}
    with sources(**files) as site, in_thread(settings(data), stub_work.WORK) as client:
        session = identify(client, f"{site}/a.mp4")["session_id"]
        done = create(client, order(session, f"{site}/s.mp3"))
        content = result(client, done)
        assert run(capsys, str(kept), "--data", str(data))[0] == 0
        running, waiting = (create(client, order(session, f"{site}/held.mp3")) for _ in range(2))
        held(data)
        # The second backup copies only what is new.
        status, out, _ = run(capsys, str(kept), "--data", str(data), "--json")
        told = json.loads(out)
        assert (status, told["missing"], told["copied"]) == (0, [], 2)
        release(data)
        release(data)
        assert {ended(client, one)["task_status"] for one in (running, waiting)} == {"succeed"}
    with closing(sqlite3.connect(kept / "duikou.db")) as database:
        rows = dict(database.execute("SELECT id, status FROM tasks WHERE queue = 'render'"))
    assert rows == {done: "succeed", running: "processing", waiting: "submitted"}
    assert {path.stat().st_mode & 0o77 for path in (kept, kept / "duikou.db")} == {0}
    assert (kept / "certificate/key.pem").read_bytes() == (data / "certificate/key.pem").read_bytes()

    (command,) = commands("cp -a")  # as the page says
    places = {"/backup/duikou": str(kept), "/var/lib/duikou": str(other)}
    subprocess.run([places.get(word, word) for word in command.split()], check=True)
    with in_thread(settings(other), stub_work.WORK) as client:
        assert result(client, done) == content
        for _ in range(2):
            release(other)
        assert {ended(client, one)["task_status"] for one in (running, waiting)} == {"succeed"}


def stored(data: Path, *names: str) -> DataFolder:
    """A data folder whose database names these files, which exist."""
    make_key(data, "alice")
    with closing(sqlite3.connect(data / "duikou.db")) as database:
        for number, key in enumerate(names):
            (data / key).parent.mkdir(parents=True, exist_ok=True)
            (data / key).write_bytes(key.encode())
            values = (str(number), "alice", "source", key, ".mp4", len(key), 1, now_ms(), 2**50, now_ms())
            database.execute(f"INSERT INTO media VALUES ({','.join('?' * len(values))})", values)
        database.commit()
    return DataFolder(data)


def test_a_file_that_is_removed_meanwhile_is_not_named_by_the_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = stored(tmp_path / "data", "media/1.mp4", "media/2.mp4")
    files, take = LocalFiles(source.root), snapshot.take

    def taken(database: Path, to: Path) -> None:
        """After the first copy of the database, a sweep removes a file and then its row."""
        take(database, to)
        if (source.root / "media/1.mp4").exists():
            (source.root / "media/1.mp4").unlink()
            with closing(sqlite3.connect(database)) as writer:
                writer.execute("DELETE FROM media WHERE key = 'media/1.mp4'")
                writer.commit()

    monkeypatch.setattr(snapshot, "take", taken)
    monkeypatch.setattr(backups, "PAUSE_S", 0)
    made = backups.back_up(source, files, tmp_path / "kept")
    assert (made.files, made.missing) == (1, ())
    assert snapshot.named(tmp_path / "kept/duikou.db").files == {"media/2.mp4"}


def test_a_file_that_the_server_itself_has_lost_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(backups, "PAUSE_S", 0)
    source = stored(tmp_path / "data", "media/1.mp4", "media/2.mp4")
    (source.root / "media/1.mp4").unlink()
    status, out, err = run(capsys, str(tmp_path / "kept"), "--data", str(source.root))
    assert (status, out) == (1, f"backed up 1 files, 0.0 MiB, 1 of them new, to {tmp_path / 'kept'}\n")
    assert err == "duikou: 1 files that the database names are not stored, such as media/1.mp4\n"


def test_a_later_backup_forgets_what_is_gone_and_an_interrupted_one_keeps_the_former(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, kept = stored(tmp_path / "data", "media/1.mp4"), tmp_path / "kept"
    (source.root / "media/no_row.mp4").touch()
    backups.back_up(source, LocalFiles(source.root), kept)
    assert [path.name for path in (kept / "media").iterdir()] == ["1.mp4"], "what no row names would be swept"
    shutil.rmtree(source.root)
    stored(source.root, "media/2.mp4")
    with monkeypatch.context() as patch, pytest.raises(StorageError, match="the server's disk is full"):
        patch.setattr(LocalFiles, "copy", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        backups.back_up(source, LocalFiles(source.root), kept)
    assert snapshot.named(kept / "duikou.db").files == {"media/1.mp4"}
    assert (kept / "media/1.mp4").exists()
    backups.back_up(source, LocalFiles(source.root), kept)
    assert snapshot.named(kept / "duikou.db").files == {"media/2.mp4"}
    assert [path.name for path in (kept / "media").iterdir()] == ["2.mp4"]


def test_the_copy_of_a_database_that_is_written_to_is_whole(tmp_path: Path) -> None:
    source = stored(tmp_path / "data")
    over = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(source.root / "duikou.db", timeout=10)) as database:
            database.execute("CREATE TABLE pairs (number)")
            while not over.is_set():
                database.execute("INSERT INTO pairs VALUES (1), (-1)")
                database.commit()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(5):
            snapshot.take(source.root / "duikou.db", tmp_path / "copy.db")
            with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
                assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                if copy.execute("SELECT 1 FROM sqlite_master WHERE name = 'pairs'").fetchone():
                    assert copy.execute("SELECT coalesce(sum(number), 0) FROM pairs").fetchone() == (0,)
    finally:
        over.set()
        writer.join()


def test_what_cannot_be_backed_up_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    source = stored(tmp_path / "data")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").touch()
    for to, data, sentence in (
        (source.root / "in", source.root, "TO: must be a folder apart from the data folder"),
        (tmp_path, source.root, "TO: must be a folder apart from the data folder"),
        (tmp_path / "mine", source.root, f"TO: {tmp_path / 'mine'} holds something that is no backup of duikou"),
        (tmp_path / "new", tmp_path / "no", "--data or DUIKOU_DATA: there is no database of duikou in the data folder"),
    ):
        status, _, err = run(capsys, str(to), "--data", str(data))
        assert (status, err.startswith(f"duikou: {sentence}")) == (2, True), err
    backups.back_up(source, LocalFiles(source.root), tmp_path / "kept")
    busy = DataFolder(tmp_path / "kept")
    busy.open()
    with pytest.raises(StorageError, match="is in use by another duikou server"):
        backups.back_up(source, LocalFiles(source.root), tmp_path / "kept")
    busy.close()
    monkeypatch.setenv("DUIKOU_DATABASE_URL", "postgresql+psycopg://u@127.0.0.1:1/d")
    monkeypatch.setenv("DUIKOU_STORAGE_URL", "file:///tmp")
    status, _, err = run(capsys, str(tmp_path / "new"))
    assert status == 2
    assert "back up a fleet's database with pg_dump and its bucket with" in err


def test_a_fleet_is_backed_up_as_the_page_says_and_goes_on_elsewhere(tmp_path: Path, postgres: Postgres) -> None:
    """The bucket is a folder here: what copies it is the storage's own tool, not duikou's."""
    need("postgres")
    (dump,), (restore,) = commands("pg_dump"), commands("pg_restore")
    assert PAGE.index("pg_dump --") < PAGE.index("s3 sync s3://"), "rows first, then files"

    def fleet(name: str) -> dict[str, Any]:
        (tmp_path / name).mkdir(exist_ok=True)
        return {"database_url": postgres.fresh(), "storage_url": (tmp_path / name).as_uri()}

    def as_told(command: str, database_url: str) -> None:
        given = {"duikou.dump": str(tmp_path / "duikou.dump")}
        words = [given.get(word, word) for word in command.split()]
        words = [database_url.replace("+psycopg", "") if word.startswith("postgresql://") else word for word in words]
        subprocess.run(words, check=True, capture_output=True)

    before, after = fleet("bucket"), fleet("restored")
    files = {"a__mp4": stub_work.video(), "s__mp3": stub_work.sound(), "held__mp3": stub_work.sound(render="held")}
    with sources(**files) as site, in_thread(settings(tmp_path / "one", **before), stub_work.WORK) as client:
        session = identify(client, f"{site}/a.mp4")["session_id"]
        done = create(client, order(session, f"{site}/s.mp3"))
        content = result(client, done)
        running, waiting = (create(client, order(session, f"{site}/held.mp3")) for _ in range(2))
        held(tmp_path / "bucket")
        as_told(dump, before["database_url"])
        shutil.copytree(tmp_path / "bucket", tmp_path / "restored", dirs_exist_ok=True)
        release(tmp_path / "bucket")
        release(tmp_path / "bucket")
        assert {ended(client, one)["task_status"] for one in (running, waiting)} == {"succeed"}
    as_told(restore, after["database_url"])
    for mark in (tmp_path / "restored").rglob(stub_work.HELD):
        mark.unlink()  # of the attempt that the backup interrupted
    with in_thread(settings(tmp_path / "two", **after), stub_work.WORK) as client:
        assert result(client, done) == content
        for _ in range(2):
            release(tmp_path / "restored")
        assert {ended(client, one)["task_status"] for one in (running, waiting)} == {"succeed"}
