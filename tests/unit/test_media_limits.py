"""Arithmetic on any time stamps, the limits at their borders, and probing of anything at all."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import mutants
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from duikou.errors import MediaError
from duikou.media import demux, limits, probe, sniff
from duikou.media.demux import FrameTimes
from duikou.media.video import probe_video
from duikou.timebase import ms_to_samples, pts_to_ms, round_half_up, samples_to_ms

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
POSITIVE = st.integers(1, (1 << 31) - 1)  # what FFmpeg holds a time base in
TIME_BASES = st.builds(Fraction, POSITIVE, POSITIVE)
RATES = st.integers(limits.MIN_SAMPLE_RATE, limits.MAX_SAMPLE_RATE)

FILES = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def timelines(draw: st.DrawFn) -> FrameTimes:
    pts = sorted(draw(st.sets(INT64, min_size=1, max_size=20)))
    return FrameTimes(np.array(pts, np.int64), np.array(pts[:1], np.int64), draw(TIME_BASES), draw(POSITIVE))


@given(timelines())
def test_a_timeline_adds_up_whatever_its_time_stamps(timeline: FrameTimes) -> None:
    pts = [int(one) for one in timeline.pts]
    durations = [timeline.duration(one) for one in pts]
    assert min(durations) > 0
    assert pts[0] + sum(durations) == timeline.end
    assert timeline.rate * (timeline.end - pts[0]) * timeline.time_base == len(timeline)
    times = [timeline.ms(one) for one in [*pts, timeline.end]]
    assert times == sorted(times)
    assert all(type(ms) is int for ms in times)


@given(timelines(), INT64)
def test_only_frames_of_a_timeline_have_a_duration(timeline: FrameTimes, pts: int) -> None:
    if pts not in timeline.pts:
        with pytest.raises(ValueError, match=f"no frame at pts {pts}"):
            timeline.duration(pts)


@given(timelines(), st.integers(1, limits.MAX_SIDE), st.integers(1, limits.MAX_SIDE))
def test_any_timeline_is_within_the_limits_or_one_sentence(timeline: FrameTimes, width: int, height: int) -> None:
    try:
        demux.check_frame_times(timeline, width, height, field="video")
    except MediaError as error:
        assert (error.field, str(error)[:11], str(error)[-1]) == ("video", "video: the ", ".")
    else:
        assert abs(timeline.ms(timeline.end)) <= limits.MAX_LENGTH_MS
        assert len(timeline) == 1 or timeline.rate <= limits.MAX_RATE


@given(st.fractions())
def test_rounding_is_to_the_nearest_and_halves_go_up(value: Fraction) -> None:
    assert Fraction(-1, 2) < round_half_up(value) - value <= Fraction(1, 2)
    assert round_half_up(value + 1) == round_half_up(value) + 1


@given(INT64, INT64, TIME_BASES)
def test_later_time_stamps_are_never_earlier(one: int, other: int, time_base: Fraction) -> None:
    early, late = sorted([one, other])
    assert pts_to_ms(early, time_base) <= pts_to_ms(late, time_base)
    assert abs(pts_to_ms(one, time_base) - one * time_base * 1000) <= Fraction(1, 2)


@given(st.integers(-limits.MAX_LENGTH_MS, limits.MAX_LENGTH_MS), RATES)
def test_milliseconds_survive_as_samples(ms: int, rate: int) -> None:
    assert samples_to_ms(ms_to_samples(ms, rate), rate) == ms
    assert ms_to_samples(ms, rate) <= ms_to_samples(ms + 1, rate)


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (lambda: limits.check_streams(65, field="f"), "f: the file has 65 streams; at most 64 are accepted."),
        (
            lambda: limits.check_picture(16_385, 1, field="f"),
            "f: the picture is 16385 x 1 pixels; at most 16384 per side are accepted.",
        ),
        (
            lambda: limits.check_picture(8_192, 4_353, field="f"),
            "f: the picture is 8192 x 4353 pixels; at most 35651584 in total are accepted.",
        ),
        (
            lambda: limits.check_picture(0, 9, field="f"),
            "f: the picture is 0 x 9 pixels; each side must be at least 1.",
        ),
        (lambda: limits.check_frames(1_000_001, field="f"), "f: the video has more than 1000000 frames."),
        (lambda: limits.check_packets(1_000_001, field="f"), "f: a stream of the file has more than 1000000 packets."),
        (
            lambda: limits.check_length(86_400_001 + 999, "video", field="f"),
            "f: the video extends to 86401 s; at most 86400 s are accepted.",
        ),
        (
            lambda: limits.check_rate(Fraction(100_000), field="f"),
            "f: the video has 100000 frames per second; at most 480 are accepted.",
        ),
        (
            lambda: limits.check_total(8_192, 4_352, 112_198, field="f"),
            "f: the video has 112198 frames of 8192 x 4352 pixels; at most 4000000000000 pixels in total are accepted.",
        ),
        (lambda: limits.check_audio(0, 1, field="f"), "f: the audio declares no sample rate or no channels."),
        (
            lambda: limits.check_audio(999, 1, field="f"),
            "f: the audio has 999 samples per second; 1000 to 384000 are accepted.",
        ),
        (lambda: limits.check_audio(8_000, 33, field="f"), "f: the audio has 33 channels; at most 32 are accepted."),
    ],
)
def test_past_a_limit_is_one_sentence_with_the_figure(check: Callable[[], None], said: str) -> None:
    with pytest.raises(MediaError) as error:
        check()
    assert (str(error.value), error.value.field) == (said, "f")


def test_what_is_within_the_limits_passes() -> None:
    limits.check_streams(64, field="f")
    limits.check_picture(8_192, 4_352, field="f")
    limits.check_picture(4_352, 8_192, field="f")
    limits.check_frames(1_000_000, field="f")
    limits.check_length(-limits.MAX_LENGTH_MS, "audio", field="f")
    limits.check_rate(Fraction(480), field="f")
    limits.check_total(8_192, 4_352, 112_196, field="f")
    limits.check_audio(384_000, 32, field="f")


def probed(path: Path) -> object:
    """What a file is, or the one sentence that refuses it."""
    try:
        if sniff.container(path) in ("mp4", "mov"):
            return probe_video(path, field="file")
        return probe.probe_audio(path, field="file")
    except MediaError as error:
        text = str(error)
        assert (error.field, text[:6], text[-1]) == ("file", "file: ", ".")
        return text


@given(
    st.sampled_from(
        [b"", b"\0\0\0\x18ftypisom", b"\0\0\0\x08wide", b"RIFF\0\0\0\0WAVEfmt ", b"\xff\xfb\x90\0", b"ID3\4"]
    ),
    st.binary(max_size=400),
)
@FILES
def test_any_bytes_are_a_media_file_or_one_sentence(tmp_path: Path, head: bytes, rest: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(head + rest)
    probed(path)


@given(st.sampled_from(sorted(mutants.SEEDS)), st.floats(0, 1))
@FILES
def test_any_beginning_of_a_good_file_is_one_too_or_one_sentence(tmp_path: Path, name: str, share: float) -> None:
    whole = mutants.seed(name)
    path = tmp_path / "file"
    path.write_bytes(whole[: int(len(whole) * share)])
    probed(path)


@given(st.sampled_from(sorted(mutants.SEEDS)), st.data())
@FILES
def test_any_change_to_a_good_file_leaves_one_or_one_sentence(tmp_path: Path, name: str, data: st.DataObject) -> None:
    whole = bytearray(mutants.seed(name))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        patch = data.draw(st.binary(min_size=1, max_size=8))
        whole[at : at + len(patch)] = patch
    path = tmp_path / "file"
    path.write_bytes(whole)
    probed(path)
