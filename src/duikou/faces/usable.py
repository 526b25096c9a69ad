"""Checks that decide in which frames a mouth can be changed, with the reason where it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from duikou.arrays import BoolArray, Float32Array, Float64Array, Image, IntArray, blocks
from duikou.faces.pose import Pose, canonical, fit
from duikou.faces.track import FaceTrack

GAP_SAME_FACE_MS = 1_000  # the contract: a longer gap is a new face
MIN_PRESENCE = 0.5  # MediaPipe's default: below it the points do not lie on a face
MIN_LIPS_PX = 30.0  # width of the mouth as seen from the front; below it, teeth and lips are single pixels
MAX_YAW = 60.0  # degrees; beyond it the far corner of the mouth is hidden behind the lips
MAX_PITCH = 35.0  # degrees; beyond it the lips are foreshortened to half
MAX_OUTSIDE = 0.05  # share of the lower face's points that may lie outside the picture

LIP_CORNERS = (61, 291)
LOWER_FACE_Y = 0.2  # canonical units: below the nose

SIMILAR_YAW = 12.0  # degrees; colours are compared only between frames with a similar view
REFERENCES = 96  # frames that each frame is compared with, evenly spread over the face's time
MIN_REFERENCES = 5  # with fewer frames of a similar view there is no verdict
APART_MS = 300  # least distance of a reference; otherwise a passing hand would be compared with itself
UNLIKE_SPREAD = 4.0  # distance from a point's median, in robust standard deviations, that counts as a different colour
UNLIKE = 12.0  # least difference in levels of L, 2 a or 2 b, however still the face is otherwise
MIN_SPREAD = 5.0  # levels; light and noise change every point by this much
HIDDEN, NEAR_HIDDEN = 24.0, 5.0  # percent of the points around the lips that differ; talking faces reach 20,
# hands, cups and microphones on lips reach 32 to 90. Adjacent frames count as hidden too while they are above 5.
BLOCK = 1000  # rows of a track whose colours are compared at once
NORMAL_SPREAD = 1.48  # standard deviation of normal noise divided by its median absolute deviation
TINT_WEIGHT = 2.0  # a and b vary less than L

LIPS = (
    *(61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146),
    *(78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95),
)
"""The outer and the inner contour of the lips, each as a closed ring."""

CHEEKS_Y = -0.1  # canonical units: below the eyes, where lids and glasses change the colours
AROUND_LIPS = (0.02, 0.17)  # canonical units from the lips: skin that an object in front of the mouth covers too

MESSAGES = {
    "small_face": "the mouth is only {:.0f} pixels wide; at least {:.0f} are needed",
    "turned_away": "the face is turned sideways by {:.0f} degrees; the limit is {:.0f}",
    "tilted": "the face is tilted up or down by {:.0f} degrees; the limit is {:.0f}",
    "left_picture": "{:.0f} % of the lower face is outside the picture; the limit is {:.0f} %",
    "hidden_mouth": "something covers the mouth: {:.0f} % of the skin around it looks different; the limit is {:.0f} %",
    "unseen_lips": "the lips are hidden nearly all the time, as under a mask: their contrast is {:.2f}; at least "
    "{:.2f} is needed",
    "face_lost": "the face is detected with a confidence of only {:.2f}; at least {:.2f} is needed",
}
"""Sentence by code, with the worst value and the limit."""


@dataclass(frozen=True)
class Check:
    """One reason not to use a frame.

    figures: (N,) measured value of each frame. broken: (N,) whether it breaks the limit.
    """

    code: str
    figures: Float64Array
    limit: float
    broken: BoolArray

    def message(self, rows: slice) -> str:
        """The sentence for the frames `rows`."""
        figures = self.figures[rows][self.broken[rows]]
        least = self.code in {"small_face", "face_lost", "unseen_lips"}
        return MESSAGES[self.code].format(figures.min() if least else figures.max(), self.limit)


def checks(track: FaceTrack, width: int, height: int, pose: Pose | None = None) -> list[Check]:
    """All checks, the most important first, for a track in pictures of `width` x `height` pixels.

    A hidden mouth can be detected only if the track has its colours. pose: of the track, if it is known.
    """
    pose = pose or fit(track.landmarks)
    yaw, pitch, _ = np.abs(pose.degrees).T
    lips_px = lips_width(pose)
    outside = 100.0 * _outside(track.landmarks, width, height)
    presence = track.presence.astype(np.float64)
    found = [
        Check("face_lost", presence, MIN_PRESENCE, presence < MIN_PRESENCE),
        Check("left_picture", outside, 100 * MAX_OUTSIDE, outside > 100 * MAX_OUTSIDE),
        Check("turned_away", yaw, MAX_YAW, yaw > MAX_YAW),
        Check("tilted", pitch, MAX_PITCH, pitch > MAX_PITCH),
        Check("small_face", lips_px, MIN_LIPS_PX, lips_px < MIN_LIPS_PX),
    ]
    if track.colours is not None:
        inside = outside <= 100 * MAX_OUTSIDE
        unlike = 100.0 * _unlike(track.colours, pose.degrees[:, 0], track.times_ms, inside)
        found.append(Check("hidden_mouth", unlike, HIDDEN, _around_peaks(unlike, HIDDEN, NEAR_HIDDEN)))
    return found


def lips_width(pose: Pose) -> Float64Array:
    """(N,) width in pixels of the mouth at rest and seen from the front, derived from the size of the face."""
    corners = canonical()[list(LIP_CORNERS)]
    return np.asarray(pose.scale * np.linalg.norm(corners[1] - corners[0]), np.float64)


def usable_of(found: list[Check]) -> BoolArray:
    """(N,) whether no check is broken."""
    return np.asarray(~np.logical_or.reduce([check.broken for check in found]), np.bool_)


def usable_segments(usable: BoolArray, start_ms: IntArray, end_ms: IntArray) -> Iterator[slice]:
    """Segments that begin and end with a usable frame and contain no gap longer than `GAP_SAME_FACE_MS`.

    usable, start_ms, end_ms: (N,) by frame, in time order; frames may be missing. A gap is the time from the end of a
    usable frame's display to the start of the next usable frame.
    """
    rows = np.flatnonzero(usable)
    if not len(rows):
        return
    breaks = np.flatnonzero(start_ms[rows[1:]] - end_ms[rows[:-1]] > GAP_SAME_FACE_MS) + 1
    for stretch in np.split(rows, breaks):
        yield slice(int(stretch[0]), int(stretch[-1]) + 1)


def _outside(landmarks: Float32Array, width: int, height: int) -> Float64Array:
    """(N,) share of the lower face's points outside the picture."""
    points = landmarks[:, canonical()[:, 1] > LOWER_FACE_Y, :2]
    inside = (points >= -0.5).all(-1) & (points <= [width - 0.5, height - 0.5]).all(-1)
    return np.asarray(1.0 - inside.mean(1), np.float64)


