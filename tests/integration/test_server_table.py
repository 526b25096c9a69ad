"""One table of requests with the exact HTTP status, code and sentence of each answer.

Stub workers read "media files" in JSON that describe their content (`stub_work`); only the rows on containers and
codecs, at the end, use real files and the real header parser. SITE in a request or a sentence is the URL of the files.
"""

from __future__ import annotations

import base64
import json
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest
import stub_work
from live_server import create, identify, in_thread, order, sources
from media_maker import make_sound, make_video, tone
from server_settings import settings

from duikou.units import MIB

IDENTIFY, CREATE = "/v1/videos/identify-face", "/v1/videos/advanced-lip-sync"
OLDER = "/v1/videos/lip-sync"


class _Gone:
    def __repr__(self) -> str:
        return "GONE"


GONE = _Gone()
"""A field that the request leaves out."""


@dataclass(frozen=True)
class Ask:
    """A request. choice: changes to its one entry of `face_choose`. body: in place of JSON."""

    method: str
    path: str
    json: dict[str, Any] = field(default_factory=dict)
    choice: dict[str, Any] = field(default_factory=dict)
    body: bytes | None = None

    def __str__(self) -> str:
        what = self.body[:20] if self.body is not None else {**self.json, **self.choice}
        shown = repr(what) if what else ""
        return f"{self.method} {self.path.rsplit('/', 1)[-1][:20]} {shown}"[:60]


def find(**fields: Any) -> Ask:
    """identify-face with these fields."""
    return Ask("POST", IDENTIFY, fields)


def sync(entry: dict[str, Any] | None = None, **fields: Any) -> Ask:
    """advanced-lip-sync, good but for these fields, and those of its one entry of `face_choose`."""
    return Ask("POST", CREATE, fields, entry or {})


def face(**fields: Any) -> Ask:
    """advanced-lip-sync, good but for these fields of its one entry of `face_choose`."""
    return sync(fields)


def older(beside: dict[str, Any] | None = None, **fields: Any) -> Ask:
    """lip-sync, good but for these fields of its `input`, and those beside it."""
    return Ask("POST", OLDER, beside or {}, fields)


def call(method: str, path: str, body: bytes | None = None) -> Ask:
    """Any call, without JSON."""
    return Ask(method, path, body=body)


def packed(content: bytes) -> str:
    return base64.b64encode(content).decode()


OK = (200, 0, "SUCCEED")
V, F, LENT = "video_url", "face_choose[0]", "face_choose[1].reference_urls"
ONE_OF = (400, 1201, f"{V}: exactly one of video_url and video_id must be given.")
ONE_SOUND = (400, 1201, f"{F}: exactly one of sound_file and audio_id must be given.")
UNREACHABLE = (
    "the host cannot be reached from here; if its address is private, the operator must allow it in "
    "DUIKOU_PRIVATE_SOURCES."
)
NO_JSON = (400, 1201, "The request body is not valid JSON.")
NO_UTF8 = (400, 1201, "The request body is not in UTF-8, as JSON must be.")
NO_OBJECT = (400, 1201, "The request body must be a JSON object.")
LENGTH = "it must last 2000 ms to 60000 ms."
CLASSES = "only 720p and 1080p are taken: a shorter side of 684 to 1134, or 783360 to 2384640 in all."
TOO_LARGE = "The request body has 2097152 bytes, more than the 1114112 allowed."
NO_VOICE = "text2video needs a voice, and this server has none; send audio2video with audio_file or audio_url."
NO_MODE = "sync_mode: 'stretch' is not one of 'cut_off', 'loop', 'bounce' or 'silence'."
SHORT = f"{F}.sound_end_time: the audio from 0 ms to 1999 ms lasts 1999 ms; at least 2000 ms must be left."
SIDES = "each side must have 512 to 2160."


def wrong(sentence: str) -> tuple[int, int, str]:
    return (400, 1201, sentence)


def twice(name: str) -> tuple[int, int, str]:
    return 400, 1201, f"The request body names {name!r} twice in one object."


def no_call(what: str) -> tuple[int, int, str]:
    return (404, 1202, f"There is no {what}.")


def no_task(name: str) -> tuple[int, int, str]:
    return (404, 1203, f"There is no task {name}, or it has expired.")


