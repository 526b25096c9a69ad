"""What the colours of a whole track say of a face: whether its lips ever show, and whether it is a flat drawing.

Both look at `FaceTrack.colours`, which the landmarker's picture gives for free. One frame decides nothing.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from duikou.arrays import Float32Array, Float64Array, Image, IntArray
from duikou.faces.appearance import MESH_POINTS
from duikou.faces.pose import canonical
from duikou.faces.track import FaceTrack
from duikou.faces.usable import LIPS, Check, in_blocks, usable_of, weighted

SKIN_RING = (186, 92, 165, 167, 164, 393, 391, 322, 410, 273, 335, 406, 313, 18, 83, 182, 106, 43)
"""Skin right outside the lips, without their corners, once around: 9 points above and 9 below."""

LIP_RINGS = (
    (184, 74, 73, 72, 11, 302, 303, 304, 408, 307, 320, 404, 315, 16, 85, 180, 90, 77),
    (183, 42, 41, 38, 12, 268, 271, 272, 407, 325, 319, 403, 316, 15, 86, 179, 89, 96),
    (191, 80, 81, 82, 13, 312, 311, 310, 415, 324, 318, 402, 317, 14, 87, 178, 88, 95),
)
"""The red of the lips (two rings) and the line where they meet, each point beside that of `SKIN_RING`."""

MIN_STANDING_OUT = 0.6
"""Least `lips_standing_out` of lips that show.

Uncovered, 18 clips: the demo's portrait 1.16, `office_700px_22fps` 1.18, all others (closed and smiling lips, beards, a
cap, drawings) 1.42 and more. The same in grey, dim to a sixth, coarsely coded, with lips of 31 pixels, dark or painted
lips: 0.87 and more; with lips as pale as the skin 0.86; blown out or blurred until little is seen 0.65.
Covered throughout: a pleated cloth mask 0.40, coarsely coded 0.45; 199 clips made with masks, scarves and a hand in one
colour, also that of the skin, at most 0.27. Of 64 patterned covers 53 are below the limit, all below 0.8; of 16 with
broad stripes along the mouth, none: they reach 1.2 to 2.0.
"""

SHADING, ELSEWHERE, UNEVEN, NOISE = 0.1, 0.3, 0.6, 10.0
"""What a cover shows where the lips would be, as shares of its brightness plus `NOISE` levels (folds and shadows), of
its difference from the forehead's colour, and of how uneven it is. Found by trying masks on real clips."""

FOREHEAD_Y, FOREHEAD_X = (-0.7, -0.2), 0.6  # canonical units: above the highest mask, below the hair
OFTEN = 0.75  # quantile over the frames: lips that show in a quarter of the time show

SAME_TONE = 0.02  # of the brightness: skin that differs by less has one flat colour
CLIPPED = 250.0  # levels of L; blown-out skin is flat, and no drawing
LOOKED_AT = 12  # frames, evenly spread: a drawing is one throughout
LIPS_AWAY, EYES_AWAY, BROWS_AWAY, FRONT = 0.03, 0.2, 0.05, 0.75
"""Skin is farther than this from lips, eyes and brows, in canonical units, and in this front part of the head."""

EYES = ((33, 133, 159, 145), (263, 362, 386, 374))
EYE_ASPECT = 1.3
BROWS = (70, 63, 105, 66, 107, 300, 293, 334, 296, 336)


def lips_standing_out(colours: Image) -> float:
    """How much lips differ from what is around them, over what a cover would show there. 1 and more: lips.

    colours: (N, 478, 3) of a track's usable frames. Lips differ from the skin around them all along, and the line
    between them too. A cover differs from the forehead or is one surface, whose folds and patterns do not follow the
    lips.
    """
    shares = [_standing_out(weighted(colours[rows])) for rows in in_blocks(np.arange(len(colours)))]
    return float(np.quantile(np.concatenate(shares), OFTEN))


def _standing_out(values: Float32Array) -> Float64Array:
    """The same of each frame, (N,). values: weighted colours."""
    skin = values[:, SKIN_RING]
    lips = np.max([_length((values[:, ring] - skin).mean(1)) for ring in LIP_RINGS], axis=0)
    elsewhere = _length(np.median(skin, 1) - np.median(values[:, _forehead()], 1))
    brightness = np.median(skin[..., 0], 1) + NOISE
    cover = SHADING * brightness + ELSEWHERE * elsewhere + UNEVEN * _length(skin.std(1))
    return np.asarray(lips / cover, np.float64)


def flat_share(colours: Image) -> float:
    """Share of the skin, 0 to 1, that has one flat colour in most frames of a track. colours: (N, 478, 3)."""
    chosen = np.unique(np.linspace(0, len(colours) - 1, min(LOOKED_AT, len(colours))).astype(int))
    shares = []
    for skin in colours[chosen][:, _skin()].astype(np.float32):
        lit = skin[skin[:, 0] < CLIPPED]
        same = np.ones((len(lit), len(lit)), bool)
        for channel in lit.T:
            same &= np.abs(channel[:, None] - channel) <= SAME_TONE * np.median(skin[:, 0])
        shares.append(same.sum(1).max(initial=0) / len(skin))
    return float(np.median(shares))


def lips_check(track: FaceTrack, found: list[Check]) -> Check | None:
    """A check that every frame of a whole track breaks if its lips never show in the frames that `found` leaves.

    `None` where those frames have no colours.
    """
    usable = usable_of(found)
    if track.colours is None or not usable.any():
        return None
    figures = np.full(len(track), lips_standing_out(track.colours[usable]))
    return Check("unseen_lips", figures, MIN_STANDING_OUT, figures < MIN_STANDING_OUT)


def _length(values: Float32Array | Float64Array) -> Float64Array:
    return np.asarray(np.linalg.norm(values, axis=-1), np.float64)


@cache
def _forehead() -> IntArray:
    """Points of the forehead between the hair and the highest mask."""
    skin = canonical()[_skin()]
    high = (skin[:, 1] > FOREHEAD_Y[0]) & (skin[:, 1] < FOREHEAD_Y[1]) & (np.abs(skin[:, 0]) < FOREHEAD_X)
    return _skin()[high]


@cache
def _skin() -> IntArray:
    """Points of the skin that is seen from the front, without eyes, brows and lips."""
    face = canonical()[:MESH_POINTS].astype(np.float64)
    flat = face[:, :2]
    lips = _nearest(flat, flat[list(LIPS)]) > LIPS_AWAY
    brows = _nearest(flat, flat[list(BROWS)]) > BROWS_AWAY
    eyes = np.stack([flat[list(eye)].mean(0) for eye in EYES]) / [EYE_ASPECT, 1]
    away = _nearest(flat / [EYE_ASPECT, 1], eyes) > EYES_AWAY
    front = face[:, 2] < face[:, 2].min() + FRONT * np.ptp(face[:, 2])
    return np.flatnonzero(lips & brows & away & front)


def _nearest(points: Float64Array, others: Float64Array) -> Float64Array:
    return np.asarray(np.linalg.norm(points[:, None] - others, axis=-1).min(1), np.float64)
