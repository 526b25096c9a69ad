"""The JSON of requests and answers. Names and types are Kling's (docs/contract).

No other package knows these formats.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

import duikou
from duikou.errors import InputError
from duikou.faces.track import FaceWarning
from duikou.media.probe import VideoInfo
from duikou.media.scope import OriginalScope
from duikou.media.sync_mode import SyncMode
from duikou.pipeline.choice import MAX_CHOICES, MAX_EXCLUSIONS, MAX_REFERENCES, FaceChoice
from duikou.pipeline.losses import clip_warnings
from duikou.server import leniency, validation
from duikou.server.leniency import is_url, short_repr
from duikou.server.signed_urls import FileUrls
from duikou.server.validation import in_wire_words, without_choice
from duikou.settings import Settings
from duikou.storage import keys
from duikou.tasks.models import PHOTO_SUFFIXES, VIDEO_SUFFIXES, Media, RenderTask, SessionRecord
from duikou.tasks.states import TaskStatus
from duikou.units import DAY_MS, MAX_VOLUME

MAX_MS = DAY_MS  # a time beyond one day is always a mistake; keeps figures in messages readable
MAX_EXTERNAL_ID = 256  # characters, the width of the database column
EXAMPLE_CHOICE: dict[str, Any] = {
    "face_id": "0",
    "sound_file": "https://example.com/speech.mp3",
    "sound_start_time": 0,
    "sound_end_time": 2000,
    "sound_insert_time": 0,
    "sound_volume": 1,
    "original_audio_volume": 0,
}
"""What the page about the calls proposes: one face and one sound, for any video."""
EXTENSION: dict[str, Any] = {"x-duikou-extension": True}  # marks what neither the contract nor Kling has

T = TypeVar("T")


# Requests


def _encodable(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode") from None
    if "\0" in value:
        raise ValueError("must not contain the character U+0000")
    return value


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
    TaskStatus.CANCELLED: "failed",  # the contract has no other status for it
}
Text = Annotated[str, AfterValidator(_encodable)]
Address = Annotated[Text, BeforeValidator(leniency.without_blanks)]
"""A URL, or an id that the server gave: blanks around it are dropped."""
FaceId = Annotated[
    Text, BeforeValidator(leniency.whole_as_text), WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer"}]})
]
ExternalId = Annotated[str, Field(max_length=MAX_EXTERNAL_ID), AfterValidator(_encodable)]
Milliseconds = Annotated[int, Field(ge=0, le=MAX_MS), BeforeValidator(leniency.whole(0, MAX_MS, rounds=True))]
Volume = Annotated[
    float, Field(ge=0, le=MAX_VOLUME), BeforeValidator(leniency.number(0, MAX_VOLUME)), _default_for_null(1.0)
]
SyncModeField = Annotated[Annotated[SyncMode, Strict(False)] | None, BeforeValidator(_none_for_empty)]

_Pair = Annotated[
    list[Milliseconds], WithJsonSchema({"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2})
]


class _Request(BaseModel):
    # Strict: where a value of another type is taken, its field says so. Unknown keys are ignored.
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


def _one_of(first: str, second: str) -> dict[str, Any]:
    """JSON Schema's nearest to "exactly one": an empty string counts as absent, so both keys may be present."""
    return {"anyOf": [{"required": [first]}, {"required": [second]}]}


class IdentifyRequest(_Request):
    """The video in which to find faces: exactly one of the two fields. Empty and null count as absent."""

    model_config = ConfigDict(
        json_schema_extra=_one_of("video_url", "video_id")
        | {"examples": [{"video_url": "https://example.com/talk.mp4"}]}
    )

    video_url: Address | None = Field(
        default=None,
        description="URL of the video, http or https: .mp4 or .mov, at most 100 MB, 2 s to 60 s, 720p or 1080p, each "
        "side 512 to 2160 pixels (the server's settings may allow more).",
    )
    video_id: Address | None = Field(
        default=None, description="Id of a video stored on the server, in place of `video_url`."
    )


