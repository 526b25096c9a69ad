"""Quick work on real files for tests of Studio. The portrait's face is known, so nothing is looked for.

Children import this module, so it imports little.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import cv2
import stub_work

from duikou.faces.track import FaceWarning, Speaking
from duikou.media import decode
from duikou.media.video import probe_video
from duikou.progress import Progress
from duikou.tasks.models import FaceRecord, FoundFaces
from duikou.timebase import Interval
from duikou.workers.work import RenderJob, Work

FACE = (196, 217, 350, 462)
"""The portrait's face: x, y, width, height in pixels of `demo.portrait`'s clip."""
STAGES = ("following the face", "choosing mouth shapes")
"""The stages before "rendering", as the real work names them."""
HELD_AT = 0.875
"""Progress of held work."""


def find_one(video: Path, folder: Path, progress: Progress) -> FoundFaces:
    """The portrait's face."""
    return FoundFaces((FaceRecord("0", Interval(0, _portrait(video, folder)), (), FACE),), ())


def find_two(video: Path, folder: Path, progress: Progress) -> FoundFaces:
    """The portrait's face, another one that leaves early, and someone who cannot be made to speak."""
    ms = _portrait(video, folder)
    shutil.copyfile(folder / "face_0.jpg", folder / "face_1.jpg")
    small = FaceWarning("small_face", "the lips are 28 px wide", Interval(0, 800))
    masked = FaceWarning("unseen_lips", "no lips were seen", Interval(0, 500))
    first = FaceRecord("0", Interval(0, ms), (), FACE, (Speaking(Interval(200, ms - 900), 0.41),))
    return FoundFaces((first, FaceRecord("1", Interval(0, ms - 600), (small,), (40, 700, 140, 180))), (masked,))


def find_nobody(video: Path, folder: Path, progress: Progress) -> FoundFaces:
    """No face that can be made to speak."""
    return FoundFaces((), (FaceWarning("turned_away", "the face is turned by 70 degrees", Interval(0, 900)),))


def _portrait(video: Path, folder: Path) -> int:
    """Write the face's picture; the video's length in ms."""
    x, y, width, height = FACE
    first = next(iter(decode.frames(video)))
    cv2.imwrite(str(folder / "face_0.jpg"), first.image[y : y + height, x : x + width])
    return probe_video(video).duration_ms


def copy(order: RenderJob, progress: Progress) -> int:
    """Copy the video."""
    for path in filter(None, (order.output, order.watermark)):
        shutil.copyfile(order.video, path)
    return probe_video(order.output).duration_ms


def copy_held(order: RenderJob, progress: Progress) -> int:
    """Tell every stage, wait at the last one until a test releases it (`live_server.release`), and copy the video."""
    for number, stage in enumerate(STAGES):
        for share in (0.2, 0.6, 1.0):
            progress(stage, (number + share) / 4)
            time.sleep(0.05)
    mark = order.output.parent / stub_work.HELD
    mark.touch()
    while mark.exists():
        progress("rendering", HELD_AT)
        time.sleep(0.02)
    return copy(order, progress)


QUICK = Work(identify=find_one, render=copy, sign=stub_work.sign)
HELD = Work(identify=find_one, render=copy_held, sign=stub_work.sign)
TWO_HELD = Work(identify=find_two, render=copy_held, sign=stub_work.sign)
NOBODY = Work(identify=find_nobody, render=copy, sign=stub_work.sign)
