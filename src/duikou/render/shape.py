"""Mouth motion to the shape of one person's mouth.

All shapes here are canonical: the head's pose is removed, the unit is the distance between the outer eye corners, x is
right, y down, z away from the camera. A `MouthModel` predicts a person's lower face at a given gap and width. If the
track shows talking, the model is learnt from it (a ridge regression on its frames); otherwise `articulate` moves the
face by MakeHuman's face units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from scipy.ndimage import gaussian_filter1d, grey_closing, maximum_filter1d

from duikou.arrays import BoolArray, Float64Array, FloatArray, IntArray, blocks, smoothstep
from duikou.faces.track import POINTS
from duikou.render import mesh
from duikou.render.face_units import gestures

TALKING_SPREAD = 0.03
"""Spread of the lip gap (5th to 95th percentile, eye distances) above which a track shows talking: idle faces measure
0.003 to 0.012, a man who hardly opens his mouth 0.042."""

TALKING_FRAMES = 24
"""Least number of frames from which a mouth can be learnt."""

IDLE_GAP = 0.16
"""Widest gap of lively speech, in eye distances, for a face that never shows it (97th percentile of measured clips:
0.12 to 0.25, median 0.15)."""

GAP_RANGE = (0.07, 0.26)
"""Bounds of that gap if it is measured in the track: people who hardly open their mouth, or hide it under a moustache,
do not show their widest gap."""

WIDE_GAP, WIDE_JAW = 0.78, 0.69
"""Values that the curves of lively speech reach (97th percentile, mean of 307 recordings); they map to the person's
widest gap."""

WIDEST = 1.15
"""Maximum of lips and jaw, in widest gaps (99.5th percentile of measured lips: 1.06 in half of 307 clips)."""

JAW_PER_GAP = 0.80
"""How far the jaw goes down per unit of lip gap: the jaw makes most of an opening, the upper lip little."""

CHIN_PER_JAW = 0.5
"""How far the skin of the chin goes down with the jaw: 0.40 per unit of gap. Landmarks of 11 talking faces say 0.33
and show five sixths of the motion that optical flow finds on a chin's skin."""

LEAST_JAW = 0.7
"""Least lowering of the jaw under an open mouth, as a share of `JAW_PER_GAP`: what is heard of the jaw is uncertain."""

UPPER_SHARE = 0.24
"""Share of the gap that the upper lip makes."""

LIFT_PER_GAP, LIFT_PER_TIP, LIFT_PER_JAW, MOST_LIFT = -0.09, 0.028, -0.030, 0.025
"""How far both lips of an idle face move up, in eye distances: per unit of lip gap, for a tongue tip at the teeth, and
per share of its full range by which the jaw is lower than the gap tells; and the most that they do. Face units raise
the upper lip by 0.21 of the gap, nine people who talk by 0.12 (median), and at one gap their lips lie 1 mm higher or
lower (standard deviation). A third of that agrees with tongue and jaw as heard; here they make all of it."""

SPREAD, ROUNDING = 0.045, 0.13
"""Change of the mouth's width, in eye distances, for full spreading (as i) and full rounding (as u)."""

FRONT_TONGUE, BACK_TONGUE = 0.45, 0.8
"""How far the tongue is raised at the front under spread lips, and drawn back behind rounded ones: of most vowels, the
spread ones are front and the rounded ones back (Ladefoged and Johnson, "A Course in Phonetics")."""

WIDTH_PER_GAP = -0.2
"""Change of the width, in eye distances, per unit of lip gap, relative to the mean mouth of a face that talks."""

IDLE_WIDTH_PER_GAP = 0.3
"""The same relative to closed lips, for a face that never talks: mouths of 11 talking faces are wider open than closed,
by 0.039 at a gap of 0.12 and by 0.058 at 0.16."""

PROTRUSION = 0.05
"""How far rounded lips come forward, in eye distances."""

PRESSED = 0.012
"""How much red, in eye distances, each lip hides when it is pressed against the other."""

