"""Valid media and tasks for tests of the store; `what` replaces single fields."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from duikou.database.ids import new_id
from duikou.tasks.models import ChoiceRecord, Media, MediaKind, Task
from duikou.tasks.store import Store

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


def task(**what: Any) -> Task:
    choice = ChoiceRecord("tasks/1/sound_0", "0", 0, 3_000, 0, 1.0, 0.5)
    return replace(
        Task(
            id=new_id(),
            account="",
            fingerprint="f",
            session_id="s",
            source_id="m",
            source_suffix=".mp4",
            source_duration_ms=10_000,
            choices=(choice,),
            not_before=0,
            created_at=1,
            updated_at=1,
        ),
        **what,
    )


def begun(store: Store, task_id: str) -> Task:
    """A new task that a worker has claimed."""
    store.add_task(task(id=task_id))
    claimed = store.claim()
    assert claimed is not None
    return claimed


def standing(store: Store, task_id: str) -> Task:
    """The current state of a task."""
    found = store.task_of_anyone(task_id)
    assert found is not None
    return found
