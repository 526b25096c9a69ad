"""What the default engine holds of a window of speech."""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from dataclasses import replace

import numpy as np

from duikou.engines.base import FaceClip
from duikou.engines.native import NativeEngine, NativeRenderer
from duikou.faces import pose
from duikou.faces.track import POINTS, FaceTrack
from duikou.progress import silent
from duikou.render.closeups import Closeups
from duikou.render.overlay import Detector
from duikou.speech.motion import CURVES

FRAMES, STEP_MS, EYES = 400, 40, 100.0
SHAPES_BYTES = FRAMES * POINTS * 3 * 8
CONSTANT = {name: np.full(FRAMES, 0.5) for name in CURVES}


def clip() -> FaceClip:
    """A still face in the middle of a picture of 400 x 400 pixels."""
    points = (pose.canonical() * EYES + np.array([200, 180, 0])).astype(np.float32)
    frames = np.arange(FRAMES)
    track = FaceTrack(
        frames,
        frames * STEP_MS,
        np.repeat(points[None], FRAMES, 0),
        np.ones(FRAMES, np.float32),
        np.zeros(FRAMES, np.int64),
        np.full((FRAMES, POINTS, 3), 120, np.uint8),
    )
    closeups = Closeups(Detector(track, (400, 400), STEP_MS))
    return FaceClip(track, frames, np.ones(FRAMES, bool), np.ones(FRAMES), closeups)


def prepared(one: FaceClip) -> tuple[NativeRenderer, int, int]:
    """A painter, the bytes that it holds, and the most that making it took."""
    NativeEngine().prepare(one, CONSTANT, progress=silent)  # what is read once and kept for all
    tracemalloc.start()
    try:
        painter = NativeEngine().prepare(one, CONSTANT, progress=silent)
        return painter, *tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()


def test_a_painter_holds_far_less_than_one_copy_of_its_shapes() -> None:
    one = clip()
    painter, held, most = prepared(one)
    assert all(painter.changes(frame) for frame in range(FRAMES))
    assert held < 0.7 * SHAPES_BYTES
    assert most < 5.3 * SHAPES_BYTES


def test_frames_that_only_lend_their_mouths_take_less_memory_than_those_that_change() -> None:
    one = clip()
    one = replace(one, strength=np.where(np.arange(FRAMES) < FRAMES // 4, 1.0, 0.0))
    painter, held, most = prepared(one)
    assert [painter.changes(frame) for frame in (0, FRAMES // 4 - 1, FRAMES // 4)] == [True, True, False]
    assert held < 0.25 * SHAPES_BYTES
    assert most < 4.2 * SHAPES_BYTES


def test_a_painter_that_is_dropped_frees_its_memory_at_once() -> None:
    one = clip()
    gc.disable()
    try:
        gone = weakref.ref(NativeEngine().prepare(one, CONSTANT, progress=silent))
        assert gone() is None
    finally:
        gc.enable()
