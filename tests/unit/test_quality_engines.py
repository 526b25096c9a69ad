"""The engines that the measures put around the product's own."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
from known_video import known_video
from lips_maker import make_lips

from benchmarks.quality.engines import Driven, Watched, loudness_motion
from duikou.engines.base import FaceClip, Renderer
from duikou.media.decode import Frame, Patch
from duikou.media.probe import VideoInfo
from duikou.progress import silent
from duikou.render.closeups import Closeups
from duikou.speech.articulation import LIP_LEAD_S
from duikou.speech.motion import CURVES, MouthMotion

RATE = 16_000


class Painter:
    """Paints one pixel of even frames; keeps the curves it was given."""

    name = "painter"

    def prepare(self, clip: FaceClip, curves: dict[str, np.ndarray], *, progress: object) -> Renderer:
        self.curves = curves
        return self

    def changes(self, frame: int) -> bool:
        return frame < 8

    def render(self, frame: Frame) -> Patch:
        pixels = frame.part((3, 2, 6, 5)).copy()
        pixels[1, 1] += frame.index % 2 == 0
        return Patch(3, 2, pixels)


def clip() -> FaceClip:
    lips = make_lips(np.linspace(0, 0.2, 10))
    info = VideoInfo("mp4", "h264", 720, 720, 0, 10, Fraction(25), 400, None)
    video = known_video(Path("clip.mp4"), info)
    return FaceClip(lips.track, np.arange(10), np.ones(10, bool), np.ones(10), Closeups.of(video, lips.track))


def test_another_motion_takes_the_place_of_the_speechs() -> None:
    values = np.tile(np.linspace(0, 1, 100, dtype=np.float32)[:, None], (1, len(CURVES)))
    painter = Painter()
    Driven(MouthMotion(values, 100.0), painter).prepare(
        clip(), {name: np.zeros(10) for name in CURVES}, progress=silent
    )
    assert list(painter.curves) == list(CURVES)
    assert np.allclose(painter.curves["gap"], np.arange(10) * 4 / 99)


def test_what_is_painted_is_kept_by_frame() -> None:
    watched = Watched(Painter())
    renderer = watched.prepare(clip(), {}, progress=silent)
    image = np.zeros((10, 10, 3), np.uint8)
    frames = [Frame(number, 0, 0, image) for number in range(4)]
    painted = [frame.painted(patch).image for frame in frames if (patch := renderer.render(frame))]
    assert renderer.changes(7)
    assert not renderer.changes(8)
    (face,) = watched.faces
    assert sorted(face.changes_made) == [0, 2]
    assert np.array_equal(face.changes_made[2].on(image), painted[2])


def test_louder_is_wider_and_silence_is_shut() -> None:
    tone = np.sin(np.arange(3 * RATE) / 9).astype(np.float32)
    level = np.repeat([0.0, 0.1, 1.0], RATE).astype(np.float32)
    motion = loudness_motion(tone * level, RATE)
    quiet, soft, loud = motion.at(np.array([0.5, 1.5, 2.5]))
    gap = CURVES.index("gap")
    assert quiet[gap] == 0
    assert 0 < soft[gap] < 0.6 * loud[gap]
    assert motion.start_s == -LIP_LEAD_S
    assert np.array_equal(motion["gap"], motion["jaw"])
    for name in set(CURVES) - {"gap", "jaw", "voice"}:
        assert not motion[name].any()