HEIGHTS = np.array([0.32, 0.585, 0.83, 0.965, 1, 0.965, 0.83, 0.585, 0.32])
"""Height of an opening along the mouth, relative to its middle, at the inner lip points but the corners: mean of ten
people who talk, lips 0.09 to 0.16 apart. Face units alone make it pointed: 0.76 in place of 0.83."""

FILLED_GAP = 0.03
"""Lip gap, in eye distances, from which an opening has that form: lips that hardly part touch beside the middle."""

CALM_WIDTH, CALM_SHARE = 0.54, 0.6
"""Width of a relaxed mouth, and share of the additional width and of the raised corners of a smile that a speaking
mouth loses."""

PAUSE_S = 1.0
"""A pause up to this length is part of the speech: the lips stay closed. After a longer pause a smile returns."""

SETTLE_S = 0.07
"""Standard deviation of the transition between rest and speech, and its lead before the voice and lag after it, so that
the last sound is still articulated: the smile returns while the lips leave that sound, not after they have closed."""

REST_WINDOW_S = 1.2
"""Time over which the rest of a face is averaged (standard deviation of the window)."""

RESTING = (*mesh.MOVED, mesh.NOSE_BRIDGE)
"""Points of which the rest is needed: those that move with speech, and one from which teeth are told."""

REST_SHARPNESS = 0.02
"""Scale, in eye distances of gap, of the preference for closed frames when the rest is averaged."""

RIDGE = 2e-4
"""Ridge penalty, in squared eye distances per frame: keeps the regression calm where a track shows little."""


@dataclass(frozen=True)
class Wanted:
    """The wanted mouth in each frame.

    gap: (N,) lip gap in eye distances. width: (N,) change of width relative to rest, in eye distances; spread: (N,) the
    part of it that the gap does not make. jaw: (N,) lowering of the jaw in eye distances. rounding, closure, dental:
    (N,) 0 to 1 as in the mouth motion. tongue: (N,) from -1, drawn back, over 0, low in the mouth, to 1, at the upper
    teeth. voice: (N,) 0 to 1, how far the wanted shape replaces the face at rest.
    """

    gap: Float64Array
    width: Float64Array
    spread: Float64Array
    jaw: Float64Array
    rounding: Float64Array
    closure: Float64Array
    dental: Float64Array
    tongue: Float64Array
    lift: Float64Array
    voice: Float64Array

    def part(self, rows: slice | IntArray) -> Wanted:
        """The same in some frames."""
        return Wanted(**{one.name: getattr(self, one.name)[rows] for one in fields(self)})


