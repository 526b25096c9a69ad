"""A mix keeps every sound: where channels cancel each other, the strongest takes the mix's place, without a click."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from sound_maker import encode

from duikou.media import downmix
from duikou.media.audio import read_audio
from duikou.media.downmix import Mixer, Samples
from duikou.media.sound import Audio
from duikou.speech.articulation import articulate
from duikou.speech.motion import CURVES

RATE = 16_000
LENGTH = 4 * RATE


def voice(seed: int = 0) -> npt.NDArray[np.float32]:
    """Something like syllables: harmonics of a gliding pitch, four swells a second with pauses between them."""
    time = np.arange(LENGTH) / RATE
    pitch = np.cumsum(110 + 20 * np.sin(2 * np.pi * (0.7 + 0.2 * seed) * time)) / RATE
    tones = sum(np.sin(2 * np.pi * number * pitch + seed) / number for number in range(1, 20))
    return np.asarray(0.2 * tones * np.maximum(np.sin(2 * np.pi * 4 * time), 0), np.float32)


def noise(level: float, seed: int) -> npt.NDArray[np.float32]:
    return (level * np.random.default_rng(seed).standard_normal(LENGTH)).astype(np.float32)


def stereo(left: npt.NDArray[np.float32], right: npt.NDArray[np.float32]) -> Samples:
    return np.stack([left, right], 1).astype(np.float32)


def rms(samples: Samples) -> float:
    return float(np.sqrt((samples.astype(np.float64) ** 2).mean()))


VOICE = voice()
LATE = np.concatenate([np.zeros(16, np.float32), VOICE[:-16]])  # by 1 ms


@pytest.mark.parametrize(
    "sound",
    [
        stereo(VOICE, VOICE),
        stereo(VOICE, 0 * VOICE),
        stereo(0.1 * VOICE, VOICE),
        stereo(VOICE, voice(1)),
        stereo(VOICE, LATE),
        stereo(noise(0.1, 1), noise(0.1, 2)),
        stereo(VOICE + noise(0.02, 1), 0.5 * VOICE + noise(0.02, 2)),
        stereo(VOICE, -0.2 * VOICE),
        stereo(VOICE, -voice(2)),
        np.zeros((LENGTH, 2), np.float32),
        np.zeros((0, 2), np.float32),
    ],
    ids=range(11),
)
def test_ordinary_stereo_is_the_mean_bit_for_bit(sound: Samples) -> None:
    mono = Audio(sound, RATE).converted(channels=1).held().samples
    np.testing.assert_array_equal(mono, sound.mean(axis=1, keepdims=True, dtype=np.float32))


@pytest.mark.parametrize(
    "right",
    [
        -VOICE,
        -0.9 * VOICE,
        -0.4 * VOICE,
        -VOICE + noise(0.001, 1),
        np.concatenate([VOICE[: LENGTH // 2], -VOICE[LENGTH // 2 :]]),
        np.concatenate([-VOICE[: LENGTH // 2], VOICE[LENGTH // 2 :]]),
        np.concatenate([VOICE[:RATE], -VOICE[RATE : 2 * RATE], VOICE[2 * RATE :]]),
    ],
    ids=["inverted", "weaker", "much weaker", "with noise", "later", "first", "for a second"],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_channels_that_cancel_leave_the_stronger_one(right: npt.NDArray[np.float32], swapped: bool) -> None:
    sound = stereo(right, VOICE) if swapped else stereo(VOICE, right)
    mono = Audio(sound, RATE).converted(channels=1).held().samples[:, 0]
    assert np.abs(mono).max() == pytest.approx(np.abs(VOICE).max(), rel=0.02)
    for part in range(0, LENGTH, RATE // 2):
        wanted = rms(VOICE[part : part + RATE // 2])
        assert rms(mono[part : part + RATE // 2]) == pytest.approx(wanted, rel=0.12)
    steps = max(np.abs(np.diff(sound[:, side])).max() for side in (0, 1))
    assert np.abs(np.diff(mono)).max() <= 1.1 * steps


def test_an_offset_or_a_hum_does_not_hide_what_is_lost() -> None:
    hum = 0.05 * np.sin(2 * np.pi * 50 * np.arange(LENGTH) / RATE)
    for both in (0.05, hum):
        mono = Audio(stereo(VOICE + both, -VOICE + both), RATE).converted(channels=1).held().samples[:, 0]
        assert rms(mono - both) > 0.9 * rms(VOICE)


def test_the_choice_does_not_change_where_the_sound_is_cut_into_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = stereo(VOICE, -VOICE)
    whole = downmix.mono(sound, RATE)
    monkeypatch.setattr(downmix, "STRETCH_S", 1)
    np.testing.assert_array_equal(downmix.mono(sound, RATE), whole)
    np.testing.assert_array_equal(whole[:RATE, 0][VOICE[:RATE] > 0.1], VOICE[:RATE][VOICE[:RATE] > 0.1])


def test_a_channel_that_takes_over_blends_in() -> None:
    half = LENGTH // 2
    left = np.concatenate([VOICE[:half], 0.3 * VOICE[half:]])
    right = np.concatenate([-0.3 * VOICE[:half], -VOICE[half:]])
    mono = Mixer(RATE).mend(stereo(left, right).mean(axis=1, keepdims=True), stereo(left, right))[:, 0]
    assert rms(mono[:half]) == pytest.approx(rms(VOICE[:half]), rel=0.05)
    assert rms(mono[half:]) == pytest.approx(rms(VOICE[half:]), rel=0.05)
    assert np.abs(np.diff(mono)).max() <= 1.1 * np.abs(np.diff(VOICE)).max()


@pytest.mark.parametrize(
    ("gains", "left", "right", "mono"),
    [
        ((1, 0, 0, 0, 0, 0), 1, 0, 0.5),
        ((0, 0, 1, 0, 0, 0), 0.707, 0.707, 0.707),
        ((0, 0, 0, 1, 0, 0), 1, 1, 1),  # a voice where only a subwoofer should be, which mixing leaves out
        ((0, 0, 0, 0, 1, 0), 0.707, 0, 0.354),
        ((-0.7, -0.7, 1, 0, 0, 0), 1, 1, 1),  # fronts that cancel the centre
        ((1, -1, 0, 0, 0, 0), 1, 1, 1),
        ((0.5, 0.5, 0.5, 0, 0, 0), 0.854, 0.854, 0.854),
    ],
)
def test_sound_of_any_channel_of_six_is_kept(
    tmp_path: Path, gains: tuple[float, ...], left: float, right: float, mono: float
) -> None:
    path = encode(tmp_path / "a.wav", (VOICE[:, None] * gains).astype(np.float32), RATE, "pcm_f32le")
    sound = read_audio(path)
    assert sound.samples.shape == (LENGTH, 2)
    for side, gain in enumerate((left, right)):
        assert rms(sound.samples[:, side]) == pytest.approx(gain * rms(VOICE), rel=0.02, abs=1e-6)
    assert rms(read_audio(path, channels=1).samples) == pytest.approx(mono * rms(VOICE), rel=0.02)


def test_rumble_for_a_subwoofer_is_left_out(tmp_path: Path) -> None:
    rumble = 0.5 * np.sin(2 * np.pi * 40 * np.arange(LENGTH) / RATE)
    sound = np.zeros((LENGTH, 6), np.float32)
    sound[:, 3] = rumble
    path = encode(tmp_path / "a.wav", sound, RATE, "pcm_f32le")
    assert rms(read_audio(path).samples) < 0.001


def test_a_mouth_opens_for_channels_that_cancel() -> None:
    one = articulate(downmix.mono(stereo(VOICE, VOICE), RATE)[:, 0], RATE)
    other = articulate(downmix.mono(stereo(VOICE, -VOICE), RATE)[:, 0], RATE)
    times = np.arange(0.2, 3.8, 0.04)
    assert np.abs(other.at(times) - one.at(times)).mean() < 0.01
    gap = one.at(times)[:, CURVES.index("gap")]
    assert gap.max() - gap.min() > 0.1