ROWS: list[tuple[Ask, tuple[int, int, str]]] = [
    # identify-face: which video
    (find(video_url="SITE/a.mp4"), OK),
    (find(video_url="SITE/a.mp4", video_id="", unknown=[1]), OK),
    (find(video_url="SITE/a.mp4", video_id=None), OK),
    (find(video_url="SITE/empty.mp4"), OK),
    (find(), ONE_OF),
    (find(video_url="", video_id=None), ONE_OF),
    (find(video_url="SITE/a.mp4", video_id="1"), ONE_OF),
    (find(video_url=7), wrong(f"{V}: a string is expected, not 7.")),
    (find(video_url=["a"]), wrong(f"{V}: a string is expected, not ['a'].")),
    (find(video_url="\ud800"), wrong(f"{V}: the string must be valid Unicode.")),
    (find(video_url="http://a\0b/"), wrong(f"{V}: the string must not contain the character U+0000.")),
    (find(video_id=7), wrong("video_id: a string is expected, not 7.")),
    (
        find(video_id="1234567890123456789"),
        wrong("video_id: there is no video '1234567890123456789', or it has expired."),
    ),
    (find(video_id="../../secret"), wrong("video_id: there is no video '../../secret', or it has expired.")),
    # ... and its address
    (find(video_url="nonsense"), wrong(f"{V}: only http and https URLs are taken.")),
    (find(video_url="file:///etc/passwd"), wrong(f"{V}: only http and https URLs are taken.")),
    (find(video_url="ftp://127.0.0.1/a.mp4"), wrong(f"{V}: only http and https URLs are taken.")),
    (find(video_url="http://a:99999/"), wrong(f"{V}: this is not a URL.")),
    (find(video_url="http://me:word@127.0.0.1/"), wrong(f"{V}: the URL must not hold a user or a password.")),
    (find(video_url="http://a/" + "x" * 4096), wrong(f"{V}: the address is longer than 4096 characters.")),
    (find(video_url="http://10.0.0.1/a.mp4"), wrong(f"{V}: {UNREACHABLE}")),
    (find(video_url="http://169.254.169.254/latest/meta-data"), wrong(f"{V}: {UNREACHABLE}")),
    (find(video_url="http://127.0.0.1:9/a.mp4"), wrong(f"{V}: {UNREACHABLE}")),
    (find(video_url="SITE/nothing.mp4"), wrong(f"{V}: the host answered with status 404.")),
    *((find(video_url=spelt), OK) for spelt in (" SITE/a.mp4", "SITE/a.mp4\n", "\r\n\t SITE/a.mp4 \r\n")),
    (find(video_url=" ", video_id="\n"), ONE_OF),
    (find(video_url="\ufeffhttp://127.0.0.1/"), wrong(f"{V}: only http and https URLs are taken.")),
    # ... its size and length
    (find(video_url="SITE/big.mp4"), wrong(f"{V}: the file is larger than 1 MB.")),
    (find(video_url="SITE/void.mp4"), wrong(f"{V}: the file is empty.")),
    (find(video_url="SITE/1999.mp4"), wrong(f"{V}: the video lasts 1999 ms; {LENGTH}")),
    (find(video_url="SITE/2000.mp4"), OK),
    (find(video_url="SITE/60100.mp4"), OK),
    (find(video_url="SITE/60101.mp4"), wrong(f"{V}: the video lasts 60101 ms; {LENGTH}")),
    # ... its sides and its class
    (find(video_url="SITE/511x2160.mp4"), wrong(f"{V}: the video is 511x2160 pixels; {SIDES}")),
    (find(video_url="SITE/2161x512.mp4"), wrong(f"{V}: the video is 2161x512 pixels; {SIDES}")),
    (find(video_url="SITE/640x480.mp4"), wrong(f"{V}: the video is 640x480 pixels; {SIDES}")),
    (find(video_url="SITE/512x1530.mp4"), OK),
    (find(video_url="SITE/512x1529.mp4"), wrong(f"{V}: the video is 512x1529 pixels, 782848 in all; {CLASSES}")),
    (find(video_url="SITE/2160x1104.mp4"), OK),
    *((find(video_url=f"SITE/{size}.mp4"), OK) for size in ("960x960", "960x720", "720x960", "720x720", "684x684")),
    (find(video_url="SITE/683x683.mp4"), wrong(f"{V}: the video is 683x683 pixels, 466489 in all; {CLASSES}")),
    (find(video_url="SITE/1134x2160.mp4"), OK),
    (find(video_url="SITE/1135x2160.mp4"), wrong(f"{V}: the video is 1135x2160 pixels, 2451600 in all; {CLASSES}")),
    # advanced-lip-sync: the session
    (sync(session_id=GONE), wrong("session_id: a value is required.")),
    (sync(session_id=None), wrong("session_id: a string is expected, not null.")),
    (sync(session_id=12), wrong("session_id: a string is expected, not 12.")),
    (sync(session_id=""), wrong("session_id: there is no session '', or it has expired.")),
    (sync(session_id="777"), wrong("session_id: there is no session '777', or it has expired.")),
    (sync(session_id="OLD"), wrong("session_id: there is no session 'OLD', or it has expired.")),
    # ... its faces
    (sync(face_choose=GONE), wrong("face_choose: a value is required.")),
    (sync(face_choose=[]), wrong("face_choose: 1 to 64 entries are expected, not 0.")),
    (sync(face_choose=[1]), wrong(f"{F}: an object is expected, not 1.")),
    (sync(face_choose="x"), wrong("face_choose: a list of objects is expected, not 'x'.")),
    (sync(face_choose=None), wrong("face_choose: a list of objects is expected, not null.")),
    (
        sync(face_choose="TWICE"),
        wrong(
            "face_choose[1].sound_insert_time: the speech from 1000 ms to 4000 ms overlaps another one of face 0, from "
            "1000 ms to 4000 ms."
        ),
    ),
    (sync(face_choose="BOTH"), OK),
    (sync(face_choose="AFTER"), OK),
    (
        sync(face_choose="LENT"),
        wrong(f"{LENT}: face 0 is given other references before; name all of them in one place."),
    ),
    (sync(face_choose="MANY"), wrong("face_choose: 1 to 64 entries are expected, not 65.")),
    (face(face_id=1, sound_insert_time=7_000), OK),
    (face(face_id=GONE), wrong(f"{F}.face_id: a value is required.")),
    (face(face_id=None), wrong(f"{F}.face_id: a string is expected, not null.")),
    (face(face_id=1.5), wrong(f"{F}.face_id: a string is expected, not 1.5.")),
    (face(face_id=True), wrong(f"{F}.face_id: a string is expected, not true.")),
    (face(face_id="7"), wrong(f"{F}.face_id: the session has no face '7'; its faces: 0, 1, 2.")),
    (face(face_id=-1), wrong(f"{F}.face_id: the session has no face '-1'; its faces: 0, 1, 2.")),
    (sync(session_id="EMPTY"), wrong(f"{F}.face_id: the session has no face '0'; its faces: none.")),
    (sync({"face_id": "1"}, session_id="ALONE"), wrong(f"{F}.face_id: the session has no face '1'; its faces: 0.")),
    # ... the crop
    (face(sound_start_time=GONE), wrong(f"{F}.sound_start_time: a value is required.")),
    (face(sound_end_time=GONE), wrong(f"{F}.sound_end_time: a value is required.")),
    (face(sound_insert_time=GONE), wrong(f"{F}.sound_insert_time: a value is required.")),
    (face(sound_start_time=-1), wrong(f"{F}.sound_start_time: -1 is less than the minimum, 0.")),
    *((face(sound_end_time=spelt), OK) for spelt in (3000.0, "3000", "3000.0", 3000.5, "+3000.", 1999.5, "03000")),
    *((face(sound_start_time=spelt), OK) for spelt in ("0", -0.0, "-0", ".4")),
    *(
        (face(sound_end_time=spelt), wrong(f"{F}.sound_end_time: a number is expected, not {told}."))
        for spelt, told in (
            (True, "true"),
            (None, "null"),
            (float("nan"), "nan"),
            (float("inf"), "inf"),
            ([3000], "[3000]"),
            ({"ms": None}, "{'ms': null}"),
            *((text, repr(text)) for text in ("", " ", " 3000", "3000\n", "0xbb8", "3_000", "3,000", "3e3", "NaN")),
            *((text, repr(text)) for text in ("-Infinity", "1e999999999", "3000ms", "true", "\u0663", "--1", ".")),
            ("9" * 41, f"'{'9' * 39}..."),
        )
    ),
    (face(sound_end_time=1999.4), wrong(SHORT)),
    (face(sound_end_time="1999.49"), wrong(SHORT)),
    (face(sound_start_time=-0.4), wrong(f"{F}.sound_start_time: -0.4 is less than the minimum, 0.")),
    (face(sound_start_time="-1"), wrong(f"{F}.sound_start_time: '-1' is less than the minimum, 0.")),
    (face(sound_end_time=1e300), wrong(f"{F}.sound_end_time: 1e+300 is more than the maximum, 86400000.")),
    (
        face(sound_end_time="9" * 39),
        wrong(f"{F}.sound_end_time: '{'9' * 39}... is more than the maximum, 86400000."),
    ),
    (face(sound_end_time=86_400_000.4), wrong(f"{F}.sound_end_time: 86400000.4 is more than the maximum, 86400000.")),
    (
        face(sound_end_time=86_400_001),
        wrong(f"{F}.sound_end_time: 86400001 is more than the maximum, 86400000."),
    ),
    (face(sound_end_time=2_000), OK),
    (face(sound_end_time=1_999), wrong(SHORT)),
    (
        face(sound_start_time=4_000),
        wrong(f"{F}.sound_end_time: the audio from 4000 ms to 3000 ms lasts -1000 ms; at least 2000 ms must be left."),
    ),
    (face(sound_end_time=5_100, sound_insert_time=0), OK),
    (
        face(sound_end_time=5_101, sound_insert_time=0),
        wrong(f"{F}.sound_end_time: 5101 ms is after the audio's end at 5000 ms."),
    ),
    # ... where the speech goes
    (face(sound_insert_time=-1), wrong(f"{F}.sound_insert_time: -1 is less than the minimum, 0.")),
    (face(sound_insert_time=7_100), OK),
    (
        face(sound_insert_time=7_101),
        wrong(
            f"{F}.sound_insert_time: the speech inserted at 7101 ms ends at 10101 ms, after the video's end at "
            "10000 ms."
        ),
    ),
    (face(sound_end_time=5_100, sound_start_time=3_000), OK),
    (
        face(sound_end_time=5_100, sound_start_time=3_001),
        wrong(f"{F}.sound_end_time: the audio from 3001 ms to 5000 ms lasts 1999 ms; at least 2000 ms must be left."),
    ),
    (
        face(sound_end_time=5_100, sound_start_time=3_100),
        wrong(f"{F}.sound_end_time: the audio from 3100 ms to 5000 ms lasts 1900 ms; at least 2000 ms must be left."),
    ),
    (face(face_id="2", sound_insert_time=2_000), OK),
    (
        face(face_id="2", sound_insert_time=2_100),
        wrong(
            f"{F}.sound_insert_time: the speech from 2100 ms to 5100 ms shares 1900 ms with the interval of face 2, "
            "0 ms to 4000 ms; at least 2000 ms are needed."
        ),
    ),
    (
        face(face_id="2", sound_insert_time=2_101),
        wrong(
            f"{F}.sound_insert_time: the speech from 2101 ms to 5101 ms shares 1899 ms with the interval of face 2, "
            "0 ms to 4000 ms; at least 2000 ms are needed."
        ),
    ),
    (
        face(sound_end_time=2_000, sound_insert_time=8_100),
        wrong(
            f"{F}.sound_insert_time: the speech from 8100 ms to 10000 ms shares 1900 ms with the interval of face 0, "
            "0 ms to 10000 ms; at least 2000 ms are needed."
        ),
    ),
    (face(face_id="1", sound_insert_time=6_500), OK),
    (
        face(face_id="1", sound_insert_time=6_499),
        wrong(
            f"{F}.sound_insert_time: the speech from 6499 ms to 9499 ms shares 1999 ms with the interval of face 1, "
            "7500 ms to 10000 ms; at least 2000 ms are needed."
        ),
    ),
    (
        face(face_id="1", sound_insert_time=0),
        wrong(
            f"{F}.sound_insert_time: the speech from 0 ms to 3000 ms shares 0 ms with the interval of face 1, "
            "7500 ms to 10000 ms; at least 2000 ms are needed."
        ),
    ),
    # ... volumes
    (face(sound_volume=0, original_audio_volume=2), OK),
    (face(sound_volume=None), OK),
    (face(sound_volume=2.01), wrong(f"{F}.sound_volume: 2.01 is more than the maximum, 2.")),
    (face(sound_volume=-0.1), wrong(f"{F}.sound_volume: -0.1 is less than the minimum, 0.")),
    *((face(sound_volume=spelt, original_audio_volume=0), OK) for spelt in ("1", "0.5", "2.0", ".5", 1.0, "-0")),
    (face(sound_volume="2.01"), wrong(f"{F}.sound_volume: '2.01' is more than the maximum, 2.")),
    *(
        (face(sound_volume=spelt), wrong(f"{F}.sound_volume: a number is expected, not {told}."))
        for spelt, told in ((True, "true"), ("", "''"), (" 1", "' 1'"), ("1e0", "'1e0'"), ("nan", "'nan'"))
    ),
    (face(original_audio_volume=3), wrong(f"{F}.original_audio_volume: 3 is more than the maximum, 2.")),
    (face(original_audio_volume=float("nan")), wrong(f"{F}.original_audio_volume: a number is expected, not nan.")),
    *((face(original_audio_volume=0, original_audio_scope=one), OK) for one in ("speech", "video", "", None)),
    (
        face(original_audio_scope="clip"),
        wrong(f"{F}.original_audio_scope: 'clip' is not one of 'speech' or 'video'."),
    ),
    (face(original_audio_scope=1), wrong(f"{F}.original_audio_scope: 1 is not one of 'speech' or 'video'.")),
    # ... when the mouth stays as it is
    *((face(exclude=pairs), OK) for pairs in ([], None, [[0, 1]], [[1_000, 2_500], [9_000, 10_100]])),
    (face(exclude=5), wrong(f"{F}.exclude: a list is expected, not 5.")),
    (face(exclude=[5]), wrong(f"{F}.exclude[0]: a list is expected, not 5.")),
    (face(exclude=[[0, True]]), wrong(f"{F}.exclude[0][1]: a number is expected, not true.")),
    (face(exclude=[[-1, 5]]), wrong(f"{F}.exclude[0][0]: -1 is less than the minimum, 0.")),
    (face(exclude=[[0, 1], [5]]), wrong(f"{F}.exclude[1]: a start and an end are expected, not 1 times.")),
    (face(exclude=[[5, 5]]), wrong(f"{F}.exclude[0]: the end at 5 ms is not after the start at 5 ms.")),
    (
        face(exclude=[[0, 10_101]]),
        wrong(f"{F}.exclude[0]: the time from 0 ms to 10101 ms ends after the video's end at 10000 ms."),
    ),
    (face(exclude=[[0, 1]] * 65), wrong(f"{F}.exclude: 65 intervals are given; at most 64 are taken.")),
    # ... the sound
    (face(sound_file=packed(stub_work.sound())), OK),
    (face(sound_file=f"data:audio/mpeg;base64,{packed(stub_work.sound())}"), OK),
    (face(sound_file=packed(stub_work.sound()).rstrip("=")), OK),
    (face(sound_file=" SITE/s.mp3\n"), OK),
    (face(sound_file="\n", audio_id=" "), ONE_SOUND),
    (face(sound_file=base64.urlsafe_b64encode(stub_work.sound(note="???>>>")).decode()), OK),
    (face(sound_file=f"data:audio/mpeg; codecs=mp3; base64 ,{base64.encodebytes(stub_work.sound()).decode()}"), OK),
    (face(sound_file=f" data:;base64,{quote(packed(stub_work.sound()), safe='')}"), OK),
    (face(sound_file=GONE), ONE_SOUND),
    (face(sound_file="", audio_id=None), ONE_SOUND),
    (face(audio_id="1"), ONE_SOUND),
    (
        face(sound_file="", audio_id="77"),
        wrong(f"{F}.audio_id: there is no sound '77', or it has expired."),
    ),
    (face(sound_file=5), wrong(f"{F}.sound_file: a string is expected, not 5.")),
    (
        face(sound_file="not base64!"),
        wrong(f"{F}.sound_file: the value is neither an http(s) URL nor base64."),
    ),
    (
        face(sound_file="data:audio/mpeg,abc"),
        wrong(f"{F}.sound_file: a data: URI must be in base64, as in data:audio/mpeg;base64,...."),
    ),
    (face(sound_file="data:audio/mpeg;base64,"), wrong(f"{F}.sound_file: the audio is empty.")),
    (
        face(sound_file="data:audio/mpeg;base64;base64,!!!!"),
        wrong(f"{F}.sound_file: the value is neither an http(s) URL nor base64."),
    ),
    (face(sound_file="AAA=AAAA"), wrong(f"{F}.sound_file: the value is neither an http(s) URL nor base64.")),
    (face(sound_file="A"), wrong(f"{F}.sound_file: the value is neither an http(s) URL nor base64.")),
    (face(sound_file="\u0416" * 8), wrong(f"{F}.sound_file: the value is neither an http(s) URL nor base64.")),
    (face(sound_file="=" * 9), wrong(f"{F}.sound_file: the audio is empty.")),
    (face(sound_file=" \n" * 1000), ONE_SOUND),
    (
        face(sound_file=packed(b"x" * (MIB + 1))),
        wrong(f"{F}.sound_file: the audio has 1048577 bytes, more than the 1048576 allowed."),
    ),
    (face(sound_file="SITE/big.mp3"), wrong(f"{F}.sound_file: the file is larger than 1 MB.")),
    (face(sound_file="SITE/nothing.mp3"), wrong(f"{F}.sound_file: the host answered with status 404.")),
    (face(sound_file="http://192.168.1.1/s.mp3"), wrong(f"{F}.sound_file: {UNREACHABLE}")),
    (face(sound_file="file:///etc/passwd"), wrong(f"{F}.sound_file: only http and https URLs are taken.")),
    (face(sound_file="SITE/1999.mp3"), wrong(f"{F}.sound_file: the audio lasts 1999 ms; {LENGTH}")),
    (face(sound_file="SITE/2000.mp3", sound_end_time=2_000), OK),
    (face(sound_file="SITE/60100.mp3"), OK),
    (face(sound_file="SITE/60101.mp3"), wrong(f"{F}.sound_file: the audio lasts 60101 ms; {LENGTH}")),
    # ... the rest of the order
    (
        sync(external_task_id="taken"),
        wrong("external_task_id: 'taken' is in use by task TAKEN, which has another payload."),
    ),
    (sync({"face_id": "1", "sound_insert_time": 7_000}, external_task_id="taken"), OK),
    (sync(external_task_id=""), OK),
    (sync(external_task_id=5), wrong("external_task_id: a string is expected, not 5.")),
    (sync(external_task_id="x" * 257), wrong("external_task_id: at most 256 characters are allowed.")),
    (sync(external_task_id="\udfff"), wrong("external_task_id: the string must be valid Unicode.")),
    (sync(callback_url="nonsense"), wrong("callback_url: only http and https URLs are taken.")),
    (sync(callback_url=["a"]), wrong("callback_url: a string is expected, not ['a'].")),
    (sync(callback_url=""), OK),
    (sync(callback_url="https://hooks.example.org/done"), OK),
    (sync(callback_url="http://10.0.0.1/done"), wrong(f"callback_url: {UNREACHABLE}")),
    (sync(callback_url="http://hooks.invalid/"), wrong(f"callback_url: {UNREACHABLE}")),
    (sync(callback_url="ftp://hooks.example.org/"), wrong("callback_url: only http and https URLs are taken.")),
    (sync(watermark_info={"enabled": True}), OK),
    (sync(watermark_info=True), wrong("watermark_info: an object is expected, not true.")),
    (sync(watermark_info={"enabled": "yes"}), wrong("watermark_info.enabled: true or false is expected, not 'yes'.")),
    (sync(sync_mode=""), OK),
    (sync(sync_mode="loop"), OK),
    (sync(sync_mode="stretch"), wrong(NO_MODE)),
    (sync(dry_run=1), wrong("dry_run: true or false is expected, not 1.")),
    (sync(dry_run=True), OK),
    # the older call: what is in its input
    (older(), OK),
    (older(mode=GONE, audio_type=GONE), OK),
    (older(mode=None, audio_type="", video_id="", audio_file=None), OK),
    (older(mode="text2video"), wrong(f"input.mode: {NO_VOICE}")),
    (older(mode="text2video", text="Hello.", audio_url=GONE), wrong(f"input.mode: {NO_VOICE}")),
    (older(mode=GONE, text="Hello.", audio_url=GONE, audio_type=GONE), wrong(f"input.mode: {NO_VOICE}")),
    (older(mode="sing"), wrong("input.mode: 'sing' is not audio2video.")),
    (older(mode=1), wrong("input.mode: a string is expected, not 1.")),
    (older(audio_type="mp3"), wrong("input.audio_type: 'mp3' is not one of file, url or base64.")),
    (older(audio_type="file"), wrong("input.audio_file: a value is required.")),
    (older(audio_url=GONE), wrong("input.audio_url: a value is required.")),
    (older(audio_type="base64"), wrong("input.audio: a value is required.")),
    (older(audio_type=GONE, audio_url=" "), wrong("input.audio_file: one of audio_file and audio_url must be given.")),
    (
        older(audio_type=GONE, audio_file="AAAA"),
        wrong("input.audio_type: only one of audio_file and audio_url may be given."),
    ),
    (older(audio_url="AAAA"), wrong("input.audio_url: only http and https URLs are taken.")),
    (older(audio_url="file:///etc/passwd"), wrong("input.audio_url: only http and https URLs are taken.")),
    (older(audio_url="http://192.168.1.1/s.mp3"), wrong(f"input.audio_url: {UNREACHABLE}")),
    (older(audio_url="SITE/1999.mp3"), wrong(f"input.audio_url: the audio lasts 1999 ms; {LENGTH}")),
    (older(audio_type="file", audio_file=packed(stub_work.sound())), OK),
    (older(audio_type="base64", audio=packed(stub_work.sound())), OK),
    (
        older(audio_type="file", audio_file="not base64!"),
        wrong("input.audio_file: the value is neither an http(s) URL nor base64."),
    ),
    (older(video_url=GONE), wrong("input.video_url: exactly one of video_url and video_id must be given.")),
    (older(video_id="1"), wrong("input.video_url: exactly one of video_url and video_id must be given.")),
    (older(video_url="", video_id="1"), wrong("input.video_id: there is no video '1', or it has expired.")),
    (older(video_url="SITE/nothing.mp4"), wrong("input.video_url: the host answered with status 404.")),
    (older(video_url="SITE/640x480.mp4"), wrong(f"input.video_url: the video is 640x480 pixels; {SIDES}")),
    (older(video_url="SITE/1999.mp4"), wrong(f"input.video_url: the video lasts 1999 ms; {LENGTH}")),
    (
        older(audio_url="SITE/60100.mp3"),
        wrong("input.audio_url: the speech inserted at 0 ms ends at 60100 ms, after the video's end at 10000 ms."),
    ),
    (older({"sync_mode": "cut_off"}, audio_url="SITE/60100.mp3"), OK),
    (older({"sync_mode": "cut_off"}, video_url="SITE/empty.mp4"), OK),  # the task fails, not the call
    # ... and beside it
    (older({"input": GONE}), wrong("input.audio_file: one of audio_file and audio_url must be given.")),
    (older({"input": None}), wrong("input.audio_file: one of audio_file and audio_url must be given.")),
    (older({"input": 5}), wrong("input: an object is expected, not 5.")),
    (older({"input": ["a"]}), wrong("input: an object is expected, not ['a'].")),
    (
        older({"external_task_id": "taken"}),
        wrong("external_task_id: 'taken' is in use by task TAKEN, which has another payload."),
    ),
    (older({"external_task_id": 5}), wrong("external_task_id: a string is expected, not 5.")),
    (older({"callback_url": "nonsense"}), wrong("callback_url: only http and https URLs are taken.")),
    (older({"watermark_info": {"enabled": 1}}), wrong("watermark_info.enabled: true or false is expected, not 1.")),
    (older({"sync_mode": "stretch"}), wrong(NO_MODE)),
    # ... its tasks
    (call("GET", f"{OLDER}/TAKEN"), no_task("TAKEN")),
    (call("GET", f"/KLING/{OLDER}/nobody/"), no_task("nobody")),
    (call("GET", f"{OLDER}?pageNum=1.0&pageSize=500"), OK),
    (call("GET", f"{OLDER}?pageSize=501"), wrong("pageSize: '501' is more than the maximum, 500.")),
    (call("POST", f"{OLDER}/nobody/cancel"), no_task("nobody")),
    (call("POST", f"{OLDER}/nobody/retry"), no_task("nobody")),
    (call("DELETE", f"{OLDER}/nobody"), no_task("nobody")),
    (call("GET", f"{OLDER}/nobody/events"), no_task("nobody")),
    (call("POST", OLDER, b""), NO_OBJECT),
    (call("POST", OLDER, b"[]"), wrong("body: an object is expected, not [].")),
    # one task, the list and the extensions
    (call("GET", f"{CREATE}/TAKEN"), OK),
    (call("GET", f"{CREATE}/taken"), OK),
    (call("GET", f"/klingai{CREATE}/taken/"), OK),
    (
        call("GET", f"{CREATE}/1234567890123456789"),
        no_task("1234567890123456789"),
    ),
    (call("GET", f"{CREATE}/..%2f.."), no_task("../..")),
    *(
        (call(method, f"{path}{name}"), no_task("nobody"))
        for path in (
            f"/{CREATE}",
            "/V1/Videos/Advanced-Lip-Sync",
            f"/KlingAI/{CREATE}",
            "///kling//v1//videos//ADVANCED-LIP-SYNC",
        )
        for method, name in (("GET", "/nobody"), ("GET", "/nobody/"), ("DELETE", "//nobody"))
    ),
    (call("GET", f"/{CREATE}?pageSize=1"), OK),
    (call("GET", f"{CREATE}/Taken"), no_task("Taken")),
    (call("GET", f"{CREATE}/{'x' * 5000}"), no_task("x" * 80)),
    (call("GET", f"{CREATE}/nobody/events"), no_task("nobody")),
    (call("POST", f"{CREATE}/nobody/cancel"), no_task("nobody")),
    (call("DELETE", f"{CREATE}/nobody"), no_task("nobody")),
    (call("GET", f"{CREATE}?pageNum=1000&pageSize=500"), OK),
    (call("GET", f"{CREATE}?pageNum=0"), wrong("pageNum: '0' is less than the minimum, 1.")),
    (call("GET", f"{CREATE}?pageNum=1001"), wrong("pageNum: '1001' is more than the maximum, 1000.")),
    (call("GET", f"{CREATE}?pageNum="), wrong("pageNum: an integer is expected, not ''.")),
    (call("GET", f"{CREATE}?pageSize=0"), wrong("pageSize: '0' is less than the minimum, 1.")),
    (call("GET", f"{CREATE}?pageSize=501"), wrong("pageSize: '501' is more than the maximum, 500.")),
    (call("GET", f"{CREATE}?pageSize=many"), wrong("pageSize: an integer is expected, not 'many'.")),
    *((call("GET", f"{CREATE}?pageNum={spelt}&pageSize={spelt}"), OK) for spelt in ("1.0", "01", "%2B7")),
    *(
        (call("GET", f"{CREATE}?pageSize={spelt}"), wrong(f"pageSize: an integer is expected, not {told}."))
        for spelt, told in (
            *((text, repr(text)) for text in ("1.5", "1_0", "0x1", "NaN", "1e1", "true", "null")),
            ("%2010", "' 10'"),
        )
    ),
    (call("POST", "/v1/files", stub_work.sound()), OK),
    (call("POST", "/v1/files", b""), wrong("file: the file is empty.")),
    *((call("POST", path, b"x" * (2 * MIB)), wrong(TOO_LARGE)) for path in ("//V1//Files/", "/kling/v1/files")),
    (call("GET", "/files/media/1.mp4"), (403, 1103, "The URL of /files/media/1.mp4 is not signed by this server.")),
    # bodies that are no object, too large, or none
    *((call("POST", path, b"{"), NO_JSON) for path in (IDENTIFY, CREATE)),
    *((call("POST", path, b""), NO_OBJECT) for path in (IDENTIFY, CREATE)),
    *((call("POST", IDENTIFY, text), NO_UTF8) for text in (b"\xff\xfe", '{"a": "\u00e9"}'.encode("latin-1"))),
    (call("POST", IDENTIFY, b'\xef\xbb\xbf{"video_url": "SITE/a.mp4"}'), OK),
    (call("POST", IDENTIFY, b"\xef\xbb\xbf"), NO_JSON),
    (call("POST", CREATE, b"null"), wrong("body: an object is expected, not null.")),
    (call("POST", CREATE, b"[]"), wrong("body: an object is expected, not [].")),
    (call("POST", CREATE, b'"text"'), wrong("body: an object is expected, not 'text'.")),
    (call("POST", CREATE, b"[" * 100_000), wrong("The request body cannot be read as JSON.")),
    (call("POST", CREATE, b'{"session_id": "1", "session_id": "2"}'), twice("session_id")),
    (call("POST", IDENTIFY, b'{"video_url": "a", "x": {"y": 1, "y": 1}}'), twice("y")),
    (call("POST", IDENTIFY, '{"video_url": "a"}'.encode("utf-16")), NO_UTF8),
    (call("POST", IDENTIFY, b'{"video_url": NaN}'), wrong("video_url: a string is expected, not nan.")),
    (call("POST", IDENTIFY, b'{"video_url": 1e999}'), wrong("video_url: a string is expected, not inf.")),
    (call("POST", CREATE, b"9" * 5_000), wrong("The request body cannot be read as JSON.")),
    (
        call("POST", CREATE, b" " * (8 * MIB + 1)),
        wrong("The request body has 8388609 bytes, more than the 8388608 allowed."),
    ),
    # what is no call
    *(
        (call(method, path), no_call(f"{method} {path}"))
        for method, path in (
            ("POST", "/"),
            ("GET", "/nothing"),
            ("POST", "/docs"),
            ("GET", "/docs/nothing.js"),
            ("GET", "/docs/swagger/nothing.js"),
            ("GET", "/redoc"),
            ("GET", "/v1/videos"),
            ("GET", "/v1/videos/advanced-lip-syncs"),
            ("GET", "/v1/videos/advanced/lip-sync"),
            ("GET", "/v2/videos/advanced-lip-sync"),
            ("GET", "/kling/klingai/v1/videos/advanced-lip-sync"),
            ("GET", "/v1/files"),
            ("GET", "/v1/files/from-url"),
            ("POST", f"{CREATE}/1/again"),
            ("GET", "/studio"),
            ("GET", "/studio/nothing.js"),
            ("POST", "/studio/settings.json"),
            ("GET", IDENTIFY),
            ("POST", "/other/v1/videos/identify-face"),
            ("POST", "/files/media/1.mp4"),
            ("DELETE", CREATE),
            ("PUT", f"/klingai{CREATE}"),
            ("PUT", f"{CREATE}/1"),
            ("PATCH", f"/kling{CREATE}/1"),
            ("OPTIONS", IDENTIFY),
        )
    ),
    # what goes wrong in the server
    (find(video_url="SITE/damaged.mp4"), wrong(f"{V}: the video is damaged at frame 7.")),
    (
        find(video_url="SITE/no_model.mp4"),
        (503, 5001, "the face model is missing; run: make setup."),
    ),
    (
        find(video_url="SITE/dies.mp4"),
        (500, 5000, "the task was given up after 3 tries: the worker process died by signal SIGKILL."),
    ),
    (find(video_url="SITE/bug.mp4"), (500, 5000, "unexpected ZeroDivisionError; see the server's log.")),
]


