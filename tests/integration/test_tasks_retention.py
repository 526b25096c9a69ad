"""Retention over both databases and both kinds of storage: what is over goes with its files, what is still needed
stays, and what nobody knows is removed."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rows import Clock, add_session, begun, identify_task, media, task
from services import S3

from duikou.database.engine import Database
from duikou.database.ids import new_id, now_ms
from duikou.settings import Settings
from duikou.storage import keys
from duikou.storage.base import Files
from duikou.storage.data_folder import DataFolder
from duikou.storage.factory import open_files
from duikou.tasks.models import IDENTIFY_KEPT_MS, IdentifyTask, Media, MediaKind, RenderTask, SessionRecord, TaskResult
from duikou.tasks.neglect import NeglectMonitor
from duikou.tasks.retention import ORPHAN_S, remove_orphans, sweep
from duikou.tasks.service import NewMedia, ServiceParts, ServicePolicy, TaskService
from duikou.tasks.states import Fault, Queue, TaskStatus
from duikou.tasks.store import Store
from duikou.units import DAY_MS, HOUR_MS
from duikou.workers.celery_app import FleetDispatcher
from duikou.workers.executor import WorkPolicy

LATER = 10_000
PATIENCE_S = 20.0


@pytest.fixture(params=["folder", "s3"])
def storage_url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "folder":
        return ""
    for name, value in S3.environment.items():
        monkeypatch.setenv(name, value)
    url: str = request.getfixturevalue("s3").fresh("some/where")
    return url


@pytest.fixture
def files(storage_url: str, tmp_path: Path) -> Files:
    (tmp_path / "data").mkdir()
    return open_files(storage_url, tmp_path / "data", tmp_path / "scratch", PATIENCE_S)


@pytest.fixture
def local(tmp_path: Path) -> Files:
    (tmp_path / "data").mkdir()
    return open_files("", tmp_path / "data", tmp_path / "scratch", PATIENCE_S)


def put(files: Files, tmp_path: Path, *kept: str) -> None:
    for key in kept:
        received = tmp_path / "received"
        received.write_bytes(b"x")
        files.put(received, key)


def listed(files: Files) -> set[str]:
    """Keys of all that is kept; a folder that became empty is no file."""
    return {stored.key for place in keys.PLACES for stored in files.list(place) if stored.size}


def source(store: Store, files: Files, tmp_path: Path, media_id: str, expires_at: int, **what: Any) -> Media:
    """A new source with its file."""
    made = media(id=media_id, key=keys.source_key(media_id, ".mp4"), expires_at=expires_at, **what)
    store.media.add(made)
    put(files, tmp_path, made.key)
    return made


# What is over


def test_all_that_is_over_goes_and_nothing_else(store: Store, files: Files, clock: Clock, tmp_path: Path) -> None:
    for number, end in (("1", 2_000), ("2", LATER)):
        video = source(store, files, tmp_path, f"1{number}", end)
        add_session(store, SessionRecord(f"2{number}", "", video, (), 1, end))
        put(files, tmp_path, keys.picture_key(f"2{number}", "0"))
        claimed = begun(store, f"3{number}", callback_url="http://127.0.0.1/")
        made = [keys.result_key(claimed.id, 1), keys.marked_key(claimed.id, 1)]
        put(files, tmp_path, keys.audio_key(claimed.id, 0), *made)
        results = (media(id=f"{4 + n}{number}", kind=MediaKind.RESULT, key=made[n], expires_at=end) for n in range(2))
        store.tasks.complete_render(claimed, *results)
    before = listed(files)
    assert sweep(store, files) == 0
    assert listed(files) == before
    clock.ms = 2_000
    assert sweep(store, files) == 3
    assert listed(files) == {
        "media/12.mp4",
        "sessions/22/face_0.jpg",
        "tasks/32/sound_0",
        "tasks/32/1/result.mp4",
        "tasks/32/1/marked.mp4",
    }
    ids = [f"{kind}{number}" for kind in range(1, 6) for number in range(1, 3)]
    assert store.expiry.known(ids) == {"12": 0, "22": 0, "32": 1, "42": 0, "52": 0}
    clock.ms = LATER
    assert sweep(store, files) == 3
    assert listed(files) == set()
    assert store.expiry.known(ids) == {}


def test_a_session_that_is_over_goes_and_its_source_stays(
    store: Store, local: Files, clock: Clock, tmp_path: Path
) -> None:
    video = source(store, local, tmp_path, "1", LATER)
    add_session(store, SessionRecord("2", "", video, (), 1, 2_000))
    put(local, tmp_path, keys.picture_key("2", "0"))
    clock.ms = 2_000
    assert sweep(store, local) == 1
    assert listed(local) == {"media/1.mp4"}
    clock.ms = LATER
    assert sweep(store, local) == 1
    assert store.expiry.known(["1", "2"]) == {}


def test_an_unfinished_task_keeps_its_session_and_its_source(
    store: Store, local: Files, clock: Clock, tmp_path: Path
) -> None:
    video = source(store, local, tmp_path, "1", 2_000)
    add_session(store, SessionRecord("2", "", video, (), 1, 2_000))
    store.tasks.add(task(id="3", session_id="2", source_id="1"))
    clock.ms = LATER
    assert sweep(store, local) == 0
    claimed = store.queue.claim()
    assert isinstance(claimed, RenderTask)
    assert sweep(store, local) == 0
    store.tasks.fail(claimed, "no", Fault.INPUT, expires_at=2 * LATER)
    assert [sweep(store, local) for _ in range(2)] == [1, 0]
    assert store.expiry.known(["1", "2", "3"]) == {"1": 0, "3": 1}, "what it started from is kept as long as it is"
    clock.ms = 2 * LATER
    assert sweep(store, local) == 2


def test_an_unfinished_task_without_a_session_keeps_its_source(
    store: Store, local: Files, clock: Clock, tmp_path: Path
) -> None:
    source(store, local, tmp_path, "1", 2_000)
    made = TaskResult("9", 10_000)
    store.tasks.add(task(id="3", status=TaskStatus.SUCCEED, expires_at=2_000, result=made))
    for number, source_id in (("4", "1"), ("5", "9")):
        store.tasks.add(task(id=number, session_id=None, source_id=source_id))
    clock.ms = LATER
    assert sweep(store, local) == 0
    for _ in range(2):
        claimed = store.queue.claim()
        assert claimed
        store.tasks.fail(claimed, "no", Fault.INPUT, expires_at=2 * LATER)
    assert [sweep(store, local) for _ in range(2)] == [1, 0]
    assert store.expiry.known(["1", "3", "4", "5"]) == {"1": 0, "4": 1, "5": 1}


def test_a_result_that_became_a_sessions_source_stays_while_the_session_does(
    store: Store, local: Files, clock: Clock, tmp_path: Path
) -> None:
    for number, marked in (("3", False), ("6", True)):
        key = keys.result_key(number, 1)
        made = TaskResult("9", 10_000, f"{number}4") if marked else TaskResult(f"{number}4", 10_000)
        store.tasks.add(task(id=number, status=TaskStatus.SUCCEED, expires_at=2_000, result=made))
        result = media(id=f"{number}4", kind=MediaKind.RESULT, key=key, expires_at=2_000)
        store.media.add(result)
        put(local, tmp_path, key)
        add_session(store, SessionRecord(f"{number}5", "", result, (), 1, LATER))
    clock.ms = 3_000
    assert sweep(store, local) == 0
    assert listed(local) == {"tasks/3/1/result.mp4", "tasks/6/1/result.mp4"}
    clock.ms = LATER
    assert sweep(store, local) == 4
    assert listed(local) == set()


def test_searches_go_soon_and_leave_the_sessions_that_they_made(
    store: Store, local: Files, clock: Clock, tmp_path: Path
) -> None:
    video = source(store, local, tmp_path, "1", LATER)
    for number in range(3):
        store.tasks.add(identify_task(id=f"2{number}", source_id="1"))
    found, failed = store.queue.claim(Queue.IDENTIFY), store.queue.claim(Queue.IDENTIFY)
    assert isinstance(found, IdentifyTask)
    assert failed
    store.tasks.complete_identify(found, SessionRecord("3", "", video, (), 1, LATER), expires_at=2_000)
    store.tasks.fail(failed, "no", Fault.INPUT, expires_at=2_000)
    clock.ms = 2_000
    assert sweep(store, local) == 2
    assert store.expiry.known(["1", "20", "21", "22", "3"]) == {"1": 0, "22": 0, "3": 0}
    assert store.sessions.find("", "3")


def test_a_sweep_takes_small_batches(store: Store, local: Files, clock: Clock, tmp_path: Path) -> None:
    for number in range(5):
        video = source(store, local, tmp_path, f"1{number}", 1_500)
        add_session(store, SessionRecord(f"2{number}", "", video, (), 1, 1_500))
        store.tasks.add(task(id=f"3{number}", status=TaskStatus.FAILED, expires_at=1_500))
    clock.ms = 1_500
    assert [sweep(store, local, batch=2) for _ in range(4)] == [6, 6, 3, 0]


def test_what_is_needed_does_not_hold_up_what_is_not(store: Store, local: Files, clock: Clock, tmp_path: Path) -> None:
    for number in range(4):
        video = source(store, local, tmp_path, f"1{number}", 1_500)
        needed = number < 3
        add_session(store, SessionRecord(f"2{number}", "", video, (), 1, 1_500))
        if needed:
            store.tasks.add(task(session_id=f"2{number}", source_id=video.id))
    clock.ms = 1_500
    assert [sweep(store, local, batch=1) for _ in range(2)] == [2, 0]
    assert listed(local) == {"media/10.mp4", "media/11.mp4", "media/12.mp4"}


# How long things are kept


@pytest.fixture
def service(database: Database, store: Store, local: Files, tmp_path: Path) -> TaskService:
    """The service with its store and its files, and nothing that works."""
    given, never = Settings(data=tmp_path / "data"), threading.Event()
    dispatcher = FleetDispatcher(given.model_copy(update={"broker_url": "amqp://127.0.0.1:1"}), store, stopping=never)
    neglect = NeglectMonitor(store, never)
    parts = ServiceParts(database, store, local, DataFolder(given.data), dispatcher, neglect, never, never)
    return TaskService(parts, ServicePolicy.of(given))


def test_usually_sessions_are_kept_for_24_hours_and_videos_for_30_days(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.make()
    terms = WorkPolicy.of(Settings(data=folder.root), folder)
    assert (terms.session_ms, terms.keep_ms, IDENTIFY_KEPT_MS) == (24 * HOUR_MS, 30 * DAY_MS, HOUR_MS)


@dataclass(frozen=True)
class Upload:
    """A file of that kind, what it is used as after twelve hours, and for how long it is kept then."""

    kind: MediaKind
    used: str | None
    kept_ms: int


UPLOADS = [
    Upload(MediaKind.SOURCE, None, HOUR_MS),  # nobody knows it until its faces are found
    Upload(MediaKind.UPLOAD, None, 24 * HOUR_MS),
    Upload(MediaKind.UPLOAD, "sound", 36 * HOUR_MS),  # kept for a day from its use on
    Upload(MediaKind.UPLOAD, "source", 30 * DAY_MS + 12 * HOUR_MS),
]


@pytest.mark.parametrize("upload", UPLOADS, ids=lambda upload: f"{upload.kind}-{upload.used}")
def test_an_upload_is_kept_for_a_day_unless_it_is_used(
    service: TaskService, store: Store, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, upload: Upload
) -> None:
    received = tmp_path / "received"
    received.write_bytes(b"x")
    made_at, files = now_ms(), service._files
    monkeypatch.setattr("duikou.tasks.service.now_ms", lambda: made_at)
    kept = service.add_media("", NewMedia(received, upload.kind, ".mp4", 10_000))
    if upload.used is not None:
        monkeypatch.setattr("duikou.tasks.service.now_ms", lambda: made_at + 12 * HOUR_MS)
        service.extend_upload(kept, as_source=upload.used == "source")
    clock.ms = made_at + upload.kept_ms - 1
    assert sweep(store, files) == 0
    assert store.media.find("", kept.id)
    clock.ms += 1
    assert store.media.find("", kept.id) is None
    assert sweep(store, files) == 1
    assert files.size(kept.key) is None


# Orphans


def test_files_that_belong_to_nothing_are_removed(store: Store, files: Files, tmp_path: Path) -> None:
    source(store, files, tmp_path, "1", LATER)
    add_session(store, SessionRecord("2", "", media(id="1"), (), 1, LATER))
    claimed = begun(store, "3")
    assert claimed.attempt == 1
    kept = {"media/1.mp4", "sessions/2/face_0.jpg", "tasks/3/sound_0", "tasks/3/1/result.mp4"}
    put(files, tmp_path, *sorted(kept))
    put(files, tmp_path, "media/9.mp4", "sessions/9/face_0.jpg", "tasks/9/1/result.mp4", "tasks/9/sound_0")
    put(files, tmp_path, "tasks/3/0/result.mp4", "tasks/3/2/result.mp4", "tasks/3/11/result.mp4")  # of late writers
    assert remove_orphans(store, files, ORPHAN_S) == 0, "they may be on their way"
    assert remove_orphans(store, files) == 7
    assert listed(files) == kept


def test_more_files_than_are_looked_up_at_once(
    store: Store, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("duikou.tasks.retention.KEYS", 3)
    for number in range(4):
        source(store, files, tmp_path, str(number), LATER)
    put(files, tmp_path, *(f"media/{number}.mp4" for number in range(4, 11)))
    assert remove_orphans(store, files) == 7
    assert listed(files) == {f"media/{number}.mp4" for number in range(4)}


def test_an_orphan_is_left_for_an_hour(store: Store, local: Files, tmp_path: Path) -> None:
    put(local, tmp_path, "media/8.mp4", "media/9.mp4")
    for key, age_s in (("media/8.mp4", ORPHAN_S + 60), ("media/9.mp4", ORPHAN_S - 60)):
        path = local.local_path(key)
        assert path
        at = path.stat().st_mtime - age_s
        os.utime(path, (at, at))
    assert remove_orphans(store, local, ORPHAN_S) == 1
    assert listed(local) == {"media/9.mp4"}


def test_folders_that_a_dead_server_left_empty_go(store: Store, local: Files, tmp_path: Path) -> None:
    for folder in ("tasks/9/1", "sessions/9"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    while remove_orphans(store, local):
        pass
    assert [list((tmp_path / "data" / place).iterdir()) for place in ("tasks", "sessions")] == [[], []]


def test_an_attempt_of_a_task_that_was_deleted_leaves_nothing(store: Store, files: Files, tmp_path: Path) -> None:
    claimed = begun(store, "3")
    put(files, tmp_path, keys.audio_key("3", 0), keys.result_key("3", 1))
    store.tasks.remove(claimed)
    assert not store.tasks.complete_render(
        claimed, media(id=new_id(), kind=MediaKind.RESULT, key=keys.result_key("3", 1))
    )
    assert remove_orphans(store, files) == 2
    assert listed(files) == set()
