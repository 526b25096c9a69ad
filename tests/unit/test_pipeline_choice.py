"""The one check of a choice, in the words of the library."""

from __future__ import annotations

import inspect
from dataclasses import fields, replace

import pytest

from duikou import FaceChoice, lip_sync
from duikou.errors import InputError, NotFoundError
from duikou.media.scope import OriginalScope
from duikou.media.sync_mode import SyncMode
from duikou.pipeline.choice import ChoiceLimits, ChoiceValidator
from duikou.timebase import Interval

AUDIO_MS = 3_000
VALIDATOR = ChoiceValidator({"0": Interval(1_000, 6_000)}, 6_000)
CHOICE = FaceChoice("speech.wav", insert_ms=1_500)
LONGER = (SyncMode.LOOP, SyncMode.BOUNCE, SyncMode.SILENCE)


def end(validator: ChoiceValidator, choice: FaceChoice) -> int | None:
    """The end of the trim once it is checked."""
    return validator.check(choice, AUDIO_MS).trim_end_ms


def test_a_good_choice_gets_its_end() -> None:
    assert VALIDATOR.check(CHOICE, AUDIO_MS) == replace(CHOICE, trim_end_ms=3_000)


BAD: list[tuple[dict[str, object], str, str]] = [
    ({"face_id": "7"}, "face_id", "the session has no face '7'; its faces: 0."),
    ({"trim_start_ms": -1}, "trim_start_ms", "-1 ms is less than 0."),
    ({"trim_end_ms": 3_101}, "trim_end_ms", "3101 ms is after the audio's end at 3000 ms."),
    (
        {"trim_start_ms": 2_000, "trim_end_ms": 2_000},
        "trim_end_ms",
        "the audio from 2000 ms to 2000 ms lasts 0 ms; at least 1 ms must be left.",
    ),
    ({"audio_volume": 2.5}, "audio_volume", "2.5 is not between 0 and 2."),
    ({"original_volume": -0.1}, "original_volume", "-0.1 is not between 0 and 2."),
    ({"original_scope": "clip"}, "original_scope", "'clip' is not one of speech, video."),
    ({"audio_volume": float("nan")}, "audio_volume", "nan is not between 0 and 2."),
    ({"insert_ms": -5}, "insert_ms", "-5 ms is less than 0."),
    (
        {"insert_ms": 3_101},
        "insert_ms",
        "the speech inserted at 3101 ms ends at 6101 ms, after the video's end at 6000 ms.",
    ),
    (
        {"insert_ms": 0, "trim_end_ms": 1_000},
        "insert_ms",
        "the speech from 0 ms to 1000 ms shares 0 ms with the interval of face 0, 1000 ms to 6000 ms; at least 1 ms "
        "are needed.",
    ),
]


@pytest.mark.parametrize(("change", "field", "reason"), BAD)
def test_a_bad_choice_gets_one_sentence(change: dict[str, object], field: str, reason: str) -> None:
    bad = replace(CHOICE, **change)  # type: ignore[arg-type]
    with pytest.raises(InputError) as error:
        VALIDATOR.check(bad, AUDIO_MS)
    assert (error.value.field, error.value.reason, str(error.value)) == (field, reason, f"{field}: {reason}")
    with pytest.raises(InputError) as error:
        VALIDATOR.check_all([bad], [AUDIO_MS])
    assert str(error.value) == f"choices[0].{field}: {reason}"
    assert isinstance(error.value, NotFoundError) == (field == "face_id")


def test_every_error_names_a_parameter_of_the_library() -> None:
    parameters = {field.name for field in fields(FaceChoice)} | set(inspect.signature(lip_sync).parameters)
    assert {field for _, field, _ in BAD} <= parameters
    assert {"choices", "sync_mode", "output"} <= parameters


def test_an_empty_face_list_and_a_face_named_twice() -> None:
    with pytest.raises(InputError, match=r"^choices: at least one face must be chosen\.$"):
        VALIDATOR.check_all([], [])
    with pytest.raises(InputError, match=r"^choices\[1\]\.face_id: face 0 is named twice; each face can speak once"):
        VALIDATOR.check_all([CHOICE, CHOICE], [AUDIO_MS, AUDIO_MS])


def test_without_the_length_of_the_audio_its_end_is_not_compared() -> None:
    assert VALIDATOR.check(replace(CHOICE, trim_end_ms=4_000)).trim_end_ms == 4_000
    with pytest.raises(ValueError, match="needs the length of its audio"):
        VALIDATOR.check(CHOICE)


@pytest.mark.parametrize("over", [1, 100])
def test_ends_that_overshoot_a_little_are_clamped(over: int) -> None:
    assert end(VALIDATOR, replace(CHOICE, trim_end_ms=3_000 + over)) == 3_000
    assert end(VALIDATOR, replace(CHOICE, insert_ms=3_000 + over)) == 3_000 - over


def test_cut_off_shortens_the_speech_and_nothing_else() -> None:
    validator = ChoiceValidator({"0": Interval(1_000, 4_000)}, 6_000, SyncMode.CUT_OFF)
    late = replace(CHOICE, trim_start_ms=200)
    assert end(validator, late) == 200 + 2_500
    assert end(validator, replace(late, insert_ms=1_000)) == 3_000
    assert end(replace(validator, sync_mode=None), late) == 3_000
    with pytest.raises(InputError, match=r"^insert_ms: the speech from 4000 ms to 6000 ms shares 0 ms"):
        validator.check(replace(CHOICE, insert_ms=4_000), AUDIO_MS)


