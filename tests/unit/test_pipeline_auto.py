"""`auto`: the face that speaks at the place of the new speech, or else the most visible one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from duikou import FaceChoice
from duikou.errors import NotFoundError
from duikou.faces.track import Speaking
from duikou.media.sync_mode import SyncMode
from duikou.pipeline.auto import resolve, told_apart
from duikou.pipeline.choice import AUTO, ChoiceLimits, ChoiceValidator
from duikou.timebase import Interval

VIDEO_MS = 10_000


@dataclass(frozen=True)
class Seen:
    """A face as `resolve` needs it."""

    id: str
    interval: Interval
    box: tuple[int, int, int, int]
    speaking: tuple[Speaking, ...] = ()


def seen(face_id: str, width: int, start: int, end: int, *spoken: tuple[int, int, float]) -> Seen:
    speaking = tuple(Speaking(Interval(first, last), score) for first, last, score in spoken)
    return Seen(face_id, Interval(start, end), (0, 0, width, width), speaking)


LEFT = seen("0", 100, 0, 10_000, (0, 4_000, 0.4), (8_000, 8_200, 0.5))
RIGHT = seen("1", 200, 0, 6_000, (4_200, 6_000, 0.3))


def piece(start: int, end: int, face_id: str = AUTO) -> FaceChoice:
    return FaceChoice("speech.wav", face_id, trim_end_ms=end - start, insert_ms=start)


def resolved(
    *choices: FaceChoice, faces: tuple[Seen, ...] = (LEFT, RIGHT), mode: SyncMode | None = None, least_ms: int = 1
) -> list[tuple[str, str]]:
    """The face of each choice, and the doubt about it."""
    limits = ChoiceLimits(min_overlap_ms=least_ms)
    validator = ChoiceValidator({face.id: face.interval for face in faces}, VIDEO_MS, mode, limits)
    found = resolve(choices, [60_000] * len(choices), faces, validator)
    assert [replace(one.choice, face_id="") for one in found] == [replace(choice, face_id="") for choice in choices]
    assert all(one.doubt is None or one.doubt.code == "unclear_speaker" for one in found)
    return [(one.choice.face_id, one.doubt.message if one.doubt else "") for one in found]


def test_each_piece_goes_to_the_one_who_speaks_there() -> None:
    assert resolved(piece(0, 3_000), piece(4_000, 6_000), piece(3_000, 4_500)) == [("0", ""), ("1", ""), ("0", "")]


def test_a_named_face_stays() -> None:
    assert resolved(piece(0, 3_000, "1"), piece(0, 3_000, "7")) == [("1", ""), ("7", "")]


@pytest.mark.parametrize(
    ("start", "end", "face_id", "reason"),
    [
        (6_500, 9_000, "0", "no face is seen to speak from 6500 ms to 9000 ms"),  # 200 ms are too little
        (3_500, 4_900, "1", "faces 0 and 1 speak from 3500 ms to 4900 ms"),
    ],
)
def test_in_doubt_it_is_the_most_visible_there(start: int, end: int, face_id: str, reason: str) -> None:
    ((found, doubt),) = resolved(piece(start, end))
    assert (found, doubt) == (
        face_id,
        f"{reason} in the original, so face {face_id} was chosen, the most visible",
    )


def test_a_short_piece_needs_little_speaking() -> None:
    assert resolved(piece(8_000, 8_300)) == [("0", "")]


def test_only_faces_that_the_validator_accepts_there_are_chosen() -> None:
    assert resolved(piece(5_000, 9_000), least_ms=2_000)[0][0] == "0", "face 1 shows for only 1 s of it"
    assert resolved(piece(5_000, 9_000)) == [("1", "")]
    assert resolved(piece(4_000, 9_000), mode=SyncMode.CUT_OFF) == [("1", "")]


def test_sessions_of_former_versions_have_the_most_visible() -> None:
    old = (replace(LEFT, speaking=()), replace(RIGHT, speaking=()))
    assert [face for face, _ in resolved(piece(0, 3_000), piece(5_500, 9_000), faces=old)] == ["1", "0"]


def test_where_no_face_fits_the_check_of_choices_says_why() -> None:
    assert resolved(piece(8_000, 12_000)) == [("1", "")]
    validator = ChoiceValidator({}, VIDEO_MS)
    (found,) = resolve([piece(0, 3_000)], [None], (), validator)
    with pytest.raises(NotFoundError, match="the session has no face 'auto'; its faces: none"):
        validator.check(found.choice)


def test_open_choices_are_told_apart_before_faces_are_known() -> None:
    ids = [one.face_id for one in told_apart([piece(0, 1), piece(0, 1, "3"), piece(0, 1)])]
    assert ids == ["auto 1", "3", "auto 3"]
