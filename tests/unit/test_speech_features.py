"""What the network hears does not depend on level, rate or length of the recording."""

import numpy as np
import pytest

from duikou.speech.features import BANDS, FRAME_RATE, RATE, loudness, mel_power, normalise, resample


def tone(hz: float, seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate).astype(np.float32)


@pytest.mark.parametrize("samples", [0, 1, 159, 160, 16_000, 16_001])
def test_one_row_per_10_ms_and_one_more(samples: int) -> None:
    assert mel_power(np.zeros(samples, np.float32)).shape == (1 + samples // 160, BANDS)


def test_a_click_lies_in_the_row_of_its_time() -> None:
    samples = np.zeros(RATE, np.float32)
    samples[RATE // 2] = 1.0
    assert mel_power(samples).sum(1).argmax() == FRAME_RATE // 2


def test_higher_tones_lie_in_higher_bands() -> None:
    bands = [int(mel_power(tone(hz))[50].argmax()) for hz in (150, 400, 1000, 2500, 6000)]
    assert bands == sorted(set(bands))


def test_long_sound_in_parts_is_the_same_as_one_part(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 3 * RATE).astype(np.float32)
    whole = mel_power(samples)
    monkeypatch.setattr("duikou.speech.features.ROWS", 37)
    np.testing.assert_allclose(mel_power(samples), whole, rtol=1e-5)


def test_level_goes() -> None:
    power = mel_power(np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32) * tone(3))
    np.testing.assert_allclose(normalise(power * 1e-4), normalise(power), atol=1e-4)
    np.testing.assert_allclose(loudness(power.mean(-1) * 1e-4), loudness(power.mean(-1)), atol=1e-3)


def test_colour_of_the_microphone_goes() -> None:
    rng = np.random.default_rng(0)
    power = mel_power(rng.normal(0, 0.1, 2 * RATE).astype(np.float32) * tone(3, 2.0))
    coloured = power * np.exp(np.linspace(-1, 1, BANDS)).astype(np.float32)
    assert np.abs(normalise(coloured) - normalise(power)).mean() < 0.1
    assert np.abs(np.log(coloured + 1e-9) - np.log(power + 1e-9)).mean() > 0.4


def test_silence_stays_finite() -> None:
    assert np.isfinite(normalise(mel_power(np.zeros(RATE, np.float32)))).all()


def test_batches_are_normalised_crop_by_crop() -> None:
    power = mel_power(np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32))
    np.testing.assert_allclose(normalise(np.stack([power, power * 9]))[1], normalise(power), atol=1e-4)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_any_rate_is_brought_to_16_khz(rate: int) -> None:
    heard = resample(tone(500, 1.0, rate), rate)
    assert abs(len(heard) - RATE) <= 1
    assert np.corrcoef(heard[800:-800], tone(500)[: len(heard)][800:-800])[0, 1] > 0.999
