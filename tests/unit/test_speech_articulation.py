"""Sound to mouth motion, on speech whose phones are known: a voice and languages that the network was not chosen on."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.ndimage import label

from duikou.errors import InputError
from duikou.speech import CURVES, MouthMotion, articulate
from duikou.speech.articulation import LIP_LEAD_S, _mouth
from duikou.speech.features import RATE, resample
from training.targets import curves

pytest.importorskip("espeakng_loader", reason="espeakng-loader is in the dev extra")

SAID = (
    ("en-us", "Bob and Mary bought a big apple pie. Papa may open the map before breakfast."),
    ("de", "Am Abend backt Mama Brot, und Papa spielt oben Piano."),
    ("es", "Mi papá compra pan blanco y mapas para Bolivia."),
    ("cmn", "爸爸妈妈买了面包，朋友跑步。"),
)
HELD_OUT = "m3"
PAUSE_S = 0.8


@dataclass(frozen=True)
class Example:
    sound: np.ndarray
    wanted: dict[str, np.ndarray]
    motion: MouthMotion


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    from training.synthesizers.espeak import Espeak, Prosody

    engine, made = Espeak(), []
    for voice, text in SAID:
        said = engine.speak(text, voice, HELD_OUT, prosody=Prosody(words_per_minute=150))
        sound = resample(said.samples, said.rate) * 0.5
        wanted = dict(zip(CURVES, curves(said.events, 1 + len(sound) // 160).T, strict=True))
        made.append(Example(sound, wanted, articulate(sound, RATE)))
    return made


def on_the_sounds_clock(motion: MouthMotion, curve: str) -> np.ndarray:
    """The curve without the lead of the lips, row by row with the targets."""
    assert motion.start_s == -LIP_LEAD_S
    return motion[curve]


def test_lips_meet_at_p_b_and_m(examples: list[Example]) -> None:
    met = all_of_them = 0
    for example in examples:
        regions, count = label(example.wanted["closure"] > 0.5)
        gap = on_the_sounds_clock(example.motion, "gap")
        for region in range(1, count + 1):
            rows = np.flatnonzero(regions == region)
            met += gap[max(rows[0] - 2, 0) : rows[-1] + 3].min() < 0.05
            all_of_them += 1
    assert all_of_them >= 30
    assert met >= 0.8 * all_of_them, f"{met} of {all_of_them}"


def test_lips_do_not_meet_everywhere(examples: list[Example]) -> None:
    right = found = 0
    for example in examples:
        regions, count = label(on_the_sounds_clock(example.motion, "closure") > 0.5)
        for region in range(1, count + 1):
            rows = np.flatnonzero(regions == region)
            right += example.wanted["closure"][max(rows[0] - 5, 0) : rows[-1] + 6].max() > 0.5
            found += 1
    assert right >= 0.6 * found, f"{right} of {found}"


@pytest.mark.parametrize(("curve", "least"), [("gap", 0.7), ("jaw", 0.7), ("width", 0.6), ("round", 0.6)])
def test_curves_follow_the_phones(examples: list[Example], curve: str, least: float) -> None:
    ours = np.concatenate([on_the_sounds_clock(example.motion, curve) for example in examples])
    wanted = np.concatenate([example.wanted[curve] for example in examples])
    assert np.corrcoef(ours, wanted)[0, 1] > least


def test_vowels_open_the_mouth_and_curves_keep_their_ranges(examples: list[Example]) -> None:
    for example in examples:
        assert example.motion["gap"].max() > 0.5
        assert example.motion.values.dtype == np.float32
        for name in CURVES:
            curve = example.motion[name]
            assert curve.max() <= 1.0 and curve.min() >= (-1.0 if name == "width" else 0.0)


def test_spread_lips_part_further_than_rounded_ones() -> None:
    shapes = {"spread": (0.6, 0.0), "plain": (0.0, 0.0), "rounded": (-0.4, 0.6)}
    gaps = {}
    for name, (width, rounding) in shapes.items():
        heard = np.zeros((100, len(CURVES)), np.float32)
        heard[:, [CURVES.index("gap"), CURVES.index("width"), CURVES.index("round")]] = 0.4, width, rounding
        motion = _mouth(heard, np.ones(100, np.float32), np.zeros(100, np.float32))
        gaps[name] = float(motion[50, CURVES.index("gap")])
    assert gaps["spread"] > 1.3 * gaps["plain"] and gaps["rounded"] < 0.5 * gaps["plain"]


def test_mouth_rests_in_a_pause_and_prepares_before_speech(examples: list[Example]) -> None:
    sound = examples[0].sound
    silence = np.zeros(round(PAUSE_S * RATE), np.float32)
    motion = articulate(np.concatenate([silence, sound, silence, sound]), RATE)
    onset = round((PAUSE_S + np.flatnonzero(np.abs(sound) > 0.01)[0] / RATE) * 100)
    pause = slice(onset + len(sound) // 160 + 25, onset + len(sound) // 160 + 60)
    assert np.abs(motion.values[: onset - 20]).max() == 0.0
    assert np.abs(motion.values[pause]).max() == 0.0
    assert motion["voice"][onset - 4] > 0.1


def test_silence_is_rest() -> None:
    for sound in (np.zeros(RATE, np.float32), np.full(RATE, 1e-7, np.float32)):
        motion = articulate(sound, RATE)
        assert motion.values.shape == (101, len(CURVES)) and not motion.values.any()


@pytest.mark.parametrize("level", [1e-3, 0.3])
def test_noise_and_music_alone_are_rest(level: float) -> None:
    rng, times = np.random.default_rng(0), np.arange(4 * RATE) / RATE
    noise = rng.normal(0, level, len(times))
    chord = level * np.sum([np.sin(2 * np.pi * hz * times) for hz in (220.0, 277.2, 329.6, 440.0)], axis=0)
    for sound in (noise, np.cumsum(noise) * 0.02, chord):
        assert articulate(sound.astype(np.float32), RATE)["gap"].max() < 0.05


def test_pauses_over_noise_rest_too(examples: list[Example]) -> None:
    sound = np.concatenate([examples[1].sound, np.zeros(2 * RATE, np.float32)])
    noisy = sound + np.random.default_rng(0).normal(0, 0.01, len(sound)).astype(np.float32)
    motion = articulate(noisy, RATE)
    assert motion["gap"][len(examples[1].sound) // 160 + 30 :].max() < 0.05
    assert motion["gap"].max() > 0.4


@pytest.mark.parametrize("below_speech_db", [20, 12])
def test_a_breath_parts_the_lips_a_little_at_most(examples: list[Example], below_speech_db: float) -> None:
    """Air drawn in for 0.4 s in a pause, of soft and of loud breathers."""
    from scipy.signal import butter, sosfilt

    said, rng = examples[0].sound, np.random.default_rng(1)
    count = round(0.4 * RATE)
    air = sosfilt(butter(2, (400, 5000), "bandpass", fs=RATE, output="sos"), rng.normal(size=count)) * np.hanning(count)
    air *= 10 ** (-below_speech_db / 20) * said.std() / air.std()
    silence = np.zeros(round(0.4 * RATE))
    motion = articulate(np.concatenate([said, silence, air, silence, said]).astype(np.float32), RATE)
    first = len(said) // 160 + 20
    breath = slice(first, first + 85)
    assert motion["gap"][breath].max() < 0.25 * np.percentile(motion["gap"], 97)
    assert not motion["closure"][breath].any() and not motion["dental"][breath].any()


def test_lips_that_meet_are_not_at_the_teeth() -> None:
    heard = np.zeros((100, len(CURVES)), np.float32)
    heard[:, [CURVES.index("gap"), CURVES.index("dental")]] = 0.6, 0.9
    heard[40:60, CURVES.index("closure")] = 0.9
    motion = dict(zip(CURVES, _mouth(heard, np.ones(100, np.float32), np.zeros(100, np.float32)).T, strict=True))
    assert motion["dental"][50] == pytest.approx(0, abs=0.01) and motion["gap"][50] == pytest.approx(0, abs=0.01)
    assert motion["dental"][10] == 1 and 0 < motion["gap"][10] < 0.3


@pytest.mark.parametrize("gain", [0.003, 0.1, 1.9])
def test_level_does_not_matter(examples: list[Example], gain: float) -> None:
    quiet = articulate(examples[0].sound * np.float32(gain), RATE)
    np.testing.assert_allclose(quiet.values, examples[0].motion.values, atol=0.01)


def test_rate_of_the_recording_does_not_matter(examples: list[Example]) -> None:
    import soxr

    at_44100 = soxr.resample(examples[0].sound, RATE, 44_100)
    other = articulate(at_44100, 44_100)
    assert abs(len(other.values) - len(examples[0].motion.values)) <= 1
    rows = min(len(other.values), len(examples[0].motion.values))
    assert np.corrcoef(other["gap"][:rows], examples[0].motion["gap"][:rows])[0, 1] > 0.99


def test_same_sound_same_motion(examples: list[Example]) -> None:
    again = articulate(examples[0].sound.copy(), RATE)
    np.testing.assert_array_equal(again.values, examples[0].motion.values)


def test_loud_vowels_open_farther(examples: list[Example]) -> None:
    sound = examples[2].sound
    both = articulate(np.concatenate([sound, sound * np.float32(0.15)]), RATE)
    rows = len(sound) // 160
    loud, soft = both["gap"][:rows].mean(), both["gap"][rows:].mean()
    assert 0.5 * loud < soft < 0.97 * loud


def test_motion_lasts_as_long_as_the_sound_and_calmly(examples: list[Example]) -> None:
    for example in examples:
        assert example.motion.rate == 100
        assert abs(len(example.motion.values) - len(example.sound) / 160) <= 1
        assert np.abs(np.diff(example.motion["gap"])).max() < 0.25  # lips part in 40 ms or more


@pytest.mark.parametrize("held", [0, 10**9])
def test_a_long_sound_moves_the_mouth_as_its_parts_together_do(
    examples: list[Example], monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    sound = np.concatenate([example.sound for example in examples])
    whole = articulate(sound, RATE).values
    monkeypatch.setattr("duikou.speech.features.ROWS", 71)
    monkeypatch.setattr("duikou.speech.articulation.ROWS_AT_ONCE", 300)
    monkeypatch.setattr("duikou.speech.articulation.HELD_SAMPLES", held)
    np.testing.assert_allclose(articulate(sound, RATE).values, whole, atol=1e-4)


@pytest.mark.parametrize("samples", [0, 1, 100, 1600])
def test_short_sounds(samples: int) -> None:
    motion = articulate(np.full(samples, 0.1, np.float32), RATE)
    assert np.isfinite(motion.values).all() and len(motion.values) <= samples // 160 + 1


@pytest.mark.parametrize(
    ("samples", "rate", "field", "says"),
    [
        (np.zeros(10, np.float32), 0, "rate", "0 samples per second"),
        (np.zeros(10, np.float32), 10_000_000, "rate", "10000000"),
        (np.zeros((10, 2), np.float32), RATE, "samples", r"\(10, 2\)"),
        (np.array([0.0, np.nan, np.inf], np.float32), RATE, "samples", "2 values"),
    ],
)
def test_faults_are_told(samples: np.ndarray, rate: int, field: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        articulate(samples, rate)
    assert caught.value.field == field
