"""Single mouths: which are chosen, and how they are cut."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from lips_maker import make_lips
from media_maker import make_video
from mouth_maker import Drawn, draw_mouth, draw_mouths

from benchmarks.quality import mouths
from benchmarks.quality.picture import sharpness
from duikou.render import mesh


def test_each_real_mouth_stands_beside_one_of_ours_at_most() -> None:
    ours, real = make_lips(np.linspace(0.0, 0.2, 40)), make_lips(np.linspace(0.05, 0.4, 60))
    one, other = mouths.alike(ours, real, 30)
    assert len(one) == len(other) > 15
    assert len(set(other.tolist())) == len(other)
    assert np.abs(ours.gap[one] - real.gap[other]).max() < mouths.SAME_GAP
    assert ours.gap[one].min() > 0.05 - mouths.SAME_GAP


def test_mouths_are_taken_from_the_whole_clip() -> None:
    frames = np.arange(10, 210)
    chosen = mouths.evenly(frames, 5)
    assert chosen.tolist() == [10, 60, 110, 159, 209]
    assert mouths.evenly(frames[:3], 5).tolist() == [10, 11, 12]
    assert not len(mouths.evenly(frames[:0], 5))


def test_a_mouth_is_shown_no_sharper_than_it_was_filmed() -> None:
    mouth = draw_mouth(Drawn())
    whole, coarse = mouth.at(mouth.unit, mouths.SIDE), mouth.at(mouth.unit / 4, mouths.SIDE)
    assert whole.shape == coarse.shape == (mouths.SIDE, mouths.SIDE, 3)
    assert sharpness(coarse) < 0.3 * sharpness(whole)
    assert np.array_equal(mouth.at(10 * mouth.unit, mouths.SIDE), whole)


def test_a_cut_mouth_has_its_landmarks(tmp_path: Path) -> None:
    lips = make_lips(np.linspace(0.05, 0.15, 6))
    path = make_video(tmp_path / "clip.mp4", size=(320, 240), frames=6)
    cut = mouths.cut(mouths.Filmed("clip", "face", path, lips, ours=True), np.array([1, 4, 99]))
    assert [mouth.time_ms for mouth in cut] == [40, 160]
    for mouth, frame in zip(cut, (1, 4), strict=True):
        assert (mouth.clip, mouth.face, mouth.ours) == ("clip", "face", True)
        assert mouth.gap == pytest.approx(lips.gap[frame])
        assert len(mouth.image) == round(0.84 * mouth.unit)
        ring = mouth.points[list(mesh.OUTER_RING), :2]
        assert ring.min() > 0 and ring.max() < len(mouth.image)
        assert float(mesh.lip_gap(mouth.points)) / mouth.unit == pytest.approx(mouth.gap, abs=0.005)


def test_mouths_are_sorted_by_face() -> None:
    found = mouths.by_face([*draw_mouths(2, Drawn(), clip="a"), *draw_mouths(1, Drawn(), clip="b")])
    assert {name: len(own) for name, own in found.items()} == {"a": 2, "b": 1}


def test_a_drawn_mouth_has_teeth() -> None:
    grey = [cv2.cvtColor(draw_mouth(Drawn(teeth=teeth)).image, cv2.COLOR_BGR2GRAY) for teeth in (0.0, 1.0)]
    assert (grey[1].astype(int) - grey[0]).max() > 100