class FaceChoose(_Request):
    """A face and the speech for it, with exactly one of `sound_file` and `audio_id`. Times are in ms."""

    model_config = ConfigDict(json_schema_extra=_one_of("sound_file", "audio_id") | {"examples": [EXAMPLE_CHOICE]})

    face_id: FaceId = Field(
        description="Id of the face that speaks, from identify-face. An extension: `auto` chooses the face that speaks "
        "at that place in the video, or else the most visible one."
    )
    sound_file: Address | None = Field(
        default=None,
        description="The speech: an http or https URL, or the file itself in base64, plain or as a data: URI; .mp3, "
        ".wav, .m4a or .aac, at most 5 MB, 2 s to 60 s.",
    )
    audio_id: Address | None = Field(
        default=None, description="Id of an audio file stored on the server, in place of `sound_file`."
    )
    sound_start_time: Milliseconds = Field(
        description="Start of the speech within the audio file; everything before it is trimmed."
    )
    sound_end_time: Milliseconds = Field(
        description="End of the speech within the audio file, not after the file's end and at least 2000 ms after "
        "`sound_start_time`."
    )
    sound_insert_time: Milliseconds = Field(
        description="Time in the video at which the speech begins. The speech must overlap the face's interval by at "
        "least 2000 ms, and end within the video unless `sync_mode` is set."
    )
    sound_volume: Volume = Field(
        default=1.0, description="Volume of the speech: 1 leaves it as it is, 2 doubles the amplitude."
    )
    original_audio_volume: Volume = Field(default=1.0, description="Volume of the video's own audio.")
    original_audio_scope: Annotated[
        Annotated[OriginalScope, Strict(False)], BeforeValidator(lambda value: value or OriginalScope.VIDEO)
    ] = Field(
        default=OriginalScope.VIDEO,
        description="An extension: where `original_audio_volume` applies: throughout the video, or only while the "
        "speech lasts. Of several entries, the smallest of the volumes that apply holds.",
        json_schema_extra=EXTENSION,
    )
    reference_urls: Annotated[list[Address], _default_for_null([])] = Field(
        default=[],
        description="An extension: URLs, http or https, of other clips (.mp4, .mov; at most 60 s) or photos (.jpg, "
        ".png, .webp) in which the mouth of the same person is open. They lend the teeth that the video never shows.",
        json_schema_extra=EXTENSION | {"maxItems": MAX_REFERENCES},
    )

    exclude: Annotated[list[_Pair], _default_for_null([])] = Field(
        default=[],
        description="An extension: times in the result, each a start and an end, between which the mouth of the face "
        "stays as it is while the speech is heard. They hold for the face, also for its other entries.",
        json_schema_extra=EXTENSION | {"maxItems": MAX_EXCLUSIONS},
    )

    def choice(self) -> FaceChoice:
        """The choice as the rooms below know it, its files still to come."""
        return FaceChoice(
            audio="",
            face_id=self.face_id,
            trim_start_ms=self.sound_start_time,
            trim_end_ms=self.sound_end_time,
            insert_ms=self.sound_insert_time,
            audio_volume=self.sound_volume,
            original_volume=self.original_audio_volume,
            original_scope=self.original_audio_scope,
            references=tuple(self.reference_urls),
            exclude=self.exclude,  # type: ignore[arg-type] # the validator counts the times
        )


class FetchRequest(_Request):
    """An extension: a file that the server fetches."""

    model_config = ConfigDict(json_schema_extra=EXTENSION | {"examples": [{"url": "https://example.com/talk.mp4"}]})

    url: Address = Field(
        description="URL of the file, http or https: a video (.mp4, .mov), audio (.mp3, .wav, .m4a, .aac) or a photo "
        "(.jpg, .png, .webp), within the limits of an upload."
    )


