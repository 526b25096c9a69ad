"""Withheld wide openings: which are withheld, what is asked for, and how insides are compared."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from known_video import known_video
from lips_maker import make_lips
from media_maker import make_video, read_number
from mouth_maker import UNIT, Drawn, draw_mouth

from benchmarks.quality import wider
from benchmarks.quality.clips import Clip
from duikou.engines.base import FaceClip, Renderer
from duikou.faces import pose
from duikou.media import decode
from duikou.media.decode import Frame
from duikou.media.probe import VideoInfo
from duikou.progress import silent
from duikou.render.closeups import Closeups
from duikou.render.shape import MouthModel


class Listener:
    """Keeps the curves that it is asked for, in this person's measures."""

    name = "listener"

    def prepare(self, clip: FaceClip, curves: dict[str, np.ndarray], *, progress: object) -> Renderer:
        head = pose.fit(clip.track.landmarks)
        shapes = pose.to_canonical(clip.track.landmarks, head).astype(np.float64)
        self.model = MouthModel.fit(shapes, head.degrees[:, :2], clip.usable)
        self.wanted = self.model.wanted(curves, 25.0)
        return self

    def changes(self, frame: int) -> bool:
        return True

    def render(self, frame: Frame) -> None:
        """Changes nothing."""


def test_the_widest_third_of_the_openings_is_withheld() -> None:
    lips = make_lips([*[0.0] * 20, *np.linspace(0.06, 0.2, 30)])
    away = wider.widest(lips)
    assert np.flatnonzero(away).tolist() == list(range(40, 50))
    assert not wider.widest(make_lips([0.01] * 5)).any()


def test_the_engine_is_asked_for_the_measured_lips() -> None:
    time = np.linspace(0, 8 * np.pi, 80)
    narrow = make_lips(0.05 + 0.05 * np.sin(time), 0.5 + 0.02 * np.cos(time))
    real = make_lips(0.1 + 0.1 * np.sin(time), 0.5 + 0.02 * np.cos(time))
    info = VideoInfo("mp4", "h264", 720, 720, 0, 80, Fraction(25), 3200, None)
    video = known_video(Path("clip.mp4"), info)
    clip = FaceClip(narrow.track, np.arange(80), np.ones(80, bool), np.ones(80), Closeups.of(video, narrow.track))
    listener = Listener()
    wider.Asked(real, listener).prepare(clip, {}, progress=silent)
    assert listener.model.talks
    assert np.allclose(listener.wanted.gap, real.gap, atol=1e-6)
    assert listener.wanted.gap.max() > 1.8 * narrow.gap.max()
    reached = np.abs(listener.model.width + listener.wanted.width - real.width)
    assert np.median(reached) < 0.01
    assert MouthModel.fit(narrow.shapes, np.zeros((80, 2)), np.ones(80, bool)).gap_scale < 0.12


def test_the_nearest_frames_stand_for_the_withheld_ones(tmp_path: Path) -> None:
    clip = Clip("clip", make_video(tmp_path / "clip.mp4", size=(320, 240), frames=12))
    path = wider.withheld(clip, np.array([3, 4, 5, 11]), tmp_path / "narrow.mp4")
    shown = [read_number(frame.image) for frame in decode.frames(path)]
    assert shown == [0, 1, 2, 2, 2, 6, 6, 7, 8, 9, 10, 10]
    assert decode.times(path).tolist() == decode.times(clip.video).tolist()


def test_other_teeth_are_another_inside() -> None:
    one = draw_mouth(Drawn())
    same, other, none = (draw_mouth(Drawn(teeth=size), grain=1) for size in (1.0, 0.8, 0.0))
    found = [wider.difference(one, mouth) for mouth in (one, same, other, none)]
    assert found[0] == 0
    assert found[1] < 2 < found[2] < found[3]


def test_lips_are_laid_on_each_other() -> None:
    one = draw_mouth(Drawn())
    by = np.array([0.05 * UNIT, 0.02 * UNIT])
    size = one.image.shape[1::-1]
    image = cv2.warpAffine(one.image, np.column_stack([np.eye(2), by]), size, borderMode=cv2.BORDER_REPLICATE)
    moved = replace(one, image=image.astype(np.uint8), points=one.points + np.array([*by, 0]))
    assert wider.difference(one, moved) < 1
    assert wider.difference(one, replace(one, image=moved.image)) > 5


def test_a_mouth_is_like_one_at_another_time() -> None:
    lips = make_lips([0.1, 0.1, 0.15, 0.2, 0.2, 0.2, 0.2, 0.11, 0.2])
    like = wider._like(lips)
    assert like[0] == 7 and like[7] == 0
    assert wider._like(make_lips([0.1, 0.2])).tolist() == [-1, -1]
