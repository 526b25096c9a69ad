"""Two engines that wrap the product's engine: one replaces the motion, one records what is painted."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter1d

from duikou.arrays import Float32Array, Float64Array, Image
from duikou.engines.base import Engine, FaceClip, Renderer
from duikou.engines.native import NativeEngine
from duikou.media.decode import Frame, Patch
from duikou.progress import Progress
from duikou.speech.articulation import LIP_LEAD_S
from duikou.speech.features import FRAME_RATE, loudness, mel_power, resample
from duikou.speech.motion import CURVES, MouthMotion

SYLLABLE_ROWS = 4.0
"""Blur of loudness: r with measured lips is highest near 40 ms."""

SILENT_DB, WIDEST = -30.0, 0.85
"""Loudness that closes the mouth, and gap at the highest loudness: the mouth opens as far as a speaking one."""


def loudness_motion(samples: Float32Array, rate: int) -> MouthMotion:
    """Baseline motion: gap and jaw follow the loudness of mono audio (n,), everything else rests.

    It has the same lead as the product's motion.
    """
    level = gaussian_filter1d(loudness(mel_power(resample(samples, rate)).mean(-1)), SYLLABLE_ROWS, mode="nearest")
    values = np.zeros((len(level), len(CURVES)), np.float32)
    opening = WIDEST * np.clip(1 - level / SILENT_DB, 0, 1)
    values[:, CURVES.index("gap")] = values[:, CURVES.index("jaw")] = opening
    values[:, CURVES.index("voice")] = 1
    return MouthMotion(values, float(FRAME_RATE), -LIP_LEAD_S)


class Driven:
    """Paints a given motion in place of the speech's."""

    name = "driven"

    def __init__(self, motion: MouthMotion, engine: Engine | None = None) -> None:
        self._motion, self._engine = motion, engine or NativeEngine()

    def prepare(self, clip: FaceClip, curves: dict[str, Float64Array], *, progress: Progress) -> Renderer:
        """Plan the clip with the given motion instead of `curves`."""
        values = self._motion.at(clip.track.times_ms / 1000).astype(np.float64)
        return self._engine.prepare(clip, dict(zip(CURVES, values.T, strict=True)), progress=progress)


@dataclass(frozen=True)
class Change:
    """The change of one frame: pixels (rows, columns, 3) from (top, left) on, with all that differ."""

    top: int
    left: int
    pixels: Image

    def on(self, image: Image) -> Image:
        """A copy of the frame with the change."""
        out = image.copy()
        rows, columns = self.pixels.shape[:2]
        out[self.top : self.top + rows, self.left : self.left + columns] = self.pixels
        return out


class Watched:
    """Records what another engine paints, before it is encoded."""

    name = "watched"

    def __init__(self, engine: Engine | None = None) -> None:
        self._engine = engine or NativeEngine()
        self.faces: list[WatchedRenderer] = []

    def prepare(self, clip: FaceClip, curves: dict[str, Float64Array], *, progress: Progress) -> Renderer:
        """Plan the clip, one face after the other."""
        renderer = WatchedRenderer(clip, self._engine.prepare(clip, curves, progress=progress))
        self.faces.append(renderer)
        return renderer


class WatchedRenderer:
    """Paints one face and records what changed: `changes_made` by frame number."""

    def __init__(self, clip: FaceClip, renderer: Renderer) -> None:
        self.clip, self._renderer = clip, renderer
        self.changes_made: dict[int, Change] = {}

    def changes(self, frame: int) -> bool:
        """Whether frame number `frame` changes at all."""
        return self._renderer.changes(frame)

    def render(self, frame: Frame) -> Patch | None:
        """The new mouth of a frame."""
        patch = self._renderer.render(frame)
        change = None if patch is None else changed_part(frame.part(patch.box), patch.pixels)
        if patch is not None and change is not None:
            moved = replace(change, top=patch.top + change.top, left=patch.left + change.left)
            self.changes_made[frame.index] = moved
        return patch


def changed_part(before: Image, after: Image) -> Change | None:
    """The smallest rectangle that holds all differences of two pictures; `None` if they are equal."""
    differs = (before != after).any(axis=2)
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    if not len(rows):
        return None
    top, left = int(rows[0]), int(columns[0])
    return Change(top, left, after[top : rows[-1] + 1, left : columns[-1] + 1].copy())
