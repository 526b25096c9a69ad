"""Media and tasks for tests of the store: well unless `what` says otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from duikou.jobs.ids import new_id
from duikou.jobs.state import ChoiceRecord, Media, MediaKind, Task, TaskStatus

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


def task(**what: Any) -> Task:
    choice = ChoiceRecord("tasks/1/sound_0", "0", 0, 3_000, 0, 1.0, 0.5)
    return replace(
        Task(
            id=new_id(),
            account="",
            external_id=None,
            fingerprint="f",
            session_id="s",
            source_id="m",
            source_suffix=".mp4",
            source_duration_ms=10_000,
            choices=(choice,),
            status=TaskStatus.SUBMITTED,
            reason="",
            attempt=0,
            tries=0,
            progress=0.0,
            stage="",
            not_before=0,
            result_id="",
            result_duration_ms=0,
            created_at=1,
            updated_at=1,
            expires_at=0,
        ),
        **what,
    )
