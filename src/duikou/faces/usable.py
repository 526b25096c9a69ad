"""Where a mouth can be changed, and the reason where it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from duikou.faces.pose import canonical, fit
from duikou.faces.track import FaceTrack

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

GAP_SAME_FACE_MS = 1_000  # the contract: a longer gap is a new face
MIN_PRESENCE = 0.5  # MediaPipe's default: below it the points are not of a face
MIN_LIPS_PX = 30.0  # width of the mouth as if seen from the front; below it teeth and lips are single pixels
MAX_YAW = 45.0  # degrees; beyond it the far corner of the mouth is hidden
MAX_PITCH = 35.0  # degrees; beyond it the lips are foreshortened to half
MAX_OUTSIDE = 0.05  # share of the lower face's points that may lie outside the picture

LIP_CORNERS = (61, 291)
LOWER_FACE_Y = 0.2  # canonical units: below the nose

SIMILAR_YAW = 12.0  # degrees; looks are compared between moments of like view only
REFERENCES = 48  # moments that one is compared with, evenly spread over the face's time
MIN_REFERENCES = 5  # fewer moments of like view say nothing
HIDDEN_RATIO = 2.4  # times the usual change of skin times that of lips; talking faces reach 2.3, fingers on lips 2.8
HIDDEN_CHANGE = 6.0  # grey levels; less than that is no hand, however still the face is otherwise
TINT_WEIGHT = 2.0  # a and b vary less than L

LIPS = (
    *(61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146),
    *(78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95),
)
"""The outer and the inner line of the lips, each once around."""

MESSAGES = {
    "small_face": "the mouth is only {:.0f} pixels wide; {:.0f} are needed",
    "turned_away": "the face is turned by {:.0f} degrees; {:.0f} is the most that works",
    "tilted": "the face looks {:.0f} degrees up or down; {:.0f} is the most that works",
    "left_picture": "{:.0f} % of the lower face is outside the picture; {:.0f} % is the most that works",
    "hidden_mouth": "something covers the mouth: its colours change {:.1f} times as much as usual; {:.1f} is the limit",
    "face_lost": "the face is seen with a confidence of {:.2f} only; {:.2f} is needed",
}
"""By code: the sentence, with the worst figure and the limit."""


@dataclass(frozen=True)
class Check:
    """One reason not to use a frame: its code, how bad each frame is (N,), the limit, and who breaks it (N,)."""

    code: str
    figures: DoubleArray
    limit: float
    broken: BoolArray

    def message(self, rows: slice) -> str:
        """The sentence for some of the frames."""
        figures = self.figures[rows][self.broken[rows]]
        least = self.code in {"small_face", "face_lost"}
        return MESSAGES[self.code].format(figures.min() if least else figures.max(), self.limit)


def checks(track: FaceTrack, width: int, height: int, colours: FloatArray | None = None) -> list[Check]:
    """Every reason, the weightiest first, for a track in pictures of `width` x `height` pixels.

    colours: (N, 478, 3) as `looks.colours` gives them; without them a hidden mouth cannot be told.
    """
    pose = fit(track.landmarks)
    yaw, pitch, _ = np.abs(pose.degrees).T
    lips_px = lips_width(track)
    outside = 100.0 * _outside(track.landmarks, width, height)
    presence = track.presence.astype(np.float64)
    found = [
        Check("face_lost", presence, MIN_PRESENCE, presence < MIN_PRESENCE),
        Check("left_picture", outside, 100 * MAX_OUTSIDE, outside > 100 * MAX_OUTSIDE),
        Check("turned_away", yaw, MAX_YAW, yaw > MAX_YAW),
        Check("tilted", pitch, MAX_PITCH, pitch > MAX_PITCH),
        Check("small_face", lips_px, MIN_LIPS_PX, lips_px < MIN_LIPS_PX),
    ]
    if colours is not None:
        change, hidden = _hidden(colours, pose.degrees[:, 0])
        found.append(Check("hidden_mouth", change, HIDDEN_RATIO, hidden))
    return found


def lips_width(track: FaceTrack) -> DoubleArray:
    """(N,) pixels from one corner of the mouth to the other, at rest and seen from the front, by the face's size."""
    corners = canonical()[list(LIP_CORNERS)]
    return np.asarray(fit(track.landmarks).scale * np.linalg.norm(corners[1] - corners[0]), np.float64)


