"""The JSON of the contract: what requests may hold and what answers hold. Names and types are Kling's (docs/contract).

Nothing below this room knows these shapes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Sequence
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from duikou.errors import InputError
from duikou.jobs.state import VIDEO_SUFFIXES, ChoiceRecord, FaceSummary, Media, SessionRecord, Task, TaskStatus
from duikou.server.links import Links

MAX_MS = 86_400_000  # times beyond a day are a mistake whatever the video; keeps figures in messages readable
MAX_FACES = 8  # entries of face_choose, where several are allowed: as many faces as are found at once
MAX_EXTERNAL_ID = 256  # characters; the column's width
SHOWN = 40  # characters of a wrong value that a message repeats

SyncMode = Literal["cut_off", "loop", "bounce", "silence"]

T = TypeVar("T")


# Requests


def _encodable(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode text") from None
    if "\0" in value:
        raise ValueError("must not hold the character U+0000")
    return value


def _number_as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _object_as_list(value: object) -> object:
    return [value] if isinstance(value, dict) else value


def _none_for_empty(value: object) -> object:
    return None if value == "" else value


def _default_for_null(default: object) -> BeforeValidator:
    return BeforeValidator(lambda value: default if value is None else value)


Text = Annotated[str, AfterValidator(_encodable)]
FaceId = Annotated[
    Text, BeforeValidator(_number_as_text), WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer"}]})
]
ExternalId = Annotated[str, Field(max_length=MAX_EXTERNAL_ID), AfterValidator(_encodable)]
Milliseconds = Annotated[int, Field(ge=0, le=MAX_MS)]
Volume = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False), _default_for_null(1.0)]


class _Request(BaseModel):
    # Strict: a number in quotes or a fraction of a millisecond is a caller's mistake. Unknown keys are ignored.
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class IdentifyRequest(_Request):
    """Which video to look for faces in: exactly one of the two. Empty and null count as absent."""

    video_url: Text | None = None
    video_id: Text | None = None


class FaceChoose(_Request):
    """One face and what it speaks. Exactly one of `sound_file` and `audio_id`."""

    face_id: FaceId
    sound_file: Text | None = None
    audio_id: Text | None = None
    sound_start_time: Milliseconds
    sound_end_time: Milliseconds
    sound_insert_time: Milliseconds
    sound_volume: Volume = 1.0
    original_audio_volume: Volume = 1.0

    def choice(self) -> ChoiceRecord:
        """The choice as the rooms below know it, its sound still to come."""
        return ChoiceRecord(
            sound="",
            face_id=self.face_id,
            sound_start_ms=self.sound_start_time,
            sound_end_ms=self.sound_end_time,
            insert_ms=self.sound_insert_time,
            sound_volume=self.sound_volume,
            original_volume=self.original_audio_volume,
        )


class WatermarkInfo(_Request):
    """Whether a second result with a visible mark is made."""

    enabled: Annotated[bool, _default_for_null(False)] = False


class LipSyncRequest(_Request):
    """A lip sync of one session. A bare object is read as a list of one. Empty and null count as absent.

    sync_mode, dry_run: extensions. What happens to speech that lasts longer than the video; and whether the request is
    only checked and estimated.
    """

    session_id: Text
    face_choose: Annotated[
        list[FaceChoose], BeforeValidator(_object_as_list), Field(min_length=1, max_length=MAX_FACES)
    ]
    external_task_id: ExternalId | None = None
    callback_url: Text | None = None
    watermark_info: WatermarkInfo | None = None
    sync_mode: Annotated[SyncMode | None, BeforeValidator(_none_for_empty)] = None
    dry_run: Annotated[bool, _default_for_null(False)] = False

    @property
    def watermark(self) -> bool:
        """Whether a marked result is asked for."""
        return self.watermark_info is not None and self.watermark_info.enabled

    def fingerprint(self) -> str:
        """Digest of everything that makes the result, to tell a repeated request from another one."""
        payload = self.model_dump(mode="json", include={"session_id", "face_choose"})
        payload |= {"watermark": self.watermark, "sync_mode": self.sync_mode}
        return hashlib.sha256(json.dumps(payload, sort_keys=True).encode()).hexdigest()


# Answers


class Envelope(BaseModel, Generic[T]):
    """What surrounds every answer."""

    code: int = 0
    message: str = "SUCCEED"
    request_id: str
    data: T


class ErrorEnvelope(BaseModel):
    """What every fault is answered with."""

    code: int
    message: str
    request_id: str
    data: None = None


class FaceWarningData(BaseModel):
    """An extension: why a face's interval is no longer, or what may look wrong. Times in ms."""

    code: str
    message: str
    start_time: int
    end_time: int


