"""duikou's default engine: the person's own mouth, at full resolution, on a CPU.

Where the track shows the wanted mouth, exemplar frames lend their lips. Elsewhere the frame's own lips are moved and
the inside of the mouth is painted. Both use the same warp, so the lips end exactly at their targets.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from duikou.arrays import BoolArray, Float64Array, Image, IntArray
from duikou.engines.base import FaceClip
from duikou.errors import InputError
from duikou.faces import pose
from duikou.faces.pose import Pose
from duikou.media.decode import Frame, Patch
from duikou.progress import Progress, scaled
from duikou.render import exemplars, interior, mesh, opening, overlay, own_teeth, references
from duikou.render.compose import EXEMPLAR_ALONE, Exemplar, compose
from duikou.render.inside import SHOWS_INSIDE
from duikou.render.library import Library
from duikou.render.mouth import MeasuredMouths, Mouth, Source, most_open
from duikou.render.shape import MouthModel, close_lips, rest_shapes
from duikou.render.warp import Region

NO_TEETH = "too little of the upper teeth shows in it; the mouth must be open, as in a smile or in speech."

LENT_KEPT = 8
"""Exemplars that are kept decoded: seven of ten uses are of one of the last eight."""


@dataclass(frozen=True)
class MouthPlan:
    """What the mouth does in the N frames of a track.

    head: pose in each frame. shapes, rest, targets: (N, 478, 3) canonical shapes of the face as filmed, at rest, and as
    wanted. spread, tongue: (N,) as in `Wanted`. changed: (M,) rows that change. choice: the exemplars of
    these rows; `None` for a face that never talks.
    """

    head: Pose
    shapes: Float64Array
    rest: Float64Array
    targets: Float64Array
    spread: Float64Array
    tongue: Float64Array
    changed: IntArray
    choice: exemplars.Choice | None


class NativeEngine:
    """The default engine."""

    name = "native"

    def prepare(self, clip: FaceClip, curves: dict[str, Float64Array], *, progress: Progress) -> NativeRenderer:
        """Plan all frames. Reads the clip twice: once to detect overlays, once to collect the lips.

        Raises `InputError` that names a reference which shows no teeth.
        """
        head = pose.fit(clip.track.landmarks)
        shapes = pose.to_canonical(clip.track.landmarks, head).astype(np.float64)
        angles = head.degrees[:, :2]
        rate = _frame_rate(clip.track.times_ms)
        model = MouthModel.fit(shapes, angles, clip.usable)
        wanted = model.wanted(curves, rate)
        rest = rest_shapes(shapes, rate)
        targets = model.targets(shapes, angles, rest, rate, wanted)
        changed = np.flatnonzero(clip.strength > 0)
        spread, tongue = wanted.spread * wanted.voice, wanted.tongue * wanted.voice
        plan = MouthPlan(head, shapes, rest, targets, spread, tongue, changed, None)
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
            rows = most_open(mesh.lip_gap(shapes), np.flatnonzero(lending), own_teeth.FRAMES)
            _fill(library, clip, overlays, np.isin(np.arange(len(shapes)), rows), filling)
        return NativeRenderer(clip, plan, library, overlays)


class NativeRenderer:
    """Paints the frames of one prepared clip."""

    def __init__(self, clip: FaceClip, plan: MouthPlan, library: Library, overlays: overlay.Overlays) -> None:
        self._clip, self._plan, self._library, self._overlays = clip, plan, library, overlays
        self._row_of = {int(clip.track.frames[row]): int(row) for row in plan.changed}
        self._place_of = {int(row): place for place, row in enumerate(plan.changed)}
        neutral = close_lips(plan.rest)
        self._filmed, self._wanted = (
            MeasuredMouths.of(plan.head, made, neutral, talks=plan.choice is not None)
            for made in (plan.shapes, plan.targets)
        )
        self._lent = lru_cache(LENT_KEPT)(self._decoded)
        self._depth, self._blur, self._grain = library.depth, library.blur, library.grain
        self._known = self._persons_teeth()
        # A face that talks and never shows a row of its teeth hides it.
        self._painted = interior.Dentition.of(np.median(neutral, axis=0)) if plan.choice is None else None
        move = pose.from_canonical((plan.targets - plan.shapes).astype(np.float32), _linear_part(plan.head))
        points = clip.track.landmarks[..., :2].astype(np.float64)
        self._points, self._targets = points, points + clip.strength[:, None, None] * move[..., :2]

    def changes(self, frame: int) -> bool:
        """Whether frame number `frame` changes at all."""
        return frame in self._row_of

    def render(self, frame: Frame) -> Patch | None:
        """The new mouth of a frame; `None` if the frame does not change or does not show the face."""
        row = self._row_of.get(frame.index)
        place = None if row is None else self._place(row, frame)
        if row is None or place is None:
            return None
        corner = np.array([place.x0, place.y0], np.float64)
        image = frame.part(place.box)
        mask = self._overlays.mask_at(frame.index, image)
        bare = image if mask is None else mask.inpaint(image)
        own = self._own(row, bare, corner)
        painted = compose(own, self._mouth(row, own, corner), self._exemplars(row))
        if painted is None:
            return None
        region, pixels = painted
        if mask is not None:
            pixels = mask.composite(image, region, pixels)
        return Patch(place.x0 + region.x0, place.y0 + region.y0, pixels)

    def _place(self, row: int, frame: Frame) -> Region | None:
        """The part of a frame that painting reads; `None` if the new face lies outside it."""
        whole = Region(0, 0, *frame.size)
        changed = Region.of(self._targets[row], whole.x1, whole.y1)
        if changed is None or self._overlays.items:
            return changed and whole
        return changed.joined(Region.of(self._points[row], whole.x1, whole.y1) or changed)

    def _mouth(self, row: int, own: Source, corner: Float64Array) -> Mouth:
        """The wanted mouth of a row. corner: of the picture `own` in the frame."""
        strength = float(self._clip.strength[row])
        filmed, wanted = self._filmed, self._wanted
        gap, jaw, line = (
            was[row] + strength * (new[row] - was[row])
            for was, new in ((filmed.gaps, wanted.gaps), (filmed.jaws, wanted.jaws), (filmed.lines, wanted.lines))
        )
        return Mouth(
            target=self._targets[row] - corner,
            gap=float(gap),
            spread=float(self._plan.spread[row]),
            jaw=float(jaw),
            tongue=float(self._plan.tongue[row]),
            strength=strength,
            plane=filmed.plane(row, line).seen_from(corner),
            light=interior.Light.on(own.image, own.points, self._depth),
            own=self._known,
            painted=self._painted,
            blur=self._blur,
            grain=self._grain,
            frame=int(self._clip.track.frames[row]),
        )

    def _exemplars(self, row: int) -> list[Exemplar]:
        choice = self._plan.choice
        if choice is None:
            return []
        place = self._place_of[row]
        share = float(choice.share[place])
        chosen = [(int(choice.first[place]), 1 - share), (int(choice.second[place]), share)]
        return [Exemplar(self._lent(other), weight) for other, weight in chosen if weight > 0]

    def _own(self, row: int, image: Image, corner: Float64Array) -> Source:
        """Part of a frame as a source. image: without overlays. corner: of the part in the frame."""
        points = self._points[row] - corner
        hidden = self._plan.choice is not None and self._clip.strength[row] >= EXEMPLAR_ALONE
        closed = hidden or self._filmed.gaps[row] <= SHOWS_INSIDE
        found = opening.Opening.closed() if closed else opening.find(image, points)
        source = self._filmed.source(row, image, points, found)
        return replace(source, plane=source.plane.seen_from(corner))

    def _decoded(self, row: int) -> Source:
        """A frame of the library as a source."""
        filmed = self._filmed
        return self._library.source(row, float(filmed.gaps[row]), float(filmed.jaws[row]), filmed.plane(row))

    def _persons_teeth(self) -> interior.OwnTeeth | None:
        """The teeth that the track shows; from the references, the first one first, the rows that it never shows."""
        rows = self._library.best_teeth(own_teeth.FRAMES)
        scale = float(np.median(self._plan.head.scale[rows])) if len(rows) else 0.0
        found = own_teeth.collect(((self._decoded(int(row)), self._library.light(int(row))) for row in rows), scale)
        usual = float(np.median(self._plan.head.scale))
        for number, pictures in enumerate(self._clip.references):
            lent = references.teeth(pictures, usual, self._blur)
            if lent is None:
                raise InputError(NO_TEETH, field=f"references[{number}]")
            found = lent if found is None else found.with_missing(lent)
        return found


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


def _fill(library: Library, clip: FaceClip, overlays: overlay.Overlays, wanted: BoolArray, progress: Progress) -> None:
    """Read the `wanted` (N,) rows of the track into the library, with overlays inpainted."""
    rows = {int(frame): int(row) for row, frame in enumerate(clip.track.frames) if wanted[row]}
    first, last = min(rows), max(rows)
    for frame in clip.video.frames(first, last + 1):
        progress("choosing mouth shapes", (frame.index - first + 1) / (last - first + 1))
        if frame.index in rows:
            library.add(rows[frame.index], overlays.inpaint(frame.index, frame.image))


def _linear_part(head: Pose) -> Pose:
    """The pose without its translation, which maps displacements."""
    return Pose(head.scale, head.rotation, np.zeros_like(head.translation))


def _frame_rate(times_ms: Iterable[int]) -> float:
    steps = np.diff(np.asarray(list(times_ms)))
    return 1000 / float(np.median(steps)) if len(steps) else 25.0
