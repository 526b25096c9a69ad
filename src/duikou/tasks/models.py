"""What the store keeps: media, sessions and tasks, as frozen values. `duikou.tasks.rows` maps them to columns."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

from duikou.bounds import AtMost, Text, Whole
from duikou.faces.track import FaceWarning, Speaking
from duikou.media.sync_mode import SyncMode
from duikou.pipeline.choice import FaceChoice
from duikou.tasks.states import UNFINISHED, WITHOUT_RESULT, Fault, Queue, TaskStatus
from duikou.timebase import Interval
from duikou.units import HOUR_MS

VIDEO_SUFFIXES = (".mp4", ".mov")
AUDIO_SUFFIXES = (".mp3", ".wav", ".m4a", ".aac")
MAX_FACES, MAX_WARNINGS, MAX_SPEAKING = 10_000, 10_000, 10_000  # an hour with a cut every second has 3,600 faces
_FURTHEST: Final = 32_768  # pixels; the longest side of a picture is half of it, and faces may reach out of the picture
_Place = Annotated[int, Whole(-_FURTHEST, _FURTHEST)]
_Length = Annotated[int, Whole(0, _FURTHEST)]
PHOTO_SUFFIXES = (".jpg", ".png", ".webp")
IDENTIFY_KEPT_MS = HOUR_MS  # how long a finished identify task is kept, whose callers read the end at once, and a
# received video while its faces are not found: nobody knows it yet


class MediaKind(StrEnum):
    """Where a file came from."""

    SOURCE = "source"
    UPLOAD = "upload"
    RESULT = "result"


@dataclass(frozen=True)
class Media:
    """One file that the server keeps and serves: a video, audio or a photo.

    key: its key in the file storage. suffix: `.mp4` or `.mov`, for audio `.mp3`, `.wav`, `.m4a` or `.aac`, for a photo
        `.jpg`, `.png` or `.webp`. duration_ms: 0 for a photo.
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
class FaceRecord:
    """A face as the store knows it; its track stays in the session's folder.

    box: usual place in the picture, (x, y, width, height) in pixels. speaking: when it speaks in the video.
    """

    id: Annotated[str, Text(9, "[0-9]+")]
    interval: Interval
    warnings: Annotated[tuple[FaceWarning, ...], AtMost(MAX_WARNINGS)] = ()
    box: tuple[_Place, _Place, _Length, _Length] = (0, 0, 0, 0)
    speaking: Annotated[tuple[Speaking, ...], AtMost(MAX_SPEAKING)] = ()


@dataclass(frozen=True)
class FoundFaces:
    """What was found in a video. rejected: why people who were seen are not among the faces.

    Raises `ValueError` where two faces have one id.
    """

    faces: Annotated[tuple[FaceRecord, ...], AtMost(MAX_FACES)] = ()
    rejected: Annotated[tuple[FaceWarning, ...], AtMost(MAX_WARNINGS)] = ()

    def __post_init__(self) -> None:
        if len({face.id for face in self.faces}) < len(self.faces):
            raise ValueError("two faces have one id")


@dataclass(frozen=True)
class SessionRecord:
    """A video whose faces are known, until `expires_at`. rejected: as in `FoundFaces`.

    digest: of the video's bytes. analyser: the version of what found the faces. Both are empty in sessions of former
    versions, of which no other session is made. size: bytes of its own files, 0 in sessions of former versions.
    """

    id: str
    account: str
    source: Media
    faces: tuple[FaceRecord, ...]
    created_at: int
    expires_at: int
    rejected: tuple[FaceWarning, ...] = ()
    digest: str = ""
    analyser: str = ""
    size: int = 0

    def face(self, face_id: str) -> FaceRecord | None:
        """The face of that id, or `None`."""
        return next((face for face in self.faces if face.id == face_id), None)


@dataclass(frozen=True)
class Analysis:
    """What was found in a video, as a session holds it. Its tracks and pictures are in that session's folder.

    digest, analyser, size: as in `SessionRecord`.
    """

    session_id: str
    found: FoundFaces
    digest: str
    analyser: str
    size: int = 0


