"""The values that the client takes and returns. Times are whole milliseconds.

Fields that only a duikou server fills are `None` or empty with other hosts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal, TypeAlias

SyncMode: TypeAlias = Literal["cut_off", "loop", "bounce", "silence"]
"""What a duikou server does with speech that is longer than the video."""

OriginalScope: TypeAlias = Literal["speech", "video"]
"""Where the volume of the video's own audio applies."""


class TaskStatus(StrEnum):
    """State of a task. The last two are final; a cancelled task is `failed`."""

    SUBMITTED = "submitted"
    PROCESSING = "processing"
    SUCCEED = "succeed"
    FAILED = "failed"


@dataclass(frozen=True)
class Box:
    """The usual place of a face in the frame, in pixels."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class FaceWarning:
    """Why a face's interval is no longer, or what may look wrong from `start_ms` to `end_ms`."""

    code: str
    message: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True)
class Speaking:
    """When a face speaks in its video. score: how well its lips fit the sound, from 0 to 1; 0.4 is good."""

    start_ms: int
    end_ms: int
    score: float


@dataclass(frozen=True)
class Face:
    """A face that can be lip-synced from `start_ms` to `end_ms`.

    picture_url: a picture of the face; `download` fetches it. box, warnings, speaking: a duikou server's.
    """

    id: str
    start_ms: int
    end_ms: int
    picture_url: str = ""
    box: Box | None = None
    warnings: tuple[FaceWarning, ...] = ()
    speaking: tuple[Speaking, ...] = ()


@dataclass(frozen=True)
class Session:
    """A video and its faces; valid for 24 hours. No faces is a success, too.

    rejected: why people who were seen are not among the faces. warnings: what will be lost of the video, whichever face
        speaks. Both are a duikou server's.
    """

    id: str
    faces: tuple[Face, ...]
    rejected: tuple[FaceWarning, ...] = ()
    warnings: tuple[FaceWarning, ...] = ()


@dataclass(frozen=True)
class Upload:
    """A file on a duikou server. duration_ms: 0 for an image. expires_at_ms: Unix time."""

    id: str
    url: str
    kind: Literal["video", "audio", "image"]
    size: int
    duration_ms: int
    expires_at_ms: int


@dataclass(frozen=True)
class Video:
    """A source or a result. watermark_url: the result with a visible mark, if it was asked for."""

    id: str
    url: str
    duration_ms: int | None = None
    watermark_url: str | None = None


@dataclass(frozen=True)
class Task:
    """The state of a lip sync. created_at_ms, updated_at_ms: Unix time.

    message: why it failed. external_id: the caller's own id. videos: the result; empty until the task has succeeded.
    progress: from 0 to 1. queue_position: 1 is next. fault: the cause of a failure in one word. These and `stage` are
    a duikou server's.
    """

    id: str
    status: TaskStatus
    created_at_ms: int
    updated_at_ms: int
    message: str = ""
    external_id: str | None = None
    source: Video | None = None
    videos: tuple[Video, ...] = ()
    progress: float | None = None
    stage: str | None = None
    queue_position: int | None = None
    fault: str | None = None

    @property
    def finished(self) -> bool:
        """Whether the status is final."""
        return self.status in (TaskStatus.SUCCEED, TaskStatus.FAILED)


@dataclass(frozen=True)
class FaceChoice:
    """Which face speaks what, and when: one piece of speech. With a duikou server a face may have several.

    audio: the speech (mp3, wav, m4a, aac): a file, a URL (http, https) or an upload.
    face_id: a face of the session; at a duikou server also `"auto"`, the one who speaks at that place in the video.
    trim_start_ms, trim_end_ms: the part of the audio that is used. An end of `None` is the end of the audio: the file
        is then uploaded, because the server tells how long it is. A URL, or a host without uploads, requires the end.
    insert_ms: when in the video that part begins.
    audio_volume: factor of the speech, in [0, 2].
    original_volume: factor of the video's own audio, in [0, 2]. The default replaces it.
    references: up to 4 clips or photos in which the mouth of the same person is open; a duikou server's.
    original_scope: where `original_volume` applies: throughout the video, as with Kling, or, a duikou server's, only
        while the speech lasts.
    exclude: pairs of a start and an end in the result, between which the mouth of the face stays as it is; a duikou
        server's.
    """

    audio: str | Path | Upload
    face_id: str = "0"
    trim_start_ms: int = 0
    trim_end_ms: int | None = None
    insert_ms: int = 0
    audio_volume: float = 1.0
    original_volume: float = 0.0
    references: Sequence[str | Path | Upload] = ()
    original_scope: OriginalScope = "video"
    exclude: Sequence[tuple[int, int]] = ()
