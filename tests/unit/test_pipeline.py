"""The two verbs of the product without a picture: choices are checked, strength is eased, sessions are kept."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from media_maker import make_sound

from duikou import FaceChoice, Session, lip_sync
from duikou.errors import InputError, NotFoundError
from duikou.faces.track import Face, FaceTrack, FaceWarning
from duikou.media.probe import AudioInfo, VideoInfo
from duikou.media.sync_mode import SyncMode
from duikou.pipeline.choice import check
from duikou.pipeline.plan import EASE_MS, _neighbours, ease
from duikou.timebase import Interval

STEP_MS, FRAMES = 40, 150


def track(shots: list[int] | None = None) -> FaceTrack:
    frames = np.arange(FRAMES)
    return FaceTrack(
        frames=frames,
        times_ms=frames * STEP_MS,
        landmarks=np.zeros((FRAMES, 478, 3), np.float32),
        presence=np.ones(FRAMES, np.float32),
        shots=np.array(shots if shots is not None else [0] * FRAMES),
    )


@pytest.fixture
def session(tmp_path: Path) -> Session:
    info = VideoInfo("mp4", "h264", 720, 1280, 0, FRAMES, Fraction(25), 6000, AudioInfo("aac", 48000, 2, 6000))
    picture = np.full((40, 30, 3), 90, np.uint8)
    warning = FaceWarning("small_face", "The face is small.", Interval(0, 6000))
    face = Face("0", Interval(1000, 6000), track(), np.ones(FRAMES, bool), picture, (warning,))
    return Session(tmp_path / "video.mp4", info, (face,))


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """3,000 ms of sound."""
    return make_sound(tmp_path / "speech.wav", np.zeros((48_000, 1), np.float32), 16_000)


def test_a_good_choice_gets_its_end(session: Session, speech: Path) -> None:
    assert check(session, FaceChoice(speech, insert_ms=1500)).sound_end_ms == 3000


@pytest.mark.parametrize(
    ("change", "field", "sentence"),
    [
        ({"face_id": "7"}, "face_id", "face_id '7' is not a face of this session; its faces: 0."),
        ({"sound_start_ms": -1}, "sound_start_time", "sound_start_time is -1 ms; it must be at least 0."),
        ({"sound_end_ms": 3101}, "sound_end_time", "sound_end_time is 3101 ms; the sound ends at 3000 ms."),
        (
            {"sound_start_ms": 2000, "sound_end_ms": 2000},
            "sound_end_time",
            "sound_end_time is 2000 ms; it must be after sound_start_time, 2000 ms.",
        ),
        ({"sound_volume": 2.5}, "sound_volume", "sound_volume is 2.5; it must lie in [0, 2]."),
        ({"original_volume": -0.1}, "original_audio_volume", "original_audio_volume is -0.1; it must lie in [0, 2]."),
        ({"sound_volume": float("nan")}, "sound_volume", "sound_volume is nan; it must lie in [0, 2]."),
        ({"insert_ms": -5}, "sound_insert_time", "sound_insert_time is -5 ms; it must be at least 0."),
        (
            {"insert_ms": 3101},
            "sound_insert_time",
            "sound_insert_time is 3101 ms; the inserted sound would end 101 ms after the video, which lasts 6000 ms.",
        ),
        (
            {"insert_ms": 0, "sound_end_ms": 1000},
            "sound_insert_time",
            "sound_insert_time is 0 ms; the inserted sound (0 to 1000 ms) does not meet the face's interval "
            "(1000 to 6000 ms).",
        ),
    ],
)
def test_a_bad_choice_gets_one_sentence(
    session: Session, speech: Path, change: dict[str, object], field: str, sentence: str
) -> None:
    with pytest.raises(InputError) as error:
        check(session, replace(FaceChoice(speech, insert_ms=1500), **change))  # type: ignore[arg-type]
    assert error.value.field == field
    assert str(error.value) == sentence


@pytest.mark.parametrize("over", [1, 100])
def test_ends_that_overshoot_a_little_are_clamped(session: Session, speech: Path, over: int) -> None:
    assert check(session, FaceChoice(speech, sound_end_ms=3000 + over, insert_ms=1500)).sound_end_ms == 3000
    assert check(session, FaceChoice(speech, insert_ms=3000 + over)).sound_end_ms == 3000 - over


def test_cut_off_shortens_the_speech_and_nothing_else(session: Session, speech: Path) -> None:
    face = replace(session.faces[0], interval=Interval(1000, 4000))
    session = replace(session, faces=(face,))
    late = FaceChoice(speech, sound_start_ms=200, insert_ms=1500)
    assert check(session, late, SyncMode.CUT_OFF).sound_end_ms == 200 + 2500
    assert check(session, replace(late, insert_ms=1000), SyncMode.CUT_OFF).sound_end_ms == 3000
    assert check(session, late).sound_end_ms == 3000
    with pytest.raises(InputError, match=r"\(4000 to 6000 ms\) does not meet the face's interval \(1000 to 4000 ms\)"):
        check(session, FaceChoice(speech, insert_ms=4000), SyncMode.CUT_OFF)


@pytest.mark.parametrize("mode", [SyncMode.LOOP, SyncMode.BOUNCE, SyncMode.SILENCE])
def test_speech_may_end_after_a_video_that_becomes_longer(session: Session, speech: Path, mode: SyncMode) -> None:
    assert check(session, FaceChoice(speech, insert_ms=5000), mode).sound_end_ms == 3000
    assert check(session, FaceChoice(speech, insert_ms=9000), mode).sound_end_ms == 3000
    assert check(session, FaceChoice(speech, insert_ms=3100), mode).sound_end_ms == 2900  # not late enough to add
    with pytest.raises(InputError, match=r"would make the video 60001 ms long.*at most 60000 ms") as error:
        check(session, FaceChoice(speech, insert_ms=57_001), mode)
    assert error.value.field == "sync_mode"


def test_the_face_must_show_in_the_added_part(session: Session, speech: Path) -> None:
    face = replace(session.faces[0], interval=Interval(0, 2000))
    session = replace(session, faces=(face,))
    late = FaceChoice(speech, insert_ms=6500)
    assert check(session, late, SyncMode.LOOP).sound_end_ms == 3000
    for mode in (SyncMode.BOUNCE, SyncMode.SILENCE):
        with pytest.raises(InputError, match="does not meet the face's interval") as error:
            check(session, late, mode)
        assert error.value.field == "sound_insert_time"


def test_a_sound_that_begins_after_the_end_is_one_sentence(session: Session, speech: Path) -> None:
    with pytest.raises(InputError, match=r"\(6010 to 6010 ms\) does not meet"):
        check(session, FaceChoice(speech, sound_end_ms=50, insert_ms=6010))


def test_nobody_speaks_twice_and_somebody_must_speak(session: Session, speech: Path) -> None:
    choice = FaceChoice(speech, insert_ms=1500)
    with pytest.raises(InputError, match="names a face twice"):
        lip_sync(session, [choice, choice])
    with pytest.raises(InputError, match="must name at least one face"):
        lip_sync(session, [])


def test_the_source_is_never_written_over(session: Session, speech: Path) -> None:
    session.video.write_bytes(b"precious")
    with pytest.raises(InputError, match="is the source video itself"):
        lip_sync(session, [FaceChoice(speech, insert_ms=1500)], session.video)
    assert session.video.read_bytes() == b"precious"


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


def test_a_session_is_kept(session: Session, tmp_path: Path) -> None:
    session.save(tmp_path / "kept")
    again = Session.load(tmp_path / "kept", session.video)
    assert again.info == session.info
    face, before = again.face("0"), session.face("0")
    assert (face.id, face.interval, face.warnings) == (before.id, before.interval, before.warnings)
    assert np.array_equal(face.usable, before.usable)
    assert np.array_equal(face.track.landmarks, before.track.landmarks)
    assert np.array_equal(face.track.times_ms, before.track.times_ms)
    assert np.abs(face.picture.astype(int) - before.picture).max() < 4


def test_an_unknown_face_is_said_with_those_known(session: Session) -> None:
    with pytest.raises(NotFoundError, match=r"its faces: 0\."):
        session.face("1")
