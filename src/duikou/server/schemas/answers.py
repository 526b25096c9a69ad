"""The bodies of answers."""

from __future__ import annotations

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from duikou.media.scope import OriginalScope
from duikou.server.schemas.common import EXTENSION
from duikou.tasks.states import TaskStatus

T = TypeVar("T")

Status = Literal["submitted", "processing", "succeed", "failed"]
STATUSES: dict[TaskStatus, Status] = {
    TaskStatus.SUBMITTED: "submitted",
    TaskStatus.PROCESSING: "processing",
    TaskStatus.SUCCEED: "succeed",
    TaskStatus.FAILED: "failed",
    TaskStatus.CANCELLED: "failed",  # the contract has no other status for it
}


class _Response(BaseModel):
    model_config = ConfigDict(json_schema_serialization_defaults_required=True)


class _ExtensionResponse(_Response):
    model_config = ConfigDict(json_schema_extra=EXTENSION)


# A field that is omitted in place of null, which breaks strict clients.
OmitNone = Annotated[T | SkipJsonSchema[None], Field(exclude_if=lambda value: value is None)]


class Envelope(_Response, Generic[T]):
    """The envelope of every successful answer."""

    code: int = Field(default=0, description="0: success.")
    message: str = "SUCCEED"
    request_id: str = Field(
        description="The server's id of this request, also in its log and in the header X-Request-Id."
    )
    data: T


class ErrorEnvelope(_Response):
    """The envelope of every error answer."""

    code: int = Field(description="The error code; its meaning is listed with its HTTP status.")
    message: str = Field(description="One sentence that names the field and the figure.")
    request_id: str = Field(
        description="The server's id of this request, also in its log and in the header X-Request-Id."
    )
    data: None = None


class FaceWarningData(_ExtensionResponse):
    """An extension: why a face's interval ends, or what may look wrong. Times are in ms."""

    code: str
    message: str
    start_time: int
    end_time: int


class BoxData(_ExtensionResponse):
    """An extension: the usual position of a face in the frame, in pixels."""

    x: int
    y: int
    width: int
    height: int


class SpeakingData(_ExtensionResponse):
    """An extension: when a face speaks in the video. Times are in ms."""

    start_time: int
    end_time: int
    score: float = Field(description="How well its lips fit the sound, from 0.2 to 1; 0.4 is good.")


class FaceData(_Response):
    """A face that can be lip-synced. Times are in ms."""

    face_id: str = Field(
        description="Id of the face within its session; a face that returns after more than 1 s gets a new id."
    )
    face_image: str = Field(description="URL of a picture of the face.")
    start_time: int = Field(description="Start of the interval that can be lip-synced.")
    end_time: int = Field(description="End of this interval.")
    bbox: BoxData = Field(description="An extension: the position of the face.")
    warnings: list[FaceWarningData] = Field(
        description="An extension: what may limit the result for this face.", json_schema_extra=EXTENSION
    )
    speaking: list[SpeakingData] = Field(
        description="An extension: when this face speaks in the video, by its lips and the video's sound.",
        json_schema_extra=EXTENSION,
    )


class SourceVideoData(_ExtensionResponse):
    """An extension: a source video, upright as a player shows it."""

    id: str = Field(description="Id of the video, for `video_id`.")
    url: str = Field(description="Signed URL of the video; needs no key and expires.")
    duration: str = Field(description="Duration in seconds, as a string.")
    width: int = Field(description="Width in pixels.")
    height: int = Field(description="Height in pixels.")
    frame_rate: float = Field(description="Mean frames per second.")
    warnings: list[FaceWarningData] = Field(description="What will be lost of the video, whichever face speaks.")


class IdentifyData(_Response):
    """A session and its faces."""

    session_id: str = Field(description="Id of the session; valid for 24 hours.")
    final_unit_deduction: str = Field(default="0", description="Cost of the call, always 0.")
    face_data: list[FaceData] = Field(description="The faces found; an empty list is a success.")
    video: SourceVideoData = Field(description="An extension: the video in which they were found.")
    rejected: list[FaceWarningData] = Field(
        description="An extension: why people who were seen are not among the faces.", json_schema_extra=EXTENSION
    )


class VideoData(_Response):
    """A video, stored for 30 days."""

    id: str
    url: str = Field(description="Signed URL of the video; needs no key and expires.")
    duration: str = Field(description="Duration in seconds, as a string.")
    watermark_url: OmitNone[str] = Field(
        default=None, description="URL of the result with a visible mark, if requested."
    )


class TaskInfo(_Response):
    """The input of the task."""

    parent_video: VideoData = Field(description="The source video.")
    external_task_id: OmitNone[str] = Field(default=None, description="The caller's own id of the task, if given.")


class WatermarkData(_Response):
    """Whether the request asked for a result with a visible mark."""

    enabled: bool


class TaskResult(_Response):
    """The output of the task."""

    videos: list[VideoData] = Field(description="The result; empty until the task has succeeded.")