def _unlike(colours: Image, yaw: Float64Array, times_ms: IntArray, inside: BoolArray) -> Float64Array:
    """(N,) share of the points around the lips whose colours differ from those in other frames with a similar view.

    A hand, a cup or a microphone changes these colours. Speech does not, and light changes the rest of the face as
    well. An object that covers the mouth nearly all the time is taken for the mouth.
    inside: (N,) where the lower face is inside the picture. Elsewhere its points have no colours of their own: such
    frames are neither compared nor compared with.
    """
    unlike = np.zeros(len(colours))
    rows = np.flatnonzero(inside)
    if len(rows) < MIN_REFERENCES:
        return unlike
    around, rest = _points()
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, min(REFERENCES, len(rows))).astype(int))]
    others = _median(weighted(colours[chosen][:, rest]), 0)

    def lit(some: IntArray) -> Float32Array:
        """The colours around the lips in some rows, as if their light were the usual one."""
        light = _median(weighted(colours[some][:, rest]) - others, 1)
        return weighted(colours[some][:, around]) - light[:, None]

    alike = np.abs(yaw[chosen] - yaw[rows, None]) < SIMILAR_YAW
    apart = alike & (np.abs(times_ms[chosen] - times_ms[rows, None]) >= APART_MS)
    compared = np.where(apart.sum(1, keepdims=True) >= MIN_REFERENCES, apart, alike)
    # Frames of a still head are compared with the same ones.
    sets, of_row = np.unique(compared, axis=0, return_inverse=True)
    for number, used in enumerate(sets):
        if used.sum() < MIN_REFERENCES:
            continue
        references = lit(chosen[used])
        usual = _median(references, 0)
        spread = NORMAL_SPREAD * _median(np.abs(references - usual), 0)
        for same in in_blocks(rows[of_row == number]):
            away = np.abs(lit(same) - usual)
            far = (away / np.maximum(spread, MIN_SPREAD)).max(-1) > UNLIKE_SPREAD
            unlike[same] = (far & (away.max(-1) > UNLIKE)).mean(-1)
    return unlike


def weighted(colours: Image) -> Float32Array:
    """Colours (..., 3) with a and b stretched to vary about as much as L."""
    return np.asarray(colours * np.array([1, TINT_WEIGHT, TINT_WEIGHT], np.float32), np.float32)


def in_blocks(rows: IntArray) -> Iterator[IntArray]:
    """The same rows, at most `BLOCK` at a time: what is computed of all colours of a long track would fill memory."""
    return (rows[part] for part in blocks(len(rows), BLOCK))


def _median(values: Float32Array, axis: int) -> Float32Array:
    """`np.median` along an axis, several times as fast: NumPy sorts what lies side by side in memory quickest."""
    ordered = np.sort(np.ascontiguousarray(np.moveaxis(values, axis, -1)), axis=-1)
    count = ordered.shape[-1]
    return np.asarray((ordered[..., (count - 1) // 2] + ordered[..., count // 2]) / 2, np.float32)


def _around_peaks(values: Float64Array, peak: float, near: float) -> BoolArray:
    """(N,) whether a value lies in a segment above `near` that reaches `peak` somewhere (hysteresis)."""
    number = np.cumsum(np.diff(values > near, prepend=False))
    reaches = np.zeros(int(number.max(initial=0)) + 1, bool)
    np.logical_or.at(reaches, number, values >= peak)
    return np.asarray(reaches[number], np.bool_)


@cache
def _points() -> tuple[list[int], list[int]]:
    """Numbers of the points around the lips, lips excluded, and of the rest of the face below the eyes."""
    face = canonical()[:468, :2]
    away = np.linalg.norm(face[:, None] - face[list(LIPS)], axis=-1).min(1)
    around = (face[:, 1] > LOWER_FACE_Y) & (away > AROUND_LIPS[0]) & (away < AROUND_LIPS[1])
    rest = (face[:, 1] > CHEEKS_Y) & (away >= AROUND_LIPS[1])
    return np.flatnonzero(around).tolist(), np.flatnonzero(rest).tolist()
