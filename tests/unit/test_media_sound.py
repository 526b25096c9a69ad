"""Sound in pieces is the same sound as in one: converted, mixed, joined and heard."""

import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from duikou.media import downmix
from duikou.media.downmix import Samples
from duikou.media.mix import Insert, mix
from duikou.media.scope import OriginalScope
from duikou.media.sound import Audio, Joined, Reader, Sound, blocks

RATE = 8_000


def noise(samples: int, channels: int = 1, level: float = 0.9, seed: int = 0) -> Samples:
    return np.random.default_rng(seed).uniform(-level, level, (samples, channels)).astype(np.float32)


@dataclass(frozen=True)
class Crumbs(Sound):
    """A sound that is read in pieces of an awkward size."""

    whole: Audio
    size: int

    @property
    def rate(self) -> int:  # type: ignore[override]
        return self.whole.rate

    @property
    def channels(self) -> int:  # type: ignore[override]
        return self.whole.channels

    def __len__(self) -> int:
        return len(self.whole)

    def pieces(self) -> Iterator[Samples]:
        return (self.whole.samples[at : at + self.size] for at in range(0, len(self.whole), self.size))


@pytest.mark.parametrize("size", [1, 999, 50_000])
@pytest.mark.parametrize(("rate", "wanted"), [(8_000, 48_000), (44_100, 16_000), (16_000, 16_000)])
def test_another_rate_is_that_of_the_whole(rate: int, wanted: int, size: int) -> None:
    whole = Audio(noise(2_345, 2), rate)
    found = Crumbs(whole, size).converted(rate=wanted)
    assert np.array_equal(found.held().samples, soxr.resample(whole.samples, rate, wanted))
    assert len(found) == len(found.held())


def test_stereo_becomes_mono_as_in_one_piece() -> None:
    left = noise(12 * RATE)
    cancelled = Audio(np.hstack([left, -left]), RATE)
    found = Crumbs(cancelled, 777).converted(channels=1).held().samples
    assert np.array_equal(found, downmix.mono(cancelled.samples, RATE))
    assert np.abs(found).mean() > 0.4


def test_mono_goes_to_both_sides_and_the_level_is_that_of_the_whole() -> None:
    sound = Crumbs(Audio(noise(100), RATE), 7)
    wide = sound.converted(channels=2).held().samples
    assert np.array_equal(wide[:, 0], wide[:, 1]) and np.array_equal(wide[:, :1], sound.held().samples)
    assert sound.peak() == np.abs(sound.whole.samples).max()
    assert sound.mapped(lambda samples: samples * 2).peak() == 2 * sound.peak()
    assert Audio(np.zeros((0, 1), np.float32), RATE).peak() == 0


def test_joined_sounds_keep_their_places_and_the_later_one_wins() -> None:
    first, second = Audio(noise(50), RATE), Crumbs(Audio(noise(40, seed=1), RATE), 9)
    found = Joined(((5, first), (45, second), (90, first)), 100).held().samples
    assert not found[:5].any()
    assert np.array_equal(found[5:45], first.samples[:40])
    assert np.array_equal(found[45:85], second.whole.samples)
    assert not found[85:90].any() and np.array_equal(found[90:], first.samples[:10])


def test_a_reader_gives_silence_after_the_end() -> None:
    reader = Reader(Crumbs(Audio(noise(10), RATE), 3))
    assert len(reader.take(8)) == 8
    assert np.array_equal(reader.take(4)[:2], noise(10)[8:]) and not reader.take(5).any()


@given(st.lists(st.integers(0, 30), max_size=8), st.integers(1, 20))
def test_blocks_have_their_size(sizes: list[int], size: int) -> None:
    whole = noise(sum(sizes))
    found = list(blocks(np.split(whole, np.cumsum(sizes)[:-1]) if sizes else [], size))
    assert all(len(one) == size for one in found[:-1])
    assert np.array_equal(np.concatenate([np.zeros((0, 1)), *found]), whole)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(
        st.tuples(st.integers(0, 900), st.integers(1, 600), st.floats(0, 2), st.floats(0, 2), st.booleans()),
        min_size=1,
        max_size=4,
    ),
    st.integers(41, 3_000),
)
def test_a_mix_made_in_small_pieces_is_the_same(inserts: list[tuple[int, int, float, float, bool]], size: int) -> None:
    original = Audio(noise(RATE, 2), RATE)
    said = [
        Insert(
            Crumbs(Audio(noise(ms * 8, 1, 1.0, seed), RATE), 101),
            at,
            volume,
            under,
            OriginalScope.VIDEO if throughout else OriginalScope.SPEECH,
        )
        for seed, (at, ms, volume, under, throughout) in enumerate(inserts)
    ]
    whole = mix(original, said, 1_000).held().samples
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("duikou.media.mix.PIECE", size)
        mixed = mix(Crumbs(original, 333), said, 1_000)
        assert np.array_equal(mixed.held().samples, whole)
        assert np.array_equal(mixed.held().samples, whole)  # it can be read again


@dataclass(frozen=True)
class Long(Sound):
    """A sound that is made while it is read."""

    length: int
    rate: int = 48_000
    channels: int = 2

    def __len__(self) -> int:
        return self.length

    def pieces(self) -> Iterator[Samples]:
        return (noise(min(48_000, self.length - at), 2) for at in range(0, self.length, 48_000))


def test_a_mix_takes_no_more_memory_for_a_longer_sound() -> None:
    def peak(seconds: int) -> int:
        sound = mix(Long(seconds * 48_000), [Insert(Long(seconds * 44_100, 44_100), 500, 2.0, 1.0)], seconds * 1000)
        tracemalloc.start()
        try:
            count = sum(len(piece) for piece in sound.pieces())
            assert count == seconds * 48_000
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    short, long = peak(10), peak(40)  # 40 s of stereo are 15 MB
    assert long < short + 500_000
    assert long < 12_000_000
