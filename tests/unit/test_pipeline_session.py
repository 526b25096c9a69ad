"""Sessions are saved and loaded; a lip sync refuses invalid requests before it decodes anything."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from known_track import FRAMES, track
from known_video import known_video
from media_maker import make_sound, make_video

from duikou import FaceChoice, Output, Session, lip_sync
from duikou.errors import InputError, NotFoundError, StorageError
from duikou.faces.track import Face, FaceWarning, PackedTrack, Speaking
from duikou.media.fields import Fields
from duikou.media.probe import AudioInfo, VideoInfo
from duikou.media.sync_mode import SyncMode
from duikou.media.video import Video
from duikou.pipeline import checks
from duikou.timebase import Interval


@pytest.fixture
def session(tmp_path: Path) -> Session:
    info = VideoInfo("mp4", "h264", 720, 1280, 0, FRAMES, Fraction(25), 6000, AudioInfo("aac", 48000, 2, 6000))
    picture = np.full((40, 30, 3), 90, np.uint8)
    warning = FaceWarning("small_face", "The face is small.", Interval(0, 6000))
    speaking = (Speaking(Interval(1200, 2400), 0.41), Speaking(Interval(3000, 6000), 0.33))
    face = Face(
        "0", Interval(1000, 6000), PackedTrack.of(track()), np.ones(FRAMES, bool), picture, (warning,), speaking
    )
    return Session(known_video(tmp_path / "video.mp4", info), (face,))


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """3,000 ms of audio."""
    return make_sound(tmp_path / "speech.wav", np.zeros((48_000, 1), np.float32), 16_000)


def test_nobody_says_two_things_at_once_and_somebody_must_speak(session: Session, speech: Path) -> None:
    choice = FaceChoice(speech, insert_ms=1500)
    with pytest.raises(InputError, match=r"^choices\[1\]\.insert_ms: the speech from 1500 ms to 4500 ms overlaps"):
        lip_sync(session, [choice, choice])
    with pytest.raises(InputError, match=r"^choices: at least one face must be chosen"):
        lip_sync(session, [])


def test_the_source_is_never_written_over(session: Session, speech: Path) -> None:
    session.video.write_bytes(b"precious")
    with pytest.raises(InputError, match="is the source video itself"):
        lip_sync(session, [FaceChoice(speech, insert_ms=1500)], session.video)
    assert session.video.read_bytes() == b"precious"


def seen(number: int, scale: float, usable: slice) -> Face:
    """A face of `scale` times the usual size that can be lip-synced in some of the frames of its track."""
    whole = track()
    edges = [*whole.times_ms.tolist(), 6000]
    flags = np.zeros(FRAMES, bool)
    flags[usable] = True
    landmarks = whole.landmarks.copy()
    landmarks[:, 1, :2] = 100 * scale  # all others are at the origin
    larger = replace(whole, landmarks=landmarks)
    shown = Interval(edges[usable.start], edges[usable.stop])
    return Face(str(number), shown, PackedTrack.of(larger), flags, np.zeros((4, 3, 3), np.uint8))


def test_the_most_visible_face_is_the_one_that_shows_the_largest_area_for_the_longest_time(session: Session) -> None:
    third, times = FRAMES // 3, track().times_ms
    small_always, large_late, larger_briefly = (
        seen(0, 1.0, slice(0, FRAMES)),
        seen(1, 2.0, slice(third, FRAMES)),
        seen(2, 3.0, slice(FRAMES - 2, FRAMES)),
    )
    several = replace(session, faces=(small_always, large_late, larger_briefly))
    end = int(times[-1]) + 1
    assert several.most_visible(Interval(0, end)).id == "1"
    assert several.most_visible(Interval(0, int(times[third]))).id == "0"
    assert several.most_visible(Interval(int(times[FRAMES - 2]), end)).id == "2"
    late = replace(session, faces=(large_late,))
    with pytest.raises(
        InputError, match=r"^video: no face can be made to speak from 0 ms to 1 ms, only from \d{3,} ms to 6000 ms\.$"
    ):
        late.most_visible(Interval(0, 1))
    with pytest.raises(InputError, match=r"^video: no face in it can be made to speak\.$"):
        replace(session, faces=()).most_visible(Interval(0, end))
    hidden = (FaceWarning("masked", "a mask hides the lips", Interval(0, 40)),)
    with pytest.raises(InputError, match=r"no face in it can be made to speak\. A mask hides the lips\.$"):
        replace(session, faces=(), rejected=hidden).most_visible(Interval(0, end))


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
    assert face.speaking == before.speaking
    assert np.array_equal(face.usable, before.usable)
    assert np.array_equal(face.track.landmarks, before.track.landmarks)
    assert np.array_equal(face.track.times_ms, before.track.times_ms)
    assert np.abs(face.picture.astype(int) - before.picture).max() < 4


@pytest.mark.parametrize("fields", [None, Fields("bff", mixed=True)])
def test_a_kept_session_knows_how_its_frames_are_interlaced(
    session: Session, tmp_path: Path, fields: Fields | None
) -> None:
    source = Video.open(make_video(tmp_path / "video.mp4", frames=5)).read_as(fields)
    replace(session, source=source).save(tmp_path / "kept")
    again = Session.load(tmp_path / "kept", session.video)
    assert (again.source.examined, again.source.fields) == (True, fields)


def test_a_session_of_a_former_version_tells_no_speaking(session: Session, tmp_path: Path) -> None:
    session = replace(session, source=Video.open(make_video(tmp_path / "video.mp4", frames=5)))
    session.save(tmp_path / "kept")
    saved = json.loads((tmp_path / "kept/session.json").read_text())
    for face in saved["faces"]:
        del face["speaking"]
    (tmp_path / "kept/session.json").write_text(json.dumps(saved))
    assert Session.load(tmp_path / "kept", session.video).face("0").speaking == ()


def test_a_session_of_a_former_version_has_landmarks_in_floats(session: Session, tmp_path: Path) -> None:
    session = replace(session, source=Video.open(make_video(tmp_path / "video.mp4", frames=5)))
    session.save(tmp_path / "kept")
    former = track()
    former.landmarks[:] = np.random.default_rng(0).uniform(300, 900, former.landmarks.shape)
    columns = ("frames", "times_ms", "landmarks", "presence", "shots")
    np.savez_compressed(tmp_path / "kept/track_0.npz", **{name: getattr(former, name) for name in columns})
    again = Session.load(tmp_path / "kept", session.video).face("0").track
    assert np.abs(again.landmarks - former.landmarks).max() < 0.01
    assert np.array_equal(again.times_ms, former.times_ms)
    assert np.array_equal(again.shots, former.shots)


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


def test_an_unknown_sync_mode_is_refused_at_once(session: Session, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        lip_sync(session, [FaceChoice(tmp_path / "nothing.wav")], sync_mode="cutoff")
    assert str(error.value) == "sync_mode: 'cutoff' is not one of cut_off, loop, bounce, silence."
    assert SyncMode.of("cut_off") is SyncMode.CUT_OFF
    assert SyncMode.of(SyncMode.LOOP) is SyncMode.LOOP


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("folder", "output: {0}/folder is a folder; name a file, such as {0}/folder/video.mp4."),
        ("folder/out.avi", "output: out.avi does not end in .mp4; results are mp4 files."),
        ("out", "output: out does not end in .mp4; results are mp4 files."),
        ("nowhere/out.mp4", "output: there is no folder {0}/nowhere."),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_read(
    session: Session, tmp_path: Path, name: str, sentence: str
) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError) as error:
        lip_sync(session, [FaceChoice(tmp_path / "nothing.wav")], tmp_path / name)
    assert str(error.value) == sentence.format(tmp_path)


def test_a_disk_without_room_is_told_before_the_work(
    session: Session, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.video.write_bytes(bytes(3 << 20))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=7 << 20))
    checks.check_space([tmp_path / "a.mp4"], session.video)
    with pytest.raises(StorageError) as error:
        lip_sync(session, [FaceChoice(speech, insert_ms=1500)], Output(tmp_path / "a.mp4", tmp_path / "b.mp4"))
    assert str(error.value) == f"the folder {tmp_path} has 7 MiB free; the result needs about 12 MiB."


def test_silent_speech_and_a_broken_download_are_doubted(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.mp4", frames=25, faststart=True).read_bytes()
    cut, loud = tmp_path / "cut.mp4", tmp_path / "loud.wav"
    cut.write_bytes(whole[: len(whole) * 3 // 4])
    make_sound(loud, np.full((16_000, 1), 0.1, np.float32), 16_000)
    silent = make_sound(tmp_path / "silent.wav", np.zeros((16_000, 1), np.float32), 16_000)
    material = checks.Material.read(cut, [FaceChoice(loud), FaceChoice(silent, "1")])
    assert material.audio_ms == (1000, 1000)
    first, second = material.doubts()
    assert re.fullmatch(
        r"cut\.mp4 was cut off: 25% of the file is missing, and only the first \d+ ms can be used", first
    )
    assert second == "silent.wav is silent; the mouth will stay closed"
    assert checks.Material.read(tmp_path / "whole.mp4", [FaceChoice(loud)]).doubts() == []


def test_choices_are_checked_before_a_face_is_known(tmp_path: Path) -> None:
    video = make_video(tmp_path / "video.mp4", frames=25)
    speech = make_sound(tmp_path / "speech.wav", np.zeros((32_000, 1), np.float32), 16_000)
    with pytest.raises(InputError, match=r"^choices\[0\]\.insert_ms: .* after the video's end at 1000 ms\.$"):
        checks.Material.read(video, [FaceChoice(speech, "")]).check(None)
    checks.Material.read(video, [FaceChoice(speech, "")]).check(SyncMode.CUT_OFF)
    with pytest.raises(InputError, match=r"^choices\[0\]\.audio_volume: 3 is not between 0 and 2\.$"):
        checks.Material.read(video, [FaceChoice(speech, "", audio_volume=3)]).check(None)