@dataclass(frozen=True)
class Place:
    """A server with what the table's rows speak of; `words` stand for what is known only when it runs."""

    client: httpx.Client
    words: dict[str, str]

    def told(self, text: str) -> str:
        for word, meaning in self.words.items():
            text = text.replace(word, meaning)
        return text

    def ask(self, ask: Ask) -> httpx.Response:
        path = self.told(ask.path)
        if ask.path == IDENTIFY and ask.body is None and ask.method == "POST":
            return self.client.post(path, content=self.told(json.dumps(ask.json)))
        if ask.path == OLDER and ask.body is None and ask.method == "POST":
            usual = {"video_url": "SITE/a.mp4", "mode": "audio2video", "audio_type": "url", "audio_url": "SITE/s.mp3"}
            asked = {"input": present(usual | ask.choice)} | ask.json
            return self.client.post(path, content=self.told(json.dumps(present(asked))))
        if ask.path == CREATE and ask.body is None and ask.method == "POST":
            payload: dict[str, Any] = order("SESSION", "SITE/s.mp3", **ask.choice)
            payload["face_choose"] = [present(payload["face_choose"][0])]
            (one,) = payload["face_choose"]
            after = one | {"sound_insert_time": 4_000}
            several = {
                "TWICE": [one, one],
                "BOTH": [one, one | {"face_id": "1", "sound_insert_time": 7_000}],
                "AFTER": [one, after],
                "LENT": [one | {"reference_urls": ["SITE/a.mp4"]}, after | {"reference_urls": ["SITE/b.mp4"]}],
                "MANY": [one] * 65,
            }
            asked = payload | ask.json
            if str(asked["face_choose"]) in several:
                asked["face_choose"] = several[asked["face_choose"]]
            return self.client.post(path, content=self.told(json.dumps(present(asked))))
        body = None if ask.body is None else ask.body.replace(b"SITE", self.words["SITE"].encode())
        path = f"{str(self.client.base_url).rstrip('/')}{path}" if path.startswith("//") else path  # else it is a host
        return self.client.request(ask.method, path, content=body)