class BoxData(BaseModel):
    """An extension: where in the picture a face usually is, in pixels."""

    x: int
    y: int
    width: int
    height: int


class FaceData(BaseModel):
    """A face that can be lip-synced; times in ms."""

    face_id: str
    face_image: str
    start_time: int
    end_time: int
    bbox: BoxData
    warnings: list[FaceWarningData]


class IdentifyData(BaseModel):
    """A session and its faces."""

    session_id: str
    final_unit_deduction: str = "0"
    face_data: list[FaceData]


class VideoData(BaseModel):
    """A video of ours; `duration` in seconds, as text. watermark_url: the same with a visible mark, if asked for."""

    id: str
    url: str
    duration: str
    watermark_url: str | None = None


class TaskInfo(BaseModel):
    """What the task was made from."""

    parent_video: VideoData
    external_task_id: str | None = None


class TaskResult(BaseModel):
    """What the task made; empty until it succeeded."""

    videos: list[VideoData]


class TaskData(BaseModel):
    """A task. `progress` (0 to 1), `stage` and `queue_position` (1 is next) are extensions. Times are Unix ms."""

    task_id: str
    task_status: TaskStatus
    task_status_msg: str
    task_info: TaskInfo
    task_result: TaskResult
    progress: float
    stage: str
    queue_position: int | None = None
    created_at: int
    updated_at: int


class DryRunData(BaseModel):
    """An extension: what a request would make. estimated_time: seconds until it would be done, as text."""

    dry_run: bool = True
    duration: str
    estimated_time: str
    queue_position: int
    warnings: list[FaceWarningData]


class DeletedData(BaseModel):
    """An extension: a task that is no more."""

    task_id: str
    deleted: bool = True


class UploadData(BaseModel):
    """An extension: a file that was uploaded. Its id serves as `video_id` or `audio_id`, its url as any other.

    type: `video` or `audio`. size: bytes. duration: seconds, as text. expires_at: Unix ms.
    """

    id: str
    url: str
    type: str
    size: int
    duration: str
    expires_at: int


def identify_data(session: SessionRecord, links: Links) -> IdentifyData:
    """The answer to identify-face."""
    return IdentifyData(
        session_id=session.id,
        face_data=[
            FaceData(
                face_id=face.id,
                face_image=links.picture(session.id, face.id),
                start_time=face.interval.start_ms,
                end_time=face.interval.end_ms,
                bbox=BoxData(**dict(zip(BoxData.model_fields, face.box, strict=True))),
                warnings=warnings(face),
            )
            for face in session.faces
        ],
    )


def warnings(face: FaceSummary) -> list[FaceWarningData]:
    """What is to be said of a face."""
    return [
        FaceWarningData(
            code=note.code, message=note.message, start_time=note.interval.start_ms, end_time=note.interval.end_ms
        )
        for note in face.notes
    ]


def task_data(task: Task, links: Links, position: int | None = None) -> TaskData:
    """A task as clients see it; `position` is its place among those that wait."""
    results = []
    if task.status is TaskStatus.SUCCEED:
        results.append(_video(task.result_id, ".mp4", task.result_duration_ms, links))
        if task.watermark_id:
            results[0].watermark_url = links.media(task.watermark_id, ".mp4")
    return TaskData(
        task_id=task.id,
        task_status=task.status,
        task_status_msg=task.reason,
        task_info=TaskInfo(
            parent_video=_video(task.source_id, task.source_suffix, task.source_duration_ms, links),
            external_task_id=task.external_id,
        ),
        task_result=TaskResult(videos=results),
        progress=round(task.progress, 4),
        stage=task.stage,
        queue_position=position,
        created_at=task.created_at,
        updated_at=task.updated_at,
    )


