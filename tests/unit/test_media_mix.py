import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media_maker import clicks, tone

from duikou.errors import InputError
from duikou.media.downmix import Samples
from duikou.media.mix import Insert, mix
from duikou.media.scope import OriginalScope
from duikou.media.sound import Audio

RATE = 48_000
CEILING = 10 ** (-0.1 / 20)
RAMP = RATE // 100


def quiet(duration_ms: int, channels: int = 2, rate: int = RATE) -> Audio:
    noise = np.random.default_rng(1).uniform(-0.2, 0.2, (duration_ms * rate // 1000, channels))
    return Audio(noise.astype(np.float32), rate)


def test_outside_the_insertion_the_original_stays_bit_for_bit() -> None:
    original = quiet(3_000)
    mixed = mix(original, [Insert(Audio(tone(300, 1_000), RATE), 1_000, 1.0, 0.0)], 3_000).held()
    assert np.array_equal(mixed.samples[:RATE], original.samples[:RATE])
    assert np.array_equal(mixed.samples[2 * RATE :], original.samples[2 * RATE :])
    assert not np.array_equal(mixed.samples[RATE : 2 * RATE], original.samples[RATE : 2 * RATE])


def test_inside_both_volumes_hold() -> None:
    original, speech = quiet(3_000), tone(300, 1_000, level=0.2)
    mixed = mix(original, [Insert(Audio(speech, RATE), 1_000, 1.5, 0.5)], 3_000).held().samples
    middle = slice(RATE + RAMP, 2 * RATE - RAMP)
    wanted = original.samples[middle] * 0.5 + speech[RAMP : RATE - RAMP] * 1.5
    np.testing.assert_allclose(mixed[middle], wanted, atol=1e-6)


def test_the_click_lies_on_its_sample() -> None:
    for at_ms in (0, 1, 333, 1_500):
        mixed = mix(None, [Insert(Audio(clicks([0], 100), RATE), at_ms, 1.0, 1.0)], 3_000).held()
        assert np.flatnonzero(np.abs(mixed.samples[:, 0]) > 0.1)[0] == at_ms * RATE // 1000


def test_speech_at_another_rate_keeps_its_place() -> None:
    speech = Audio(tone(1_000, 500, rate=16_000), 16_000)
    mixed = mix(Audio(np.zeros((RATE * 2, 2), np.float32), RATE), [Insert(speech, 700, 1.0, 0.0)], 2_000).held().samples
    wanted = tone(1_000, 500)
    inner = slice(2_000, 20_000)  # away from the resampler's edges
    placed = mixed[700 * RATE // 1000 :][: len(wanted)]
    np.testing.assert_allclose(placed[inner, 0], wanted[inner, 0], atol=2e-3)
    assert mixed.shape == (2 * RATE, 2)


@pytest.mark.parametrize(
    ("original", "speech", "wanted"),
    [
        ((8_000, 1), (48_000, 1), (48_000, 1)),
        ((8_000, 1), (44_100, 2), (44_100, 2)),
        ((44_100, 2), (48_000, 1), (48_000, 2)),
        ((48_000, 2), (16_000, 1), (48_000, 2)),
        ((48_000, 1), (16_000, 2), (48_000, 2)),
        ((22_050, 1), (192_000, 1), (96_000, 1)),
    ],
)
def test_the_result_has_the_higher_rate_and_the_more_channels(
    original: tuple[int, int], speech: tuple[int, int], wanted: tuple[int, int]
) -> None:
    sounds = [
        Audio(tone(hertz, 1_000, *form, level=0.3), form[0]) for hertz, form in ((400, original), (1_000, speech))
    ]
    mixed = mix(sounds[0], [Insert(sounds[1], 500, 1.0, 0.0)], 1_000).held()
    assert (mixed.rate, mixed.channels, len(mixed.samples)) == (*wanted, wanted[0])
    before, during = slice(wanted[0] // 20, wanted[0] * 9 // 20), slice(wanted[0] * 11 // 20, wanted[0] * 19 // 20)
    whole = tone(400, 1_000, *wanted, level=0.3)
    if original[0] == wanted[0]:
        np.testing.assert_array_equal(mixed.samples[before], whole[before])
    np.testing.assert_allclose(mixed.samples[before], whole[before], atol=1e-3)
    np.testing.assert_allclose(
        mixed.samples[during],
        tone(1_000, 1_000, *wanted, level=0.3)[: wanted[0] // 2][
            during.start - wanted[0] // 2 : during.stop - wanted[0] // 2
        ],
        atol=1e-3,
    )


def test_the_originals_gain_moves_in_a_ramp_and_never_jumps() -> None:
    constant = Audio(np.full((RATE, 1), 0.5, np.float32), RATE)
    silence = Audio(np.zeros((RATE // 2, 1), np.float32), RATE)
    mixed = mix(constant, [Insert(silence, 250, 1.0, 0.0)], 1_000).held().samples[:, 0]
    assert np.abs(np.diff(mixed)).max() < 0.5 / RAMP * 1.05
    assert mixed[RATE // 2] == 0


def test_touching_insertions_do_not_let_the_original_through_between_them() -> None:
    constant = Audio(np.full((RATE, 1), 0.5, np.float32), RATE)
    silence = Audio(np.zeros((RATE // 4, 1), np.float32), RATE)
    mixed = mix(constant, [Insert(silence, 250, 1.0, 0.0), Insert(silence, 500, 1.0, 0.0)], 1_000).held().samples[:, 0]
    assert not mixed[RATE // 4 + RAMP : 3 * RATE // 4 - RAMP].any()


def test_where_speeches_overlap_the_smaller_original_volume_holds() -> None:
    constant = Audio(np.full((RATE, 1), 0.4, np.float32), RATE)
    silence = Audio(np.zeros((RATE // 2, 1), np.float32), RATE)
    mixed = mix(constant, [Insert(silence, 100, 1.0, 1.5), Insert(silence, 300, 1.0, 0.5)], 1_000).held().samples[:, 0]
    at = mixed[np.array([50, 200, 450, 700, 900]) * RATE // 1000]
    np.testing.assert_allclose(at, [0.4, 0.6, 0.2, 0.2, 0.4], atol=1e-6)


@pytest.mark.parametrize("volume", [0.0, 0.3, 1.0, 2.0])
def test_a_volume_of_the_whole_video_holds_throughout(volume: float) -> None:
    constant = Audio(np.full((RATE, 1), 0.4, np.float32), RATE)
    silence = Audio(np.zeros((RATE // 2, 1), np.float32), RATE)
    mixed = mix(constant, [Insert(silence, 300, 1.0, volume, OriginalScope.VIDEO)], 1_000).held().samples[:, 0]
    np.testing.assert_allclose(mixed, np.full(RATE, 0.4 * volume), atol=1e-6)
    assert mixed.any() == (volume > 0)


def test_of_several_volumes_of_the_original_the_smallest_that_applies_holds() -> None:
    constant = Audio(np.full((RATE, 1), 0.4, np.float32), RATE)
    silence = Audio(np.zeros((RATE // 5, 1), np.float32), RATE)
    inserts = [
        Insert(silence, 100, 1.0, 0.1),
        Insert(silence, 400, 1.0, 1.5),
        Insert(silence, 700, 1.0, 0.5, OriginalScope.VIDEO),
        Insert(silence, 750, 1.0, 0.8, OriginalScope.VIDEO),
    ]
    mixed = mix(constant, inserts, 1_000).held().samples[:, 0]
    at = mixed[np.array([0, 50, 200, 350, 500, 650, 800, 999]) * RATE // 1000]
    np.testing.assert_allclose(at, 0.4 * np.array([0.5, 0.5, 0.1, 0.5, 0.5, 0.5, 0.5, 0.5]), atol=1e-6)
    assert np.abs(np.diff(mixed)).max() < 0.4 / RAMP * 1.05


def test_a_volume_of_the_whole_video_makes_nothing_clip_outside_the_speech() -> None:
    original = Audio(tone(200, 1_000, level=0.9), RATE)
    short = Audio(tone(300, 100, level=0.1), RATE)
    mixed = mix(original, [Insert(short, 800, 1.0, 2.0, OriginalScope.VIDEO)], 1_000).held().samples
    assert 0.95 < np.abs(mixed[: RATE // 2]).max() <= CEILING + 1e-6
    beyond = mix(original, [Insert(short, 5_000, 1.0, 0.0, OriginalScope.VIDEO)], 1_000).held().samples
    assert not beyond.any()


def test_a_silent_source_is_silent_outside() -> None:
    mixed = mix(None, [Insert(Audio(tone(300, 400), RATE), 300, 1.0, 1.0)], 1_000).held().samples
    assert mixed.shape == (RATE, 1)
    assert not mixed[: 300 * 48].any()
    assert not mixed[700 * 48 :].any()


def test_nothing_clips_and_the_loud_part_keeps_its_shape() -> None:
    original = Audio(tone(200, 2_000, level=0.9), RATE)
    mixed = mix(original, [Insert(Audio(tone(330, 1_000, level=0.9), RATE), 500, 2.0, 2.0)], 2_000).held().samples[:, 0]
    assert np.abs(mixed).max() <= CEILING + 1e-6
    # A limiter turns down; a clipper would leave runs of equal samples at the ceiling.
    assert (np.abs(np.diff(mixed[RATE // 2 : 3 * RATE // 2])) < 1e-7).mean() < 0.01


def test_the_limiter_lets_go_again() -> None:
    speech = tone(300, 2_000, level=0.5)
    speech[RATE // 2 : RATE // 2 + 48] *= 3
    mixed = mix(None, [Insert(Audio(speech, RATE), 0, 1.0, 1.0)], 2_000).held().samples
    assert np.abs(mixed).max() <= CEILING + 1e-6
    far = np.r_[0 : RATE // 2 - RATE // 50, RATE // 2 + RATE // 50 : 2 * RATE]
    np.testing.assert_array_equal(mixed[far], speech[far])


def test_a_loud_original_outside_is_left_alone() -> None:
    original = Audio(tone(200, 1_000, level=1.2), RATE)
    mixed = mix(original, [Insert(Audio(tone(300, 200), RATE), 400, 1.0, 0.0)], 1_000).held().samples
    np.testing.assert_array_equal(mixed[: 400 * 48], original.samples[: 400 * 48])


@pytest.mark.parametrize(("duration_ms", "samples"), [(500, 24_000), (1_000, 48_000), (1_500, 72_000)])
def test_the_result_lasts_as_long_as_asked(duration_ms: int, samples: int) -> None:
    mixed = mix(quiet(1_000), [Insert(Audio(tone(300, 400), RATE), 800, 1.0, 0.0)], duration_ms).held()
    assert mixed.samples.shape == (samples, 2)


def test_speech_beyond_the_end_is_cut_or_left_out() -> None:
    original = quiet(1_000)
    mixed = mix(original, [Insert(Audio(tone(300, 400), RATE), 5_000, 1.0, 0.0)], 1_000).held()
    np.testing.assert_array_equal(mixed.samples, original.samples)


@pytest.mark.parametrize(
    ("at_ms", "volume", "original_volume", "field"),
    [(-1, 1, 1, "at_ms"), (0, 2.1, 1, "volume"), (0, -0.1, 1, "volume"), (0, 1, float("nan"), "original_volume")],
)
def test_bad_insertions_name_their_field(at_ms: int, volume: float, original_volume: float, field: str) -> None:
    with pytest.raises(InputError) as error:
        Insert(Audio(tone(300, 10), RATE), at_ms, volume, original_volume)
    assert error.value.field == field


def _sound(seed: int, samples: int, channels: int, level: float) -> Samples:
    return (np.random.default_rng(seed).uniform(-level, level, (samples, channels))).astype(np.float32)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(st.integers(0, 900), st.integers(1, 600), st.floats(0, 2), st.floats(0, 2), st.integers(1, 2)),
        max_size=4,
    ),
    st.sampled_from([1, 2]),
)
def test_whatever_is_inserted_nothing_clips_inside_and_nothing_changes_outside(
    given_inserts: list[tuple[int, int, float, float, int]], channels: int
) -> None:
    rate = 8_000
    original = Audio(_sound(0, rate, channels, 0.95), rate)
    inserts = [
        Insert(Audio(_sound(seed, ms * 8, wide, 1.0), rate), at, volume, under)
        for seed, (at, ms, volume, under, wide) in enumerate(given_inserts)
    ]
    mixed = mix(original, inserts, 1_000).held().samples
    covered = np.zeros(rate, bool)
    for at, ms, *_ in given_inserts:
        covered[at * 8 : (at + ms) * 8] = True
    assert mixed.shape == (rate, max(channels, *(wide for *_, wide in given_inserts), 1))
    np.testing.assert_array_equal(mixed[~covered], np.broadcast_to(original.samples, mixed.shape)[~covered])
    assert np.abs(mixed).max() <= CEILING + 1e-5