def present(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not GONE}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory):
    video, sound = stub_work.video, stub_work.sound
    sizes = (
        *((511, 2160), (2161, 512), (640, 480), (512, 1530), (512, 1529), (2160, 1104), (960, 960)),
        *((960, 720), (720, 960), (720, 720), (684, 684), (683, 683), (1134, 2160), (1135, 2160)),
    )
    files = {
        "a__mp4": video(faces=[[0, 10_000], [7_500, 10_000], [0, 4_000]]),
        "alone__mp4": video(),
        "empty__mp4": video(faces=[]),
        "void__mp4": b"",
        "big__mp4": b"x" * (MIB + 1),
        "big__mp3": b"x" * (MIB + 1),
        "s__mp3": sound(),
        **{f"{ms}__mp4": video(duration_ms=ms, faces=[]) for ms in (1_999, 2_000, 60_100, 60_101)},
        **{f"{ms}__mp3": sound(duration_ms=ms) for ms in (1_999, 2_000, 60_100, 60_101)},
        **{f"{width}x{height}__mp4": video(width=width, height=height, faces=[]) for width, height in sizes},
        **{f"{deed}__mp4": video(identify=deed) for deed in ("damaged", "no_model", "bug")},
        "dies__mp4": video(identify="die"),
    }
    data = tmp_path_factory.mktemp("data")
    given = settings(data, max_video_mb=1, max_audio_mb=1, tasks_at_once=0)
    with sources(**files) as site, in_thread(given, stub_work.WORK) as client:
        words = {"SITE": site, "SESSION": identify(client, f"{site}/a.mp4")["session_id"]}
        words |= {"EMPTY": identify(client, f"{site}/empty.mp4")["session_id"]}
        words |= {"ALONE": identify(client, f"{site}/alone.mp4")["session_id"]}
        words |= {"OLD": identify(client, f"{site}/alone.mp4")["session_id"]}
        expire(data, words["OLD"])
        taken = order(words["SESSION"], f"{site}/s.mp3", face_id="1", sound_insert_time=7_000)
        words |= {"TAKEN": create(client, taken | {"external_task_id": "taken"})}
        yield Place(client, words)


