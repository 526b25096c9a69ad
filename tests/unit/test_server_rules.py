"""The contract's limits, each at its very edge."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from duikou.errors import InputError
from duikou.media.probe import AudioInfo, VideoInfo
from duikou.media.sync_mode import SyncMode
from duikou.server import validation
from duikou.tasks.models import ChoiceRecord, FaceSummary, Media, MediaKind, SessionRecord
from duikou.timebase import Interval

VIDEO = VideoInfo("mp4", "h264", 1280, 720, 0, 250, Fraction(25), 10_000, None)
SOUND = AudioInfo("mp3", 44_100, 1, 5_000)
CHOICE = ChoiceRecord("", "0", 0, 5_000, 1_000, 1.0, 1.0)


def session(*faces: tuple[int, int], video_ms: int = 10_000) -> SessionRecord:
    """A video and its faces' intervals, by default one that is there throughout."""
    source = Media("1", "", MediaKind.SOURCE, "media/1.mp4", ".mp4", 5, video_ms, 0, 1)
    found = [FaceSummary(str(n), Interval(*one)) for n, one in enumerate(faces or [(0, video_ms)])]
    return SessionRecord("2", "", source, tuple(found), 0, 1)


@pytest.mark.parametrize("ms", [2_000, 60_000, 60_100])
def test_lengths_that_pass(ms: int) -> None:
    validation.check_video(replace(VIDEO, duration_ms=ms), "video_url", any_size=False)
    validation.check_sound(replace(SOUND, duration_ms=ms), "sound_file")


@pytest.mark.parametrize("ms", [0, 1_999, 60_101, 90_000])
def test_lengths_that_do_not(ms: int) -> None:
    with pytest.raises(InputError, match=rf"^video_url: the video lasts {ms} ms; it must last 2000 ms to 60000 ms\.$"):
        validation.check_video(replace(VIDEO, duration_ms=ms), "video_url", any_size=False)
    with pytest.raises(InputError, match=rf"^sound_file: the sound lasts {ms} ms; it must") as caught:
        validation.check_sound(replace(SOUND, duration_ms=ms), "sound_file")
    assert caught.value.field == "sound_file"


@pytest.mark.parametrize("rate", [Fraction(1), Fraction(24_000, 1_001), Fraction(120), Fraction(121)])
def test_rates_that_pass(rate: Fraction) -> None:
    validation.check_video(replace(VIDEO, rate=rate), "video_url", any_size=False)


@pytest.mark.parametrize(
    ("rate", "told"), [(Fraction(122), "122"), (Fraction(480), "480"), (Fraction(10**9, 3), "3.33333e\\+08")]
)
@pytest.mark.parametrize("any_size", [True, False])
def test_rates_that_do_not(rate: Fraction, told: str, any_size: bool) -> None:
    with pytest.raises(InputError, match=rf"^video_url: the video has {told} frames per second; at most 120 are taken"):
        validation.check_video(replace(VIDEO, rate=rate), "video_url", any_size=any_size)


@pytest.mark.parametrize(
    ("width", "height"), [(1280, 720), (720, 1280), (1920, 1080), (1080, 1920), (960, 960), (1276, 720), (1440, 1080)]
)
def test_sizes_of_the_720p_and_1080p_classes_pass(width: int, height: int) -> None:
    validation.check_video(replace(VIDEO, width=width, height=height), "video_url", any_size=False)


@pytest.mark.parametrize(
    ("width", "height", "sentence"),
    [
        (511, 2160, "511x2160 pixels; each side must have 512 to 2160"),
        (2161, 1000, "2161x1000 pixels; each side must have 512 to 2160"),
        (854, 512, "854x512 pixels, 437248 in all; only the 720p and 1080p classes are taken, 783360 to 2384640"),
        (2160, 2160, "2160x2160 pixels, 4665600 in all"),
        (3840, 2160, "3840x2160 pixels; each side"),
    ],
)
def test_other_sizes_do_not_unless_the_setting_says_so(width: int, height: int, sentence: str) -> None:
    info = replace(VIDEO, width=width, height=height)
    with pytest.raises(InputError, match=sentence):
        validation.check_video(info, "video_url", any_size=False)
    validation.check_video(info, "video_url", any_size=True)


def test_the_edges_of_the_pixel_count() -> None:
    assert (validation.MIN_PIXELS, validation.MAX_PIXELS) == (783_360, 2_384_640)


