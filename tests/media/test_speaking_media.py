"""Who is speaking in real clips, and in scenes that are put together from them."""

from fractions import Fraction
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from media_maker import make_video
from sessions import session_of

import duikou
from duikou.media.audio import read_audio
from duikou.media.video import Video
from duikou.timebase import Interval

VIDEOS = Path(__file__).parents[2].parent / "shared" / "media" / "video"
FPS, SIZE, FRAMES, RATE = 24, (320, 360), 96, 16_000
HALF_MS = FRAMES * 1000 // FPS // 2

pytestmark = [
    pytest.mark.media,
    pytest.mark.skipif(not VIDEOS.is_dir(), reason="../shared/media is not there"),
]


def spoken_ms(face: duikou.Face, start_ms: int = 0, end_ms: int = 60_000) -> int:
    """How long a face speaks within a time."""
    parts = (one.interval.overlap(Interval(start_ms, end_ms)) for one in face.speaking)
    return sum(part.duration_ms for part in parts if part)


@pytest.mark.parametrize("name", ["talking_zh", "talking_glasses", "talking_en_beard_mic", "talking_white_beard_cap"])
def test_who_talks_alone_speaks(name: str) -> None:
    (face,) = session_of(VIDEOS / f"{name}.mp4").faces
    assert spoken_ms(face) > 0.8 * face.interval.duration_ms


@pytest.mark.parametrize("name", ["closed_mouth_silent", "silent_head_turns_hand"])
def test_who_is_silent_does_not(name: str) -> None:
    assert all(face.speaking == () for face in session_of(VIDEOS / f"{name}.mp4").faces)


def test_after_each_cut_the_one_who_is_seen_speaks() -> None:
    for face in session_of(VIDEOS / "hard_cuts_a_b_a.mp4").faces:
        assert spoken_ms(face) > 0.7 * face.interval.duration_ms


@cache
def cut_out(name: str, left: int) -> tuple[list[np.ndarray], np.ndarray]:
    """A square part of a clip, and its sound, at `FPS` and `RATE`."""
    frames = [
        cv2.resize(frame.image[:, left : left + 960], SIZE, interpolation=cv2.INTER_AREA)
        for frame in Video.open(VIDEOS / f"{name}.mp4").frames(0, FRAMES)
    ]
    sound = read_audio(VIDEOS / f"{name}.mp4", rate=RATE, channels=1).samples
    return frames, sound[: FRAMES * RATE // FPS]


@pytest.mark.parametrize("first", [0, 1])
def test_of_two_who_both_move_their_lips_the_one_speaks_whose_sound_it_is(tmp_path: Path, first: int) -> None:
    """The first half has the sound of one, the second half that of the other."""
    people = [cut_out("talking_en_beard_mic", 580), cut_out("talking_glasses", 560)]
    half = HALF_MS * RATE // 1000
    sound = np.concatenate([people[first][1][:half], people[1 - first][1][half:]])
    frames = [np.hstack(pair) for pair in zip(people[0][0], people[1][0], strict=True)]
    path = make_video(
        tmp_path / "scene.mp4",
        size=(2 * SIZE[0], SIZE[1]),
        frames=FRAMES,
        fps=Fraction(FPS),
        paint=lambda number, _width, _height: frames[number],
        sound=sound,
        sound_rate=RATE,
    )
    faces = sorted(duikou.identify(path).faces, key=lambda face: face.box[0])
    assert len(faces) == 2
    for start, speaker in ((0, first), (HALF_MS, 1 - first)):
        shares = [spoken_ms(face, start, start + HALF_MS) for face in faces]
        assert shares[speaker] > 2 * shares[1 - speaker], (start, shares)
