"""What a result loses of its video."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from duikou.media.losses import Loss
from duikou.media.probe import AudioInfo, VideoInfo
from duikou.pipeline.losses import clip_warnings
from duikou.timebase import Interval


def info(heard_ms: int | None) -> VideoInfo:
    audio = None if heard_ms is None else AudioInfo("aac", 48_000, 1, heard_ms)
    return VideoInfo("mp4", "h264", 64, 48, 0, 125, Fraction(25), 5_000, audio)


@pytest.mark.parametrize("heard_ms", [None, 3_000, 5_000, 5_100])
def test_sound_that_ends_with_the_picture_or_before_is_not_told(heard_ms: int | None) -> None:
    assert clip_warnings(info(heard_ms)) == ()


def test_sound_beyond_the_picture_is_told() -> None:
    (warning,) = clip_warnings(info(7_250))
    assert (warning.code, warning.interval) == ("sound_cut", Interval(5_000, 7_250))
    assert warning.message == (
        "the sound of the video goes on for 2250 ms after the picture, which ends at 5000 ms; that part is cut off"
    )


def test_what_the_picture_loses_is_told_for_the_whole_video() -> None:
    loss = Loss("fewer_bits", "the video has 10 bits in each channel; the result has 8")
    first, second = clip_warnings(replace(info(7_250), losses=(loss,)))
    assert (first.code, first.message, first.interval) == (loss.code, loss.message, Interval(0, 5_000))
    assert second.code == "sound_cut"