class WatermarkInfo(_Request):
    """Whether to make a second result with a visible mark."""

    enabled: Annotated[bool, _default_for_null(False)] = Field(
        default=False, description="Make a second result with a visible mark."
    )


class LipSyncRequest(_Request):
    """A lip-sync task for one session. Empty and null count as absent."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"session_id": "848271922733789184", "face_choose": [EXAMPLE_CHOICE]}]}
    )

    session_id: Address = Field(description="Id of the session, from identify-face; valid for 24 hours.")
    face_choose: Annotated[list[FaceChoose], BeforeValidator(_object_as_list)] = Field(
        json_schema_extra={"minItems": 1, "maxItems": MAX_CHOICES},  # the server's settings may allow fewer
        description="The face that speaks; a single object is read as a list of one. Further entries make more faces "
        "speak, or give a face another piece of speech that does not overlap, unless the server's settings restrict a "
        "task to one entry.",
    )
    external_task_id: ExternalId | None = Field(
        default=None,
        description="The caller's own id of the task, unique among the account's tasks. Calls accept it in place of "
        "the task's id. The same request with the same id creates no second task.",
    )
    callback_url: Address | None = Field(
        default=None, description="URL, http or https, to which the server posts the task at each change of its status."
    )
    watermark_info: WatermarkInfo | None = Field(
        default=None, description="Whether to make a second result with a visible mark."
    )
    sync_mode: SyncModeField = Field(
        default=None,
        description="An extension: what to do if the speech ends after the video. If unset, such a request is refused.",
        json_schema_extra=EXTENSION,
    )
    dry_run: Annotated[bool, _default_for_null(False)] = Field(
        default=False,
        description="An extension: check the request and estimate the work without creating a task.",
        json_schema_extra=EXTENSION,
    )

    @property
    def watermark(self) -> bool:
        """Whether the request asks for a marked result."""
        return self.watermark_info is not None and self.watermark_info.enabled

    def fingerprint(self) -> str:
        """Digest of everything that determines the result; tells a repeated request from another one."""
        payload = self.model_dump(mode="json", include={"session_id", "face_choose"})
        payload |= {"watermark": self.watermark, "sync_mode": self.sync_mode}
        for asked in payload["face_choose"]:
            # What former versions did not know counts only where it is used, so that their fingerprints stay valid.
            if not asked["reference_urls"]:
                del asked["reference_urls"]
            if not asked["exclude"]:
                del asked["exclude"]
            if asked["original_audio_scope"] == OriginalScope.VIDEO:
                del asked["original_audio_scope"]
        return hashlib.sha256(json.dumps(payload, sort_keys=True).encode()).hexdigest()


class OlderInput(_Request):
    """A video and the speech for its most visible face. Empty and null count as absent."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "mode": "audio2video",
                    "video_url": "https://example.com/talk.mp4",
                    "audio_type": "url",
                    "audio_url": "https://example.com/speech.mp3",
                }
            ]
        }
    )

    video_url: Address | None = Field(default=None, description="URL of the video, as for identify-face.")
    video_id: Address | None = Field(
        default=None, description="Id of a video stored on the server, in place of `video_url`."
    )
    mode: Annotated[str | None, BeforeValidator(_none_for_empty)] = Field(
        default=None, description="`audio2video`, which is also the default; this server has no voice for `text2video`."
    )
    audio_type: Annotated[str | None, BeforeValidator(_none_for_empty)] = Field(
        default=None,
        description="Where the speech is: `file` in `audio_file`, `base64` in `audio`, `url` in `audio_url`; if unset, "
        "in whichever of them is given.",
    )
    audio_file: Address | None = Field(
        default=None, description="The speech in base64, plain or as a data: URI; .mp3, .wav, .m4a or .aac."
    )
    audio_url: Address | None = Field(default=None, description="URL of the speech, http or https.")
    audio: Address | None = Field(default=None, description="The speech in base64, as some clients send it.")
    text: Annotated[Any, WithJsonSchema({"type": "string"})] = Field(
        default=None, description="Text for `text2video`, which is refused."
    )


