"""The bodies of requests."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, WithJsonSchema, model_validator

from duikou.errors import InputError
from duikou.media.scope import OriginalScope
from duikou.pipeline.choice import MAX_CHOICES, MAX_EXCLUSIONS, MAX_REFERENCES, FaceChoice
from duikou.server.leniency import is_url, short_repr
from duikou.server.schemas.common import EXTENSION
from duikou.server.schemas.fields import (
    Address,
    ExternalId,
    FaceId,
    Milliseconds,
    Pair,
    SyncModeField,
    Volume,
    default_for_null,
    none_for_empty,
    object_as_list,
)

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
    reference_urls: Annotated[list[Address], default_for_null([])] = Field(
        default=[],
        description="An extension: URLs, http or https, of other clips (.mp4, .mov; at most 60 s) or photos (.jpg, "
        ".png, .webp) in which the mouth of the same person is open. They lend the teeth that the video never shows.",
        json_schema_extra=EXTENSION | {"maxItems": MAX_REFERENCES},
    )

    exclude: Annotated[list[Pair], default_for_null([])] = Field(
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

    enabled: Annotated[bool, default_for_null(False)] = Field(
        default=False, description="Make a second result with a visible mark."
    )


class _TaskRequest(_Request):
    """What every request for a task may say of the task itself."""

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

    @property
    def watermark(self) -> bool:
        """Whether the request asks for a marked result."""
        return self.watermark_info is not None and self.watermark_info.enabled


class LipSyncRequest(_TaskRequest):
    """A lip-sync task for one session. Empty and null count as absent."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"session_id": "848271922733789184", "face_choose": [EXAMPLE_CHOICE]}]}
    )

    session_id: Address = Field(description="Id of the session, from identify-face; valid for 24 hours.")
    face_choose: Annotated[list[FaceChoose], BeforeValidator(object_as_list)] = Field(
        json_schema_extra={"minItems": 1, "maxItems": MAX_CHOICES},  # the server's settings may allow fewer
        description="The face that speaks; a single object is read as a list of one. Further entries make more faces "
        "speak, or give a face another piece of speech that does not overlap, unless the server's settings restrict a "
        "task to one entry.",
    )
    sync_mode: SyncModeField = Field(
        default=None,
        description="An extension: what to do if the speech ends after the video. If unset, such a request is refused.",
        json_schema_extra=EXTENSION,
    )
    dry_run: Annotated[bool, default_for_null(False)] = Field(
        default=False,
        description="An extension: check the request and estimate the work without creating a task.",
        json_schema_extra=EXTENSION,
    )

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
    mode: Annotated[str | None, BeforeValidator(none_for_empty)] = Field(
        default=None, description="`audio2video`, which is also the default; this server has no voice for `text2video`."
    )
    audio_type: Annotated[str | None, BeforeValidator(none_for_empty)] = Field(
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


class OlderLipSyncRequest(_TaskRequest):
    """A lip-sync task of the older call, without a session: the server finds the faces and takes the most visible one.

    The fields of `input` may also stand beside it.
    """

    model_config = ConfigDict(json_schema_extra={"required": ["input"]})

    input: OlderInput = Field(default=OlderInput(), description="The video and the speech.")
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
