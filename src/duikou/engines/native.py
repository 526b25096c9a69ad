"""duikou's default engine: the person's own mouth, at full resolution, on a CPU.

Where the track shows the wanted mouth, exemplar frames lend their lips. Elsewhere the frame's own lips are moved and
the inside of the mouth is painted. Both use the same warp, so the lips end exactly at their targets.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from duikou.arrays import BoolArray, Float64Array, Image, IntArray
from duikou.engines.base import FaceClip
from duikou.faces import pose
from duikou.faces.pose import Pose
from duikou.progress import Progress, scaled
from duikou.render import exemplars, interior, mesh, overlay
from duikou.render.compose import SHOWS_INSIDE, Exemplar, Mouth, Plane, Source, compose
from duikou.render.library import Library
from duikou.render.shape import MouthModel, close_lips, rest_shapes

SAME_VIEW_DEG = 12.0
"""Difference of yaw and pitch up to which the teeth of one frame fit another without rotation."""

TEETH_BEHIND_LIPS = 0.04
"""Depth of the teeth behind the line of the closed lips, in eye distances."""


@dataclass(frozen=True)
class MouthPlan:
    """What the mouth does in the N frames of a track.

    head: pose in each frame. shapes, rest, targets: (N, 478, 3) canonical shapes of the face as filmed, at rest, and as
    wanted. tongue: (N,) 0 lies low, 1 touches the upper teeth. changed: (M,) rows that change. choice: the exemplars of
    these rows; `None` for a face that never talks.
    """

    head: Pose
    shapes: Float64Array
    rest: Float64Array
    targets: Float64Array
    tongue: Float64Array
    changed: IntArray
    choice: exemplars.Choice | None


class NativeEngine:
    """The default engine."""

    name = "native"

    def prepare(self, clip: FaceClip, curves: dict[str, Float64Array], *, progress: Progress) -> NativeRenderer:
        """Plan all frames. Reads the clip twice: once to detect overlays, once to collect the lips."""
        head = pose.fit(clip.track.landmarks)
        shapes = pose.to_canonical(clip.track.landmarks, head).astype(np.float64)
        angles = head.degrees[:, :2]
        rate = _frame_rate(clip.track.times_ms)
        model = MouthModel.fit(shapes, angles, clip.usable)
        wanted = model.wanted(curves, rate)
        rest = rest_shapes(shapes, rate)
        targets = model.targets(shapes, angles, rest, rate, wanted)
        changed = np.flatnonzero(clip.strength > 0)
        plan = MouthPlan(head, shapes, rest, targets, wanted.tongue * wanted.voice, changed, None)
        searched = np.flatnonzero(clip.usable) if model.talks else changed  # the rows that may become exemplars
        overlays = overlay.detect(clip.video, clip.track, searched, progress=scaled(progress, 0, 0.5))
        points = clip.track.landmarks[..., :2].astype(np.float64)
        unoccluded = clip.usable & ~overlays.occlude_lips(clip.track.frames, points)
        lending = unoccluded if unoccluded.any() else clip.usable
        library, filling = Library(clip.track.landmarks), scaled(progress, 0.5, 1)
        if model.talks and len(changed):
            _fill(library, clip, overlays, lending, filling)
            plan = replace(plan, choice=_choose(plan, clip.track.frames, library))
        elif len(changed):
            _fill(library, clip, overlays, np.arange(len(shapes)) == _widest(shapes, lending), filling)
        return NativeRenderer(clip, plan, library, overlays)


class NativeRenderer:
    """Paints the frames of one prepared clip."""

    def __init__(self, clip: FaceClip, plan: MouthPlan, library: Library, overlays: overlay.Overlays) -> None:
        self._clip, self._plan, self._library, self._overlays = clip, plan, library, overlays
        shown = np.flatnonzero(library.bared > SHOWS_INSIDE)
        self._smile = int(shown[library.bared[shown].argmax()]) if len(shown) else None
        self._filled = 1.0 if self._smile is None else float(library.filled[self._smile])
        self._row_of = {int(clip.track.frames[row]): int(row) for row in plan.changed}
        self._place_of = {int(row): place for place, row in enumerate(plan.changed)}
        self._gaps, self._target_gaps = mesh.lip_gap(plan.shapes), mesh.lip_gap(plan.targets)
        neutral = close_lips(plan.rest)
        middle = (neutral[:, mesh.UPPER_MID] + neutral[:, mesh.LOWER_MID]) / 2
        middle[:, 0] = neutral[:, [mesh.LEFT_CORNER, mesh.RIGHT_CORNER], 0].mean(1)
        middle[:, 2] += TEETH_BEHIND_LIPS
        self._closed_line = middle
        self._dentition = interior.Dentition.of(np.median(neutral, axis=0))
        self._jaw = plan.targets[:, mesh.CHIN_TIP, 1] - neutral[:, mesh.CHIN_TIP, 1]
        move = pose.from_canonical((plan.targets - plan.shapes).astype(np.float32), _linear_part(plan.head))
        points = clip.track.landmarks[..., :2].astype(np.float64)
        self._points, self._targets = points, points + clip.strength[:, None, None] * move[..., :2]

    def changes(self, frame: int) -> bool:
        """Whether frame number `frame` changes at all."""
        return frame in self._row_of

    def render(self, frame: int, image: Image) -> Image:
        """The frame with its new mouth; the same array if it does not change."""
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
            tongue=float(self._plan.tongue[row]),
            strength=strength,
            plane=self._plane(row),
            light=interior.Light.on(bare, self._points[row], self._library.depth),
            dentition=self._dentition,
            blur=self._library.blur,
        )
        painted = compose(own, mouth, self._exemplars(row), self._teeth(row))
        if painted is None:
            return image
        region, pixels = painted
        out = image.copy()
        region.cut(out)[:] = pixels if mask is None else mask.composite(image, region, pixels)
        return out

    def _exemplars(self, row: int) -> list[Exemplar]:
        choice = self._plan.choice
        if choice is None:
            return []
        place = self._place_of[row]
        share = float(choice.share[place])
        chosen = [(int(choice.first[place]), 1 - share), (int(choice.second[place]), share)]
        return [
            Exemplar(self._library.source(other, float(self._gaps[other])), weight)
            for other, weight in chosen
            if weight > 0
        ]

    def _teeth(self, row: int) -> Source | None:
        """The frame that shows the teeth of a face that never talks; `None` if this frame shows its own teeth, or if
        the head looks in another direction.
        """
        if self._plan.choice is not None or self._smile is None or self._gaps[row] > SHOWS_INSIDE:
            return None
        degrees = self._plan.head.degrees
        away = np.abs(degrees[row] - degrees[self._smile])[:2].max()
        return self._library.source(self._smile, float(self._gaps[self._smile])) if away < SAME_VIEW_DEG else None

    def _plane(self, row: int) -> Plane:
        head = self._plan.head
        turn, scale = head.rotation[row], head.scale[row]
        place = scale * turn @ self._closed_line[row] + head.translation[row]
        return Plane(scale * turn[:2, :2], place[:2], np.linalg.solve(turn[:2, :2], turn[:2, 2]))


def _choose(plan: MouthPlan, frames: IntArray, library: Library) -> exemplars.Choice:
    """Choose exemplars from a filled library for every row that changes. frames: (N,) frame numbers of the track."""
    filmed = exemplars.Looks(
        frames=frames,
        gap=mesh.lip_gap(plan.shapes),
        width=mesh.lip_width(plan.shapes),
        angles=plan.head.degrees[:, :2],
        scale=plan.head.scale,
        skin=library.skin,
        mouth=library.mouth,
        inside=library.inside,
        bared=library.bared,
    )
    wanted = replace(filmed, gap=mesh.lip_gap(plan.targets), width=mesh.lip_width(plan.targets))
    return exemplars.choose(wanted.at(plan.changed), filmed, library.kept)


def _widest(shapes: Float64Array, usable: BoolArray) -> int:
    """The usable row with the largest lip gap."""
    return int(np.where(usable, mesh.lip_gap(shapes), -1).argmax())


def _fill(library: Library, clip: FaceClip, overlays: overlay.Overlays, wanted: BoolArray, progress: Progress) -> None:
    """Read the `wanted` (N,) rows of the track into the library, with overlays inpainted."""
    rows = {int(frame): int(row) for row, frame in enumerate(clip.track.frames) if wanted[row]}
    first, last = min(rows), max(rows)
    for frame in clip.video.frames(first, last + 1):
        progress("choosing", (frame.index - first + 1) / (last - first + 1))
        if frame.index in rows:
            library.add(rows[frame.index], overlays.inpaint(frame.index, frame.image))


def _linear_part(head: Pose) -> Pose:
    """The pose without its translation, which maps displacements."""
    return Pose(head.scale, head.rotation, np.zeros_like(head.translation))


def _frame_rate(times_ms: Iterable[int]) -> float:
    steps = np.diff(np.asarray(list(times_ms)))
    return 1000 / float(np.median(steps)) if len(steps) else 25.0
