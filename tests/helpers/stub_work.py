"""Stubs for the work of the workers. A "media file" here is JSON that describes its content and what the work does.

Videos: width, height, duration_ms, container, faces [[start_ms, end_ms], ...], identify (a deed), probe (`HELD` for
an upload whose probe waits until a test says `DONE` in its place: see `live_server.let_probes_go`).
Sounds: duration_ms, render (a deed). Photos: `PHOTO`.
Deeds: the keys of `DEEDS`; with the suffix `_once` only the first try does them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from duikou.errors import InputError, MediaError, ModelError, StorageError
from duikou.faces.track import FaceWarning, Speaking
from duikou.media.probe import AudioInfo, VideoInfo
from duikou.progress import Progress
from duikou.tasks.models import FaceRecord, FoundFaces
from duikou.tasks.states import RETRY_DELAY_MS
from duikou.timebase import Interval
from duikou.workers.work import RenderJob, SignJob, UploadInfo, Work

RESULT = b"result of attempt "
MARKED = b"the same with a visible mark"
PICTURE = b"\xff\xd8picture\xff\xd9"
PHOTO = b"photo"
DONE = "done"  # in place of `HELD` in a file
HELD = "held"  # the name of the file that a piece of held work waits to see gone
STEPS = (0.25, 0.5, 0.75)  # progress of stepwise work while it waits for each release
NOISE = (
    b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n",
    b"[h264 @ 0x1] error while decoding MB\n\n",
    b"no text: \xff\xfe\n",
    b'{"event": "task succeed", "task_id": "9"}\n',
    b"half ",
    b"a line\r\n",
)
"""What noisy work writes to standard error."""
ENDLESS_S = 600  # longer than any test: only a signal ends such work

Deed = Callable[[Path, Progress], None]  # takes a folder that it may write to


def video(**what: Any) -> bytes:
    """A valid video, with the fields of `what`."""
    return json.dumps(
        {"kind": "video", "width": 1280, "height": 720, "duration_ms": 10_000, "faces": [[0, 10_000]], **what}
    ).encode()


def sound(**what: Any) -> bytes:
    """A valid sound, with the fields of `what`."""
    return json.dumps({"kind": "sound", "duration_ms": 5_000, **what}).encode()


def probe_video(path: Path, field: str, progress: Progress) -> VideoInfo:
    what = _read(path, "video", field)
    ms, heard_ms = what["duration_ms"], what.get("heard_ms")
    heard = None if heard_ms is None else AudioInfo("aac", 48_000, 1, heard_ms)
    return VideoInfo(
        what.get("container", "mp4"), "h264", what["width"], what["height"], 0, ms // 40, Fraction(25), ms, heard
    )


def probe_audio(path: Path, field: str, progress: Progress) -> AudioInfo:
    return AudioInfo("mp3", 44_100, 1, _read(path, "sound", field)["duration_ms"])


def probe_upload(path: Path, field: str, progress: Progress) -> UploadInfo:
    if path.read_bytes() == PHOTO:
        return UploadInfo(".jpg", 0)
    what = json.loads(path.read_bytes()) if path.read_bytes().startswith(b"{") else {}
    while what.get("probe") == HELD:
        time.sleep(0.02)
        what = json.loads(path.read_bytes())
    match what.get("kind"):
        case "video":
            return UploadInfo(f".{what.get('container', 'mp4')}", what["duration_ms"])
        case "sound":
            return UploadInfo(".mp3", what["duration_ms"])
    raise MediaError("the file is neither a video nor a sound.", field=field)


def probe_reference(path: Path, field: str, progress: Progress) -> VideoInfo | None:
    return None if path.read_bytes() == PHOTO else probe_video(path, field, progress)


def identify(video: Path, folder: Path, progress: Progress) -> FoundFaces:
    what = _read(video, "video", "video")
    deed, first_try = what.get("identify", ""), time.time() - video.stat().st_mtime < RETRY_DELAY_MS / 1000
    _do("" if deed.endswith("_once") and not first_try else deed.removesuffix("_once"), folder, progress)
    faces = []
    for number, (start_ms, end_ms) in enumerate(what["faces"]):
        (folder / f"face_{number}.jpg").write_bytes(PICTURE)
        note = FaceWarning("small_face", "the face is 40 px wide", Interval(start_ms, start_ms + 1))
        spoken = what.get("speaking", {}).get(str(number), ())
        speaking = tuple(Speaking(Interval(start, end), score) for start, end, score in spoken)
        faces.append(FaceRecord(str(number), Interval(start_ms, end_ms), (note,), (10, 20, 300, 400), speaking))
    rejected = tuple(FaceWarning(code, f"{code} is why", Interval(0, 10_000)) for code in what.get("rejected", ()))
    return FoundFaces(tuple(faces), rejected)


def die_once(mark: Path, progress: Progress) -> str:
    if mark.exists():
        return "alive"
    mark.touch()
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def identify_anything(video: Path, folder: Path, progress: Progress) -> FoundFaces:
    (folder / "face_0.jpg").write_bytes(PICTURE)
    return FoundFaces((FaceRecord("0", Interval(0, 10_000)),))


def identify_nobody(video: Path, folder: Path, progress: Progress) -> FoundFaces:
    return FoundFaces((), (FaceWarning("unseen_lips", "a mask hides the lips", Interval(0, 500)),))


def render(order: RenderJob, progress: Progress) -> int:
    what = _read(order.audio[0], "sound", "sound")
    if order.session is None:
        order = _found(order)
    else:
        assert order.session.is_dir()
    attempt = order.output.parent.name
    deed = what.get("render", "")
    _do("" if deed.endswith("_once") and attempt != "1" else deed.removesuffix("_once"), order.output.parent, progress)
    source = json.loads(order.video.read_bytes()) if order.video.read_bytes().startswith(b"{") else {}
    references = [[str(path) for path in choice.references] for choice in order.choices]
    lent = [[Path(path).read_bytes().decode() for path in paths] for paths in references]
    choices = [
        {**choice.__dict__, "references": paths} for choice, paths in zip(order.choices, references, strict=True)
    ]
    told = {"attempt": attempt, "choice": choices[0], "choices": choices, "sounds": [str(one) for one in order.audio]}
    told["lent"] = lent
    order.output.write_bytes(json.dumps({**source, **told}).encode())
    if order.watermark is not None:
        order.watermark.write_bytes(MARKED)
    return int(what.get("result_ms", 10_000))


def sign(order: SignJob, progress: Progress) -> None:
    """Nothing: no real file is made."""


def _found(order: RenderJob) -> RenderJob:
    """The order for the face of the video that is seen for the longest time."""
    faces = _read(order.video, "video", "video")["faces"]
    if not faces:
        raise InputError("no face in it can be made to speak.", field="video")
    longest = max(range(len(faces)), key=lambda number: faces[number][1] - faces[number][0])
    return replace(order, choices=tuple(replace(choice, face_id=str(longest)) for choice in order.choices))


def _do(deed: str, place: Path, progress: Progress) -> None:
    """Do a deed of `DEEDS`."""
    DEEDS[deed](place, progress)


def _render(place: Path, progress: Progress) -> None:
    progress("rendering", 0.5)


def _die(place: Path, progress: Progress) -> None:
    progress("dying", 0.3)
    os.kill(os.getpid(), signal.SIGKILL)


def _exit(place: Path, progress: Progress) -> None:
    os._exit(7)


def _raise(error: Exception) -> Deed:
    def deed(place: Path, progress: Progress) -> None:
        raise error

    return deed


def _fill(place: Path, progress: Progress) -> None:
    try:
        with (place / "filling").open("wb") as file:
            while True:
                file.write(bytes(1 << 20))
    except OSError as error:
        raise StorageError(f"result.mp4 cannot be written: {error.strerror}.") from error


def _hog(place: Path, progress: Progress) -> None:
    taken = bytearray(b"x") * (800 << 20)
    time.sleep(ENDLESS_S)
    del taken


def _hang(place: Path, progress: Progress) -> None:
    for step in range(10 * ENDLESS_S):
        progress("hanging", step / (10 * ENDLESS_S))
        time.sleep(0.1)


def _noisy(place: Path, progress: Progress) -> None:
    """Write to standard error and output as C++ libraries do, and more: `NOISE`, a line too long, and a flood."""
    for line in NOISE:
        os.write(2, line)
    os.write(1, b"to standard output\n")
    os.write(2, b"z" * 300_000 + b"\n")
    for number in range(1000):
        os.write(2, b"flood %d\n" % number)


def _last_words(place: Path, progress: Progress) -> None:
    os.write(2, b"free(): invalid pointer")
    os.abort()


def _slow(place: Path, progress: Progress) -> None:
    for step in range(20):
        progress("slow", step / 20)
        time.sleep(0.1)


def _held(place: Path, progress: Progress) -> None:
    """Wait until a test releases it: `live_server.release`."""
    _wait(place, 0.5, progress)


def _nearly(place: Path, progress: Progress) -> None:
    """The same in the last third."""
    _wait(place, 0.75, progress)


def _stepwise(place: Path, progress: Progress) -> None:
    """Wait for three releases, one after each step."""
    for share in STEPS:
        _wait(place, share, progress)


def _wait(place: Path, share: float, progress: Progress) -> None:
    mark = place / HELD
    mark.touch()
    for _ in range(50 * ENDLESS_S):
        progress("held", share)  # again and again: a worker hands on only some of what comes at short intervals
        if not mark.exists():
            return
        time.sleep(0.02)
    raise AssertionError("no test released this work")


class _OddError(Exception):
    """Cannot be pickled."""


DEEDS: dict[str, Deed] = {
    "": _render,
    "die": _die,
    "exit": _exit,
    "fault": _raise(InputError("face 0 cannot be made to speak", field="face_id")),
    "no_teeth": _raise(InputError("no teeth show in it.", field="choices[0].references[1]")),
    "damaged": _raise(MediaError("the video is damaged at frame 7", field="video")),
    "no_model": _raise(ModelError("the face model is missing; run: make setup")),
    "bug": _raise(ZeroDivisionError("division by zero")),
    "odd_bug": _raise(_OddError(lambda: None)),
    "fill": _fill,
    "hog": _hog,
    "hang": _hang,
    "slow": _slow,
    "noisy": _noisy,
    "last_words": _last_words,
    "held": _held,
    "nearly": _nearly,
    "stepwise": _stepwise,
}


def _read(path: Path, kind: str, field: str) -> dict[str, Any]:
    try:
        what: dict[str, Any] = json.loads(path.read_bytes())
    except ValueError as error:
        raise MediaError("the file is neither mp4 nor mov.", field=field) from error
    if what.get("kind") != kind:
        raise MediaError(f"the file is not a {kind}.", field=field)
    return what


WORK = Work(
    probe_video=probe_video,
    probe_audio=probe_audio,
    probe_upload=probe_upload,
    probe_reference=probe_reference,
    identify=identify,
    render=render,
    sign=sign,
    preload=__name__,
)


def identify_two(video: Path, folder: Path, progress: Progress) -> FoundFaces:
    """Two faces, the second of which begins late, in every video."""
    for number in range(2):
        (folder / f"face_{number}.jpg").write_bytes(PICTURE)
    note = FaceWarning("small_face", "the lips are 28 px wide", Interval(0, 800))
    late = FaceWarning("masked", "a mask hides the lips", Interval(0, 500))
    speaking = (Speaking(Interval(500, 2_900), 0.41),)
    first = FaceRecord("0", Interval(0, 3_000), (note,), (10, 20, 90, 120), speaking)
    second = FaceRecord("1", Interval(400, 3_000), (), (900, 20, 200, 260))
    return FoundFaces((first, second), (late,))


def copy(order: RenderJob, progress: Progress) -> int:
    """Copy the video."""
    for path in filter(None, (order.output, order.watermark)):
        shutil.copyfile(order.video, path)
    return 3_000


def copy_held(order: RenderJob, progress: Progress) -> int:
    _held(order.output.parent, progress)
    return copy(order, progress)


def refuse(order: RenderJob, progress: Progress) -> int:
    _do("no_teeth", order.output.parent, progress)
    return 0


def miss_a_model(order: RenderJob, progress: Progress) -> int:
    _do("no_model", order.output.parent, progress)
    return 0


COPY = Work(identify=identify_two, render=copy, sign=sign)
"""Reads real files, finds two faces in every video, and copies it."""

REAL_HEADERS = Work(identify=identify_anything, render=render, sign=sign)
"""Reads the headers of real files, and finds one face in every video."""
