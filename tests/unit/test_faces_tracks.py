"""From what was seen to faces: joining, ids' stretches, reasons."""

from dataclasses import replace

import numpy as np
import pytest
from media_maker import make_video

from duikou import spool
from duikou.faces import identify
from duikou.faces.follow import RoiPath
from duikou.faces.identify import joined, usable_frames
from duikou.faces.landmarks import Observation, roi_of
from duikou.faces.pose import Pose, canonical, from_canonical
from duikou.faces.scan import Sample, Scan, Stored, Tracklet, chunks, step_of, track_of
from duikou.faces.track import POINTS, Face, FaceWarning
from duikou.faces.usable import LIPS
from duikou.media.decode import Frame
from duikou.media.probe import VideoInfo
from duikou.media.video import Video
from duikou.spool import Records
from duikou.timebase import Interval

FRAME_MS = 40
SIZE = (1280, 720)
CLOCK = identify._Clock(np.arange(500) * FRAME_MS, np.arange(1, 501) * FRAME_MS)
LOOKS = np.random.default_rng(0).integers(0, 150, (9, POINTS, 3), np.uint8)
LOOKS[:, list(LIPS)] += 105  # lips that stand out


def observation(*, x: float = 400, scale: float = 120, person: int = 0) -> Observation:
    pose = Pose(np.array([scale]), np.eye(3)[None], np.array([[x, 360.0, 0.0]]))
    return Observation(from_canonical(canonical(), pose)[0], 1.0, LOOKS[person], 100.0)


def sample(frame: int, *, shot: int = 0, **face) -> Sample:
    return Sample(frame, frame * FRAME_MS, shot, observation(**face))


def tracklet(first: int, stop: int, **face) -> Tracklet:
    return Tracklet([sample(frame, **face) for frame in range(first, stop, 2)])


def people(*seen: Tracklet) -> list[list[int]]:
    return [[one.frame for one in person] for person in joined(list(seen), CLOCK.ends)]


def faces(person: list[Sample], shot_starts: tuple[int, ...] = (0,)) -> list[Face]:
    seen = Scan([], SIZE, list(shot_starts))
    return [face for face, _ in identify._faces(person, identify._checked(track_of(person), seen), CLOCK, seen)]


def codes(face: Face) -> list[str]:
    return [warning.code for warning in face.warnings]


@pytest.mark.parametrize("least", [1, spool.LEAST], ids=["in a file", "in memory"])
def test_what_was_put_aside_is_what_was_seen(least: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "LEAST", least)
    records, seen = Records(), [observation(x=100 + frame, person=frame % 9) for frame in range(20)]
    stored = [Stored.of(one, records) for one in seen]
    for before, after in reversed(list(zip(seen, stored, strict=True))):
        assert np.array_equal(after.landmarks, before.landmarks) and after.landmarks.dtype == np.float32
        assert np.array_equal(after.colours, before.colours) and after.colours.dtype == np.uint8
        assert (after.presence, after.sharpness) == (before.presence, before.sharpness)
    samples = [Sample(frame, frame * FRAME_MS, 0, one) for frame, one in enumerate(stored)]
    track = track_of(samples)
    assert np.array_equal(track.landmarks, np.stack([one.landmarks for one in seen]))
    assert track.colours is not None and np.array_equal(track.colours, np.stack([one.colours for one in seen]))


def test_a_face_that_is_lost_for_less_than_a_second_is_one():
    assert len(people(tracklet(0, 20), tracklet(40, 60))) == 1


def test_a_face_that_is_lost_for_more_than_a_second_is_two():
    assert len(people(tracklet(0, 20), tracklet(46, 60))) == 2


@pytest.mark.parametrize("change", [{"x": 700}, {"scale": 240}])
def test_a_face_elsewhere_or_of_another_size_is_another(change):
    assert len(people(tracklet(0, 20), tracklet(24, 40, **change))) == 2


def test_across_a_cut_looks_decide():
    assert len(people(tracklet(0, 20), tracklet(20, 40, shot=1))) == 1
    assert len(people(tracklet(0, 20), tracklet(20, 40, shot=1, person=1))) == 2


