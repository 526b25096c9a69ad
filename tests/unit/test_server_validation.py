"""The contract's limits, each at its very edge."""

from __future__ import annotations

from dataclasses import fields, replace
from fractions import Fraction

import pytest

from duikou.errors import InputError
from duikou.media.probe import AudioInfo, VideoInfo
from duikou.media.sync_mode import SyncMode
from duikou.pipeline.choice import FaceChoice
from duikou.server import validation
from duikou.server.schemas.requests import FaceChoose
from duikou.tasks.models import FaceRecord, Media, MediaKind, SessionRecord
from duikou.timebase import Interval

VIDEO = VideoInfo("mp4", "h264", 1280, 720, 0, 250, Fraction(25), 10_000, None)
SOUND = AudioInfo("mp3", 44_100, 1, 5_000)
CHOICE = FaceChoice("", "0", 0, 5_000, 1_000, 1.0, 1.0)


def session(*faces: tuple[int, int], video_ms: int = 10_000) -> SessionRecord:
    """A video and its faces' intervals, by default one that is there throughout."""
    source = Media("1", "", MediaKind.SOURCE, "media/1.mp4", ".mp4", 5, video_ms, 0, 1)
    found = [FaceRecord(str(n), Interval(*one)) for n, one in enumerate(faces or [(0, video_ms)])]
    return SessionRecord("2", "", source, tuple(found), 0, 1)


def check(*choices: FaceChoice, faces: tuple[tuple[int, int], ...] = (), mode: SyncMode | None = None) -> None:
    """Check choices before their audio is known."""
    validation.check_choices(validation.validator_of(session(*faces), mode), choices)


@pytest.mark.parametrize("ms", [2_000, 60_000, 60_100])
def test_lengths_that_pass(ms: int) -> None:
    validation.check_video(replace(VIDEO, duration_ms=ms), "video_url", any_size=False)
    validation.check_audio(replace(SOUND, duration_ms=ms), "sound_file")


@pytest.mark.parametrize("ms", [0, 1_999, 60_101, 90_000])
def test_lengths_that_do_not(ms: int) -> None:
    with pytest.raises(InputError, match=rf"^video_url: the video lasts {ms} ms; it must last 2000 ms to 60000 ms\.$"):
        validation.check_video(replace(VIDEO, duration_ms=ms), "video_url", any_size=False)
    with pytest.raises(InputError, match=rf"^sound_file: the audio lasts {ms} ms; it must") as caught:
        validation.check_audio(replace(SOUND, duration_ms=ms), "sound_file")
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
    ("width", "height"),
    [
        *((1280, 720), (1920, 1080), (960, 960), (1276, 720), (1440, 1080)),
        *((960, 720), (720, 720), (684, 684), (2160, 684), (1134, 2160), (512, 1530), (2160, 1104)),
    ],
)
def test_sizes_of_the_720p_and_1080p_classes_pass(width: int, height: int) -> None:
    for turned in ({"width": width, "height": height}, {"width": height, "height": width}):
        validation.check_video(replace(VIDEO, **turned), "video_url", any_size=False)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("width", "height", "sentence"),
    [
        (511, 2160, "511x2160 pixels; each side must have 512 to 2160"),
        (2161, 1000, "2161x1000 pixels; each side must have 512 to 2160"),
        (
            854,
            512,
            "854x512 pixels, 437248 in all; only 720p and 1080p are taken: a shorter side of 684 to 1134, or 783360 to "
            r"2384640 in all\.$",
        ),
        (683, 683, "683x683 pixels, 466489 in all"),
        (512, 1529, "512x1529 pixels, 782848 in all"),
        (1135, 2160, "1135x2160 pixels, 2451600 in all"),
        (2160, 2160, "2160x2160 pixels, 4665600 in all"),
        (3840, 2160, "3840x2160 pixels; each side"),
    ],
)
def test_other_sizes_do_not_unless_the_setting_says_so(width: int, height: int, sentence: str) -> None:
    info = replace(VIDEO, width=width, height=height)
    with pytest.raises(InputError, match=sentence):
        validation.check_video(info, "video_url", any_size=False)
    with pytest.raises(InputError, match=f"{height}x{width} pixels"):
        validation.check_video(replace(VIDEO, width=height, height=width), "video_url", any_size=False)
    validation.check_video(info, "video_url", any_size=True)


def test_the_edges_of_the_pixel_count_and_of_the_shorter_side() -> None:
    sizes = validation.CONTRACT_SIZES
    assert (sizes.min_pixels, sizes.max_pixels) == (783_360, 2_384_640)
    assert (sizes.min_short_side, sizes.max_short_side) == (684, 1_134)


@pytest.mark.parametrize(("start", "end", "fits"), [(0, 2_000, True), (0, 1_999, False), (3_000, 1_000, False)])
def test_the_trim_is_two_seconds_at_least(start: int, end: int, fits: bool) -> None:
    choice = replace(CHOICE, trim_start_ms=start, trim_end_ms=end)
    if fits:
        check(choice)
        return
    with pytest.raises(InputError, match=rf"lasts {end - start} ms; at least 2000 ms must be left") as caught:
        check(choice)
    assert caught.value.field == "face_choose[0].sound_end_time"


