"""Valid media and tasks for tests of the store; `what` replaces single fields."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from duikou.database import tables
from duikou.database.engine import Database
from duikou.database.ids import new_id
from duikou.pipeline.choice import FaceChoice
from duikou.tasks.models import (
    IdentifyTask,
    Media,
    MediaKind,
    RenderTask,
    SessionRecord,
    TaskCallback,
    TaskSource,
)
from duikou.tasks.places import lane_of
from duikou.tasks.rows import task_row
from duikou.tasks.store import Store
from duikou.tasks.store.sessions import insert_session

END = 1_000_000  # when media made here expire, by the test's own `Clock`


class Clock:
    """A clock that stands still until a test sets it."""

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
    """An identify task that waits."""
    return IdentifyTask(**{**_common(source_id, 10_000), **what})


def _common(source_id: str, duration_ms: int) -> dict[str, Any]:
    source = TaskSource(source_id, ".mp4", duration_ms)
    return {"id": new_id(), "account": "", "source": source, "not_before": 0, "created_at": 1, "updated_at": 1}


def add_session(store: Store, session: SessionRecord) -> None:
    """A session without the task that found its faces; its source is stored already, or never."""
    with store.sessions._database.writing() as connection:
        insert_session(connection, session)


def begun(store: Store, task_id: str | None = None, **what: Any) -> RenderTask:
    """Add a render, and claim the next one as a worker does: the new one where no other waits."""
    store.tasks.add(task(id=task_id or new_id(), **what))
    claimed = store.queue.claim()
    assert isinstance(claimed, RenderTask)
    return claimed


def standing(store: Store, task_id: str) -> RenderTask:
    """The current state of a task."""
    found = store.tasks.get(task_id)
    assert isinstance(found, RenderTask)
    return found


def add_callbacks(database: Database, account: str, *urls: str, tasks: int = 1, changes: int = 1) -> None:
    """Undelivered changes of so many tasks for each receiver, written into the outbox alone."""
    rows = []
    for url in urls:
        lane, row = lane_of(account, url), task_row(task(account=account, callback_url=url))
        due = {"tries": 0, "not_before": 1, "account": lane.account, "receiver": lane.receiver}
        for task_id in [_many_id() for _ in range(tasks)]:
            of_task = due | {"task_id": task_id, "task": row | {"id": task_id}}
            rows += [of_task | {"id": _many_id()} for _ in range(changes)]
    with database.writing() as connection:
        connection.execute(sa.insert(tables.callbacks), rows)


def _many_id() -> str:
    """An id that no other of very many has: `new_id` makes a few in a millisecond."""
    return uuid.uuid4().hex[:19]


def rename_table(database: Database, table: str, to: str) -> None:
    """Rename a table, so that everything that needs it fails until it has its name again."""
    with database.writing() as connection:
        connection.execute(sa.text(f"ALTER TABLE {table} RENAME TO {to}"))
