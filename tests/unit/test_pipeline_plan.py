"""How far a face follows the speech, frame by frame."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from known_track import FRAMES, STEP_MS, track

from duikou.faces.track import Face, FaceWarning
from duikou.media.probe import VideoInfo
from duikou.pipeline.plan import EASE_MS, _neighbours, ease
from duikou.timebase import Interval


def test_the_speech_is_eased_in_and_out() -> None:
    strength = ease(track(), np.ones(FRAMES, bool), Interval(1000, 3000))
    times = track().times_ms
    assert not strength[(times < 1000) | (times >= 3000)].any()
    assert (strength[(times >= 1000 + EASE_MS) & (times < 3000 - EASE_MS)] == 1).all()
    rising = strength[(times >= 1000) & (times < 1000 + EASE_MS)]
    assert (np.diff(rising) > 0).all()
    assert 0 < rising[0] < 0.5


def test_where_the_face_begins_there_is_nothing_to_ease_from() -> None:
    strength = ease(track(), np.ones(FRAMES, bool), Interval(0, 3000))
    assert strength[0] == 1
    other_shot = ease(track([0] * 50 + [1] * 100), np.ones(FRAMES, bool), Interval(50 * STEP_MS, 6000))
    assert not other_shot[:50].any()
    assert (other_shot[50:] == 1).all()


def test_unusable_frames_stay_as_they_are() -> None:
    usable = np.ones(FRAMES, bool)
    usable[70:75] = False
    strength = ease(track(), usable, Interval(0, 6000))
    assert not strength[70:75].any()
    assert 0 < strength[69] < 0.5
    assert 0 < strength[75] < 0.5
    assert strength[60] == 1


def test_a_face_that_leaves_and_returns_eases_out_and_in() -> None:
    kept = np.ones(FRAMES, bool)
    kept[60:75] = False
    part = track().part(kept)
    strength = ease(part, np.ones(len(part), bool), Interval(0, 6000))
    assert 0 < strength[59] < 0.5
    assert 0 < strength[60] < 0.5
    assert (strength[:50] == 1).all()
    assert (strength[70:] == 1).all()


@pytest.mark.parametrize(("code", "eased"), [("turned_away", True), ("shot_cut", False)])
def test_the_interval_of_a_face_that_turns_away_ends_softly_a_shot_does_not(code: str, eased: bool) -> None:
    part = track().part(slice(25, 100))
    interval = Interval(1000, 4000)
    ends = tuple(FaceWarning(code, code, Interval(ms, ms)) for ms in (1000, 4000))
    face = Face("0", interval, part, np.ones(75, bool), np.zeros((2, 2, 3), np.uint8), ends)
    info = VideoInfo("mp4", "h264", 720, 1280, 0, FRAMES, Fraction(25), 6000, None)
    strength = ease(part, face.usable, interval, _neighbours(face, info))
    assert (strength[[0, -1]] < 0.5).all() == eased
    assert (strength[[0, -1]] > 0).all()
    assert (strength[10:-10] == 1).all()
    whole = replace(face, interval=Interval(0, 6000), track=track(), warnings=())
    assert _neighbours(whole, info) == []
