"""How far a face follows the speech, frame by frame."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from known_track import FRAMES, STEP_MS, track
from known_video import known_video

from duikou.engines.native import NativeEngine
from duikou.faces.track import Face, FaceWarning, PackedTrack
from duikou.media.probe import VideoInfo
from duikou.media.sound import Audio, Sound
from duikou.media.timeline import Timeline
from duikou.pipeline import plan
from duikou.pipeline.plan import (
    EASE_MS,
    HOLD_MS,
    SEAM_MS,
    Heard,
    Piece,
    Planner,
    _neighbours,
    ease,
    exemplar_spans,
    joined,
)
from duikou.pipeline.session import Session
from duikou.speech.motion import CURVES, MouthMotion
from duikou.timebase import Interval


def test_the_speech_is_eased_in_and_out() -> None:
    strength = ease(track(), np.ones(FRAMES, bool), [Interval(1000, 3000)])
    times = track().times_ms
    assert not strength[(times < 1000) | (times >= 3000)].any()
    assert (strength[(times >= 1000 + EASE_MS) & (times < 3000 - EASE_MS)] == 1).all()
    rising = strength[(times >= 1000) & (times < 1000 + EASE_MS)]
    assert (np.diff(rising) > 0).all()
    assert 0 < rising[0] < 0.5


def test_between_two_pieces_the_mouth_is_its_own_unless_they_lie_close_together() -> None:
    times, usable = track().times_ms, np.ones(FRAMES, bool)
    apart = ease(track(), usable, joined([Interval(1000, 2000), Interval(2000 + HOLD_MS + 1, 4000)]))
    pause = (times >= 2000) & (times <= 2000 + HOLD_MS)
    assert not apart[pause].any()
    before = apart[(times >= 2000 - EASE_MS) & (times < 2000)]
    after = apart[(times > 2000 + HOLD_MS) & (times <= 2000 + HOLD_MS + EASE_MS)]
    assert (np.diff(before) < 0).all() and (np.diff(after) > 0).all() and before[-1] < 0.3 and after[0] < 0.3
    close = ease(track(), usable, joined([Interval(1000, 2000), Interval(2000 + HOLD_MS, 4000)]))
    assert (close[(times >= 1000 + EASE_MS) & (times < 4000 - EASE_MS)] == 1).all()


def level_motion(sound: Sound) -> MouthMotion:
    """A mouth as wide open as the sound is loud."""
    rows = 1 + len(sound) * 100 // sound.rate
    values = np.zeros((rows, len(CURVES)), np.float32)
    values[:, CURVES.index("gap")] = sound.peak()
    return MouthMotion(values, 100.0, -0.03)


def piece(at_ms: int, ms: int, level: float) -> Piece:
    return Piece(Audio(np.full((ms * 8, 1), level, np.float32), 8_000), at_ms)


@pytest.mark.parametrize("pause_ms", [SEAM_MS, 200, HOLD_MS, HOLD_MS + 1])
def test_the_lips_close_softly_in_a_short_pause(monkeypatch: pytest.MonkeyPatch, pause_ms: int) -> None:
    monkeypatch.setattr(plan, "articulate_sound", level_motion)
    times = np.arange(0, 3_000, 5)
    begins = 1_000 + pause_ms
    gap = Heard.of([piece(0, 1_000, 0.5), piece(begins, 1_000, 0.7)]).at(times)["gap"]
    assert gap[(times > 100) & (times < 900)] == pytest.approx(0.5)
    assert gap[(times > begins + 100) & (times < begins + 900)] == pytest.approx(0.7)
    assert gap[(times == 1_000 + pause_ms // 2 // 5 * 5) | (times >= begins + 1_000)] == pytest.approx(0, abs=1e-6)
    if pause_ms <= HOLD_MS:
        assert np.abs(np.diff(gap[(times >= 900) & (times <= begins + 100)])).max() < 0.08  # of 0.7 in 5 ms: no jump


@pytest.mark.parametrize("pause_ms", [0, 40, SEAM_MS - 1])
def test_pieces_without_a_pause_are_heard_as_one(monkeypatch: pytest.MonkeyPatch, pause_ms: int) -> None:
    heard = []

    def hear(sound: Sound) -> MouthMotion:
        heard.append(sound.held().samples[:, 0])
        return level_motion(sound)

    monkeypatch.setattr(plan, "articulate_sound", hear)
    loud, faint = piece(200, 1_000, 0.5), piece(1_200 + pause_ms, 1_000, -0.01)
    faint = replace(faint, sound=faint.sound.converted(rate=16_000, channels=2))
    Heard.of([loud, faint])
    (samples,) = heard
    assert len(samples) == (2_000 + pause_ms) * 16
    inner = samples[np.array([500, 1_500 + pause_ms]) * 16]
    assert inner == pytest.approx([1, -1], abs=0.15)  # one is as loud as the other
    assert not samples[1_010 * 16 : (990 + pause_ms) * 16].any()
    silent = Heard.of([piece(0, 500, 0), piece(500, 500, 0)]).at(np.arange(0, 1_000, 5))
    assert silent["gap"].max() == 0


def test_a_lone_piece_moves_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "articulate_sound", level_motion)
    times = np.arange(0, 2_000, 5)
    one = piece(300, 1_000, 0.5)
    whole = level_motion(one.sound).shifted(0.3).at(times / 1000)[:, CURVES.index("gap")]
    assert np.array_equal(Heard.of([one]).at(times)["gap"], whole.astype(float))


def test_excluded_frames_stay_as_they_are_and_are_eased_at_both_sides(tmp_path: Path) -> None:
    info = VideoInfo("mp4", "h264", 720, 1280, 0, FRAMES, Fraction(25), 6000, None)
    video = known_video(tmp_path, info)
    planner = Planner(Session(video, ()), Timeline.of(video.frame_times, None, 0), NativeEngine())
    excluded = planner.excluded(track(), [Interval(2_010, 2_500), Interval(2_600, 2_900), Interval(4_000, 4_001)])
    assert np.flatnonzero(excluded).tolist() == [*range(50, 73), 100]  # a frame that shows within is one
    strength = ease(track(), ~excluded, [Interval(0, 6_000)])
    assert not strength[excluded].any()
    for edge, step in ((49, -1), (73, 1), (99, -1), (101, 1)):
        ramp = strength[edge : edge + 4 * step : step]
        assert 0 < ramp[0] < 0.3 and (np.diff(ramp) > 0).all() and strength[edge + 4 * step] == 1


@pytest.mark.parametrize(
    ("shown_ms", "expected_ms"),
    [
        ([(20_000, 25_000)], [(10_000, 35_000)]),
        ([(500, 5_500)], [(0, 15_500)]),
        ([(59_000, 60_000)], [(49_000, 60_000)]),
        ([(5_000, 10_000), (50_000, 55_000)], [(0, 20_000), (40_000, 60_000)]),
        ([(5_000, 10_000), (29_000, 34_000)], [(0, 44_000)]),
    ],
)
def test_a_face_is_followed_only_around_its_speech(
    shown_ms: list[tuple[int, int]], expected_ms: list[tuple[int, int]]
) -> None:
    found = exemplar_spans([Interval(*one) for one in shown_ms], 60_000)
    assert [(one.start_ms, one.end_ms) for one in found] == expected_ms


def test_where_the_face_begins_there_is_nothing_to_ease_from() -> None:
    strength = ease(track(), np.ones(FRAMES, bool), [Interval(0, 3000)])
    assert strength[0] == 1
    other_shot = ease(track([0] * 50 + [1] * 100), np.ones(FRAMES, bool), [Interval(50 * STEP_MS, 6000)])
    assert not other_shot[:50].any()
    assert (other_shot[50:] == 1).all()


def test_unusable_frames_stay_as_they_are() -> None:
    usable = np.ones(FRAMES, bool)
    usable[70:75] = False
    strength = ease(track(), usable, [Interval(0, 6000)])
    assert not strength[70:75].any()
    assert 0 < strength[69] < 0.5
    assert 0 < strength[75] < 0.5
    assert strength[60] == 1


def test_a_face_that_leaves_and_returns_eases_out_and_in() -> None:
    kept = np.ones(FRAMES, bool)
    kept[60:75] = False
    part = track().part(kept)
    strength = ease(part, np.ones(len(part), bool), [Interval(0, 6000)])
    assert 0 < strength[59] < 0.5
    assert 0 < strength[60] < 0.5
    assert (strength[:50] == 1).all()
    assert (strength[70:] == 1).all()


@pytest.mark.parametrize(("code", "eased"), [("turned_away", True), ("shot_cut", False)])
def test_the_interval_of_a_face_that_turns_away_ends_softly_a_shot_does_not(code: str, eased: bool) -> None:
    part = track().part(slice(25, 100))
    interval = Interval(1000, 4000)
    ends = tuple(FaceWarning(code, code, Interval(ms, ms)) for ms in (1000, 4000))
    face = Face("0", interval, PackedTrack.of(part), np.ones(75, bool), np.zeros((2, 2, 3), np.uint8), ends)
    info = VideoInfo("mp4", "h264", 720, 1280, 0, FRAMES, Fraction(25), 6000, None)
    strength = ease(part, face.usable, [interval], _neighbours(face, info))
    assert (strength[[0, -1]] < 0.5).all() == eased
    assert (strength[[0, -1]] > 0).all()
    assert (strength[10:-10] == 1).all()
    whole = replace(face, interval=Interval(0, 6000), track=PackedTrack.of(track()), warnings=())
    assert _neighbours(whole, info) == []