@dataclass(frozen=True)
class TaskSource:
    """The video that a task starts from, as it was when the task was created."""

    id: str
    suffix: str
    duration_ms: int


@dataclass(frozen=True)
class TaskResult:
    """What a render made. watermark_id: the second result, with a visible mark, if one was requested."""

    id: str
    duration_ms: int
    watermark_id: str | None = None


@dataclass(frozen=True)
class TaskCallback:
    """Where every change of a render's status is posted. files_url: base of the file addresses in that post."""

    url: str
    files_url: str


@dataclass(frozen=True, kw_only=True)
class Task:
    """Accepted work: what the queue and the state machine need. `IdentifyTask` and `RenderTask` add what is theirs.

    Times are Unix milliseconds. began_at: `None` until the first attempt. expires_at: `None` until the task is over.
    attempt: number of the current claim; it only rises, and every write of a worker names it.
    tries: attempts begun and not handed back; at `MAX_TRIES` the task fails.
    fault, reason: why it failed, as a word and as a sentence (empty unless it failed).
    progress: 0 to 1. stage: what the worker is doing, empty before it reports.
    not_before: earliest time of the next claim. turn: position in its queue, lowest first; see `TaskStore.add`.
    heartbeat: counter that rises while a worker holds the task.
    request_id, trace: the call that created it, for logs and traces; empty outside a call.
    """

    id: str
    account: str
    source: TaskSource
    queue: Queue
    not_before: int
    created_at: int
    updated_at: int
    began_at: int | None = None
    expires_at: int | None = None
    status: TaskStatus = TaskStatus.SUBMITTED
    fault: Fault | None = None
    reason: str = ""
    attempt: int = 0
    tries: int = 0
    progress: float = 0.0
    stage: str = ""
    turn: float = 0.0
    heartbeat: int = 0
    request_id: str = ""
    trace: str = ""

    @property
    def finished(self) -> bool:
        """Whether the task is over."""
        return self.status not in UNFINISHED

    @property
    def failed(self) -> bool:
        """Whether the task is over and has no result: it failed or was cancelled."""
        return self.status in WITHOUT_RESULT


@dataclass(frozen=True, kw_only=True)
class IdentifyTask(Task):
    """The identification of a video's faces.

    session_id: the session that it made, `None` until it succeeds. digest: of the video's bytes; equal calls of one
    account share a task. callers: how many of them wait for it.
    """

    queue: Queue = Queue.IDENTIFY
    session_id: str | None = None
    digest: str = ""
    callers: int = 1


@dataclass(frozen=True, kw_only=True)
class RenderTask(Task):
    """A lip sync.

    session_id: the session that it starts from; `None` where the task itself finds the faces and takes the most visible
        one. choices: their files are keys in the file storage.
    fingerprint: digest of the payload; tells a repeated request from another one under the same external id.
    sync_mode: what to do with speech that is longer than the video; `None` makes that an error.
    watermark: whether a second, visibly marked result is made.
    external_id: the caller's own id, unique per account. former_external_id: the one that a later task has taken over.
    callback: where changes of status are posted.
    size: bytes of its speech and references, 0 in tasks of former versions.
    """

    queue: Queue = Queue.RENDER
    session_id: str | None
    choices: tuple[FaceChoice, ...]
    fingerprint: str
    sync_mode: SyncMode | None = None
    watermark: bool = False
    external_id: str | None = None
    former_external_id: str | None = None
    callback: TaskCallback | None = None
    result: TaskResult | None = None
    size: int = 0


@dataclass(frozen=True)
class Attempt:
    """One attempt at a task. worker: machine and process. ended_at: 0 while it runs. outcome, reason: what ended it.

    outcome: the task's status after it; `submitted` where the task waits again. Both are empty while it runs.
    """

    number: int
    worker: str
    began_at: int
    ended_at: int = 0
    outcome: str = ""
    reason: str = ""


@dataclass(frozen=True)
class QueueLoad:
    """Load of one queue: waiting tasks, milliseconds that the oldest of them has waited, and running tasks."""

    waiting: int
    age_ms: int
    running: int