def test_two_faces_at_once_stay_two_and_each_gets_its_own_back():
    left, right = {"x": 300.0, "person": 1}, {"x": 800.0, "person": 2}
    found = people(
        tracklet(0, 20, **left), tracklet(0, 20, **right), tracklet(24, 40, **right), tracklet(24, 40, **left)
    )
    assert sorted(map(len, found)) == [18, 18]


def test_an_unbroken_face_has_no_warnings_and_lasts_to_the_end_of_its_last_frame():
    (face,) = faces([sample(frame) for frame in range(500)])
    assert face.interval == Interval(0, 500 * FRAME_MS)
    assert face.warnings == ()


def test_a_long_turn_splits_a_face_and_both_halves_say_why():
    person = [sample(frame, scale=20 if 100 <= frame < 150 else 120) for frame in range(500)]
    first, second = faces(person)
    assert first.interval == Interval(0, 100 * FRAME_MS)
    assert second.interval == Interval(150 * FRAME_MS, 500 * FRAME_MS)
    for face in (first, second):
        assert codes(face) == ["small_face"]
        assert face.warnings[0].interval == Interval(100 * FRAME_MS, 150 * FRAME_MS)


def test_a_short_one_stays_inside_and_is_told():
    (face,) = faces([sample(frame, scale=20 if 100 <= frame < 110 else 120) for frame in range(500)])
    assert face.interval == Interval(0, 500 * FRAME_MS)
    assert codes(face) == ["small_face"]
    assert (~face.usable).sum() == 10


def test_a_loss_inside_an_interval_is_told_with_both_ends():
    parts = [tracklet(0, 60), tracklet(80, 160), tracklet(160, 200)]  # the last goes on where the second ends
    seen = Scan(parts, SIZE, [0])
    (person,) = joined(parts, CLOCK.ends)
    ((face, _),) = identify._faces(person, identify._checked(track_of(person), seen), CLOCK, seen)
    assert face.interval == Interval(0, 199 * FRAME_MS)
    inside = [warning for warning in face.warnings if warning.interval.duration_ms]
    assert [(one.code, one.message, one.interval) for one in inside] == [
        ("face_lost", "the face is not visible from 2360 ms to 3200 ms", Interval(2_360, 3_200)),
        ("face_lost", "the face is not visible from 6360 ms to 6400 ms", Interval(6_360, 6_400)),
    ]


def test_cuts_and_losses_are_reasons():
    (face,) = faces([sample(frame) for frame in range(100, 200)], shot_starts=(0, 100))
    assert codes(face) == ["shot_cut", "face_lost"]
    assert [warning.interval.start_ms for warning in face.warnings] == [4000, 8000]


def test_short_faces_are_listed_with_a_warning_and_shorter_ones_are_not():
    (face,) = faces([sample(frame) for frame in range(20)])
    assert "short" in codes(face)
    assert faces([sample(frame) for frame in range(12)]) == []


def test_a_small_mouth_is_usable_but_told():
    (face,) = faces([sample(frame, scale=70) for frame in range(500)])
    assert face.usable.all()
    assert codes(face) == ["small_face"]


def blank(frame: int) -> Frame:
    return Frame(frame, frame, frame * FRAME_MS, np.full((SIZE[1], SIZE[0], 3), frame, np.uint8))


def test_a_tracklet_keeps_the_picture_of_its_best_frame():
    worths = [1.0, 1.5, 1.505, 1.2, 3.0]  # the third is hardly better, the last not good
    kept = Tracklet()
    for frame, worth in enumerate(worths):
        kept.add(replace(sample(frame), worth=worth, good=frame != 4), blank(frame))
    assert kept.best is kept.samples[1]
    assert (kept.picture == 1).all()
    assert min(kept.picture.shape[:2]) > 100
    assert Scan([kept, Tracklet()], SIZE, [0]).pictures == {kept.best: kept.picture}


