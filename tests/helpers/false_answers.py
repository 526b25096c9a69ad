"""Work whose answers a "file" dictates, as one does that has taken a decoder over; else that of `stub_work`.

Videos: probe, identify, and how many files more are left. Sounds: probe, render. The others are messages that are sent
as they stand, in place of an answer.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import hostile_work
import stub_work

from duikou.media.probe import AudioInfo, VideoInfo
from duikou.progress import Progress
from duikou.tasks.models import FoundFaces
from duikou.timebase import Milliseconds
from duikou.workers.work import RenderJob, UploadInfo, Work


def said(value: str) -> str:
    """The message that this JSON was returned."""
    return f'{{"kind":"done","value":{value}}}'


def face(count: int = 1, **other: str) -> str:
    """The message that a face was found, so many times, with other JSON in some of its places."""
    places = {
        "id": '"0"',
        "interval": '{"start_ms":0,"end_ms":10000}',
        "warnings": "[]",
        "box": "[1,2,3,4]",
        "speaking": "[]",
    }
    one = ",".join(f'"{name}":{value}' for name, value in (places | other).items())
    return said(f'{{"faces":[{",".join([f"{{{one}}}"] * count)}],"rejected":[]}}')


LENGTHS = {
    "negative": "-1",
    "nan": "NaN",
    "infinite": "1e999",
    "huge": "1" + "0" * 400,
    "of 64 bits": str(2**63),
    "years": str(10**12),
    "fraction": "1.5",
    "text": '"10000"',
    "truth": "true",
    "list": "[10000]",
    "deep": "[" * 100_000,
    "twice": "1},{",
}
"""What is no length of a result."""

FACES = {
    "box of NaN": face(box="[NaN,2,3,4]"),
    "box without end": face(box="[1,2,1e999,4]"),
    "box of fractions": face(box="[1.5,2,3,4]"),
    "negative box": face(box="[1,2,-3,4]"),
    "huge box": face(box=f"[1,2,3,{2**31}]"),
    "short box": face(box="[1,2,3]"),
    "turned interval": face(interval='{"start_ms":5,"end_ms":4}'),
    "early interval": face(interval='{"start_ms":-5,"end_ms":4}'),
    "late interval": face(interval=f'{{"start_ms":0,"end_ms":{2**62}}}'),
    "path as id": face(id='"../../x"'),
    "other digits as id": face(id='"\u0663"'),
    "surrogate": face(warnings='[{"code":"x","message":"\\ud800","interval":{"start_ms":0,"end_ms":1}}]'),
    "nul": face(warnings='[{"code":"x","message":"\\u0000","interval":{"start_ms":0,"end_ms":1}}]'),
    "code": face(warnings='[{"code":"<b>","message":"","interval":{"start_ms":0,"end_ms":1}}]'),
    "score": face(speaking='[{"interval":{"start_ms":0,"end_ms":1},"score":7}]'),
    "one id twice": face(2),
    "score of NaN": face(speaking='[{"interval":{"start_ms":0,"end_ms":1},"score":NaN}]'),
}
"""What are no faces that were found."""

UPLOADS = {
    "suffix": said('{"suffix":"/../../x","duration_ms":1}'),
    "suffix of programs": said('{"suffix":".exe","duration_ms":1}'),
    "negative": said('{"suffix":".mp3","duration_ms":-1}'),
}
"""What is no description of an upload."""


def probe_upload(path: Path, field: str, progress: Progress) -> UploadInfo:
    _send(path, "probe")
    return stub_work.probe_upload(path, field, progress)


def probe_video(path: Path, field: str, progress: Progress) -> VideoInfo:
    return stub_work.probe_video(path, field, progress)


def probe_audio(path: Path, field: str, progress: Progress) -> AudioInfo:
    return stub_work.probe_audio(path, field, progress)


def identify(video: Path, folder: Path, progress: Progress) -> FoundFaces:
    _send(video, "identify")
    for number in range(json.loads(video.read_bytes()).get("files", 0)):
        (folder / str(number)).touch()
    return stub_work.identify(video, folder, progress)


def render(order: RenderJob, progress: Progress) -> Milliseconds:
    _send(order.audio[0], "render")
    return stub_work.render(order, progress)


def _send(path: Path, name: str) -> None:
    what: dict[str, Any] = json.loads(path.read_bytes())
    if name in what:
        hostile_work.send_raw(what[name].encode())
        time.sleep(stub_work.ENDLESS_S)


WORK = Work(
    probe_video=probe_video,
    probe_audio=probe_audio,
    probe_upload=probe_upload,
    probe_reference=stub_work.probe_reference,
    identify=identify,
    render=render,
    sign=stub_work.sign,
    preload=__name__,
)
