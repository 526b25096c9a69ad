"""Openings wider than any that the engine was given: their inside against the real one.

The widest third of a talking clip's openings is withheld: in their place the engine gets the nearest other frames, so
that head and light stay as they are. It is then asked for exactly what the lips did, and the insides of the same
moments are compared. So the measure is one of the picture and not of the speech.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np

from benchmarks.quality.again import spoken_again
from benchmarks.quality.clips import DISPLACED, TALKING, Clip, frame_count
from benchmarks.quality.engines import Watched
from benchmarks.quality.lips import Lips, tracked
from benchmarks.quality.mouths import OPEN, Filmed, Mouth, cut
from duikou import identify
from duikou.arrays import BoolArray, Float64Array, IntArray
from duikou.engines.base import Engine, FaceClip, Renderer
from duikou.engines.native import NativeEngine
from duikou.faces import pose
from duikou.media import decode
from duikou.media.encode import VideoWriter
from duikou.media.video import Video
from duikou.progress import Progress
from duikou.render import mesh, shape
from duikou.speech.motion import CURVES

CLIPS = (*(clip.name for clip in TALKING[:4]), "made_talking")
"""The measured clips: 1080p, in which teeth and tongue are large enough to be compared pixel by pixel."""

WITHHELD = 2 / 3
"""Share of a clip's openings that the engine is given, narrow ones first."""

LEAST = 6
"""Withheld mouths from which a figure is given."""

APART = 6
"""Frames between two real mouths that are compared with each other: a fourth of a second."""

SOFT = 0.008
"""Blur, in eye distances, before pixels are compared: an edge that lies a pixel off is no other picture."""

UNIT = 150.0
"""Eye distance, in pixels, at which pixels are compared."""


@dataclass(frozen=True)
class WiderReport:
    """One face. mouths: number of withheld ones. gaps: from and to, in eye distances. ours: median difference of the
    inside's colours from the real ones at the same moment, in units of L*a*b*. alike: the same between two real mouths
    of nearly the same shape at different moments; `None` where there are none.
    """

    name: str
    mouths: int
    gaps: tuple[float, float]
    ours: float
    alike: float | None

    def plain(self) -> dict[str, Any]:
        """As values of JSON."""
        return asdict(self)


class Asked:
    """Asks another engine for measured gaps and widths of the lips in place of the speech's.

    The person's widest gap is told to the engine, which cannot see it in what it is given.
    """

    name = "asked"

    def __init__(self, lips: Lips, engine: Engine | None = None) -> None:
        self._lips, self._engine = lips, engine or NativeEngine()

    def prepare(self, clip: FaceClip, curves: dict[str, Float64Array], *, progress: Progress) -> Renderer:
        """Plan the clip with the curves that lead to the measured lips."""
        frames, widest = clip.track.frames, float(self._lips.gap.max())
        gap, width = (np.interp(frames, self._lips.frames, of) for of in (self._lips.gap, self._lips.width))
        head = pose.fit(clip.track.landmarks)
        shapes = pose.to_canonical(clip.track.landmarks, head).astype(np.float64)
        with mock.patch.object(shape, "GAP_RANGE", (widest, widest)):
            model = shape.MouthModel.fit(shapes, head.degrees[:, :2], clip.usable)
            per_gap = shape.WIDTH_PER_GAP if model.talks else shape.IDLE_WIDTH_PER_GAP
            change = width - model.width - per_gap * gap
            wanted = dict.fromkeys(CURVES, np.zeros(len(frames))) | {
                "gap": gap / model.gap_scale * shape.WIDE_GAP,
                "jaw": gap / model.gap_scale * shape.WIDE_JAW,
                "width": np.maximum(change, 0) / model.spread,
                "round": np.maximum(-change, 0) / model.rounding,
                "voice": np.ones(len(frames)),
            }
            return self._engine.prepare(clip, wanted, progress=progress)


