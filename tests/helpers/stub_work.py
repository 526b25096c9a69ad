"""Stand-ins for the work of the workers. A "media file" here is JSON that says what is in it and what happens.

Videos: width, height, duration_ms, container, faces [[start_ms, end_ms], ...], identify (a deed).
Sounds: duration_ms, render (a deed). Deeds: see `_do`.
"""

from __future__ import annotations

import json
import os
import signal
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

from duikou.errors import InputError, MediaError, ModelError, StorageError
from duikou.media.probe import AudioInfo, VideoInfo
from duikou.progress import Progress
from duikou.tasks.models import FaceNote, FaceSummary
from duikou.tasks.store import RETRY_DELAY_MS
from duikou.timebase import Interval
from duikou.workers.work import RenderJob, UploadInfo, Work

RESULT = b"result of attempt "
MARKED = b"the same with a visible mark"
PICTURE = b"\xff\xd8picture\xff\xd9"


def video(**what: Any) -> bytes:
    """A video that is well unless `what` says otherwise."""
    return json.dumps(
        {"kind": "video", "width": 1280, "height": 720, "duration_ms": 10_000, "faces": [[0, 10_000]], **what}
    ).encode()


def sound(**what: Any) -> bytes:
    """A sound that is well unless `what` says otherwise."""
    return json.dumps({"kind": "sound", "duration_ms": 5_000, **what}).encode()


def probe_video(path: Path, field: str, progress: Progress) -> VideoInfo:
    what = _read(path, "video", field)
    ms = what["duration_ms"]
    return VideoInfo(
        what.get("container", "mp4"), "h264", what["width"], what["height"], 0, ms // 40, Fraction(25), ms, None
    )


def probe_audio(path: Path, field: str, progress: Progress) -> AudioInfo:
    return AudioInfo("mp3", 44_100, 1, _read(path, "sound", field)["duration_ms"])


def probe_upload(path: Path, field: str, progress: Progress) -> UploadInfo:
    what = json.loads(path.read_bytes()) if path.read_bytes().startswith(b"{") else {}
    match what.get("kind"):
        case "video":
            return UploadInfo(f".{what.get('container', 'mp4')}", what["duration_ms"])
        case "sound":
            return UploadInfo(".mp3", what["duration_ms"])
    raise MediaError("the file is neither a video nor a sound.", field=field)


def identify(video: Path, folder: Path, progress: Progress) -> tuple[FaceSummary, ...]:
    what = _read(video, "video", "video")
    deed, first_try = what.get("identify", ""), time.time() - video.stat().st_mtime < RETRY_DELAY_MS / 1000
    _do("" if deed.endswith("_once") and not first_try else deed.removesuffix("_once"), folder, progress)
    faces = []
    for number, (start_ms, end_ms) in enumerate(what["faces"]):
        (folder / f"face_{number}.jpg").write_bytes(PICTURE)
        note = FaceNote("small_face", "the face is 40 px wide", Interval(start_ms, start_ms + 1))
        faces.append(FaceSummary(str(number), Interval(start_ms, end_ms), (note,), (10, 20, 300, 400)))
    return tuple(faces)


def die_once(mark: Path, progress: Progress) -> str:
    if mark.exists():
        return "alive"
    mark.touch()
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def identify_anything(video: Path, folder: Path, progress: Progress) -> tuple[FaceSummary, ...]:
    (folder / "face_0.jpg").write_bytes(PICTURE)
    return (FaceSummary("0", Interval(0, 10_000)),)


def render(order: RenderJob, progress: Progress) -> int:
    what = _read(order.audio[0], "sound", "sound")
    assert order.session.is_dir()
    attempt = order.output.parent.name
    deed = what.get("render", "")
    _do("" if deed.endswith("_once") and attempt != "1" else deed.removesuffix("_once"), order.output.parent, progress)
    source = json.loads(order.video.read_bytes()) if order.video.read_bytes().startswith(b"{") else {}
    choices = [choice.__dict__ for choice in order.choices]
    told = {"attempt": attempt, "choice": choices[0], "choices": choices, "sounds": [str(one) for one in order.audio]}
    order.output.write_bytes(json.dumps({**source, **told}).encode())
    if order.watermark is not None:
        order.watermark.write_bytes(MARKED)
    return int(what.get("result_ms", 10_000))


def _do(deed: str, place: Path, progress: Progress) -> None:
    """A deed is a word; callers leave out one that ends with `_once` at any try but the first."""
    match deed:
        case "":
            progress("rendering", 0.5)
        case "die":
            progress("dying", 0.3)
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            os._exit(7)
        case "fault":
            raise InputError("face 0 cannot be made to speak", field="face_id")
        case "damaged":
            raise MediaError("the video is damaged at frame 7", field="video")
        case "no_model":
            raise ModelError("the face model is missing; run: make setup")
        case "bug":
            raise ZeroDivisionError("division by zero")
        case "odd_bug":
            raise _OddError(lambda: None)
        case "fill":
            try:
                with (place / "filling").open("wb") as file:
                    while True:
                        file.write(bytes(1 << 20))
            except OSError as error:
                raise StorageError(f"result.mp4 cannot be written: {error.strerror}.") from error
        case "hog":
            held = bytearray(b"x") * (800 << 20)
            time.sleep(60)
            del held
        case "hang":
            for step in range(600):
                progress("hanging", step / 600)
                time.sleep(0.1)
        case "slow":
            for step in range(20):
                progress("slow", step / 20)
                time.sleep(0.1)
        case _:
            raise AssertionError(f"unknown deed {deed}")


class _OddError(Exception):
    """Cannot be pickled."""


def _read(path: Path, kind: str, field: str) -> dict[str, Any]:
    try:
        what: dict[str, Any] = json.loads(path.read_bytes())
    except ValueError as error:
        raise MediaError("the file is neither mp4 nor mov.", field=field) from error
    if what.get("kind") != kind:
        raise MediaError(f"the file is not a {kind}.", field=field)
    return what


WORK = Work(
    probe_video=probe_video, probe_audio=probe_audio, probe_upload=probe_upload, identify=identify, render=render
)

REAL_HEADERS = Work(identify=identify_anything, render=render)
"""Takes real files: their headers are read as ever, and one face is in every video."""
