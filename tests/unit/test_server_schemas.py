"""Request and answer formats: audio in requests, durations, fingerprints, and the table of error codes."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import quote

import pytest

from duikou import errors
from duikou.sandbox.process import LimitError, StoppedError
from duikou.server.errors import ErrorCode, api_error
from duikou.server.leniency import decode_audio, is_url
from duikou.server.schemas.build import seconds_text
from duikou.server.schemas.requests import LipSyncRequest

SOUND = bytes(range(256)) * 4
PACKED = base64.b64encode(SOUND).decode()
SAFE = base64.urlsafe_b64encode(SOUND).decode()


@pytest.mark.parametrize(
    "text",
    [
        PACKED,
        PACKED.rstrip("="),
        "\n".join(PACKED[at : at + 76] for at in range(0, len(PACKED), 76)),
        f"data:audio/mpeg;base64,{PACKED}",
        f"DATA:audio/mp4;codecs=x;BASE64,{PACKED}",
        f"data:;base64,{PACKED}",
        f"data:audio/mpeg; base64 , {PACKED}",
        f"data:audio/mpeg;base64,{quote(PACKED, safe='')}",
        SAFE,
        SAFE.rstrip("="),
        f"data:;base64,{SAFE}",
    ],
)
def test_base64_in_every_usual_dress(text: str) -> None:
    assert decode_audio(text, "sound_file", len(SOUND)) == SOUND


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("not base64 at all!", "neither an http"),
        ("äöü", "neither an http"),
        ("data:audio/mpeg,abc", "must be in base64"),
        ("data:audio/mpeg;base64", "must be in base64"),
        ("data:audio/mpeg;base64,", "the audio is empty"),
        (PACKED, "has 1024 bytes, more than the 1023 allowed"),
        (PACKED * 2, "more than the 1023 allowed"),
    ],
)
def test_what_is_no_sound(text: str, sentence: str) -> None:
    with pytest.raises(errors.InputError, match=sentence) as caught:
        decode_audio(text, "face_choose[0].sound_file", 1023)
    assert caught.value.field == "face_choose[0].sound_file"


def test_what_is_an_address() -> None:
    assert all(map(is_url, ("http://a/b", "HTTPS://a", "ftp://a", "file:///etc/passwd")))
    assert not any(map(is_url, (PACKED, "data:audio/mpeg;base64,AAAA", "//a/b", "")))


@pytest.mark.parametrize(("ms", "text"), [(0, "0"), (5_100, "5.1"), (10_000, "10"), (60_033, "60.033"), (990, "0.99")])
def test_durations_are_seconds_in_text(ms: int, text: str) -> None:
    assert seconds_text(ms) == text


def request(**more: object) -> LipSyncRequest:
    choice = {"face_id": "0", "sound_file": "x", "sound_start_time": 0, "sound_end_time": 1, "sound_insert_time": 0}
    return LipSyncRequest.model_validate({"session_id": "1", "face_choose": choice | more})


def test_the_digest_tells_payloads_apart_and_spellings_not() -> None:
    assert request().fingerprint() == request(face_id=0, sound_volume=1, unknown=2).fingerprint()
    spelt = request(face_id=0.0, sound_start_time="-0", sound_end_time=0.5, sound_volume="1.0", sound_file=" x\n")
    assert request().fingerprint() == spelt.fingerprint()
    others = [request(face_id="1"), request(sound_file="y"), request(sound_volume=0), request(sound_end_time=2)]
    assert len({request().fingerprint(), *(other.fingerprint() for other in others)}) == 5


def test_zero_is_a_volume_and_null_the_default() -> None:
    choice = request(sound_volume=0, original_audio_volume=None).face_choose[0].choice()
    assert (choice.audio_volume, choice.original_volume) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("given", "scope"),
    [({}, "video"), ({"original_audio_scope": None}, "video"), ({"original_audio_scope": "speech"}, "speech")],
)
def test_the_volume_of_the_original_applies_throughout_unless_the_request_says_otherwise(
    given: dict[str, Any], scope: str
) -> None:
    assert request(**given).face_choose[0].choice().original_scope == scope


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InputError("x", field="y"), ErrorCode.PARAMETER),
        (errors.MediaError("x"), ErrorCode.PARAMETER),
        (errors.FetchError("x"), ErrorCode.PARAMETER),
        (errors.NotFoundError("x"), ErrorCode.PARAMETER),
        (errors.ModelError("x"), ErrorCode.UNAVAILABLE),
        (errors.StorageError("x"), ErrorCode.UNAVAILABLE),
        (StoppedError("x"), ErrorCode.UNAVAILABLE),
        (LimitError("x"), ErrorCode.TIMEOUT),
        (errors.WorkerError("x"), ErrorCode.INTERNAL),
        (errors.DuikouError("x"), ErrorCode.INTERNAL),
    ],
)
def test_every_error_has_its_code(error: errors.DuikouError, code: ErrorCode) -> None:
    answer = api_error(error)
    assert (answer.code, answer.status) == (code.code, code.status)


def test_the_field_is_always_named() -> None:
    assert api_error(errors.InputError("is too long", field="video_url")).message == "video_url: is too long."


def test_codes_are_unique() -> None:
    assert len({code.code for code in ErrorCode}) == len(ErrorCode)
