"""Which face speaks where a choice leaves it open: the one who speaks at that place in the original.

Nothing here opens a file, so the server can import this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeVar

from duikou.errors import InputError
from duikou.faces.track import FaceWarning, Speaking
from duikou.pipeline.choice import AUTO, ChoiceValidator, FaceChoice
from duikou.timebase import Interval

LEAST_MS: Final = 300  # of speaking at the place of the new speech; less may be the end of somebody else's sentence
CLEAR_SHARE: Final = 0.6  # of all the speaking there: below it two people talk about as much


class Candidate(Protocol):
    """A face that may speak: `Face`, the server's record of one, or what a server tells of it."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def interval(self) -> Interval:
        """When it can be lip-synced."""

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Its usual place, (x, y, width, height) in pixels."""

    @property
    def speaking(self) -> tuple[Speaking, ...]:
        """When it speaks in the original."""


Shown = TypeVar("Shown", bound=Candidate)


@dataclass(frozen=True)
class Resolved:
    """A choice whose face is known. doubt: why the face may be the wrong one; `None` if it speaks there, or was named.

    auto: whether the choice had left it open.
    """

    choice: FaceChoice
    auto: bool = False
    doubt: FaceWarning | None = None


def resolve(
    choices: Sequence[FaceChoice],
    audio_ms: Sequence[int | None],
    faces: Sequence[Candidate],
    validator: ChoiceValidator,
) -> list[Resolved]:
    """The choices, each with a face of the session; choices that name one stay as they are.

    For `AUTO`, the face is taken that speaks longest and best at the place of the speech, of those that the validator
    accepts there. Where nobody does, or two people as much as each other, it is the most visible of them.
    audio_ms: length of each choice's audio, `None` while it is unknown. validator: with the intervals of the faces.
    Without any face the choices stay as they are, and the validator refuses them.
    """
    return [
        _resolved(choice, length, faces, validator) if choice.face_id == AUTO and faces else Resolved(choice)
        for choice, length in zip(choices, audio_ms, strict=True)
    ]


def told_apart(choices: Sequence[FaceChoice]) -> list[FaceChoice]:
    """The choices for checks before any face is known: each open one with an id of its own."""
    return [
        replace(choice, face_id=f"{AUTO} {number}") if choice.face_id == AUTO else choice
        for number, choice in enumerate(choices, 1)
    ]


def _resolved(
    choice: FaceChoice, audio_ms: int | None, faces: Sequence[Candidate], validator: ChoiceValidator
) -> Resolved:
    able = {face.id: place for face in faces if (place := _place(choice, audio_ms, face, validator))}
    if not able:  # the check of choices says why
        return Resolved(replace(choice, face_id=most_visible(faces).id), auto=True)
    place = Interval(min(one.start_ms for one in able.values()), max(one.end_ms for one in able.values()))
    fits = {face.id: _fits(face, able[face.id]) for face in faces if face.id in able}
    talking = [face for face in faces if fits.get(face.id)]
    best = max(fits, key=lambda face_id: fits[face_id])
    if fits[best] and fits[best] >= CLEAR_SHARE * sum(fits.values()):
        return Resolved(replace(choice, face_id=best), auto=True)
    chosen = most_visible(talking or [face for face in faces if face.id in able], place)
    who = f"faces {_listed([face.id for face in talking])} speak" if talking else "no face is seen to speak"
    message = (
        f"{who} from {place.start_ms} ms to {place.end_ms} ms in the original, so face {chosen.id} was chosen, "
        "the most visible"
    )
    return Resolved(replace(choice, face_id=chosen.id), True, FaceWarning("unclear_speaker", message, place))


def _place(choice: FaceChoice, audio_ms: int | None, face: Candidate, validator: ChoiceValidator) -> Interval | None:
    """When the speech plays if this face speaks it; `None` if it cannot."""
    try:
        checked = validator.check(replace(choice, face_id=face.id), audio_ms)
    except InputError:
        return None
    assert checked.trim_end_ms is not None  # the validator sets it
    return Interval(checked.insert_ms, checked.insert_ms + checked.trim_end_ms - checked.trim_start_ms)


def _fits(face: Candidate, place: Interval) -> float:
    """How long and how well a face speaks at a place, in ms; 0 for too little."""
    shared = [(one.interval.overlap(place), one.score) for one in face.speaking]
    parts = [(part.duration_ms, score) for part, score in shared if part]
    least = min(LEAST_MS, place.duration_ms / 2)
    return sum(ms * score for ms, score in parts) if sum(ms for ms, _ in parts) >= least else 0.0


def most_visible(faces: Sequence[Shown], place: Interval | None = None) -> Shown:
    """The face with the largest product of the time that it shows, at a place or at all, and its usual area."""

    def visible(face: Shown) -> int:
        shown = face.interval.overlap(place) if place else face.interval
        return (shown.duration_ms if shown else 0) * max(face.box[2] * face.box[3], 1)

    return max(faces, key=visible)


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