@dataclass(frozen=True)
class Rest:
    """The face at rest in N frames, which takes the memory of the points alone that differ from the shapes as filmed.

    filmed: (N, 478, 3). points: (N, P, 3) at rest, those of `RESTING`.
    """

    filmed: FloatArray
    points: Float64Array

    def __getitem__(self, rows: slice | IntArray) -> Float64Array:
        """The shapes (M, 478, 3) of some frames."""
        shapes = self.filmed[rows].astype(np.float64)
        shapes[:, list(RESTING)] = self.points[rows]
        return shapes

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True)
class MouthModel:
    """The mouth of one person.

    talks: whether the track shows enough talking to learn from.
    gap_scale: lip gap of the loudest open vowel. spread, rounding: changes of width for full spreading and rounding.
    coefficients: (F, 478 * 3) of the regression of shape on `features`, `None` for a face that does not talk.
    """

    talks: bool
    gap_scale: float
    spread: float
    rounding: float
    width: float
    coefficients: Float64Array | None

    @classmethod
    def fit(cls, shapes: FloatArray, angles: Float64Array, usable: BoolArray) -> MouthModel:
        """Learn a mouth from a track: shapes (N, 478, 3), angles (N, 2) yaw and pitch in degrees, usable (N,)."""
        learnt_from = shapes[usable].astype(np.float64)
        gaps, widths = mesh.lip_gap(learnt_from), mesh.lip_width(learnt_from)
        if len(gaps) < TALKING_FRAMES or np.ptp(np.percentile(gaps, (5, 95))) < TALKING_SPREAD:
            width = float(np.median(widths)) if len(widths) else 0.55
            return cls(False, IDLE_GAP, SPREAD, ROUNDING, width, None)
        low, mid, high = np.percentile(widths, (5, 50, 95))
        features = _features(gaps, widths, angles[usable])
        flat = learnt_from.reshape(len(gaps), -1)
        penalty = RIDGE * len(gaps) * np.eye(features.shape[1])
        penalty[0, 0] = 0
        learnt = np.linalg.solve(features.T @ features + penalty, features.T @ flat)
        return cls(
            talks=True,
            gap_scale=float(np.clip(np.percentile(gaps, 97), *GAP_RANGE)),
            spread=float(np.clip(high - mid, 0.6 * SPREAD, 1.5 * SPREAD)),
            rounding=float(np.clip(mid - low, 0.5 * ROUNDING, 1.2 * ROUNDING)),
            width=float(mid),
            coefficients=np.asarray(learnt, np.float64),
        )

    def wanted(self, motion: dict[str, Float64Array], rate: float) -> Wanted:
        """Mouth motion in this person's measures. motion: curves by name, each (N,) at `rate` frames per second."""
        opened, low = (np.clip(motion[name] / wide, 0, WIDEST) for name, wide in (("gap", WIDE_GAP), ("jaw", WIDE_JAW)))
        gap = opened * self.gap_scale
        rounding, tip = np.clip(motion["round"], 0, 1), np.clip(motion["tongue"], 0, 1)
        front = FRONT_TONGUE * np.clip(motion["width"], 0, 1) - BACK_TONGUE * rounding
        per_gap = WIDTH_PER_GAP if self.talks else IDLE_WIDTH_PER_GAP
        spread = self.spread * np.clip(motion["width"], -1, 1) - self.rounding * rounding
        return Wanted(
            gap=gap,
            width=spread + per_gap * gap,
            spread=spread,
            jaw=low * self.gap_scale * JAW_PER_GAP,
            rounding=rounding,
            closure=np.clip(motion["closure"], 0, 1),
            dental=np.clip(motion["dental"], 0, 1),
            tongue=tip + (1 - tip) * front,
            lift=np.clip(
                LIFT_PER_GAP * gap + LIFT_PER_TIP * tip + LIFT_PER_JAW * (low - opened), -MOST_LIFT, MOST_LIFT
            ),
            voice=_held(np.clip(motion["voice"], 0, 1), rate),
        )

    def targets(
        self,
        shapes: FloatArray,
        angles: Float64Array,
        rest: Rest,
        rate: float,
        wanted: Wanted,
        changed: IntArray | None = None,
    ) -> Float64Array:
        """Target shapes (M, 478, 3) for a track of shapes (N, 478, 3) at `rate` frames per second.

        rest: of `rest_shapes`; the target is at rest where `voice` is 0. Only the points of `mesh.MOVED` differ from
        `shapes`. changed: (M,) the rows that are asked for; `None` for all.
        """
        changed = np.arange(len(shapes)) if changed is None else changed
        targets, moved = shapes[changed].astype(np.float64), list(mesh.MOVED)
        mood = None if self.coefficients is None else self._mood(shapes, angles, rate)
        for block in blocks(len(changed)):
            rows = changed[block]
            asked = wanted.part(rows)
            if mood is None:
                still, spoken = rest[rows], articulate(relax(close_lips(rest[rows])), asked)
            else:
                none, turned = np.zeros(len(asked.gap)), angles[rows]
                still = self._shapes(none, self.width + none, turned)
                spoken = self._shapes(asked.gap, self.width + asked.width, turned)
                for made, gaps in ((still, none), (spoken, asked.gap)):
                    made[:, moved] += mood[rows]
                    made[:] = set_gap(made, gaps)
            voice = asked.voice[:, None, None]
            targets[block, moved] = ((1 - voice) * still + voice * spoken)[:, moved]
        return targets

    def _mood(self, shapes: FloatArray, angles: Float64Array, rate: float) -> Float64Array:
        """What gap, width and pose do not explain (a smile, a raised lip), smoothed over time: (N, M, 3), of the points
        of `mesh.MOVED`."""
        moved = list(mesh.MOVED)
        mood = shapes[:, moved].astype(np.float64)
        for rows in blocks(len(shapes)):
            own = shapes[rows].astype(np.float64)
            explained = self._shapes(mesh.lip_gap(own), mesh.lip_width(own), angles[rows])
            mood[rows] -= explained[:, moved]
        gaussian_filter1d(mood, REST_WINDOW_S * rate, axis=0, output=mood, mode="nearest")
        return mood

    def _shapes(self, gaps: Float64Array, widths: Float64Array, angles: Float64Array) -> Float64Array:
        """The usual shapes (N, 478, 3) of a face that talks, at gaps and widths (N,) and angles (N, 2)."""
        assert self.coefficients is not None
        return np.asarray(_features(gaps, widths, angles) @ self.coefficients).reshape(-1, POINTS, 3)


