"""Faces of real clips: who, how many, when."""

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from media_maker import make_video
from sessions import session_of

from duikou.faces.follow import follow
from duikou.faces.identify import identify_faces
from duikou.faces.pose import fit
from duikou.faces.smooth import smooth
from duikou.media.video import Video

SHARED = Path(__file__).parents[2].parent / "shared"
VIDEOS, CASES = SHARED / "media" / "video", SHARED / "cases"
FRAME_MS = 42  # of a clip at 24 frames per second

pytestmark = [
    pytest.mark.media,
    pytest.mark.skipif(not VIDEOS.is_dir(), reason="../shared/media is not there"),
]


def test_a_b_a_is_three_faces_that_end_at_the_cuts():
    faces = session_of(VIDEOS / "hard_cuts_a_b_a.mp4").faces
    assert [face.id for face in faces] == ["0", "1", "2"]
    assert [face.interval.start_ms for face in faces] == [0, 3500, 6500]
    assert [face.interval.end_ms for face in faces] == [3500, 6500, 8000]
    assert {warning.code for warning in faces[1].warnings} == {"shot_cut"}


def test_two_people_are_two_faces():
    left, right = sorted(session_of(VIDEOS / "two_people.mp4").faces, key=lambda face: face.track.landmarks[0, 1, 0])
    for face in (left, right):
        assert (face.interval.start_ms, face.interval.end_ms) == (0, 8040)
    assert left.track.landmarks[:, :, 0].max() < right.track.landmarks[:, :, 0].min()


def test_frames_in_profile_are_not_usable_and_a_hand_is_told():
    (face,) = session_of(VIDEOS / "silent_head_turns_hand.mp4").faces
    yaw = np.abs(fit(face.track.landmarks).degrees[:, 0])
    assert yaw.max() > 62
    assert not face.usable[yaw > 60].any()
    assert ((yaw > 50) & face.usable).sum() > 15
    assert (face.interval.start_ms, face.interval.end_ms) == (0, pytest.approx(6867, abs=150))
    assert "turned_away" in {warning.code for warning in face.warnings}
    (hidden,) = (warning.interval for warning in face.warnings if warning.code == "hidden_mouth")
    assert hidden.start_ms == pytest.approx(2300, abs=120)
    assert hidden.end_ms == pytest.approx(2730, abs=120)


@pytest.mark.parametrize(
    ("name", "end_ms"),
    [
        ("talking_zh", 5042),
        ("talking_glasses", 5042),
        ("talking_en_beard_mic", 5042),
        ("talking_white_beard_cap", 5042),
        ("portrait_hevc_small_face", 10_000),
        ("closed_mouth_silent", 9400),
        ("idle_drawn_face", 10_720),
    ],
)
def test_one_person_is_one_face_throughout(name, end_ms):
    (face,) = session_of(VIDEOS / f"{name}.mp4").faces
    assert (face.interval.start_ms, face.interval.end_ms) == (0, end_ms)
    assert face.usable.all()
    assert "hidden_mouth" not in {warning.code for warning in face.warnings}


@pytest.mark.parametrize("turn", [cv2.ROTATE_90_CLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_COUNTERCLOCKWISE])
def test_a_head_that_lies_or_is_upside_down_is_found_throughout(tmp_path, turn):
    pictures = [frame.image for frame in Video.open(VIDEOS / "talking_glasses.mp4").frames(0, 48)]
    height, width = cv2.rotate(pictures[0], turn).shape[:2]

    def paint(number, _width, _height):
        return cv2.rotate(pictures[number], turn)

    path = tmp_path / "turned.mp4"
    quick = {"preset": "ultrafast", "crf": "14"}
    make_video(path, size=(width, height), frames=48, fps=Fraction(24), paint=paint, options=quick)
    (face,) = identify_faces(Video.open(path)).faces
    assert (face.interval.start_ms, face.interval.end_ms) == (0, pytest.approx(2000, abs=1))
    assert face.usable.all()
    assert not {"hidden_mouth", "face_lost"} & {warning.code for warning in face.warnings}
    roll = {cv2.ROTATE_90_CLOCKWISE: 90, cv2.ROTATE_180: 180, cv2.ROTATE_90_COUNTERCLOCKWISE: -90}[turn]
    away = (fit(face.track.landmarks).degrees[:, 2] - roll + 180) % 360 - 180
    assert np.abs(away).max() < 25


def test_the_case_of_a_head_that_lies_is_found_from_its_first_frame():
    (face,) = session_of(CASES / "video_head_lying_90.mp4").faces
    assert (face.interval.start_ms, face.interval.end_ms) == (0, 5000)
    assert face.usable.all()
    assert face.warnings == ()


def test_a_mask_worn_throughout_leaves_no_face_and_is_the_reason():
    session = session_of(CASES / "video_cloth_mask_throughout.mp4")
    assert session.faces == ()
    (reason,) = session.rejected
    assert (reason.code, reason.interval.start_ms) == ("unseen_lips", 0)
    assert reason.message.startswith("the lips are hidden nearly all the time, as under a mask")


def test_a_flat_drawing_is_usable_throughout_with_a_warning():
    (face,) = session_of(CASES / "video_flat_anime.mp4").faces
    assert (face.interval.start_ms, face.interval.end_ms) == (0, 5000)
    assert face.usable.all()
    (warning,) = face.warnings
    assert (warning.code, warning.interval) == ("drawn_face", face.interval)


@pytest.mark.parametrize("path", sorted(VIDEOS.glob("*.mp4")), ids=lambda path: path.stem)
def test_no_real_or_shaded_face_is_taken_for_covered_or_flat(path):
    session = session_of(path)
    assert session.faces
    assert session.rejected == ()
    assert "drawn_face" not in {warning.code for face in session.faces for warning in face.warnings}


def test_a_jump_cut_within_one_view_starts_a_shot():
    (face,) = session_of(VIDEOS / "talking_zh.mp4").faces
    track = follow(Video.open(VIDEOS / "talking_zh.mp4"), face)
    assert len(track) == 121
    assert track.frames[np.flatnonzero(np.diff(track.shots)) + 1].tolist() == [4, 24]


def test_smoothing_calms_a_still_face_and_keeps_the_closures_of_a_talking_one():
    (still,) = session_of(VIDEOS / "closed_mouth_silent.mp4").faces
    raw = follow(Video.open(VIDEOS / "closed_mouth_silent.mp4"), still)
    jitter = [np.sqrt((np.diff(one.landmarks[..., :2], 2, axis=0) ** 2).mean()) for one in (raw, smooth(raw))]
    assert jitter[1] < 0.9 * jitter[0]
    (talking,) = session_of(VIDEOS / "talking_glasses.mp4").faces
    raw = follow(Video.open(VIDEOS / "talking_glasses.mp4"), talking)
    before, after = (np.linalg.norm(one.landmarks[:, 13] - one.landmarks[:, 14], axis=1) for one in (raw, smooth(raw)))
    assert np.corrcoef(before, after)[0, 1] > 0.995
    assert np.abs(before - after)[before < 5].max() < 3
