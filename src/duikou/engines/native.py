"""duikou's own engine: the person's own mouth, at full resolution, on a CPU.

Exemplars lend their lips where the track has them; elsewhere the frame's own lips are moved and the mouth's inside is
painted. Both go through the same warp, so that the lips end exactly where they are wanted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from duikou.arrays import BoolArray, Float64Array, Image, IntArray
from duikou.engines.base import FaceClip
from duikou.faces import pose
from duikou.faces.pose import Pose
from duikou.media import decode
from duikou.progress import Progress, scaled
from duikou.render import exemplars, interior, mesh, overlay
from duikou.render.compose import SHOWS_INSIDE, Exemplar, Mouth, Plane, Source, compose
from duikou.render.library import Library
from duikou.render.shape import MouthModel, close_lips, rest_shapes

SAME_VIEW_DEG = 12.0
"""Difference of yaw and pitch up to which teeth of one frame fit another without turning."""

TEETH_BEHIND_LIPS = 0.04
"""Depth of the teeth behind the closed lips' line, in eye distances."""


class NativeEngine:
    """The default engine."""

    name = "native"

    def prepare(self, clip: FaceClip, curves: dict[str, Float64Array], *, progress: Progress) -> NativeRenderer:
        """Plan all frames and fetch what may be lent (one pass to find captions, one for the lips)."""
        head = pose.fit(clip.track.landmarks)
        shapes = pose.to_canonical(clip.track.landmarks, head).astype(np.float64)
        angles = head.degrees[:, :2]
        rate = _frame_rate(clip.track.times_ms)
        model = MouthModel.fit(shapes, angles, clip.usable)
        wanted = model.wanted(curves, rate)
        rest = rest_shapes(shapes, rate)
        targets = model.targets(shapes, angles, rest, rate, wanted)
        changed = np.flatnonzero(clip.strength > 0)
        seen = np.flatnonzero(clip.usable) if model.talks else changed  # all that may lend lips, else what changes
        overlays = overlay.detect(clip.video, clip.track, seen, progress=scaled(progress, 0, 0.5))
        points = clip.track.landmarks[..., :2].astype(np.float64)
        unoccluded = clip.usable & ~overlays.occlude_lips(clip.track.frames, points)
        lending = unoccluded if unoccluded.any() else clip.usable
        library, filling = Library(clip.track.landmarks), scaled(progress, 0.5, 1)
        choice = None
        if model.talks and len(changed):
            _fill(library, clip, overlays, lending, filling)
            looks = exemplars.Looks(
                clip.track.frames,
                mesh.lip_gap(shapes),
                mesh.lip_width(shapes),
                angles,
                head.scale,
                library.skin,
                library.mouth,
                library.inside,
                library.bared,
            )
            asked = replace(looks, gap=mesh.lip_gap(targets), width=mesh.lip_width(targets)).at(changed)
            choice = exemplars.choose(asked, looks, library.kept)
        elif len(changed):
            _fill(library, clip, overlays, np.arange(len(shapes)) == _widest(shapes, lending), filling)
        tongue = wanted.tongue * wanted.voice
        return NativeRenderer(clip, head, shapes, targets, tongue, choice, changed, library, overlays, rest)