def _held(voice: Float64Array, rate: float) -> Float64Array:
    """How far a face is speaking (N,): the voice (N,) with short pauses bridged and soft ends."""
    reach = round(PAUSE_S / 2 * rate)
    around = np.pad(voice, reach, mode="edge")  # the time outside the clip is not a pause in speech
    bridged = grey_closing(around, 2 * reach + 1)[reach : reach + len(voice)]
    wide = maximum_filter1d(bridged, 2 * round(SETTLE_S * rate) + 1, mode="nearest")
    soft: Float64Array = gaussian_filter1d(wide, SETTLE_S * rate, mode="nearest")
    return soft


def _features(gaps: Float64Array, widths: Float64Array, angles: Float64Array) -> Float64Array:
    """Columns of the regression: 1, gap, width, gap squared, gap times width, yaw and pitch of the head."""
    yaw, pitch = np.sin(np.radians(angles)).T
    return np.stack([np.ones_like(gaps), gaps, widths, gaps**2, gaps * widths, yaw, pitch], 1)


def rest_shapes(shapes: FloatArray, rate: float) -> Rest:
    """The face at rest in each frame: a running mean over about a second that prefers the frames with closed lips.

    An idle face is always at rest, smile included; a talking face rests in its pauses. shapes: (N, 478, 3).
    """
    gaps = lip_gaps(shapes)
    weight = np.exp(-(gaps - gaps.min()) / REST_SHARPNESS) + 1e-6
    sigma = REST_WINDOW_S * rate
    total = gaussian_filter1d(weight, sigma, mode="nearest")[:, None, None]
    own = shapes[:, list(RESTING)].astype(np.float64)
    mean = own * weight[:, None, None]
    gaussian_filter1d(mean, sigma, axis=0, output=mean, mode="nearest")
    mean /= total
    calm = np.exp(-(((gaps - lip_gaps(Rest(shapes, mean))) / REST_SHARPNESS) ** 2))[:, None, None]
    calm = gaussian_filter1d(calm, 0.08 * rate, axis=0, mode="nearest")
    mean *= 1 - calm
    own *= calm
    mean += own
    return Rest(shapes, mean)


def lip_gaps(shapes: FloatArray | Rest) -> Float64Array:
    """The lip gaps (N,) of many shapes (N, 478, 3)."""
    return _measured(mesh.lip_gap, shapes)


def lip_widths(shapes: FloatArray | Rest) -> Float64Array:
    """The widths (N,) of the mouths of many shapes (N, 478, 3)."""
    return _measured(mesh.lip_width, shapes)


def _measured(measure: Callable[[Float64Array], Float64Array], shapes: FloatArray | Rest) -> Float64Array:
    found = np.empty(len(shapes))
    for rows in blocks(len(found)):
        found[rows] = measure(shapes[rows].astype(np.float64))
    return found