def compare(clip: Clip, folder: Path, progress: Progress) -> WiderReport | None:
    """Withhold the widest openings of a talking clip, ask for them and compare; `None` for too few.

    Raises `MediaError` for a clip without audio.
    """
    count = frame_count(clip)
    faces = identify(clip.video).faces
    face = max(faces, key=lambda one: len(one.track))
    real = tracked(clip.video, face, count)
    away = widest(real)
    if away.sum() < LEAST:
        return None
    given = withheld(clip, real.frames[away], folder / "narrow.mp4")
    painted = folder / "wide.mp4"
    ours = spoken_again(clip, face, given, painted, Watched(Asked(real)), progress)
    if ours is None:
        return None
    frames = np.intersect1d(real.frames[away], ours.frames)
    if len(frames) < LEAST:
        return None
    new = cut(Filmed(clip.name, clip.name, painted, ours, ours=True), frames)
    true = cut(Filmed(clip.name, clip.name, clip.video, real, ours=False), frames)
    like = _like(real.among(frames))
    found = [difference(*pair) for pair in zip(new, true, strict=True)]
    other = [difference(true[row], true[like[row]]) for row in np.flatnonzero(like >= 0)]
    gaps = real.among(frames).gap
    return WiderReport(
        clip.name,
        len(frames),
        (float(gaps.min()), float(gaps.max())),
        float(np.median(found)),
        float(np.median(other)) if other else None,
    )


def widest(lips: Lips) -> BoolArray:
    """(N,) which mouths are among the widest third of the openings."""
    opened = lips.gap > OPEN
    return opened & (lips.gap > np.percentile(lips.gap[opened], 100 * WITHHELD)) if opened.any() else opened


def withheld(clip: Clip, frames: IntArray, path: Path) -> Path:
    """Write a clip in which the nearest other frame stands for each of `frames`, and return `path`."""
    times = decode.read_frame_times(clip.video).pts[: frame_count(clip)]
    kept = np.setdiff1d(np.arange(len(times)), frames)
    nearest = kept[np.abs(kept[None] - np.arange(len(times))[:, None]).argmin(1)]
    with VideoWriter(path, Video.open(clip.video), quality=DISPLACED) as writer:
        shown = 0
        for frame in decode.frames(clip.video, stop=len(times)):
            while shown < len(times) and nearest[shown] == frame.index:
                writer.write(frame.image, int(times[shown]))
                shown += 1
    return path


def difference(one: Mouth, other: Mouth) -> float:
    """Mean difference of colour between the lips of two mouths laid on each other, in units of L*a*b*."""
    seen = [_scaled(mouth) for mouth in (one, other)]
    rings = [points[list(mesh.INNER_RING)] for _, points in seen]
    shift = rings[1].mean(0) - rings[0].mean(0)
    size = seen[1][0].shape[1::-1]
    moved = cv2.warpAffine(
        seen[0][0], np.column_stack([np.eye(2), shift]), size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    masks = [np.zeros(size[::-1], np.uint8) for _ in rings]
    for mask, ring in zip(masks, (rings[0] + shift, rings[1]), strict=True):
        cv2.fillPoly(mask, [np.round(ring).astype(np.int32)], 1)
    inside = cv2.erode(masks[0] & masks[1], np.ones((3, 3), np.uint8)) > 0
    if not inside.any():
        return 0.0
    return float(np.linalg.norm(moved - seen[1][0], axis=-1)[inside].mean())


def _scaled(mouth: Mouth) -> tuple[Float64Array, Float64Array]:
    """The colours (rows, columns, 3) of a mouth, in units of L*a*b*, and its landmarks, at the common size."""
    scale = UNIT / float(mesh.eye_distance(mouth.points[:, :2]))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    image = cv2.resize(mouth.image, None, fx=scale, fy=scale, interpolation=way)
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_BGR2LAB)
    return np.asarray(cv2.GaussianBlur(lab, (0, 0), SOFT * UNIT), np.float64), scale * mouth.points[:, :2]


def _like(lips: Lips) -> IntArray:
    """(N,) for each mouth the row of the one most like it, some time before or after it; -1 if there is none."""
    looks = np.stack([lips.gap, lips.width], 1)
    away = np.linalg.norm(looks[:, None] - looks[None], axis=-1)
    away[np.abs(lips.frames[:, None] - lips.frames[None]) < APART] = np.inf
    return np.where(np.isfinite(away.min(1)), away.argmin(1), -1)
