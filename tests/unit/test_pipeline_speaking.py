"""Who is speaking: made lips that follow a sound, or another one, or rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from known_video import known_video
from lips_maker import FRAME_MS, make_lips
from media_maker import make_video
from scipy.ndimage import gaussian_filter1d

from duikou.arrays import Float32Array, Float64Array
from duikou.faces.track import Face, PackedTrack, Speaking
from duikou.media.sound import Audio
from duikou.media.video import Video
from duikou.pipeline import speaking as who
from duikou.pipeline.speaking import Lips, listening, with_speaking
from duikou.speech import CURVES, MouthMotion, articulate
from duikou.timebase import Interval

DURATION_MS, RATE = 8_000, 9.0
TIMES = np.arange(0.02, DURATION_MS / 1000, 1 / RATE)


def sound(seed: int, *, voiced: tuple[float, float] = (0, 8)) -> MouthMotion:
    """Motion of 8 s as speech has it, with a voice from one second to another."""
    values = np.zeros((800, len(CURVES)), np.float32)
    noise = np.random.default_rng(seed).normal(0, 1, (2, 800))
    values[:, 0], values[:, 2] = (np.clip(gaussian_filter1d(one, 7) * 1.3, -1, 1) for one in noise)
    values[:, 0] += 0.3
    inside = (np.arange(800) >= 100 * voiced[0]) & (np.arange(800) < 100 * voiced[1])
    values[:, -1] = 1
    return MouthMotion(values * inside[:, None], 100.0)


def lips(motion: MouthMotion, *, late_s: float = 0.0, noise: float = 0.3, cut_s: float | None = None) -> Lips:
    """Lips that follow a motion, more or less well. cut_s: when another shot begins."""
    curves = motion.at(TIMES - late_s).astype(np.float64)
    random = np.random.default_rng(7).normal(0, noise, (2, len(TIMES)))
    gap, width = 0.03 + 0.1 * (curves[:, 0] + 0.1 * random[0]), 0.5 + 0.05 * (curves[:, 2] + 0.3 * random[1])
    return Lips(TIMES, gap, width, ((cut_s or np.inf) <= TIMES).astype(np.int64))


def still() -> Lips:
    wavering = np.random.default_rng(3).normal(0, 0.002, (2, len(TIMES)))
    return Lips(TIMES, 0.02 + wavering[0], 0.5 + wavering[1], np.zeros(len(TIMES), np.int64))


def joined(one: Lips, other: Lips, at_s: float) -> Lips:
    """The first lips before a time, the second ones after it."""
    late = at_s <= TIMES
    return replace(one, gap=np.where(late, other.gap, one.gap), width=np.where(late, other.width, one.width))


def spoken(*faces: Lips, heard: MouthMotion) -> list[list[tuple[int, int]]]:
    found = who.speaking(faces, [heard], DURATION_MS)
    return [[(one.interval.start_ms, one.interval.end_ms) for one in face] for face in found]


def test_the_face_whose_lips_follow_the_sound_speaks() -> None:
    heard = sound(1)
    ours, foreign, resting = who.speaking([lips(heard), lips(sound(2)), still()], [heard], DURATION_MS)
    (whole,) = ours
    assert (whole.interval.start_ms, whole.interval.end_ms) == (0, DURATION_MS)
    assert 0.4 < whole.score <= 1
    assert (foreign, resting) == ((), ())


def test_lips_alone_with_a_foreign_sound_or_none_hardly_speak() -> None:
    found = [spoken(lips(sound(1)), heard=sound(seed))[0] for seed in range(2, 12)]
    assert sum(end - start for one in found for start, end in one) < 0.2 * len(found) * DURATION_MS
    assert spoken(lips(sound(1)), heard=sound(1, voiced=(0, 0))) == [[]]
    assert spoken(still(), heard=sound(1)) == [[]]


@pytest.mark.parametrize("late_s", [-0.08, 0.08, 0.12])
def test_sound_and_picture_may_be_apart(late_s: float) -> None:
    heard = sound(1)
    assert spoken(lips(heard, late_s=late_s), lips(sound(2), late_s=late_s), heard=heard) == [[(0, DURATION_MS)], []]


def test_two_people_who_speak_in_turn_have_their_turns() -> None:
    heard, other = sound(1), sound(2)
    (mine,), (theirs,) = spoken(joined(lips(heard), lips(other), 4), joined(lips(other), lips(heard), 4), heard=heard)
    assert mine[0] == 0
    assert mine[1] == theirs[0] == pytest.approx(4_000, abs=400)
    assert theirs[1] == DURATION_MS


def test_a_pause_of_the_sound_ends_the_speaking() -> None:
    heard = sound(1, voiced=(2, 6))
    ((start, end),) = spoken(lips(heard), heard=heard)[0]
    assert (start, end) == (2_000, 6_000)


def test_shots_of_different_recordings_have_lags_of_their_own() -> None:
    heard = sound(1)
    late, early = lips(heard, late_s=0.08, cut_s=4), lips(heard, late_s=-0.08, cut_s=4)
    assert spoken(joined(late, early, 4), heard=heard) == [[(0, DURATION_MS)]]


def test_long_clips_are_measured_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = sound(1)
    whole = who._scores(lips(heard, cut_s=4.4), [heard])
    monkeypatch.setattr(who._blocks, "__defaults__", (7,))
    np.testing.assert_allclose(who._scores(lips(heard, cut_s=4.4), [heard]), whole, atol=0.01)


def face(motion: Float64Array, face_id: str) -> Face:
    """A face whose lips have such a gap, frame by frame."""
    track = make_lips(0.02 + 0.15 * motion).track
    end_ms = len(track) * FRAME_MS
    packed = PackedTrack.of(track)
    return Face(face_id, Interval(200, end_ms), packed, np.ones(len(track), bool), np.zeros((1, 1, 3), np.uint8))


def found(source: Video, faces: list[Face]) -> tuple[Face, ...]:
    """The faces with what they say in their own clip."""
    with listening(source) as heard:
        return with_speaking(source, faces, heard())


def test_real_speech_belongs_to_the_lips_that_its_motion_drives(tmp_path: Path) -> None:
    espeak = pytest.importorskip("training.synthesizers.espeak", reason="espeakng-loader is in the dev extra")
    said = [
        espeak.Espeak().speak(text, "en-us", "f3")
        for text in ("My lips move with these words about apples and big maps.", "Who would ever buy an old blue boat?")
    ]
    samples = said[0].samples.astype(np.float32)
    frames = int(len(samples) / said[0].rate * 25)
    times = np.arange(frames) * FRAME_MS / 1000
    gaps = [articulate(one.samples.astype(np.float32), one.rate).at(times)[:, 0].astype(np.float64) for one in said]
    path = make_video(
        tmp_path / "talk.mp4", size=(64, 48), frames=frames, sound=samples[:, None], sound_rate=said[0].rate
    )
    source = Video.open(path)
    faces = [face(gaps[0], "0"), face(gaps[1], "1"), face(np.zeros(frames), "2")]
    ours, foreign, resting = found(source, faces)
    assert sum(one.interval.duration_ms for one in ours.speaking) > 0.6 * source.info.duration_ms
    assert ours.speaking[0].interval.start_ms >= 200, "inside the face's interval"
    assert (foreign.speaking, resting.speaking) == ((), ())


def test_without_sound_nobody_speaks(tmp_path: Path) -> None:
    one = face(np.zeros(10), "0")
    silent = Video.open(make_video(tmp_path / "silent.mp4", size=(64, 48), frames=10))
    assert found(silent, [one]) == (one,)
    loud = Video.open(
        make_video(tmp_path / "hum.mp4", size=(64, 48), frames=10, sound=np.full((19_200, 1), 0.1, np.float32))
    )
    assert found(loud, []) == ()
    assert [face.speaking for face in found(loud, [one])] == [()]
    gone = known_video(tmp_path / "gone.mp4", loud.info)
    assert gone.info.audio is not None
    assert Speaking(Interval(0, 1), 0.5) not in one.speaking


def test_listening_ends_with_the_work_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure need not wait until an hour of sound is heard."""
    path = make_video(tmp_path / "hum.mp4", size=(64, 48), frames=10, sound=np.full((19_200, 1), 0.1, np.float32))
    reading, failed = Event(), Event()

    class Endless(Audio):
        def pieces(self) -> Iterator[Float32Array]:
            while True:
                reading.set()
                failed.wait(0.01)
                yield self.samples

    monkeypatch.setattr(who, "sound_of", lambda _: Endless(np.zeros((100, 1), np.float32), 16_000))
    with pytest.raises(ZeroDivisionError), listening(Video.open(path)) as heard:
        assert reading.wait(30)
        raise ZeroDivisionError
    assert heard() == []