def usable_of(found: list[Check]) -> BoolArray:
    """(N,) whether no check is broken."""
    return np.asarray(~np.logical_or.reduce([check.broken for check in found]), np.bool_)


def runs(usable: BoolArray, start_ms: IntArray, end_ms: IntArray) -> Iterator[slice]:
    """Stretches that begin and end usable and within which no gap is longer than `GAP_SAME_FACE_MS`.

    usable, start_ms, end_ms: (N,) by frame, in time order; frames may be missing. A gap is the time from the end of a
    usable frame's display to the next usable frame.
    """
    rows = np.flatnonzero(usable)
    if not len(rows):
        return
    breaks = np.flatnonzero(start_ms[rows[1:]] - end_ms[rows[:-1]] > GAP_SAME_FACE_MS) + 1
    for stretch in np.split(rows, breaks):
        yield slice(int(stretch[0]), int(stretch[-1]) + 1)


def _outside(landmarks: FloatArray, width: int, height: int) -> DoubleArray:
    """(N,) share of the lower face's points outside the picture."""
    points = landmarks[:, canonical()[:, 1] > LOWER_FACE_Y, :2]
    inside = (points >= -0.5).all(-1) & (points <= [width - 0.5, height - 0.5]).all(-1)
    return np.asarray(1.0 - inside.mean(1), np.float64)


def _hidden(colours: FloatArray, yaw: DoubleArray) -> tuple[DoubleArray, BoolArray]:
    """How much the mouth's colours differ from those of like views, relative to the usual (N,), and whether too much.

    A hand, a cup or a microphone changes the skin around the mouth and the lips at once; speech changes the lips, light
    changes both a little. What covers the mouth nearly always is taken for the mouth.
    """
    skin = _change(colours[:, _skin_points()], yaw)
    lips = _change(colours[:, list(LIPS)], yaw)
    ratio = _over_median(skin) * _over_median(lips)
    return ratio, (ratio > HIDDEN_RATIO) & (skin > HIDDEN_CHANGE)


def _change(colours: FloatArray, yaw: DoubleArray) -> DoubleArray:
    """(N,) median difference of colours (N, K, 3) from those at moments of like yaw; 0 where there are too few."""
    values = colours * np.array([1, TINT_WEIGHT, TINT_WEIGHT], np.float32)
    values[:, :, 0] -= np.median(values[:, :, 0], 1, keepdims=True)  # light that comes and goes is no hand
    chosen = np.unique(np.linspace(0, len(values) - 1, REFERENCES).astype(int))
    change = np.zeros(len(values))
    for row, value in enumerate(values):
        like = chosen[np.abs(yaw[chosen] - yaw[row]) < SIMILAR_YAW]
        if len(like) >= MIN_REFERENCES:
            change[row] = np.median(np.abs(values[like] - value).mean((1, 2)))
    return change


def _over_median(values: DoubleArray) -> DoubleArray:
    return values / max(float(np.median(values)), 1.0)


def _skin_points() -> list[int]:
    """Points around the mouth that are not lips, and far enough from them not to turn into teeth."""
    face = canonical()[:468]
    lips = face[list(LIPS)]
    near = (face[:, 1] > LOWER_FACE_Y) & (face[:, 1] < 0.95) & (np.abs(face[:, 0]) < 0.42)
    apart = np.abs(lips[None] - face[:, None]).max(2).min(1) > 0.05
    return [int(point) for point in np.flatnonzero(near & apart)]