def set_gap(shapes: Float64Array, gaps: Float64Array) -> Float64Array:
    """Move the lips, and the chin with them, so that the lip gap of shapes (N, 478, 3) becomes `gaps` (N,)."""
    out = shapes.copy()
    for _ in range(2):  # The gap is a distance in three dimensions: a second step corrects the remaining error.
        _open(out, gaps - mesh.lip_gap(out))
        _separate(out)
    return out


def close_lips(shapes: Float64Array) -> Float64Array:
    """The shapes (N, 478, 3) with lips that just touch."""
    out = shapes.copy()
    _move_jaw(out, CHIN_PER_JAW * JAW_PER_GAP * (shapes[:, mesh.UPPER_MID] - shapes[:, mesh.LOWER_MID]))
    way = out[:, mesh.LOWER_INNER[1:-1]] - out[:, mesh.UPPER_INNER[1:-1]]
    _move_lips(out, UPPER_SHARE * way, (UPPER_SHARE - 1) * way)
    return out


def relax(closed: Float64Array) -> Float64Array:
    """Closed lips (N, 478, 3) with most of the smile removed: narrower, with lower corners and cheeks."""
    out, lips, moved = closed.copy(), list(mesh.LIPS), list(mesh.MOVED)
    beyond = CALM_SHARE * np.maximum(mesh.lip_width(closed) - CALM_WIDTH, 0)
    out[:, moved] -= beyond[:, None, None] * gestures()["width"][moved]
    middle = out[:, [mesh.LEFT_CORNER, mesh.RIGHT_CORNER]].mean(1)
    across = (out[:, lips, 0] - middle[:, :1]) / (mesh.lip_width(out)[:, None] / 2)
    raised = CALM_SHARE * np.maximum(out[:, [mesh.UPPER_MID, mesh.LOWER_MID], 1].mean(1) - middle[:, 1], 0)
    out[:, lips, 1] += np.clip(across**2, 0, 1) * raised[:, None]
    return out


def articulate(neutral: Float64Array, wanted: Wanted) -> Float64Array:
    """Move lips, jaw, chin and cheeks of a closed, neutral face to the wanted mouth: (N, 478, 3).

    Gap, width, rounding and jaw are gestures of face units. What units lack is done by rules: rounded lips come
    forward, pressed lips show less red, the lower lip goes back under the upper teeth, and both lips rise and fall.
    """
    out = neutral.copy()
    moved = list(mesh.MOVED)
    amounts = {
        "gap": wanted.gap,
        "width": wanted.width,
        "jaw": CHIN_PER_JAW * np.maximum(wanted.jaw, LEAST_JAW * JAW_PER_GAP * wanted.gap),
        "rounding": wanted.rounding,
    }
    for name, gesture in gestures().items():
        out[:, moved] += amounts[name][:, None, None] * gesture[moved]
    lips = list(mesh.LIPS)
    middle = neutral[:, [mesh.LEFT_CORNER, mesh.RIGHT_CORNER], :1].mean(1, keepdims=True)
    across = (neutral[:, lips, 0] - middle[..., 0]) / (mesh.lip_width(neutral)[:, None] / 2)
    out[:, lips, 2] -= PROTRUSION * wanted.rounding[:, None] * np.clip(1 - across**2, 0, 1)
    for row, sign in ((mesh.UPPER_OUTER, -1), (mesh.LOWER_OUTER, 1)):
        out[:, row[1:-1], 1] -= sign * PRESSED * wanted.closure[:, None]
    lower = [i for row in (mesh.LOWER_INNER, mesh.LOWER_MIDDLE) for i in row[3:-3]]
    out[:, lower, 2] += 0.02 * wanted.dental[:, None]
    _fill_out(out)
    _lift(out, wanted.lift * smoothstep(wanted.gap / FILLED_GAP))
    _separate(out)
    return out


def _lift(out: Float64Array, by: Float64Array) -> None:
    """Raise both lips of `out` (N, 478, 3) by `by` (N,) in place, all but the corners."""
    up = np.zeros((len(out), len(HEIGHTS), 3))
    up[..., 1] = -by[:, None] * HEIGHTS
    _move_lips(out, up, up)


