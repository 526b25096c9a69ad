"""Retention: what is over goes with its files, what is still needed stays, and what nobody knows is removed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from test_jobs_store import Clock, media, task

from duikou.errors import StorageError, WorkerError
from duikou.jobs import folder as keys
from duikou.jobs.database import Database
from duikou.jobs.folder import DataFolder
from duikou.jobs.retention import remove_orphans, sweep
from duikou.jobs.state import MediaKind, SessionRecord, TaskStatus
from duikou.jobs.store import Store

LATER = 10_000


@pytest.fixture
def folder(tmp_path: Path):
    folder = DataFolder(tmp_path / "data")
    folder.open()
    yield folder
    folder.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(folder: DataFolder, clock: Clock):
    database = Database(folder.database_url)
    store = Store(database, clock=clock)
    yield store
    database.close()


def put(folder: DataFolder, key: str) -> Path:
    path = folder.path(key)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def add_source(store: Store, folder: DataFolder, media_id: str, expires_at: int):
    source = media(id=media_id, key=keys.source_key(media_id, ".mp4"), expires_at=expires_at)
    store.add_media(source)
    put(folder, source.key)
    return source


def test_a_session_that_is_over_goes_and_its_source_stays_until_its_own_end(store, folder, clock) -> None:
    source = add_source(store, folder, "1", LATER)
    store.add_session(SessionRecord("2", "", source, (), 1, 2_000))
    picture = put(folder, keys.picture_key("2", "0"))
    assert sweep(store, folder) == 0
    clock.ms = 2_000
    assert sweep(store, folder) == 1
    assert not picture.parent.exists()
    assert folder.path(source.key).exists()
    clock.ms = LATER
    assert sweep(store, folder) == 1
    assert not folder.path(source.key).exists()
    assert store.known() == set()


def test_an_unfinished_task_keeps_its_session_and_its_source(store, folder, clock) -> None:
    source = add_source(store, folder, "1", 2_000)
    store.add_session(SessionRecord("2", "", source, (), 1, 2_000))
    store.add_task(task(id="3", session_id="2", source_id="1"))
    clock.ms = LATER
    assert sweep(store, folder) == 0
    claimed = store.claim()
    assert sweep(store, folder) == 0
    store.fail(claimed, "no", expires_at=2 * LATER)
    sweep(store, folder)
    sweep(store, folder)
    assert store.known() == {"3"}


def test_a_finished_task_goes_with_its_sound_and_result(store, folder, clock) -> None:
    store.add_task(task(id="3"))
    claimed = store.claim()
    sound, result = put(folder, keys.sound_key("3", 0)), put(folder, keys.result_key("3", 1))
    store.publish(claimed, media(id="4", kind=MediaKind.RESULT, key=keys.result_key("3", 1), expires_at=LATER))
    assert sweep(store, folder) == 0
    clock.ms = LATER
    assert sweep(store, folder) == 1
    assert not sound.exists()
    assert not result.exists()
    assert store.known() == set()


def test_a_result_that_became_a_sessions_source_stays_while_the_session_does(store, folder, clock) -> None:
    store.add_task(task(id="3", status=TaskStatus.SUCCEED, result_id="4", expires_at=2_000))
    result = media(id="4", kind=MediaKind.RESULT, key=keys.result_key("3", 1), expires_at=2_000)
    store.add_media(result)
    path = put(folder, result.key)
    store.add_session(SessionRecord("5", "", result, (), 1, LATER))
    clock.ms = 3_000
    assert sweep(store, folder) == 0
    assert path.exists()
    clock.ms = LATER
    assert sweep(store, folder) == 2
    assert not path.exists()


def test_a_sweep_takes_small_batches(store, folder, clock) -> None:
    for number in range(5):
        add_source(store, folder, str(number), 1_500)
    clock.ms = 1_500
    assert [sweep(store, folder, batch=2) for _ in range(4)] == [2, 2, 1, 0]


def test_files_that_belong_to_nothing_are_removed_at_the_start(store, folder) -> None:
    kept = add_source(store, folder, "1", LATER)
    store.add_task(task(id="3"))
    sound = put(folder, keys.sound_key("3", 0))
    orphans = [put(folder, key) for key in ("media/9.mp4", "sessions/9/face_0.jpg", "tasks/9/1/result.mp4")]
    assert remove_orphans(store, folder) == 3
    assert not any(path.exists() for path in orphans)
    assert folder.path(kept.key).exists()
    assert sound.exists()


def test_a_folder_has_one_owner(folder, tmp_path) -> None:
    second = DataFolder(tmp_path / "data")
    with pytest.raises(StorageError, match="in use by another duikou server"):
        second.open()
    folder.close()
    second.open()
    second.close()


def test_opening_empties_what_was_being_received(folder, tmp_path) -> None:
    left = folder.incoming()
    left.write_bytes(b"half a video")
    folder.close()
    folder.open()
    assert not left.exists()


def test_a_folder_that_cannot_be_made_is_refused_in_one_sentence(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be used: Not a directory"):
        DataFolder(tmp_path / "file" / "data").open()


def test_a_nearly_full_disk_is_told_with_both_figures(folder, monkeypatch) -> None:
    usage = shutil.disk_usage(folder.root)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type(usage)(usage.total, usage.used, 300 << 20))
    DataFolder(folder.root, 300).require_room()
    full = DataFolder(folder.root, 301)
    with pytest.raises(StorageError, match="300 MB are free, and no work is taken below 301 MB"):
        full.require_room()


def test_room_that_is_promised_is_taken(folder, monkeypatch) -> None:
    usage = shutil.disk_usage(folder.root)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type(usage)(usage.total, usage.used, 300 << 20))
    room = DataFolder(folder.root, 200)
    with room.promised(100):
        room.require_room()
        with pytest.raises(StorageError, match="199 MB are free"), room.promised(1):
            raise AssertionError("there is no room")
        room.require_room()
    with room.promised(50), room.promised(50):
        room.require_room()


def test_what_a_worker_left_is_a_plain_file(folder) -> None:
    (folder.root / "secret").write_bytes(b"secret")
    place = folder.root / "tasks"
    (place / "plain").write_bytes(b"four")
    assert folder.size("tasks/plain") == 4
    (place / "soft").symlink_to(folder.root / "secret")
    (place / "hard").hardlink_to(folder.root / "secret")
    os.mkfifo(place / "pipe")
    for name in ("soft", "hard", "pipe"):
        with pytest.raises(WorkerError, match=f"left {name}, which is no plain file"):
            folder.size(f"tasks/{name}")


def test_the_folder_is_its_owners_alone(folder) -> None:
    assert folder.root.stat().st_mode & 0o77 == 0
    assert all(path.stat().st_mode & 0o77 == 0 for path in folder.root.iterdir() if path.is_dir())
