"""Media and tasks for tests of the store: well unless `what` says otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from duikou.database.ids import new_id
from duikou.pipeline.choice import FaceChoice
from duikou.tasks.models import (
    IdentifyTask,
    Media,
    MediaKind,
    RenderTask,
    SessionRecord,
    Task,
    TaskCallback,
    TaskSource,
)
from duikou.tasks.store import Store
from duikou.tasks.store.sessions import insert_session

END = 1_000_000  # when what is made here is over, by a `Clock` of the test's own


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.ms = 1_000

    def __call__(self) -> int:
        return self.ms


def media(**what: Any) -> Media:
    return replace(
        Media(new_id(), "", MediaKind.SOURCE, "media/x.mp4", ".mp4", 5, 10_000, created_at=1, expires_at=END), **what
    )


def task(*, source_id: str = "m", source_duration_ms: int = 10_000, callback_url: str = "", **what: Any) -> RenderTask:
    """A render that waits."""
    usual: dict[str, Any] = {
        **_common(source_id, source_duration_ms),
        "fingerprint": "f",
        "session_id": "s",
        "choices": (FaceChoice("tasks/1/sound_0", "0", 0, 3_000, 0, 1.0, 0.5),),
        "callback": TaskCallback(callback_url, "") if callback_url else None,
    }
    return RenderTask(**{**usual, **what})


def identify_task(*, source_id: str = "m", **what: Any) -> IdentifyTask:
    """A search for faces that waits."""
    return IdentifyTask(**{**_common(source_id, 10_000), **what})


def _common(source_id: str, duration_ms: int) -> dict[str, Any]:
    source = TaskSource(source_id, ".mp4", duration_ms)
    return {"id": new_id(), "account": "", "source": source, "not_before": 0, "created_at": 1, "updated_at": 1}


def add_session(store: Store, session: SessionRecord) -> None:
    """A session without the task that found its faces; its source is stored already, or never."""
    with store.sessions._database.writing() as connection:
        insert_session(connection, session)


def begun(store: Store, task_id: str) -> Task:
    """A new task that somebody has in hand."""
    store.tasks.add(task(id=task_id))
    claimed = store.queue.claim()
    assert claimed is not None
    return claimed


def standing(store: Store, task_id: str) -> Task:
    """A task as it is now."""
    found = store.tasks.get(task_id)
    assert found is not None
    return found
