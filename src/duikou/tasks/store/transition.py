"""The one place that changes the status of a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog

from duikou.database import tables
from duikou.tasks import metrics, outbox
from duikou.tasks.models import RenderTask, Task
from duikou.tasks.rows import task_columns
from duikou.tasks.states import TRANSITIONS, TaskStatus
from duikou.tasks.store.media import keep_source

T = TypeVar("T", bound=Task)

log = structlog.get_logger(__name__)


def change_status(
    connection: sa.Connection, task: T, status: TaskStatus, changes: Mapping[str, Any], *, at: int, why: str = ""
) -> T | None:
    """Compare-and-set the status from the state and attempt of `task`; `None` for a late writer.

    changes: other fields that change with it. at: the time, Unix ms. why: for the log, where `changes` has no reason.
    The outbox, the log and the metrics follow the change. The source of a lip sync is kept as long as the task.
    """
    assert status in TRANSITIONS[task.status], f"no task goes from {task.status} to {status}"
    t = tables.tasks
    fields = {**changes, "status": status, "updated_at": at}
    change = (
        sa.update(t)
        .where(t.c.id == task.id, t.c.attempt == task.attempt, t.c.status == task.status)
        .values(task_columns(fields))
    )
    if connection.execute(change).rowcount != 1:
        log.info("late writer ignored", task_id=task.id, attempt=task.attempt, status=str(status))
        return None
    changed = replace(task, **fields)
    if task.status is TaskStatus.PROCESSING:
        _end_attempt(connection, task, status, changed.reason or why, at)
    if isinstance(changed, RenderTask) and changed.expires_at is not None:
        keep_source(connection, changed.source.id, changed.expires_at)
    outbox.add(connection, changed, at)
    log.info(
        f"task {status}",
        task_id=task.id,
        request_id=task.request_id,
        queue=str(task.queue),
        attempt=changed.attempt,
        tries=changed.tries,
        reason=changed.reason or why,
    )
    metrics.count_transition(task, changed)
    return changed


def _end_attempt(connection: sa.Connection, task: Task, status: TaskStatus, reason: str, at: int) -> None:
    a = tables.attempts
    ended = sa.update(a).where(a.c.task_id == task.id, a.c.number == task.attempt)
    connection.execute(ended.values(ended_at=at, outcome=str(status), reason=reason))