def _fill_out(out: Float64Array) -> None:
    """Give the openings of `out` (N, 478, 3) the usual `HEIGHTS` in place."""
    upper, lower = out[:, mesh.UPPER_INNER[1:-1], 1], out[:, mesh.LOWER_INNER[1:-1], 1]
    middle = np.maximum(lower - upper, 0)[:, [len(HEIGHTS) // 2]]
    lacking = (HEIGHTS * middle - (lower - upper)) * smoothstep(middle / FILLED_GAP)
    half = np.zeros((*lacking.shape, 3))
    half[..., 1] = lacking / 2
    _move_lips(out, -half, half)


def _move_lips(out: Float64Array, upper: Float64Array, lower: Float64Array) -> None:
    """Move the inner edges of the lips of `out` (N, 478, 3) in place, all but the corners, by `upper` and `lower`
    (N, 9, 3); the rest of each lip follows."""
    for rows, by in (
        ((mesh.UPPER_INNER, mesh.UPPER_MIDDLE, mesh.UPPER_OUTER), upper),
        ((mesh.LOWER_INNER, mesh.LOWER_MIDDLE, mesh.LOWER_OUTER), lower),
    ):
        for row, share in zip(rows, (1.0, 0.95, 0.8), strict=True):
            out[:, row[1:-1]] += share * by


def _arch(count: int) -> Float64Array:
    """Share of the gap in each column of lip points, from the corners (0) to the middle (1)."""
    across = np.linspace(-1, 1, count)
    profile: Float64Array = (1 - across**2) ** 0.9
    return profile


def _open(out: Float64Array, gap: Float64Array) -> None:
    """Open the lips of `out` (N, 478, 3) by `gap` (N,) in place; the chin follows."""
    drop = JAW_PER_GAP * gap
    _move_jaw(out, np.stack([np.zeros_like(drop), drop, np.zeros_like(drop)], 1))
    arch = _arch(len(mesh.UPPER_INNER))[None, 1:-1]
    up, down = UPPER_SHARE * gap[:, None] * arch, (1 - UPPER_SHARE) * gap[:, None] * arch
    for row, share in ((mesh.UPPER_INNER, 1.0), (mesh.UPPER_MIDDLE, 0.95), (mesh.UPPER_OUTER, 0.75)):
        out[:, row[1:-1], 1] -= share * up
    for row, share in ((mesh.LOWER_INNER, 1.0), (mesh.LOWER_MIDDLE, 1.0), (mesh.LOWER_OUTER, 0.97)):
        out[:, row[1:-1], 1] += share * down
    out[:, list(mesh.CORNERS), 1] += 0.12 * drop[:, None]


def _separate(out: Float64Array) -> None:
    """Keep the upper inner lip above the lower one in every column, in place: lips close, they do not cross."""
    upper, lower = list(mesh.UPPER_INNER[1:-1]), list(mesh.LOWER_INNER[1:-1])
    crossed = np.maximum(out[:, upper, 1] - out[:, lower, 1], 0) / 2
    out[:, upper, 1] -= crossed
    out[:, lower, 1] += crossed


def _move_jaw(out: Float64Array, by: Float64Array) -> None:
    """Move chin, lower cheeks and jaw line of `out` (N, 478, 3) in place, the tip of the chin by `by` (N, 3).

    Call it before the lips move: the weight of a point depends on its position below the lips.
    """
    points = [*mesh.CHIN, *mesh.LOWER_CHEEKS, *mesh.JAW_LINE]
    corner = out[:, mesh.CORNERS, 1].mean(1)[:, None]
    bottom = out[:, mesh.LOWER_OUTER[5], 1][:, None]
    middle = out[:, mesh.CHIN_TIP, 0][:, None]
    down = smoothstep((out[:, points, 1] - corner + 0.02) / np.maximum(bottom - corner + 0.07, 1e-3))
    aside = 1 - smoothstep((np.abs(out[:, points, 0] - middle) - 0.14) / 0.66)
    out[:, points] += (down * aside)[..., None] * by[:, None, :]
