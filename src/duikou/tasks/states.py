"""States of a task, its queues and its error words. Imports nothing heavy: the command line reads it for its help."""

from __future__ import annotations

from enum import StrEnum

MAX_TRIES = 3  # a task that killed three workers will kill the fourth
RETRY_DELAY_MS = 1_000  # times the number of tries: lets a passing failure (full disk, no memory) pass


class TaskStatus(StrEnum):
    """State of a task. The contract does not know `cancelled`: on the wire such a task is `failed`."""

    SUBMITTED = "submitted"
    PROCESSING = "processing"
    SUCCEED = "succeed"
    FAILED = "failed"
    CANCELLED = "cancelled"


UNFINISHED = (TaskStatus.SUBMITTED, TaskStatus.PROCESSING)
WITHOUT_RESULT = (TaskStatus.FAILED, TaskStatus.CANCELLED)
TRANSITIONS: dict[TaskStatus, frozenset[TaskStatus]] = {
    TaskStatus.SUBMITTED: frozenset({TaskStatus.PROCESSING, TaskStatus.FAILED, TaskStatus.CANCELLED}),
    TaskStatus.PROCESSING: frozenset(TaskStatus) - {TaskStatus.PROCESSING},
    TaskStatus.SUCCEED: frozenset(),
    TaskStatus.FAILED: frozenset({TaskStatus.SUBMITTED}),  # an operator retries it
    TaskStatus.CANCELLED: frozenset({TaskStatus.SUBMITTED}),
}
"""The states that may follow each state."""


class Queue(StrEnum):
    """The kind of machine that a task waits for. Each queue has its own order."""

    IDENTIFY = "identify"
    RENDER = "render"
    GPU = "gpu"


RENDERING = (Queue.RENDER, Queue.GPU)


class Fault(StrEnum):
    """Why a task did not succeed, as a stable word; the task's `reason` is the sentence."""

    INPUT = "input"
    LIMIT = "limit"
    MODEL = "model"
    STORAGE = "storage"
    WORKER = "worker"
    CANCELLED = "cancelled"