AUDIO_FIELDS = {"file": ("audio_file", "audio"), "base64": ("audio", "audio_file"), "url": ("audio_url", "audio")}
"""The fields of `OlderInput` that may hold the speech, by its `audio_type`; the first is the documented one."""


class OlderLipSyncRequest(_Request):
    """A lip-sync task of the older call, without a session: the server finds the faces and takes the most visible one.

    The fields of `input` may also stand beside it.
    """

    model_config = ConfigDict(json_schema_extra={"required": ["input"]})

    input: OlderInput = Field(default=OlderInput(), description="The video and the speech.")
    external_task_id: ExternalId | None = Field(
        default=None, description="The caller's own id of the task, as for advanced-lip-sync."
    )
    callback_url: Address | None = Field(
        default=None, description="URL, http or https, to which the server posts the task at each change of its status."
    )
    watermark_info: WatermarkInfo | None = Field(
        default=None, description="Whether to make a second result with a visible mark."
    )
    sync_mode: SyncModeField = Field(
        default=None,
        description="An extension: what to do if the speech is longer than the video. If unset, such a request is "
        "refused.",
        json_schema_extra=EXTENSION,
    )

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, value: object) -> object:
        """Every field in its place: some clients put those of `input` beside it, or all of them into it."""
        if not isinstance(value, dict):
            return value
        given = value.get("input")
        given = {} if given is None else given
        if not isinstance(given, dict):
            return value
        return {
            "input": {name: given.get(name, value.get(name)) for name in OlderInput.model_fields},
            **{name: value.get(name, given.get(name)) for name in cls.model_fields if name != "input"},
        }

    @property
    def watermark(self) -> bool:
        """Whether the request asks for a marked result."""
        return self.watermark_info is not None and self.watermark_info.enabled

    def speech(self) -> tuple[str, str]:
        """The field that holds the speech, and what it holds. Raises `InputError`."""
        given = self.input
        if given.mode == "text2video" or (given.mode is None and given.text and not self._spoken()):
            raise InputError(
                "text2video needs a voice, and this server has none; send audio2video with audio_file or audio_url.",
                field="input.mode",
            )
        if given.mode not in (None, "audio2video"):
            raise InputError(f"{short_repr(given.mode)} is not audio2video.", field="input.mode")
        if given.audio_type is not None and given.audio_type not in AUDIO_FIELDS:
            raise InputError(
                f"{short_repr(given.audio_type)} is not one of file, url or base64.", field="input.audio_type"
            )
        found = self._spoken()
        if not found:
            name = AUDIO_FIELDS[given.audio_type or "file"][0]
            wanted = "a value is required." if given.audio_type else "one of audio_file and audio_url must be given."
            raise InputError(wanted, field=f"input.{name}")
        if given.audio_type is None and len(found) > 1:
            raise InputError(f"only one of {' and '.join(found)} may be given.", field="input.audio_type")
        name, text = next(iter(found.items()))
        if given.audio_type == "url" and not is_url(text):
            raise InputError("only http and https URLs are taken.", field=f"input.{name}")
        return f"input.{name}", text

    def _spoken(self) -> dict[str, str]:
        """The fields that hold speech, of those that the type of the audio allows."""
        names = AUDIO_FIELDS.get(self.input.audio_type or "", ("audio_file", "audio_url", "audio"))
        return {name: text for name in names if (text := getattr(self.input, name))}

    def fingerprint(self) -> str:
        """Digest of everything that determines the result; tells a repeated request from another one."""
        _, speech = self.speech()
        payload = [self.input.video_url or "", self.input.video_id or "", speech, self.watermark, self.sync_mode]
        return hashlib.sha256(json.dumps(["lip-sync", *payload]).encode()).hexdigest()


CreateRequest = LipSyncRequest | OlderLipSyncRequest
"""A request that creates a task."""


# Answers


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


