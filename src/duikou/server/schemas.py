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

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Strict, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from duikou.errors import InputError
from duikou.media.sync_mode import SyncMode
from duikou.server.signed_urls import Links
from duikou.storage import keys
from duikou.tasks.models import VIDEO_SUFFIXES, ChoiceRecord, FaceSummary, Media, SessionRecord, Task, TaskStatus

MAX_MS = 86_400_000  # times beyond a day are a mistake whatever the video; keeps figures in messages readable
MAX_FACES = 8  # entries of face_choose, where several are allowed: as many faces as are found at once
MAX_EXTERNAL_ID = 256  # characters; the column's width
SHOWN = 40  # characters of a wrong value that a message repeats
EXTENSION: dict[str, Any] = {"x-duikou-extension": True}  # marks in our OpenAPI what neither the contract nor Kling has

T = TypeVar("T")


# Requests


def _encodable(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode") from None
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


Status = Literal["submitted", "processing", "succeed", "failed"]
STATUSES: dict[TaskStatus, Status] = {
    TaskStatus.SUBMITTED: "submitted",
    TaskStatus.PROCESSING: "processing",
    TaskStatus.SUCCEED: "succeed",
    TaskStatus.FAILED: "failed",
    TaskStatus.CANCELLED: "failed",  # the contract has no other word
}
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


def _one_of(first: str, second: str) -> dict[str, Any]:
    """What JSON Schema can say of "exactly one": an empty text counts as absent, so that both keys may be there."""
    return {"anyOf": [{"required": [first]}, {"required": [second]}]}


class IdentifyRequest(_Request):
    """Which video to look for faces in: exactly one of the two. Empty and null count as absent."""

    model_config = ConfigDict(json_schema_extra=_one_of("video_url", "video_id"))

    video_url: Text | None = Field(
        default=None,
        description="Where the video is: http or https, .mp4 or .mov, at most 100 MB, 2 s to 60 s, 720p or 1080p, each "
        "side 512 to 2160 pixels (the server's settings may allow more).",
    )
    video_id: Text | None = Field(default=None, description="Instead: the id of a video that the server keeps.")


class FaceChoose(_Request):
    """One face and what it speaks. Exactly one of `sound_file` and `audio_id`; times in ms."""

    model_config = ConfigDict(json_schema_extra=_one_of("sound_file", "audio_id"))

    face_id: FaceId = Field(description="Which face speaks, as identify-face calls it.")
    sound_file: Text | None = Field(
        default=None,
        description="The speech: an http or https address, or the file itself in base64, bare or as a data: URI. .mp3, "
        ".wav, .m4a or .aac, at most 5 MB, 2 s to 60 s.",
    )
    audio_id: Text | None = Field(default=None, description="Instead: the id of a sound that the server keeps.")
    sound_start_time: Milliseconds = Field(
        description="Where the speech is cut, from the sound's start; what is before goes."
    )
    sound_end_time: Milliseconds = Field(
        description="Where the speech ends, from the sound's start; not after the sound's end. At least 2000 ms must "
        "be left between the two."
    )
    sound_insert_time: Milliseconds = Field(
        description="Where in the video the speech begins. It shares at least 2000 ms with the face's interval, and "
        "ends within the video unless `sync_mode` says otherwise."
    )
    sound_volume: Volume = Field(default=1.0, description="Loudness of the speech: 1 as it is, 2 twice the amplitude.")
    original_audio_volume: Volume = Field(default=1.0, description="Loudness of the video's own sound.")

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

    enabled: Annotated[bool, _default_for_null(False)] = Field(
        default=False, description="Make a marked result besides."
    )


class LipSyncRequest(_Request):
    """A lip sync of one session. Empty and null count as absent."""

    session_id: Text = Field(description="The session, as identify-face calls it; it can be used for 24 hours.")
    face_choose: Annotated[list[FaceChoose], BeforeValidator(_object_as_list)] = Field(
        min_length=1,
        max_length=MAX_FACES,
        description="The face that speaks; a bare object is read as a list of one. More than one entry where the "
        "server's settings allow it, each for another face.",
    )
    external_task_id: ExternalId | None = Field(
        default=None,
        description="The caller's own id of the task, unique among the account's tasks; it finds the task as well. The "
        "same request with the same id makes no second task.",
    )
    callback_url: Text | None = Field(
        default=None, description="Where the bare task is posted to at each change of its status; http or https."
    )
    watermark_info: WatermarkInfo | None = Field(default=None, description="Whether a marked result is made besides.")
    sync_mode: Annotated[Annotated[SyncMode, Strict(False)] | None, BeforeValidator(_none_for_empty)] = Field(
        default=None,
        description="An extension: what happens where the speech lasts longer than the video; unset, it is refused.",
        json_schema_extra=EXTENSION,
    )
    dry_run: Annotated[bool, _default_for_null(False)] = Field(
        default=False, description="An extension: only check and estimate the request.", json_schema_extra=EXTENSION
    )

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


class _Answer(BaseModel):
    model_config = ConfigDict(json_schema_serialization_defaults_required=True)


class _Extension(_Answer):
    model_config = ConfigDict(json_schema_extra=EXTENSION)


# A field that is left out where there is nothing to tell: null breaks strict clients.
Maybe = Annotated[T | SkipJsonSchema[None], Field(exclude_if=lambda value: value is None)]


class Envelope(_Answer, Generic[T]):
    """What surrounds every answer."""

    code: int = Field(default=0, description="0: no fault.")
    message: str = "SUCCEED"
    request_id: str = Field(description="The server's id of this request, also in its log; the header X-Request-Id.")
    data: T


class ErrorEnvelope(_Answer):
    """What every fault is answered with."""

    code: int = Field(description="What is wrong; each code is named beside its HTTP status.")
    message: str = Field(description="One sentence that names the field and the figure.")
    request_id: str = Field(description="The server's id of this request, also in its log; the header X-Request-Id.")
    data: None = None


class FaceWarningData(_Extension):
    """An extension: why a face's interval is no longer, or what may look wrong. Times in ms."""

    code: str
    message: str
    start_time: int
    end_time: int


class BoxData(_Extension):
    """An extension: where in the picture a face usually is, in pixels."""

    x: int
    y: int
    width: int
    height: int


class FaceData(_Answer):
    """A face that can be lip-synced; times in ms."""

    face_id: str = Field(description="The face within its session; after a gap of more than 1 s it is another one.")
    face_image: str = Field(description="Where a picture of the face is.")
    start_time: int = Field(description="Where the interval that can be lip-synced begins.")
    end_time: int = Field(description="Where it ends.")
    bbox: BoxData = Field(description="An extension: where the face is.")
    warnings: list[FaceWarningData] = Field(
        description="An extension: what is to be said of the face.", json_schema_extra=EXTENSION
    )


class IdentifyData(_Answer):
    """A session and its faces."""

    session_id: str = Field(description="The session; it can be used for 24 hours.")
    final_unit_deduction: str = Field(default="0", description="What the call cost: nothing.")
    face_data: list[FaceData] = Field(description="Its faces; none is no fault.")


class VideoData(_Answer):
    """A video that the server keeps for 30 days."""

    id: str
    url: str = Field(description="Where it is; the address is signed and works without a key until it expires.")
    duration: str = Field(description="Seconds, as text.")
    watermark_url: Maybe[str] = Field(default=None, description="Where the same with a visible mark is, if asked for.")


class TaskInfo(_Answer):
    """What the task was made from."""

    parent_video: VideoData = Field(description="The source video.")
    external_task_id: Maybe[str] = Field(default=None, description="The caller's own id, if one was given.")


class TaskResult(_Answer):
    """What the task made."""

    videos: list[VideoData] = Field(description="The result; empty until the task succeeded.")


class TaskData(_Answer):
    """A task. Times are Unix ms."""

    task_id: str = Field(description="The server's id of the task.")
    task_status: Status = Field(description="How far the task is; the last two are final.")
    task_status_msg: str = Field(description="Why the task failed; empty otherwise.")
    task_info: TaskInfo
    task_result: TaskResult
    progress: float = Field(description="An extension: how much of it is done, 0 to 1.", json_schema_extra=EXTENSION)
    stage: str = Field(description="An extension: what it is at.", json_schema_extra=EXTENSION)
    fault: Maybe[str] = Field(
        default=None,
        description="An extension: why it failed in one word: input, limit, model, storage, worker or cancelled.",
        json_schema_extra=EXTENSION,
    )
    queue_position: Maybe[int] = Field(
        default=None,
        description="An extension: its place among those that wait; 1 is next.",
        json_schema_extra=EXTENSION,
    )
    created_at: int = Field(description="When the task was made.")
    updated_at: int = Field(description="When it last changed.")


class DryRunData(_Extension):
    """An extension: what a request would make."""

    dry_run: bool = True
    duration: str = Field(description="Seconds that the result would last, as text.")
    estimated_time: str = Field(description="Seconds until it would be done, as text.")
    queue_position: int = Field(description="Its place among those that would wait; 1 is next.")
    warnings: list[FaceWarningData] = Field(description="What is to be said of the faces that would speak.")


class DeletedData(_Extension):
    """An extension: a task that is no more."""

    task_id: str
    deleted: bool = True


class UploadData(_Extension):
    """An extension: a file that was uploaded."""

    id: str = Field(description="Serves as `video_id` or `audio_id`.")
    url: str = Field(description="Serves as `video_url` or `sound_file`.")
    type: Literal["video", "audio"]
    size: int = Field(description="Bytes.")
    duration: str = Field(description="Seconds, as text.")
    expires_at: int = Field(description="Until when it is kept, Unix ms.")


class StatusData(_Extension):
    """An extension: how the server is."""

    status: Literal["ok", "ready"]


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
        key = keys.result_key(task.id, task.attempt)
        results.append(_video(task.result_id, ".mp4", key, task.result_duration_ms, links))
        if task.watermark_id:
            results[0].watermark_url = links.media(task.watermark_id, ".mp4", keys.marked_key(task.id, task.attempt))
    source_key = keys.source_key(task.source_id, task.source_suffix)
    return TaskData(
        task_id=task.id,
        task_status=STATUSES[task.status],
        task_status_msg=task.reason,
        task_info=TaskInfo(
            parent_video=_video(task.source_id, task.source_suffix, source_key, task.source_duration_ms, links),
            external_task_id=task.external_id,
        ),
        task_result=TaskResult(videos=results),
        progress=round(task.progress, 4),
        stage=task.stage,
        fault=task.fault or None,
        queue_position=position,
        created_at=task.created_at,
        updated_at=task.updated_at,
    )


def task_json(task: Task, links: Links) -> bytes:
    """The bare task as a callback tells it."""
    return task_data(task, links).model_dump_json().encode()


def upload_data(media: Media, links: Links) -> UploadData:
    """An uploaded file as clients see it."""
    return UploadData(
        id=media.id,
        url=links.media(media.id, media.suffix, media.key),
        type="video" if media.suffix in VIDEO_SUFFIXES else "audio",
        size=media.size,
        duration=seconds(media.duration_ms),
        expires_at=media.expires_at,
    )


def seconds(ms: int) -> str:
    """Milliseconds as seconds in text, without needless zeros: 5100 is `5.1`, 10000 is `10`."""
    whole, rest = divmod(ms, 1000)
    return f"{whole}.{rest:03d}".rstrip("0").rstrip(".")


def _video(media_id: str, suffix: str, key: str, duration_ms: int, links: Links) -> VideoData:
    return VideoData(id=media_id, url=links.media(media_id, suffix, key), duration=seconds(duration_ms))


# Sounds in the request


def is_url(text: str) -> bool:
    """Whether a `sound_file` is an address and not the sound itself."""
    return re.match(r"[a-z][a-z0-9+.-]*://", text, re.IGNORECASE) is not None


def sound_bytes(text: str, field: str, max_bytes: int) -> bytes:
    """The sound in a raw base64 text or a `data:` URI. Raises `InputError`."""
    if text[:5].lower() == "data:":
        head, comma, text = text.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise InputError("a data: URI must hold base64, as in data:audio/mpeg;base64,....", field=field)
    packed = "".join(text.split()).rstrip("=")
    if (size := len(packed) * 3 // 4) > max_bytes:
        raise InputError(f"the sound has {size} bytes, more than the {max_bytes} allowed.", field=field)
    try:
        sound = base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError("this is neither an http(s) address nor base64.", field=field) from error
    if not sound:
        raise InputError("the sound is empty.", field=field)
    return sound


# Faults in the request


def fault_sentence(errors: Sequence[Any]) -> str:
    """One sentence on the first of pydantic's errors: the field and what was found there."""
    error = errors[0]
    place = [part for part in error["loc"] if part not in ("body", "query", "path", "function-before")]
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")
    kind, limits, value = error["type"], error.get("ctx", {}), shown(error.get("input"))
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


def shown(value: object) -> str:
    """A wrong value as a message repeats it."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