def task_json(task: Task, links: Links) -> bytes:
    """The bare task as a callback tells it."""
    return task_data(task, links).model_dump_json(exclude_none=True).encode()


def upload_data(media: Media, links: Links) -> UploadData:
    """An uploaded file as clients see it."""
    return UploadData(
        id=media.id,
        url=links.media(media.id, media.suffix),
        type="video" if media.suffix in VIDEO_SUFFIXES else "audio",
        size=media.size,
        duration=seconds(media.duration_ms),
        expires_at=media.expires_at,
    )


def seconds(ms: int) -> str:
    """Milliseconds as seconds in text, without needless zeros: 5100 is `5.1`, 10000 is `10`."""
    whole, rest = divmod(ms, 1000)
    return f"{whole}.{rest:03d}".rstrip("0").rstrip(".")


def _video(media_id: str, suffix: str, duration_ms: int, links: Links) -> VideoData:
    return VideoData(id=media_id, url=links.media(media_id, suffix), duration=seconds(duration_ms))


# Sounds in the request


def is_url(text: str) -> bool:
    """Whether a `sound_file` is an address and not the sound itself."""
    return re.match(r"[a-z][a-z0-9+.-]*://", text, re.IGNORECASE) is not None


def sound_bytes(text: str, field: str, max_bytes: int) -> bytes:
    """The sound in a raw base64 text or a `data:` URI. Raises `InputError`."""
    if text[:5].lower() == "data:":
        head, comma, text = text.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise InputError(f"{field}: a data: URI must hold base64, as in data:audio/mpeg;base64,....", field=field)
    packed = "".join(text.split()).rstrip("=")
    if (size := len(packed) * 3 // 4) > max_bytes:
        raise InputError(f"{field}: the sound has {size} bytes, more than the {max_bytes} allowed.", field=field)
    try:
        sound = base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"{field}: this is neither an http(s) address nor base64.", field=field) from error
    if not sound:
        raise InputError(f"{field}: the sound is empty.", field=field)
    return sound


# Faults in the request


def fault_sentence(errors: Sequence[Any]) -> str:
    """One sentence on the first of pydantic's errors: the field and what was found there."""
    error = errors[0]
    place = [part for part in error["loc"] if part not in ("body", "query", "path", "function-before")]
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")
    kind, limits, value = error["type"], error.get("ctx", {}), _shown(error.get("input"))
    match kind:
        case "json_invalid":
            return "The request body is not valid JSON."
        case "missing":
            return f"{field or 'body'}: a value is required." if field else "The request body must be a JSON object."
        case "model_attributes_type" | "dict_type" | "model_type":
            return f"{field or 'body'}: an object is expected, not {value}."
        case "int_type" | "int_from_float" | "int_parsing":
            return f"{field}: a whole number is expected, not {value}."
        case "float_type" | "finite_number":
            return f"{field}: a number is expected, not {value}."
        case "string_type":
            return f"{field}: a text is expected, not {value}."
        case "string_unicode":
            return f"{field}: the text must be valid Unicode."
        case "bool_type":
            return f"{field}: true or false is expected, not {value}."
        case "enum" | "literal_error":
            return f"{field}: {value} is none of {limits['expected']}."
        case "list_type":
            return f"{field}: a list of one object is expected, not {value}."
        case "too_short" | "too_long":
            return f"{field}: 1 to {MAX_FACES} entries are expected, not {limits.get('actual_length')}."
        case "string_too_long":
            return f"{field}: at most {limits['max_length']} characters are allowed."
        case "greater_than_equal":
            return f"{field}: {value} is less than {limits['ge']:.0f}, the least allowed."
        case "less_than_equal":
            return f"{field}: {value} is more than {limits['le']:.0f}, the most allowed."
        case "value_error":
            return f"{field}: the text {limits['error']}."
        case _:
            return f"{field}: {error['msg']}."


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
