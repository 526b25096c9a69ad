"""Speech longer than the video: the arithmetic of lengths, the order of frames and their times."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from duikou.errors import InputError
from duikou.media.demux import FrameTimes
from duikou.media.sound import Audio
from duikou.media.sync_mode import MAX_MS, SyncMode, cut_end_ms, extended_duration_ms, shown_ms
from duikou.media.timeline import LengthenedTimeline, Showing, Timeline
from duikou.timebase import Interval

RATE = 8_000
LONGER = (SyncMode.LOOP, SyncMode.BOUNCE, SyncMode.SILENCE)


def steady(count: int, *, first: int = 0, step: int = 40) -> FrameTimes:
    """`count` frames, in milliseconds."""
    return FrameTimes(first + step * np.arange(count), np.zeros(1, np.int64), Fraction(1, 1000), step)


VARIABLE = FrameTimes(np.array([0, 30, 100, 120]), np.zeros(1, np.int64), Fraction(1, 1000), 50)
"""Its frames show for 30, 70, 20 and 50 ms, 170 ms in all."""


def longer(source: FrameTimes, mode: SyncMode, end_ms: int) -> LengthenedTimeline:
    timeline = Timeline.of(source, mode, end_ms)
    assert isinstance(timeline, LengthenedTimeline)
    return timeline


@pytest.mark.parametrize(
    ("mode", "order", "passes"),
    [
        (SyncMode.LOOP, [0, 1, 2, 3, 0, 1, 2, 3, 0, 1], [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]),
        (SyncMode.BOUNCE, [0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2], [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3]),
        (SyncMode.SILENCE, [0, 1, 2, 3, 3, 3, 3, 3], [0, 0, 0, 0, 1, 1, 1, 1]),
    ],
)
def test_frames_are_shown_again_in_the_order_of_the_mode(mode: SyncMode, order: list[int], passes: list[int]) -> None:
    made = longer(steady(4), mode, 40 * len(order))
    assert made.order.tolist() == order
    assert made.passes.tolist() == passes
    assert made.times.pts.tolist() == [40 * number for number in range(len(order))]
    assert made.duration_ms == 40 * len(order)


@pytest.mark.parametrize("mode", LONGER)
@pytest.mark.parametrize(("end_ms", "frames"), [(3_101, 78), (5_000, 125), (5_001, 126), (5_039, 126), (60_000, 1_500)])
def test_the_result_ends_with_the_first_frame_that_ends_with_the_speech_or_later(
    mode: SyncMode, end_ms: int, frames: int
) -> None:
    made = longer(steady(75), mode, end_ms)
    assert len(made) == frames
    assert made.duration_ms == frames * 40
    assert made.order[:75].tolist() == list(range(75))
    assert len(made.times) == len(made.order) == len(made.passes)


@pytest.mark.parametrize(
    ("mode", "steps"),
    [
        (SyncMode.LOOP, [30, 70, 20, 50, 30, 70, 20, 50, 30, 70]),
        # Backwards the third frame follows the fourth, the second the third after the time it took forwards.
        (SyncMode.BOUNCE, [30, 70, 20, 50, 70, 30, 30, 70, 20, 50, 70]),
        (SyncMode.SILENCE, [30, 70, 20, 50, 30, 70, 20, 50, 30, 70]),
    ],
)
def test_added_frames_keep_the_steps_of_a_variable_rate(mode: SyncMode, steps: list[int]) -> None:
    made = longer(VARIABLE, mode, sum(steps))
    assert np.diff(made.times.edges_ms).tolist() == steps
    assert made.times.last_duration == steps[-1]
    one_less = longer(VARIABLE, mode, sum(steps) - steps[-1])
    assert len(one_less) == len(steps) - 1
    assert one_less.times.last_duration == steps[-2]


@pytest.mark.parametrize("mode", LONGER)
def test_a_picture_that_starts_late_and_a_coarse_clock(mode: SyncMode) -> None:
    late = longer(steady(10, first=25), mode, 1_000)
    assert late.times.pts[0] == 25
    assert np.diff(late.times.edges_ms).tolist() == [40] * len(late)
    assert late.times.edges_ms[-2] < 1_000 <= late.duration_ms
    coarse = longer(FrameTimes(np.arange(24), np.zeros(1, np.int64), Fraction(1, 24), 1), mode, 1_999)
    assert coarse.times.pts.tolist() == list(range(48))


def test_a_single_frame_stands() -> None:
    for mode in LONGER:
        assert longer(steady(1, step=500), mode, 1_600).order.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("mode", [None, *SyncMode])
@pytest.mark.parametrize("end_ms", [100, 3_000, 3_100])
def test_what_is_not_too_long_changes_nothing(mode: SyncMode | None, end_ms: int) -> None:
    assert extended_duration_ms(mode, 3_000, end_ms) == 3_000
    source = steady(75)
    timeline = Timeline.of(source, mode, end_ms)
    assert type(timeline) is Timeline
    assert timeline.times is timeline.source is source
    assert (len(timeline), timeline.duration_ms, timeline.added) == (75, 3_000, None)
    own = Audio(np.zeros((8, 1), np.float32), RATE)
    assert timeline.audio(own) is own
    assert timeline.showing(Interval(0, 100), Interval(50, 200)) == Showing(Interval(50, 100), Interval(50, 100))
    assert timeline.showing(Interval(0, 100), Interval(100, 200)) is None


def test_only_three_modes_make_a_video_longer() -> None:
    assert [extended_duration_ms(mode, 3_000, 5_000) for mode in LONGER] == [5_000] * 3
    assert extended_duration_ms(None, 3_000, 5_000) == 3_000
    assert extended_duration_ms(SyncMode.CUT_OFF, 3_000, 5_000) == 3_000


@pytest.mark.parametrize("mode", LONGER)
def test_a_minute_is_the_most(mode: SyncMode) -> None:
    assert extended_duration_ms(mode, 3_000, MAX_MS) == 60_000
    with pytest.raises(InputError) as error:
        Timeline.of(steady(75), mode, 60_001)
    assert error.value.field == "sync_mode"
    assert str(error.value) == (
        f"sync_mode: {mode.value} would make the video 60001 ms long, since the speech ends there; at most 60000 ms "
        "are allowed."
    )


def test_speech_is_cut_off_with_the_face_or_the_video() -> None:
    def end(interval: Interval, speech: Interval, mode: SyncMode | None = SyncMode.CUT_OFF) -> int:
        return cut_end_ms(mode, 3_000, interval, speech)

    assert end(Interval(0, 2_400), Interval(500, 2_900)) == 2_400
    assert end(Interval(0, 3_000), Interval(500, 5_000)) == 3_000
    assert end(Interval(0, 3_010), Interval(500, 5_000)) == 3_000
    assert end(Interval(0, 2_400), Interval(500, 2_300)) == 2_300
    assert end(Interval(0, 2_400), Interval(2_400, 2_900)) == 2_900
    for mode in (None, *LONGER):
        assert end(Interval(0, 2_400), Interval(500, 5_000), mode) == 5_000


@pytest.mark.parametrize(
    ("mode", "interval", "speech", "shown"),
    [
        (None, (500, 2_000), (0, 2_500), 1_500),
        (SyncMode.CUT_OFF, (500, 2_000), (0, 2_500), 1_500),
        (SyncMode.LOOP, (500, 2_000), (1_000, 5_000), 1_000 + 1_500),
        (SyncMode.LOOP, (500, 2_000), (7_000, 8_000), 1_000),
        (SyncMode.BOUNCE, (500, 2_000), (1_000, 5_000), 1_000 + 1_000),
        (SyncMode.BOUNCE, (500, 2_000), (6_000, 8_000), 1_500),
        (SyncMode.BOUNCE, (0, 1_000), (3_000, 5_000), 0),
        (SyncMode.SILENCE, (500, 2_000), (1_000, 5_000), 1_000),
        (SyncMode.SILENCE, (500, 3_000), (1_000, 5_000), 4_000),
        (SyncMode.SILENCE, (500, 2_000), (2_000, 5_000), 0),
        (SyncMode.LOOP, (500, 2_000), (2_000, 3_050), 0),
    ],
)
def test_how_long_the_face_shows(
    mode: SyncMode | None, interval: tuple[int, int], speech: tuple[int, int], shown: int
) -> None:
    assert shown_ms(mode, 3_000, Interval(*interval), Interval(*speech)) == shown


def test_where_the_face_shows_while_the_speech_lasts() -> None:
    face = Interval(40, 120)  # the second and the third frame of four
    looped = longer(steady(4), SyncMode.LOOP, 400)
    assert looped.showing(face, Interval(0, 400)) == Showing(Interval(40, 400), Interval(40, 81))
    assert looped.showing(face, Interval(160, 245)) == Showing(Interval(200, 245), Interval(40, 81))
    bounced = longer(steady(4), SyncMode.BOUNCE, 400)
    assert bounced.showing(face, Interval(165, 205)) == Showing(Interval(165, 205), Interval(40, 81))
    assert bounced.showing(face, Interval(240, 280)) is None
    assert longer(steady(4), SyncMode.SILENCE, 400).showing(face, Interval(130, 400)) is None


def test_the_videos_own_audio_repeats_with_a_loop_only() -> None:
    own = Audio(np.linspace(0.1, 0.9, 300 * RATE // 1000, dtype=np.float32)[:, None], RATE)
    source = steady(5, first=50)  # 50 to 250 ms; the audio begins before and ends after
    looped = longer(source, SyncMode.LOOP, 600).audio(own).held().samples
    inside = slice(130 * RATE // 1000, 200 * RATE // 1000)
    for start_ms in (0, 200, 400):
        shift = start_ms * RATE // 1000
        np.testing.assert_array_equal(
            looped[inside.start + shift : inside.stop + shift][: len(looped) - inside.start - shift],
            own.samples[inside],
        )
    assert np.array_equal(looped[: 240 * RATE // 1000], own.samples[: 240 * RATE // 1000])
    for mode in (SyncMode.BOUNCE, SyncMode.SILENCE):
        stopped = longer(source, mode, 600).audio(own).held().samples
        assert len(stopped) == 250 * RATE // 1000
        assert np.array_equal(stopped[: 240 * RATE // 1000], own.samples[: 240 * RATE // 1000])


def test_no_seam_of_the_audio_clicks() -> None:
    own = Audio(np.full((300 * RATE // 1000, 2), 0.8, np.float32), RATE)
    looped = longer(steady(5), SyncMode.LOOP, 900).audio(own).held().samples
    assert np.abs(np.diff(looped, axis=0)).max() <= 0.8 / 80 * 1.01  # 80 samples last 10 ms
    assert (looped[100 * RATE // 1000] == 0.8).all()
    assert np.abs(looped[[200 * RATE // 1000, 400 * RATE // 1000]]).max() < 0.02
    short = Audio(np.full((100 * RATE // 1000, 2), 0.8, np.float32), RATE)
    again = longer(steady(5), SyncMode.LOOP, 900).audio(short).held().samples
    assert again[250 * RATE // 1000] == pytest.approx(0.8)
    assert not again[350 * RATE // 1000].any()