@pytest.mark.parametrize("mode", LONGER)
def test_speech_may_end_after_a_video_that_becomes_longer(mode: SyncMode) -> None:
    validator = replace(VALIDATOR, sync_mode=mode)
    assert end(validator, replace(CHOICE, insert_ms=5_000)) == 3_000
    assert end(validator, replace(CHOICE, insert_ms=9_000)) == 3_000
    assert end(validator, replace(CHOICE, insert_ms=3_100)) == 2_900  # not late enough to add
    checked = validator.check(replace(CHOICE, insert_ms=9_000), AUDIO_MS)
    assert validator.result_ms([checked]) == 12_000
    for given in (lambda bad: validator.check(bad, AUDIO_MS), lambda bad: validator.check_all([bad], [AUDIO_MS])):
        with pytest.raises(InputError, match=r"^sync_mode: \w+ would make the video 60001 ms long.*at most 60000 ms"):
            given(replace(CHOICE, insert_ms=57_001))


def test_the_face_must_show_in_the_added_part() -> None:
    validator = ChoiceValidator({"0": Interval(0, 2_000)}, 6_000, SyncMode.LOOP)
    late = replace(CHOICE, insert_ms=6_500)
    assert end(validator, late) == 3_000
    for mode in (SyncMode.BOUNCE, SyncMode.SILENCE):
        with pytest.raises(InputError, match="shares 0 ms") as error:
            replace(validator, sync_mode=mode).check(late, AUDIO_MS)
        assert error.value.field == "insert_ms"


def test_speech_that_begins_after_the_end_is_one_sentence() -> None:
    with pytest.raises(InputError, match=r"from 6010 ms to 6010 ms shares 0 ms"):
        VALIDATOR.check(replace(CHOICE, trim_end_ms=50, insert_ms=6_010), AUDIO_MS)


def test_stricter_limits() -> None:
    validator = replace(VALIDATOR, limits=ChoiceLimits(min_trim_ms=2_000, min_overlap_ms=2_000))
    assert end(validator, CHOICE) == 3_000
    with pytest.raises(InputError, match=r"^trim_end_ms: .* lasts 1999 ms; at least 2000 ms must be left"):
        validator.check(replace(CHOICE, trim_end_ms=1_999), AUDIO_MS)
    short = replace(validator, intervals={"0": Interval(1_000, 3_500)})
    assert end(short, CHOICE) == 3_000
    with pytest.raises(InputError, match=r"shares 1999 ms with the interval of face 0, 1000 ms to 3499 ms"):
        replace(validator, intervals={"0": Interval(1_000, 3_499)}).check(CHOICE, AUDIO_MS)


STRICT = ChoiceValidator({"0": Interval(0, 6_000)}, 6_000, limits=ChoiceLimits(2_000, 2_000))


@pytest.mark.parametrize(
    ("change", "audio_ms", "left"),
    [
        ({"trim_start_ms": 3_000, "trim_end_ms": 5_100}, 5_000, 2_000),
        ({"trim_start_ms": 3_001, "trim_end_ms": 5_100}, 5_000, "the audio from 3001 ms to 5000 ms lasts 1999 ms"),
        ({"trim_start_ms": 3_100, "trim_end_ms": 5_100}, 5_000, "the audio from 3100 ms to 5000 ms lasts 1900 ms"),
        ({"trim_end_ms": 2_000}, 1_990, "the audio from 0 ms to 1990 ms lasts 1990 ms"),
        ({"trim_end_ms": 2_007}, 2_000, 2_000),  # a prober's rounded length
        ({"trim_end_ms": 2_000, "insert_ms": 4_000}, 2_000, 2_000),
        ({"trim_end_ms": 2_050, "insert_ms": 4_000}, 2_050, 2_000),
        ({"trim_end_ms": 2_000, "insert_ms": 4_001}, 2_000, "the speech from 4001 ms to 6000 ms shares 1999 ms"),
        ({"trim_end_ms": 2_000, "insert_ms": 4_100}, 2_000, "the speech from 4100 ms to 6000 ms shares 1900 ms"),
    ],
)
def test_two_seconds_are_left_after_an_end_is_clamped(change: dict[str, int], audio_ms: int, left: int | str) -> None:
    choice = replace(FaceChoice("speech.wav"), **change)  # type: ignore[arg-type]
    if isinstance(left, int):
        assert STRICT.check(choice, audio_ms).trim_end_ms == choice.trim_start_ms + left
        return
    with pytest.raises(InputError, match=left):
        STRICT.check(choice, audio_ms)


@pytest.mark.parametrize("mode", [None, *SyncMode])
def test_two_seconds_are_shared_with_the_face_in_every_mode(mode: SyncMode | None) -> None:
    validator = replace(STRICT, intervals={"0": Interval(0, 4_000)}, sync_mode=mode)
    assert end(validator, replace(CHOICE, insert_ms=2_000)) == (2_000 if mode is SyncMode.CUT_OFF else 3_000)
    with pytest.raises(InputError, match=r"shares 1900 ms with the interval of face 0, 0 ms to 4000 ms; at least 2000"):
        validator.check(replace(CHOICE, insert_ms=2_100), AUDIO_MS)


def test_a_scope_is_named_by_its_value() -> None:
    assert VALIDATOR.check(replace(CHOICE, original_scope="video"), AUDIO_MS).original_scope is OriginalScope.VIDEO