class RequestedFaceData(_ExtensionResponse):
    """An extension: a face that a task makes speak, and how, in the fields of the request. Times are in ms."""

    face_id: str
    sound_start_time: int
    sound_end_time: int = Field(description="End of what is heard of the speech: `sync_mode` may have cut it.")
    sound_insert_time: int
    sound_volume: float
    original_audio_volume: float
    original_audio_scope: OriginalScope
    exclude: list[tuple[int, int]]


class TaskData(_Response):
    """A task. Times are Unix time in ms."""

    task_id: str = Field(description="Id of the task.")
    task_status: Status = Field(description="Status of the task; the last two are final.")
    task_status_msg: str = Field(description="Why the task failed; empty otherwise.")
    task_info: TaskInfo
    task_result: TaskResult
    watermark_info: OmitNone[WatermarkData] = Field(
        default=None, description="Present if a result with a visible mark was requested."
    )
    final_unit_deduction: str = Field(default="0", description="Cost of the task, always 0.")
    progress: float = Field(description="An extension: progress from 0 to 1.", json_schema_extra=EXTENSION)
    stage: str = Field(description="An extension: the current stage of the work.", json_schema_extra=EXTENSION)
    fault: OmitNone[str] = Field(
        default=None,
        description="An extension: category of the failure: input, limit, model, storage, worker or cancelled.",
        json_schema_extra=EXTENSION,
    )
    queue_position: OmitNone[int] = Field(
        default=None,
        description="An extension: position among the waiting tasks; 1 is next.",
        json_schema_extra=EXTENSION,
    )
    session_id: OmitNone[str] = Field(
        default=None,
        description="An extension: the session that the task starts from; tasks of lip-sync have none.",
        json_schema_extra=EXTENSION,
    )
    request: list[RequestedFaceData] = Field(
        description="An extension: what was requested for each face; empty for tasks of lip-sync.",
        json_schema_extra=EXTENSION,
    )
    created_at: int = Field(description="When the task was created.")
    updated_at: int = Field(description="When the task last changed.")


class DryRunData(_ExtensionResponse):
    """An extension: what a request would create."""

    dry_run: bool = True
    duration: str = Field(description="Duration of the result in seconds, as a string.")
    estimated_time: str = Field(description="Estimated seconds until the task would finish, as a string.")
    queue_position: int = Field(description="Position that the task would have among the waiting ones; 1 is next.")
    warnings: list[FaceWarningData] = Field(description="What may limit the result for the chosen faces.")
    request: list[RequestedFaceData] = Field(description="What the task would have as its `request`.")


class DeletedData(_ExtensionResponse):
    """An extension: a task that was deleted."""

    task_id: str
    deleted: bool = True


class UploadData(_ExtensionResponse):
    """An extension: a file that was uploaded."""

    id: str = Field(description="Id of the file, for `video_id` or `audio_id`.")
    url: str = Field(description="Signed URL of the file, for `video_url`, `sound_file` or `reference_urls`.")
    type: Literal["video", "audio", "image"]
    size: int = Field(description="Size in bytes.")
    duration: str = Field(description="Duration in seconds, as a string; 0 for an image.")
    expires_at: int = Field(description="When the file is deleted, Unix time in ms.")


class StatusData(_ExtensionResponse):
    """An extension: the state of the server."""

    status: Literal["ok", "ready"]
    warnings: OmitNone[list[str]] = Field(
        None, description="What keeps accepted work from being done; absent where nothing is known."
    )


class StudioSettings(_ExtensionResponse):
    """An extension: what a page must know of the server. Limits are those that the server checks; times are in ms."""

    version: str = Field(description="Version of duikou.")
    needs_key: bool = Field(description="Whether calls need a key.")
    several_faces: bool = Field(description="Whether `face_choose` may have several entries.")
    any_size: bool = Field(description="Whether videos of any size in pixels are accepted.")
    session_hours: int = Field(description="Hours for which a session is valid.")
    max_entries: int = Field(description="Entries that `face_choose` may have.")
    max_exclusions: int = Field(description="Pairs that `exclude` may have.")
    max_references: int = Field(description="URLs that `reference_urls` may have.")
    max_video_mb: int = Field(description="Largest video or photo, in MiB.")
    max_audio_mb: int = Field(description="Largest audio file, in MiB.")
    min_video_ms: int = Field(description="Shortest video.")
    max_video_ms: int = Field(description="Longest video.")
    min_audio_ms: int = Field(description="Shortest audio file.")
    max_audio_ms: int = Field(description="Longest audio file.")
    min_speech_ms: int = Field(description="Shortest time from `sound_start_time` to `sound_end_time`.")
    min_overlap_ms: int = Field(description="Shortest time that the speech shares with the face's interval.")
    min_side: int = Field(description="Smallest width or height of a video, in pixels.")
    max_side: int = Field(description="Largest width or height of a video, in pixels.")
    min_short_side: int = Field(
        description="A video is taken if its shorter side is from this many pixels to `max_short_side`, or if its "
        "pixels are within the limits below."
    )
    max_short_side: int = Field(description="See `min_short_side`.")
    min_pixels: int = Field(description="Smallest width times height of a video with another shorter side.")
    max_pixels: int = Field(description="Largest width times height of such a video.")
    max_frame_rate: int = Field(description="Most frames per second of a video.")
