"""What the store keeps: media, sessions and tasks, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from duikou.timebase import Interval


class TaskStatus(StrEnum):
    """Where a task stands. `cancelled` is ours: the contract knows only the others, and hears of it as failed."""

    SUBMITTED = "submitted"
    PROCESSING = "processing"
    SUCCEED = "succeed"
    FAILED = "failed"
    CANCELLED = "cancelled"


UNFINISHED = (TaskStatus.SUBMITTED, TaskStatus.PROCESSING)
TRANSITIONS: dict[TaskStatus, frozenset[TaskStatus]] = {
    TaskStatus.SUBMITTED: frozenset({TaskStatus.PROCESSING, TaskStatus.FAILED, TaskStatus.CANCELLED}),
    TaskStatus.PROCESSING: frozenset(TaskStatus) - {TaskStatus.PROCESSING},
    TaskStatus.SUCCEED: frozenset(),
    TaskStatus.FAILED: frozenset({TaskStatus.SUBMITTED}),  # an operator has it tried again
    TaskStatus.CANCELLED: frozenset({TaskStatus.SUBMITTED}),
}
"""What a status may become."""


class Queue(StrEnum):
    """What kind of machine a task waits for. Each has an order of its own."""

    ANALYSIS = "analysis"
    RENDER = "render"
    GPU = "gpu"


RENDERING = (Queue.RENDER, Queue.GPU)


class Fault(StrEnum):
    """Why a task did not succeed, as a stable word; `reason` is the sentence."""

    INPUT = "input"
    LIMIT = "limit"
    MODEL = "model"
    STORAGE = "storage"
    WORKER = "worker"
    CANCELLED = "cancelled"


VIDEO_SUFFIXES = (".mp4", ".mov")
AUDIO_SUFFIXES = (".mp3", ".wav", ".m4a", ".aac")


class MediaKind(StrEnum):
    """Where a file came from."""

    SOURCE = "source"
    UPLOAD = "upload"
    RESULT = "result"


@dataclass(frozen=True)
class Media:
    """One video or sound that we keep and serve.

    key: where its bytes are, relative to the data folder. suffix: `.mp4`, `.mov`, or of a sound `.mp3` and its like.
    """

    id: str
    account: str
    kind: MediaKind
    key: str
    suffix: str
    size: int
    duration_ms: int
    created_at: int
    expires_at: int


@dataclass(frozen=True)
class FaceNote:
    """One sentence on why a face's interval is no longer or what may look wrong; `code` is a stable word."""

    code: str
    message: str
    interval: Interval


@dataclass(frozen=True)
class FaceSummary:
    """A face as the store knows it; the tracks stay in the session's folder.

    box: usual place in the picture, (x, y, width, height) in pixels.
    """

    id: str
    interval: Interval
    notes: tuple[FaceNote, ...] = ()
    box: tuple[int, int, int, int] = (0, 0, 0, 0)


@dataclass(frozen=True)
class SessionRecord:
    """A video whose faces are known, until `expires_at`."""

    id: str
    account: str
    source: Media
    faces: tuple[FaceSummary, ...]
    created_at: int
    expires_at: int

    def face(self, face_id: str) -> FaceSummary | None:
        """The face of that id, or `None`."""
        return next((face for face in self.faces if face.id == face_id), None)


@dataclass(frozen=True)
class ChoiceRecord:
    """One face and what it speaks: `duikou.pipeline.choice.FaceChoice` with the sound as a key in the data folder."""

    sound: str
    face_id: str
    sound_start_ms: int
    sound_end_ms: int
    insert_ms: int
    sound_volume: float
    original_volume: float


@dataclass(frozen=True)
class Task:
    """Work that was asked for: a lip sync, or in the queue `analysis` the search for a video's faces.

    external_id: the caller's own id for it, unique per account; `None` where the caller gave none.
    fingerprint: digest of the payload, which tells a repeated request from another one under the same external id.
    source: the video it starts from, as it was when the task was made.
    session_id: the session that it starts from; of a search the one that it made, empty until then.
    attempt: number of the claim that holds now; it only rises, and every write of a worker names it.
    tries: how often work was begun and not handed back; at `MAX_TRIES` the task fails.
    reason: why it failed, one sentence. progress: 0 to 1. Times are Unix milliseconds; `expires_at` is 0 until the end,
    `began_at` until an attempt begins.
    turn: its place among those that wait in its queue, the lowest first; see `Store.add_task`.
    beat: rises while whoever has the task in hand is alive. request_id, trace: the call that made it, for log lines and
    traces.
    sync_mode: what happens to speech that is too long, "" for a fault. watermark: whether a second, marked result is
    made, whose id is watermark_id. callback_url: who is told of every change, "" for nobody; files_url: what the
    addresses in that callback begin with.
    """

    id: str
    account: str
    source_id: str
    source_suffix: str
    source_duration_ms: int
    not_before: int
    created_at: int
    updated_at: int
    external_id: str | None = None
    fingerprint: str = ""
    session_id: str = ""
    choices: tuple[ChoiceRecord, ...] = ()
    status: TaskStatus = TaskStatus.SUBMITTED
    reason: str = ""
    attempt: int = 0
    tries: int = 0
    progress: float = 0.0
    stage: str = ""
    result_id: str = ""
    result_duration_ms: int = 0
    expires_at: int = 0
    sync_mode: str = ""
    watermark: bool = False
    watermark_id: str = ""
    callback_url: str = ""
    files_url: str = ""
    began_at: int = 0
    queue: Queue = Queue.RENDER
    turn: float = 0.0
    beat: int = 0
    fault: str = ""
    request_id: str = ""
    trace: str = ""

    @property
    def finished(self) -> bool:
        """Whether nothing will change any more."""
        return self.status not in UNFINISHED


@dataclass(frozen=True)
class Load:
    """What one queue holds: tasks that wait, ms that the oldest of them has waited, and tasks in hand."""

    waiting: int
    age_ms: int
    running: int


def task_from(values: dict[str, Any]) -> Task:
    """A task from its row, or from its own dictionary once that has been through JSON."""
    choices = tuple(ChoiceRecord(**choice) for choice in values["choices"])
    typed = {"choices": choices, "status": TaskStatus(values["status"]), "queue": Queue(values.get("queue", "render"))}
    return Task(**{**values, **typed})