def test_the_picture_is_one_that_was_kept_if_its_frame_can_be_used(tmp_path):
    first, second, third = (replace(sample(frame), worth=worth) for frame, worth in ((2, 1.0), (5, 2.0), (8, 3.0)))
    pictures = {one: np.full((1, 1, 3), one.frame, np.uint8) for one in (first, second)}
    assert identify._picture(tmp_path, [first, second, third], pictures)[0, 0, 0] == 5
    assert identify._picture(tmp_path, [first, third], pictures)[0, 0, 0] == 2


def test_a_picture_that_was_not_kept_is_cut_out_of_the_best_frame(tmp_path):
    def paint(number, width, height):
        return np.full((height, width, 3), 20 * number, np.uint8)

    path = make_video(tmp_path / "clip.mp4", size=SIZE, frames=8, paint=paint)
    picture = identify._picture(
        Video.open(path), [replace(sample(frame), worth=5.0 - abs(frame - 5)) for frame in (2, 5, 7)], {}
    )
    assert picture.mean() == pytest.approx(100, abs=3)
    roi = roi_of(sample(5).seen.landmarks)
    assert picture.shape[:2] == pytest.approx((roi.size, roi.size), abs=1)


def test_only_usable_samples_are_shown():
    person = [sample(frame, scale=20 if 100 <= frame < 110 else 120) for frame in range(500)]
    seen = Scan([], SIZE, [0])
    ((_, shown),) = identify._faces(person, identify._checked(track_of(person), seen), CLOCK, seen)
    assert [one.frame for one in shown] == [*range(100), *range(110, 500)]


def test_a_hidden_mouth_of_the_analysis_holds_for_the_dense_track():
    (face,) = faces([sample(frame) for frame in range(100)])
    hidden = FaceWarning("hidden_mouth", "hidden", Interval(400, 800))
    face = Face(face.id, face.interval, face.track, face.usable, face.picture, (hidden,))
    info = VideoInfo("mp4", "h264", *SIZE, 0, 500, None, 20_000, None)
    track = face.track.part(slice(None))
    usable = usable_frames(track, info, face)
    assert np.flatnonzero(~usable).tolist() == list(range(10, 20))
    assert usable_frames(track, info).all()
    assert len(usable_frames(face.track.part(slice(0, 0)), info)) == 0


def test_a_dense_track_tells_a_hidden_mouth_itself():
    (face,) = faces([sample(frame) for frame in range(100)])
    colours = np.full((100, 478, 3), 120, np.float32)
    colours[30:36] = 20
    colours[30:36, canonical()[:, 1] < 0.2] = 120
    info = VideoInfo("mp4", "h264", *SIZE, 0, 500, None, 20_000, None)
    usable = usable_frames(replace(face.track.part(slice(None)), colours=colours), info, face)
    assert np.flatnonzero(~usable).tolist() == list(range(30, 36))


def test_between_two_frames_the_region_is_between():
    path = RoiPath(track_of([sample(10, x=400), sample(14, x=440), sample(20, x=440, shot=1)]))
    first = roi_of(sample(10).seen.landmarks)
    assert path.at(12).x == pytest.approx(first.x + 20, abs=0.1)
    assert path.at(12).size == pytest.approx(first.size, rel=1e-4)
    assert path.at(9) is None
    assert path.at(17) is None  # between two shots
    assert path.at(21) is None
    assert [path.shot(frame) for frame in (10, 14, 20)] == [0, 0, 1]


def test_chunks_begin_and_end_with_the_shot():
    shots = [0] * 5 + [1] * 4
    cut = list(chunks([(shot, frame) for frame, shot in enumerate(shots)], 3))
    assert [chunk.frames for chunk in cut] == [(0,), (1, 2, 3), (4,), (5,), (6, 7, 8)]
    assert [chunk.opens for chunk in cut] == [True, False, False, True, False]


@pytest.mark.parametrize(("rate", "step"), [(24, 3), (25, 3), (30, 3), (60, 7), (10, 1), (5, 1)])
def test_about_ten_measurements_a_second(rate, step):
    assert step_of(np.round(np.arange(200) * 1000 / rate).astype(np.int64)) == step


def test_one_frame_is_a_step():
    assert step_of(np.array([0])) == 1