@pytest.mark.parametrize(("start", "end", "fits"), [(0, 2_000, True), (0, 1_999, False), (3_000, 1_000, False)])
def test_the_crop_is_two_seconds_at_least(start: int, end: int, fits: bool) -> None:
    choice = replace(CHOICE, sound_start_ms=start, sound_end_ms=end)
    if fits:
        validation.check_choices([choice], session(), None)
        return
    with pytest.raises(InputError, match=rf"lasts {end - start} ms; at least 2000 ms must be left") as caught:
        validation.check_choices([choice], session(), None)
    assert caught.value.field == "face_choose[0].sound_end_time"


@pytest.mark.parametrize(
    ("insert_ms", "face", "sentence"),
    [
        (5_100, (0, 10_000), None),
        (5_101, (0, 10_000), r"inserted at 5101 ms ends at 10101 ms, after the video's end at 10000 ms"),
        (0, (2_999, 10_000), None),
        (0, (3_001, 10_000), r"from 0 ms to 5000 ms shares 1999 ms with the interval of face 0, 3001 ms to 10000 ms"),
        (4_000, (0, 5_900), None),
        (4_000, (0, 5_899), r"shares 1999 ms"),
        (0, (8_000, 10_000), r"shares 0 ms"),
    ],
)
def test_where_the_speech_may_be(insert_ms: int, face: tuple[int, int], sentence: str | None) -> None:
    choice = replace(CHOICE, insert_ms=insert_ms)
    if sentence is None:
        assert validation.check_choices([choice], session(face), None) == [FaceSummary("0", Interval(*face))]
        return
    with pytest.raises(InputError, match=sentence) as caught:
        validation.check_choices([choice], session(face), None)
    assert caught.value.field == "face_choose[0].sound_insert_time"


@pytest.mark.parametrize(
    ("end_ms", "sound_ms", "video_ms", "clamped"),
    [
        (5_000, 5_000, 10_000, 5_000),
        (5_000, 4_950, 10_000, 4_950),
        (5_000, 4_900, 10_000, 4_900),
        (5_000, 9_000, 5_950, 4_950),
        (5_000, 9_000, 10_000, 5_000),
    ],
)
def test_small_overshoots_are_clamped(end_ms: int, sound_ms: int, video_ms: int, clamped: int) -> None:
    choice = replace(CHOICE, sound_end_ms=end_ms)
    fitted = validation.fitted(choice, "face_choose[0]", sound_ms, session(video_ms=video_ms), None)
    assert fitted.sound_end_ms == clamped


def test_larger_overshoots_of_the_sound_are_refused() -> None:
    with pytest.raises(InputError, match="5000 ms is after the sound's end at 4899 ms"):
        validation.fitted(CHOICE, "face_choose[0]", 4_899, session(), None)


def test_faces_are_known_and_speak_once() -> None:
    with pytest.raises(InputError, match=r"face_choose\[0\]\.face_id: the session has no face '7'; its faces: 0, 1\.$"):
        validation.check_choices([replace(CHOICE, face_id="7")], session((0, 9_000), (0, 9_000)), None)
    with pytest.raises(InputError, match=r"face_choose\[1\]\.face_id: face 0 is named twice") as caught:
        validation.check_choices([CHOICE, CHOICE], session((0, 9_000), (0, 9_000)), None)
    assert caught.value.field == "face_choose[1].face_id"


@pytest.mark.parametrize("mode", [SyncMode.LOOP, SyncMode.BOUNCE, SyncMode.SILENCE])
def test_speech_that_is_too_long_makes_the_video_longer_where_it_may(mode: SyncMode) -> None:
    choice = replace(CHOICE, insert_ms=8_000)
    assert validation.check_choices([choice], session(), mode)
    fitted = validation.fitted(choice, "face_choose[0]", 5_000, session(), mode)
    assert fitted.sound_end_ms == 5_000
    assert validation.result_ms([fitted], session(), mode) == 13_000


def test_speech_that_is_too_long_is_cut_off_where_it_may_be() -> None:
    choice = replace(CHOICE, insert_ms=6_000)
    fitted = validation.fitted(choice, "face_choose[0]", 5_000, session((0, 8_500)), SyncMode.CUT_OFF)
    assert fitted.sound_end_ms == 2_500
    assert validation.result_ms([fitted], session(), SyncMode.CUT_OFF) == 10_000
    with pytest.raises(InputError, match="shares 1900 ms"):
        validation.check_choices([replace(choice, insert_ms=8_100)], session(), SyncMode.CUT_OFF)


def test_a_result_is_no_longer_than_a_minute() -> None:
    with pytest.raises(InputError, match="sync_mode: loop would make the video 69000 ms long"):
        validation.check_choices([replace(CHOICE, sound_end_ms=60_000, insert_ms=9_000)], session(), SyncMode.LOOP)