def studio_settings(settings: Settings, *, needs_key: bool) -> StudioSettings:
    """What a page must know of a server with these settings."""
    return StudioSettings(
        version=duikou.__version__,
        needs_key=needs_key,
        several_faces=settings.several_faces,
        any_size=settings.any_size,
        session_hours=settings.session_hours,
        max_entries=MAX_CHOICES if settings.several_faces else 1,
        max_exclusions=MAX_EXCLUSIONS,
        max_references=MAX_REFERENCES,
        max_video_mb=settings.max_video_mb,
        max_audio_mb=settings.max_audio_mb,
        min_video_ms=validation.MIN_MS,
        max_video_ms=validation.MAX_MS,
        min_audio_ms=validation.MIN_MS,
        max_audio_ms=validation.MAX_MS,
        min_speech_ms=validation.CHOICE.min_trim_ms,
        min_overlap_ms=validation.CHOICE.min_overlap_ms,
        max_frame_rate=validation.MAX_RATE,
        **asdict(validation.ANY_SIZE if settings.any_size else validation.CONTRACT_SIZES),
    )


def identify_data(session: SessionRecord, video: VideoInfo, links: FileUrls) -> IdentifyData:
    """The answer to identify-face. video: the session's, as its probe describes it."""
    source = session.source
    return IdentifyData(
        session_id=session.id,
        face_data=[
            FaceData(
                face_id=face.id,
                face_image=links.picture(session, face.id),
                start_time=face.interval.start_ms,
                end_time=face.interval.end_ms,
                bbox=BoxData(**dict(zip(BoxData.model_fields, face.box, strict=True))),
                warnings=face_warnings(face.warnings),
                speaking=[
                    SpeakingData(
                        start_time=one.interval.start_ms, end_time=one.interval.end_ms, score=round(one.score, 2)
                    )
                    for one in face.speaking
                ],
            )
            for face in session.faces
        ],
        video=SourceVideoData(
            id=source.id,
            url=links.media(source.id, source.suffix, source.key),
            duration=seconds_text(source.duration_ms),
            width=video.width,
            height=video.height,
            frame_rate=round(float(video.rate), 3),
            warnings=face_warnings(clip_warnings(video)),
        ),
        rejected=face_warnings(session.rejected),
    )


def face_warnings(warnings: Iterable[FaceWarning]) -> list[FaceWarningData]:
    """Warnings as the wire has them."""
    return [
        FaceWarningData(
            code=warning.code,
            message=warning.message,
            start_time=warning.interval.start_ms,
            end_time=warning.interval.end_ms,
        )
        for warning in warnings
    ]


def task_data(task: RenderTask, links: FileUrls, position: int | None = None) -> TaskData:
    """The answer that describes a task. position: among the waiting tasks."""
    results = []
    if task.result is not None:
        key = keys.result_key(task.id, task.attempt)
        results.append(_video(task.result.id, ".mp4", key, task.result.duration_ms, links))
        if marked := task.result.watermark_id:
            results[0].watermark_url = links.media(marked, ".mp4", keys.marked_key(task.id, task.attempt))
    source = task.source
    source_key = keys.source_key(source.id, source.suffix)
    return TaskData(
        task_id=task.id,
        task_status=STATUSES[task.status],
        task_status_msg=in_wire_words(task.reason) if task.session_id else without_choice(task.reason),
        task_info=TaskInfo(
            parent_video=_video(source.id, source.suffix, source_key, source.duration_ms, links),
            external_task_id=task.external_id or task.former_external_id,
        ),
        task_result=TaskResult(videos=results),
        watermark_info=WatermarkData(enabled=True) if task.watermark else None,
        progress=round(task.progress, 4),
        stage=task.stage,
        fault=task.fault,
        queue_position=position,
        session_id=task.session_id,
        request=requested_data(task.choices) if task.session_id else [],
        created_at=task.created_at,
        updated_at=task.updated_at,
    )