def expire(data: Path, session_id: str) -> None:
    with sqlite3.connect(data / "duikou.db") as database:
        database.execute("UPDATE sessions SET expires_at = 1 WHERE id = ?", (session_id,))
    database.close()


@pytest.mark.parametrize(("ask", "expected"), ROWS, ids=[f"{number}: {ask}" for number, (ask, _) in enumerate(ROWS)])
def test_every_request_has_its_answer(place: Place, ask: Ask, expected: tuple[int, int, str]) -> None:
    answer = place.ask(ask)
    body = answer.json()
    status, code, sentence = expected
    assert "allow" not in answer.headers
    assert (answer.status_code, body["code"], body["message"]) == (status, code, place.told(sentence))


# Containers and codecs, with real files


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory):
    where = tmp_path_factory.mktemp("files")
    small = {"size": (64, 48), "fps": 5}
    speech = tone(300, 2_500)
    for name in ("good.mp4", "good.mov"):
        make_video(where / name, frames=15, **small)
    make_video(where / "short.mp4", frames=9, **small)
    make_video(where / "codec.mov", frames=15, codec="qtrle", pixel_format="rgb24", **small)
    whole = (where / "good.mp4").read_bytes()
    (where / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (where / "list.mp4").write_bytes(b"#EXTM3U\nfile:///etc/passwd\n")
    (where / "web.mp4").write_bytes(b"\x1aE\xdf\xa3" + bytes(100))
    for suffix in ("mp3", "wav", "m4a", "aac"):
        make_sound(where / f"s.{suffix}", speech)
        make_sound(where / f"two.{suffix}", tone(300, 2_000))
    make_sound(where / "short.wav", tone(300, 1_999))
    make_sound(where / "long.wav", tone(300, 60_200, rate=8_000), 8_000)
    make_sound(where / "codec.wav", speech, codec="dfpwm")
    make_sound(where / "large.wav", np.zeros((48_000 * 56, 1), np.float32))
    (where / "sound.mp4").write_bytes((where / "s.m4a").read_bytes().replace(b"ftypM4A ", b"ftypisom", 1))
    files = {path.name.replace(".", "__"): path.read_bytes() for path in where.iterdir()}
    given = settings(tmp_path_factory.mktemp("data"), any_size=True)
    with sources(**files) as site, in_thread(given, stub_work.REAL_HEADERS) as client:
        yield Place(client, {"SITE": site, "SESSION": identify(client, f"{site}/good.mp4")["session_id"]})


def speak(name: str, end_ms: int = 2_400) -> Ask:
    return face(sound_file=f"SITE/{name}", sound_end_time=end_ms, sound_insert_time=0)


REAL_ROWS: list[tuple[Ask, tuple[int, int, str]]] = [
    (find(video_url="SITE/good.mp4"), OK),
    (find(video_url="SITE/good.mov"), OK),
    (find(video_url="SITE/short.mp4"), wrong(f"{V}: the video lasts 1800 ms; {LENGTH}")),
    (find(video_url="SITE/codec.mov"), wrong(f"{V}: the video codec qtrle is not supported.")),
    (
        find(video_url="SITE/cut.mp4"),
        wrong(f"{V}: the file is damaged and cannot be read (Invalid data found when processing input)."),
    ),
    (find(video_url="SITE/list.mp4"), wrong(f"{V}: the file is a playlist; it must be mp4 or mov.")),
    (find(video_url="SITE/web.mp4"), wrong(f"{V}: the file is a Matroska or WebM video; it must be mp4 or mov.")),
    (find(video_url="SITE/s.mp3"), wrong(f"{V}: the file is mp3; a video must be mp4 or mov.")),
    (find(video_url="SITE/s.m4a"), wrong(f"{V}: the file is m4a; a video must be mp4 or mov.")),
    (find(video_url="SITE/sound.mp4"), wrong(f"{V}: the file has no video track.")),
    *((speak(f"s.{suffix}"), OK) for suffix in ("mp3", "wav", "m4a", "aac")),
    *((speak(f"two.{suffix}", end_ms), OK) for suffix in ("mp3", "wav", "m4a", "aac") for end_ms in (2_000, 2_013)),
    (speak("short.wav"), wrong(f"{F}.sound_file: the audio lasts 1999 ms; {LENGTH}")),
    (speak("long.wav"), wrong(f"{F}.sound_file: the audio lasts 60200 ms; {LENGTH}")),
    (speak("codec.wav"), wrong(f"{F}.sound_file: the audio codec dfpwm is not supported.")),
    (speak("large.wav"), wrong(f"{F}.sound_file: the file is larger than 5 MB.")),
    (speak("good.mp4"), wrong(f"{F}.sound_file: the file is a video; audio must be mp3, wav, m4a or aac.")),
    (speak("list.mp4"), wrong(f"{F}.sound_file: the file is a playlist; it must be mp3, wav, m4a or aac.")),
    (call("POST", "/v1/files", b"junk"), wrong("file: the content is not an mp4, mov, mp3, wav, m4a or aac file.")),
]


@pytest.mark.parametrize(
    ("ask", "expected"), REAL_ROWS, ids=[f"{number}: {ask}" for number, (ask, _) in enumerate(REAL_ROWS)]
)
def test_every_file_has_its_answer(real: Place, ask: Ask, expected: tuple[int, int, str]) -> None:
    test_every_request_has_its_answer(real, ask, expected)


def test_the_table_is_long_enough() -> None:
    assert len({str(ask) + repr(ask) for ask, _ in ROWS + REAL_ROWS}) == len(ROWS) + len(REAL_ROWS) >= 160
