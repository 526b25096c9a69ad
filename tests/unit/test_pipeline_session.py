"""Sessions are saved and loaded; a lip sync refuses invalid requests before it decodes anything."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from known_track import FRAMES, track
from known_video import known_video
from media_maker import make_sound, make_video

from duikou import FaceChoice, Output, Session, lip_sync
from duikou.errors import InputError, NotFoundError
from duikou.faces.track import Face, FaceWarning
from duikou.media.probe import AudioInfo, VideoInfo
from duikou.media.video import Video
from duikou.timebase import Interval


@pytest.fixture
def session(tmp_path: Path) -> Session:
    info = VideoInfo("mp4", "h264", 720, 1280, 0, FRAMES, Fraction(25), 6000, AudioInfo("aac", 48000, 2, 6000))
    picture = np.full((40, 30, 3), 90, np.uint8)
    warning = FaceWarning("small_face", "The face is small.", Interval(0, 6000))
    face = Face("0", Interval(1000, 6000), track(), np.ones(FRAMES, bool), picture, (warning,))
    return Session(known_video(tmp_path / "video.mp4", info), (face,))


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """3,000 ms of audio."""
    return make_sound(tmp_path / "speech.wav", np.zeros((48_000, 1), np.float32), 16_000)


def test_nobody_speaks_twice_and_somebody_must_speak(session: Session, speech: Path) -> None:
    choice = FaceChoice(speech, insert_ms=1500)
    with pytest.raises(InputError, match=r"^choices\[1\]\.face_id: face 0 is named twice"):
        lip_sync(session, [choice, choice])
    with pytest.raises(InputError, match=r"^choices: at least one face must be chosen"):
        lip_sync(session, [])


def test_the_source_is_never_written_over(session: Session, speech: Path) -> None:
    session.video.write_bytes(b"precious")
    with pytest.raises(InputError, match="is the source video itself"):
        lip_sync(session, [FaceChoice(speech, insert_ms=1500)], session.video)
    assert session.video.read_bytes() == b"precious"


def test_a_session_is_kept(session: Session, tmp_path: Path) -> None:
    source = Video.open(make_video(tmp_path / "video.mp4", frames=5))
    session = replace(session, source=source, rejected=(FaceWarning("tilted", "A face is tilted.", Interval(0, 40)),))
    session.save(tmp_path / "kept")
    again = Session.load(tmp_path / "kept", session.video)
    assert (again.info, again.video) == (source.info, source.path)
    assert np.array_equal(again.source.frame_times.pts, source.frame_times.pts)
    assert again.rejected == session.rejected
    face, before = again.face("0"), session.face("0")
    assert (face.id, face.interval, face.warnings) == (before.id, before.interval, before.warnings)
    assert np.array_equal(face.usable, before.usable)
    assert np.array_equal(face.track.landmarks, before.track.landmarks)
    assert np.array_equal(face.track.times_ms, before.track.times_ms)
    assert np.abs(face.picture.astype(int) - before.picture).max() < 4


def test_an_unknown_face_is_said_with_those_known(session: Session) -> None:
    with pytest.raises(NotFoundError, match=r"its faces: 0\."):
        session.face("1")


def test_a_marked_file_is_neither_the_source_nor_the_result(session: Session, speech: Path, tmp_path: Path) -> None:
    session.video.write_bytes(b"precious")
    others = {session.video: "is the source video itself", tmp_path / "a.mp4": "is the output itself"}
    for watermark, reason in others.items():
        with pytest.raises(InputError, match=rf"^watermark: \S+ {reason}"):
            lip_sync(session, [FaceChoice(speech, insert_ms=1500)], Output(tmp_path / "a.mp4", watermark))
    assert session.video.read_bytes() == b"precious"


def test_audio_that_cannot_be_read_names_its_choice(session: Session, speech: Path, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no audio")
    with pytest.raises(InputError) as error:
        lip_sync(session, [FaceChoice(speech, insert_ms=1500), FaceChoice(tmp_path / "text.wav", "1")])
    assert error.value.field == "choices[1].audio"