def requested_data(choices: Iterable[FaceChoice]) -> list[RequestedFaceData]:
    """Checked choices as the wire has them."""
    return [_requested(choice) for choice in choices]


def _requested(choice: FaceChoice) -> RequestedFaceData:
    assert choice.trim_end_ms is not None  # set when the request was checked
    return RequestedFaceData(
        face_id=choice.face_id,
        sound_start_time=choice.trim_start_ms,
        sound_end_time=choice.trim_end_ms,
        sound_insert_time=choice.insert_ms,
        sound_volume=choice.audio_volume,
        original_audio_volume=choice.original_volume,
        original_audio_scope=OriginalScope.of(choice.original_scope),
        exclude=list(choice.exclude),
    )


def task_json(task: RenderTask, links: FileUrls) -> bytes:
    """The body of a callback: the task without an envelope."""
    return task_data(task, links).model_dump_json().encode()


def upload_data(media: Media, links: FileUrls) -> UploadData:
    """The answer to an upload."""
    return UploadData(
        id=media.id,
        url=links.media(media.id, media.suffix, media.key),
        type=_kind(media.suffix),
        size=media.size,
        duration=seconds_text(media.duration_ms),
        expires_at=media.expires_at,
    )


def _kind(suffix: str) -> Literal["video", "audio", "image"]:
    if suffix in VIDEO_SUFFIXES:
        return "video"
    return "image" if suffix in PHOTO_SUFFIXES else "audio"


def seconds_text(ms: int) -> str:
    """Milliseconds as text in seconds, without trailing zeros: 5100 is `5.1`, 10000 is `10`."""
    whole, rest = divmod(ms, 1000)
    return f"{whole}.{rest:03d}".rstrip("0").rstrip(".")


def _video(media_id: str, suffix: str, key: str, duration_ms: int, links: FileUrls) -> VideoData:
    return VideoData(id=media_id, url=links.media(media_id, suffix, key), duration=seconds_text(duration_ms))


# Errors in requests


_TEMPLATES = {
    "bool_type": "{field}: true or false is expected, not {value}.",
    "dict_type": "{field}: an object is expected, not {value}.",
    "enum": "{field}: {value} is not one of {expected}.",
    "finite_number": "{field}: a number is expected, not {value}.",
    "float_type": "{field}: a number is expected, not {value}.",
    "greater_than_equal": "{field}: {value} is less than the minimum, {ge:.0f}.",
    "int_from_float": "{field}: an integer is expected, not {value}.",
    "int_parsing": "{field}: an integer is expected, not {value}.",
    "int_type": "{field}: an integer is expected, not {value}.",
    "json_invalid": "The request body is not valid JSON.",
    "less_than_equal": "{field}: {value} is more than the maximum, {le:.0f}.",
    "list_type": "{field}: a list of objects is expected, not {value}.",
    "missing": "{field}: a value is required.",
    "model_attributes_type": "{field}: an object is expected, not {value}.",
    "model_type": "{field}: an object is expected, not {value}.",
    "string_too_long": "{field}: at most {max_length} characters are allowed.",
    "string_type": "{field}: a string is expected, not {value}.",
    "string_unicode": "{field}: the string must be valid Unicode.",
    "value_error": "{field}: the string {error}.",
}
"""Sentences by pydantic's type of error, with the values of its context."""


def error_sentence(errors: Sequence[Any]) -> str:
    """One sentence on the first of pydantic's errors: the field and the value found there."""
    error = errors[0]
    place = [part for part in error["loc"] if part not in ("body", "query", "path", "function-before")]
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")
    if error["type"] == "missing" and not field:
        return "The request body must be a JSON object."
    template = _TEMPLATES.get(error["type"], "{field}: {msg}.")
    if error["type"] == "list_type" and field.startswith("face_choose["):
        template = "{field}: a list is expected, not {value}."
    values = {"msg": error["msg"], **error.get("ctx", {})}
    return template.format_map(values | {"field": field or "body", "value": short_repr(error.get("input"))})
