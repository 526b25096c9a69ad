"""A long speech is cut where nobody speaks, and its windows pass into each other."""

from dataclasses import dataclass

import numpy as np
import pytest

from duikou.arrays import IntArray
from duikou.media.decode import Frame, Patch
from duikou.pipeline.windows import (
    BLENDED,
    LAG,
    LONGEST_MS,
    SEARCH_MS,
    USUAL_STEP_MS,
    WINDOW_MS,
    WindowedRenderer,
    seams,
)
from duikou.progress import Progress

STEP_MS = 40


def frames(seconds: float) -> IntArray:
    return np.arange(0, round(seconds * 1000), STEP_MS)


def test_a_speech_of_a_minute_is_one_window() -> None:
    for seconds in (0, 1, 60, LONGEST_MS / 1000):
        times = frames(seconds)
        assert not len(seams(times, np.ones(len(times))))


def test_a_window_ends_in_the_middle_of_the_longest_pause() -> None:
    times = frames(90)
    voice = np.ones(len(times))
    for start_ms, stop_ms in ((10_000, 20_000), (24_000, 24_300), (31_000, 32_000), (62_000, 64_000), (70_000, 80_000)):
        voice[(times >= start_ms) & (times < stop_ms)] = 0
    assert times[seams(times, voice)] == pytest.approx([31_500, 63_000], abs=STEP_MS)


def test_without_a_pause_a_window_ends_where_the_voice_is_lowest() -> None:
    times = frames(90)
    voice = np.full(len(times), 0.9)
    voice[[27_000 // STEP_MS, 66_000 // STEP_MS]] = 0.5
    assert seams(times, voice).tolist() == [27_000 // STEP_MS, 66_000 // STEP_MS]


@pytest.mark.parametrize("seconds", [76, 89, 91, 180, 3_600])
def test_windows_are_even_however_long_the_speech_is(seconds: int) -> None:
    times = frames(seconds)
    found = seams(times, np.random.default_rng(0).uniform(0, 1, len(times)))
    usual_ms = times[-1] / (len(found) + 1)
    assert 0.75 * WINDOW_MS < usual_ms <= WINDOW_MS
    assert np.abs(times[found] - usual_ms * np.arange(1, len(found) + 1)).max() <= SEARCH_MS + STEP_MS


def test_more_frames_a_second_make_shorter_windows() -> None:
    times = np.arange(0, 300_000, 16)
    found = seams(times, np.random.default_rng(0).uniform(0, 1, len(times)))
    rows = np.diff([0, *found, len(times)])
    assert rows.max() <= (WINDOW_MS + 2 * SEARCH_MS) / USUAL_STEP_MS + 1
    short = times[: int(LONGEST_MS / USUAL_STEP_MS)]
    assert not len(seams(short, np.ones(len(short))))


def test_a_long_silence_between_two_short_pieces_makes_no_window() -> None:
    times = np.concatenate([frames(5), 600_000 + frames(5)])
    assert not len(seams(times, np.ones(len(times))))


def test_many_short_pieces_make_windows_because_the_face_is_followed_around_each() -> None:
    times = np.concatenate([60_000 * number + frames(1) for number in range(64)])
    rows = np.diff([0, *seams(times, np.ones(len(times))), len(times)])
    assert rows.min() > 0
    assert rows.max() <= 2 * 1_000 / STEP_MS


@dataclass
class Tint:
    """Paints a square in one colour on the frames of its window."""

    value: int
    left: int
    first: int
    stop: int

    def changes(self, frame: int) -> bool:
        return self.first <= frame < self.stop

    def render(self, frame: Frame) -> Patch | None:
        assert self.changes(frame.index)
        return Patch(self.left, 8, np.full((4, 4, 3), self.value, np.uint8))


def picture(index: int) -> Frame:
    return Frame(index, index, index * STEP_MS, image=np.full((32, 32, 3), 100, np.uint8))


def test_windows_are_planned_in_turn_pass_into_each_other_and_are_dropped() -> None:
    planned: list[tuple[int, int]] = []

    def plan(first: int, stop: int, _progress: Progress) -> Tint | None:
        planned.append((first, stop))
        return None if len(planned) == 3 else Tint(200 if len(planned) == 1 else 40, 8 * len(planned), first, stop)

    may_change = np.ones(300, bool)
    windows = WindowedRenderer(np.array([0, 100, 200]), may_change, plan)
    shown = {}
    for index in range(300):
        windows.reach(index)
        frame = picture(index)
        patch = windows.render(frame)
        shown[index] = (frame if patch is None else frame.painted(patch)).image
        assert sum(index - LAG < stop for _, stop in planned) <= 2
        assert len(windows._ready) <= 2
    assert planned == [(0, 100 + BLENDED), (100 - BLENDED, 200 + BLENDED), (200 - BLENDED, 300)]
    first = np.array([int(shown[index][9, 9, 0]) for index in range(300)])
    second = np.array([int(shown[index][9, 17, 0]) for index in range(300)])
    assert (first[: 100 - BLENDED] == 200).all() and (first[100 + BLENDED :] == 100).all()
    assert (second[: 100 - BLENDED] == 100).all() and (second[100 + BLENDED : 200 - BLENDED] == 40).all()
    assert (second[200 + BLENDED :] == 100).all()  # the last window paints nothing
    for values, most in ((first, 100), (second, 60)):
        assert np.abs(np.diff(values)).max() <= np.ceil(most / (2 * BLENDED))
    assert (shown[150][20:] == 100).all()
