"""A face's track in a lengthened video: which rows again, when, and what is a cut."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from duikou.faces.repeat import ResultTrack
from duikou.faces.track import POINTS, FaceTrack
from duikou.media.demux import FrameTimes
from duikou.media.sync_mode import SyncMode
from duikou.media.timeline import Timeline

STEP_MS = 40
TIMES = np.arange(6) * STEP_MS


def track(frames: list[int], shots: list[int] | None = None) -> FaceTrack:
    """A track whose landmarks carry the number of their frame."""
    landmarks = np.zeros((len(frames), POINTS, 3), np.float32)
    landmarks[:] = np.array(frames)[:, None, None]
    return FaceTrack(
        np.array(frames),
        np.array(frames) * STEP_MS,
        landmarks,
        np.ones(len(frames), np.float32),
        np.array(shots or [0] * len(frames)),
    )


def repeated(
    track: FaceTrack, mode: SyncMode, frames: int, *, begins_cut: bool = False, ends_cut: bool = False
) -> ResultTrack:
    source = FrameTimes(TIMES, np.zeros(1, np.int64), Fraction(1, 1000), STEP_MS)
    timeline = Timeline.of(source, mode, frames * STEP_MS)
    assert timeline.added is not None
    return ResultTrack.of(track, timeline, begins_cut=begins_cut, ends_cut=ends_cut)


@pytest.mark.parametrize(
    ("mode", "frames", "shown"),
    [
        (SyncMode.LOOP, [1, 2, 3, 7, 8, 9, 13], [1, 2, 3, 1, 2, 3, 1]),
        (SyncMode.BOUNCE, [1, 2, 3, 7, 8, 9, 11, 12, 13], [1, 2, 3, 3, 2, 1, 1, 2, 3]),
        (SyncMode.SILENCE, [1, 2, 3], [1, 2, 3]),
    ],
)
def test_rows_come_again_wherever_their_frames_show(mode: SyncMode, frames: list[int], shown: list[int]) -> None:
    made = repeated(track([1, 2, 3]), mode, 14)
    assert made.track.frames.tolist() == frames
    assert made.track.times_ms.tolist() == [number * STEP_MS for number in frames]
    assert made.track.landmarks[:, 0, 0].tolist() == shown
    assert (made.rows + 1).tolist() == shown


def test_a_face_on_the_last_frame_stands_with_it_in_one_shot() -> None:
    made = repeated(track([3, 4, 5], [0, 0, 1]), SyncMode.SILENCE, 10).track
    assert made.frames.tolist() == [3, 4, 5, 6, 7, 8, 9]
    assert made.shots.tolist() == [0, 0, 1, 1, 1, 1, 1]


def test_where_a_loop_begins_again_is_a_cut_and_where_a_bounce_turns_is_none() -> None:
    whole = track([0, 1, 2, 3, 4, 5], [2, 2, 2, 2, 3, 3])
    looped = repeated(whole, SyncMode.LOOP, 14).track.shots.tolist()
    assert looped == [2, 2, 2, 2, 3, 3, 4, 4, 4, 4, 5, 5, 6, 6]
    bounced = repeated(whole, SyncMode.BOUNCE, 17).track.shots.tolist()
    assert bounced == [2, 2, 2, 2, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 5, 5, 5]


def test_a_bounce_over_a_face_that_ends_with_a_cut_has_cuts_on_that_side_only() -> None:
    made = repeated(track([1, 2, 3]), SyncMode.BOUNCE, 16, ends_cut=True)
    assert made.track.shots.tolist() == [0, 0, 0, 1, 1, 1, 1, 1, 1]
    made = repeated(track([1, 2, 3]), SyncMode.BOUNCE, 16, begins_cut=True)
    assert made.track.shots.tolist() == [0, 0, 0, 0, 0, 0, 1, 1, 1]


def test_frames_beside_the_track_are_beside_every_showing_of_it() -> None:
    beside = [(0, 0), (0, 4 * STEP_MS)]  # frames 0 and 4
    looped = repeated(track([1, 2, 3]), SyncMode.LOOP, 14).neighbours(beside)
    assert sorted(looped) == [(0, 0), (0, 160), (1, 240), (1, 400), (2, 480)]
    bounced = repeated(track([1, 2, 3]), SyncMode.BOUNCE, 12).neighbours(beside)
    assert sorted(bounced) == [(0, 0), (0, 160), (0, 240), (0, 400)]
    to_the_end = repeated(track([1, 2, 3, 4, 5]), SyncMode.LOOP, 9).neighbours([(0, 0)])
    assert to_the_end == [(0, 0), (1, 240)]  # the row before the second is as near, but before the cut
    assert repeated(track([1, 2, 3]), SyncMode.LOOP, 14).neighbours([]) == []


def test_on_the_sources_own_timeline_nothing_is_repeated() -> None:
    source = FrameTimes(TIMES, np.zeros(1, np.int64), Fraction(1, 1000), STEP_MS)
    whole = track([1, 2, 3], [0, 2, 2])
    made = ResultTrack.of(whole, Timeline(source, source), begins_cut=True, ends_cut=True)
    assert made.track is whole
    assert made.rows.tolist() == [0, 1, 2]
    assert made.neighbours([(0, 3), (2, 161)]) == [(0, 3), (2, 161)]