class NativeRenderer:
    """Paints the frames of one prepared clip."""

    def __init__(
        self,
        clip: FaceClip,
        head: Pose,
        shapes: Float64Array,
        targets: Float64Array,
        tongue: Float64Array,
        choice: exemplars.Choice | None,
        changed: IntArray,
        library: Library,
        overlays: overlay.Overlays,
        rest: Float64Array,
    ) -> None:
        self._clip, self._head, self._tongue = clip, head, tongue
        self._choice, self._library, self._overlays = choice, library, overlays
        shown = np.flatnonzero(library.bared > SHOWS_INSIDE)
        self._smile = int(shown[library.bared[shown].argmax()]) if len(shown) else None
        self._filled = 1.0 if self._smile is None else float(library.filled[self._smile])
        self._row_of = {int(clip.track.frames[row]): int(row) for row in changed}
        self._place_of = {int(row): place for place, row in enumerate(changed)}
        self._gaps, self._target_gaps = mesh.lip_gap(shapes), mesh.lip_gap(targets)
        neutral = close_lips(rest)
        middle = (neutral[:, mesh.UPPER_MID] + neutral[:, mesh.LOWER_MID]) / 2
        middle[:, 0] = neutral[:, [mesh.LEFT_CORNER, mesh.RIGHT_CORNER], 0].mean(1)
        middle[:, 2] += TEETH_BEHIND_LIPS
        self._closed_line = middle
        self._jaw = targets[:, mesh.CHIN_TIP, 1] - neutral[:, mesh.CHIN_TIP, 1]
        move = pose.from_canonical((targets - shapes).astype(np.float32), _linear_part(head))
        points = clip.track.landmarks[..., :2].astype(np.float64)
        self._points, self._targets = points, points + clip.strength[:, None, None] * move[..., :2]

    def changes(self, frame: int) -> bool:
        """Whether frame number `frame` changes at all."""
        return frame in self._row_of

    def render(self, frame: int, image: Image) -> Image:
        """The frame with its new mouth; the same array where it does not change."""
        row = self._row_of.get(frame)
        if row is None:
            return image
        mask = self._overlays.mask_at(frame, image)
        bare = image if mask is None else mask.inpaint(image)
        own = Source(bare, self._points[row], float(self._gaps[row]), self._filled)
        strength = float(self._clip.strength[row])
        gap = self._gaps[row] + strength * (self._target_gaps[row] - self._gaps[row])
        mouth = Mouth(
            target=self._targets[row],
            gap=float(gap),
            jaw=float(max(self._jaw[row], 0)) * strength,
            tongue=float(self._tongue[row]),
            strength=strength,
            plane=self._plane(row),
            light=interior.Light.on(bare, self._points[row]),
        )
        painted = compose(own, mouth, self._exemplars(row), self._teeth(row))
        if painted is None:
            return image
        region, pixels = painted
        out = image.copy()
        region.cut(out)[:] = pixels if mask is None else mask.composite(image, region, pixels)
        return out

    def _exemplars(self, row: int) -> list[Exemplar]:
        if self._choice is None:
            return []
        place = self._place_of[row]
        share = float(self._choice.share[place])
        chosen = [(int(self._choice.first[place]), 1 - share), (int(self._choice.second[place]), share)]
        return [
            Exemplar(self._library.source(other, float(self._gaps[other])), weight)
            for other, weight in chosen
            if weight > 0
        ]

    def _teeth(self, row: int) -> Source | None:
        """For a face that never talks, where it shows none itself and the head looks the same way: the one frame that
        shows its teeth."""
        if self._choice is not None or self._smile is None or self._gaps[row] > SHOWS_INSIDE:
            return None
        away = np.abs(self._head.degrees[row] - self._head.degrees[self._smile])[:2].max()
        return self._library.source(self._smile, float(self._gaps[self._smile])) if away < SAME_VIEW_DEG else None

    def _plane(self, row: int) -> Plane:
        turn, scale = self._head.rotation[row], self._head.scale[row]
        place = scale * turn @ self._closed_line[row] + self._head.translation[row]
        return Plane(scale * turn[:2, :2], place[:2])


def _widest(shapes: Float64Array, usable: BoolArray) -> int:
    """The usable row whose lips are the furthest apart."""
    return int(np.where(usable, mesh.lip_gap(shapes), -1).argmax())


def _fill(library: Library, clip: FaceClip, overlays: overlay.Overlays, wanted: BoolArray, progress: Progress) -> None:
    """Read the `wanted` (N,) of the track's frames, without what overlays them, into the library."""
    rows = {int(frame): int(row) for row, frame in enumerate(clip.track.frames) if wanted[row]}
    first, last = min(rows), max(rows)
    for frame in decode.frames(clip.video, start=first, stop=last + 1):
        progress("choosing", (frame.index - first + 1) / (last - first + 1))
        if frame.index in rows:
            library.keep(rows[frame.index], overlays.inpaint(frame.index, frame.image))


def _linear_part(head: Pose) -> Pose:
    """The pose without its place: what moves displacements."""
    return Pose(head.scale, head.rotation, np.zeros_like(head.translation))


def _frame_rate(times_ms: Iterable[int]) -> float:
    steps = np.diff(np.asarray(list(times_ms)))
    return 1000 / float(np.median(steps)) if len(steps) else 25.0