@pytest.mark.parametrize(
    ("insert_ms", "face", "sentence"),
    [
        (5_100, (0, 10_000), None),
        (5_101, (0, 10_000), r"inserted at 5101 ms ends at 10101 ms, after the video's end at 10000 ms"),
        (0, (2_999, 10_000), None),
        (0, (3_001, 10_000), r"from 0 ms to 5000 ms shares 1999 ms with the interval of face 0, 3001 ms to 10000 ms"),
        (4_000, (0, 6_000), None),
        (4_000, (0, 5_999), r"shares 1999 ms"),
        (4_000, (0, 5_900), r"shares 1900 ms"),
        (0, (8_000, 10_000), r"shares 0 ms"),
    ],
)
def test_where_the_speech_may_be(insert_ms: int, face: tuple[int, int], sentence: str | None) -> None:
    choice = replace(CHOICE, insert_ms=insert_ms)
    if sentence is None:
        check(choice, faces=(face,))
        return
    with pytest.raises(InputError, match=sentence) as caught:
        check(choice, faces=(face,))
    assert caught.value.field == "face_choose[0].sound_insert_time"


@pytest.mark.parametrize(
    ("end_ms", "audio_ms", "video_ms", "clamped"),
    [
        (5_000, 5_000, 10_000, 5_000),
        (5_000, 4_950, 10_000, 4_950),
        (5_000, 4_900, 10_000, 4_900),
        (5_000, 9_000, 5_950, 4_950),
        (5_000, 9_000, 10_000, 5_000),
    ],
)
def test_small_overshoots_are_clamped(end_ms: int, audio_ms: int, video_ms: int, clamped: int) -> None:
    validator = validation.validator_of(session(video_ms=video_ms), None)
    assert validation.fit(validator, replace(CHOICE, trim_end_ms=end_ms), 0, audio_ms).trim_end_ms == clamped


def test_larger_overshoots_of_the_audio_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"^face_choose\[2\]\.sound_end_time: 5000 ms is after the audio's end at 4899 ms"
    ):
        validation.fit(validation.validator_of(session(), None), CHOICE, 2, 4_899)


def test_faces_are_known_and_say_one_thing_at_a_time() -> None:
    faces = ((0, 9_000), (0, 9_000))
    with pytest.raises(InputError, match=r"face_choose\[0\]\.face_id: the session has no face '7'; its faces: 0, 1\.$"):
        check(replace(CHOICE, face_id="7"), faces=faces)
    with pytest.raises(
        InputError, match=r"from 1000 ms to 6000 ms overlaps another one of face 0, from 1000"
    ) as caught:
        check(CHOICE, CHOICE, faces=faces)
    assert caught.value.field == "face_choose[1].sound_insert_time"


@pytest.mark.parametrize("mode", [SyncMode.LOOP, SyncMode.BOUNCE, SyncMode.SILENCE])
def test_speech_that_is_too_long_makes_the_video_longer_where_it_may(mode: SyncMode) -> None:
    choice = replace(CHOICE, insert_ms=8_000)
    check(choice, mode=mode)
    validator = validation.validator_of(session(), mode)
    fitted = validation.fit(validator, choice, 0, 5_000)
    assert fitted.trim_end_ms == 5_000
    assert validator.result_ms([fitted]) == 13_000


def test_speech_that_is_too_long_is_cut_off_where_it_may_be() -> None:
    choice = replace(CHOICE, insert_ms=6_000)
    validator = validation.validator_of(session((0, 8_500)), SyncMode.CUT_OFF)
    fitted = validation.fit(validator, choice, 0, 5_000)
    assert fitted.trim_end_ms == 2_500
    assert validator.result_ms([fitted]) == 10_000
    with pytest.raises(InputError, match="shares 1900 ms"):
        check(replace(choice, insert_ms=8_100), mode=SyncMode.CUT_OFF)


def test_a_result_is_no_longer_than_a_minute() -> None:
    with pytest.raises(InputError, match=r"^sync_mode: loop would make the video 69000 ms long"):
        check(replace(CHOICE, trim_end_ms=60_000, insert_ms=9_000), mode=SyncMode.LOOP)


BAD = [
    ({"trim_start_ms": -1}, "face_choose[0].sound_start_time"),
    ({"trim_end_ms": 1}, "face_choose[0].sound_end_time"),
    ({"insert_ms": -1}, "face_choose[0].sound_insert_time"),
    ({"audio_volume": 3.0}, "face_choose[0].sound_volume"),
    ({"original_volume": 3.0}, "face_choose[0].original_audio_volume"),
    ({"face_id": "9"}, "face_choose[0].face_id"),
]


@pytest.mark.parametrize(("change", "field"), BAD)
def test_every_error_names_a_field_of_the_wire(change: dict[str, object], field: str) -> None:
    choice = replace(CHOICE, **change)  # type: ignore[arg-type]
    for given in (
        lambda: check(choice),
        lambda: validation.fit(validation.validator_of(session(), None), choice, 0, 5_000),
    ):
        with pytest.raises(InputError) as caught:
            given()
        assert caught.value.field == field
    with pytest.raises(InputError, match=r"^face_choose: at least one face"):
        check()


def test_every_field_of_a_choice_has_a_name_on_the_wire() -> None:
    assert {field.name for field in fields(FaceChoice)} <= validation.WIRE_FIELDS.keys()
    assert set(validation.WIRE_FIELDS.values()) - {"face_choose", "sync_mode"} <= FaceChoose.model_fields.keys()
