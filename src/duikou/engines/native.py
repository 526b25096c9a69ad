"""duikou's default engine: the person's own mouth, at full resolution, on a CPU.

Where the track shows the wanted mouth, exemplar frames lend their lips. Elsewhere the frame's own lips are moved and
the inside of the mouth is painted. Both use the same warp, so the lips end exactly at their targets.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np

from duikou.arrays import BoolArray, Float32Array, Float64Array, Image, IntArray, blocks
from duikou.engines.base import FaceClip
from duikou.errors import InputError
from duikou.faces import pose
from duikou.faces.pose import Pose
from duikou.faces.track import POINTS
from duikou.media.decode import Frame, Patch
from duikou.progress import Progress
from duikou.render import exemplars, interior, mesh, opening, own_teeth, references
from duikou.render.compose import EXEMPLAR_ALONE, Exemplar, compose
from duikou.render.inside import SHOWS_INSIDE
from duikou.render.library import Library
from duikou.render.mouth import MeasuredMouths, Mouth, Source, most_open
from duikou.render.shape import MouthModel, Rest, close_lips, lip_gaps, lip_widths, rest_shapes
from duikou.render.warp import Region

NO_TEETH = "too little of the upper teeth shows in it; the mouth must be open, as in a smile or in speech."

LENT_KEPT = 8
"""Exemplars that are kept decoded: seven of ten uses are of one of the last eight."""

READ_MARGIN, READ_PIXELS = 0.1, 8
"""How far around the lower face of a frame painting reads: in eye distances, and pixels beyond."""


@dataclass(frozen=True)
class MouthPlan:
    """What the mouth does in the N frames of a track.

    head: pose in each frame. shapes: (N, 478, 3) canonical shapes of the face as filmed, which have no more precision
    than landmarks. rest: the same at rest. spread, tongue: (N,) as in `Wanted`. changed: (M,) rows that change.
    targets: (M, 478, 3) their shapes as wanted. choice: their exemplars; `None` for a face that never talks.
    """

    head: Pose
    shapes: Float32Array
    rest: Rest
    spread: Float64Array
    tongue: Float64Array
    changed: IntArray
    targets: Float64Array
    choice: exemplars.Choice | None


@dataclass(frozen=True)
class Person:
    """What stays the same of a face in all parts of a video.

    model: how its mouth moves. teeth: as far as they are known. painted: those to paint for rows that are not; `None`
    for a face that talks. depth, blur, grain: as in `Library`.
    """

    model: MouthModel
    teeth: interior.OwnTeeth | None
    painted: interior.Dentition | None
    depth: float
    blur: float
    grain: float


class NativeEngine:
    """The default engine."""

    name = "native"

    def prepare(self, clip: FaceClip, curves: dict[str, Float64Array], *, progress: Progress) -> NativeRenderer:
        """Plan all frames. Raises `InputError` that names a reference which shows no teeth."""
        head = pose.fit(clip.track.landmarks)
        shapes = pose.to_canonical(clip.track.landmarks, head)
        angles = head.degrees[:, :2]
        rate = _frame_rate(clip.track.times_ms)
        person = clip.before.person if isinstance(clip.before, NativeRenderer) else None
        model = _model(person, shapes, angles, clip.usable)
        wanted = model.wanted(curves, rate)
        rest = rest_shapes(shapes, rate)
        changed = np.flatnonzero(clip.strength > 0)
        targets = model.targets(shapes, angles, rest, rate, wanted, changed)
        spread, tongue = wanted.spread * wanted.voice, wanted.tongue * wanted.voice
        plan = MouthPlan(head, shapes, rest, spread, tongue, changed, targets, None)
        library = Library(clip.track, clip.shown, clip.closeups, lending := _lending(clip))
        if model.talks and len(changed):
            _fill(library, np.flatnonzero(lending), progress)
            plan = replace(plan, choice=_choose(plan, clip.shown, library))
        elif len(changed):
            _fill(library, most_open(lip_gaps(shapes), np.flatnonzero(lending), own_teeth.FRAMES), progress)
        return NativeRenderer(clip, plan, library, model, person)


class NativeRenderer:
    """Paints the frames of one prepared clip."""

    def __init__(
        self, clip: FaceClip, plan: MouthPlan, library: Library, model: MouthModel, known: Person | None
    ) -> None:
        """known: the person, from an earlier part of the video."""
        clip = replace(clip, before=None)  # else all parts of a video would stay in memory
        self._clip, self._plan, self._library = clip, plan, library
        self._overlays = clip.closeups.overlays
        self._row_of = {int(clip.track.frames[row]): int(row) for row in plan.changed}
        self._place_of = {int(row): place for place, row in enumerate(plan.changed)}
        talks = plan.choice is not None
        self._filmed = MeasuredMouths.of(plan.head, plan.shapes, plan.rest, talks=talks)
        self._wanted = MeasuredMouths.of(plan.head.at(plan.changed), plan.targets, plan.rest, plan.changed, talks=talks)
        # A cache of a method would refer to its object, which would then outlive its use until garbage is collected.
        self._lent = lru_cache(LENT_KEPT)(partial(_decoded, library, self._filmed))
        self.person = self._person(model, plan.rest, known)
        self._moves = _moves(plan)
        nothing = np.zeros((0, POINTS, 3), np.float32)
        none = Rest(nothing, nothing.astype(np.float64))
        self._plan = replace(plan, shapes=nothing, rest=none, targets=none.points)  # which fill most of its memory
        if plan.choice is not None:
            library.keep(np.union1d(plan.choice.first, plan.choice.second))

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
        mask = self._overlays.mask_at(int(self._clip.shown[row]), image, place)
        bare = image if mask is None else mask.inpaint(image, place)
        own = self._own(row, bare, corner)
        painted = compose(own, self._mouth(row, own, corner), self._exemplars(row))
        if painted is None:
            return None
        region, pixels = painted
        at = region.moved(place.x0, place.y0)
        if mask is not None:
            pixels = mask.composite(region.cut(image), pixels, at)
        return Patch(at.x0, at.y0, pixels)

    def _place(self, row: int, frame: Frame) -> Region | None:
        """The part of a frame that painting reads; `None` if the new face lies outside it."""
        whole = Region(0, 0, *frame.size)
        changed = Region.of(self._target(row), whole.x1, whole.y1)
        if changed is None:
            return None
        points = self._points(row)
        face = changed.joined(Region.of(points, whole.x1, whole.y1) or changed)
        margin = int(READ_MARGIN * mesh.eye_distance(points)) + READ_PIXELS
        x0, y0 = max(face.x0 - margin, 0), max(face.y0 - margin, 0)
        return Region(x0, y0, min(face.x1 + margin, whole.x1), min(face.y1 + margin, whole.y1))

    def _points(self, row: int) -> Float64Array:
        """Landmarks (478, 2) of a row, in pixels."""
        return self._clip.track.landmarks[row, :, :2].astype(np.float64)

    def _target(self, row: int) -> Float64Array:
        """Where they are wanted in a row that changes."""
        moved: Float64Array = self._points(row) + self._clip.strength[row] * self._moves[self._place_of[row]]
        return moved

    def _mouth(self, row: int, own: Source, corner: Float64Array) -> Mouth:
        """The wanted mouth of a row. corner: of the picture `own` in the frame."""
        strength = float(self._clip.strength[row])
        filmed, wanted = self._filmed, self._wanted
        gap, jaw, line = (
            was[row] + strength * (new[self._place_of[row]] - was[row])
            for was, new in ((filmed.gaps, wanted.gaps), (filmed.jaws, wanted.jaws), (filmed.lines, wanted.lines))
        )
        return Mouth(
            target=self._target(row) - corner,
            gap=float(gap),
            spread=float(self._plan.spread[row]),
            jaw=float(jaw),
            tongue=float(self._plan.tongue[row]),
            strength=strength,
            plane=filmed.plane(row, line).seen_from(corner),
            light=interior.Light.on(own.image, own.points, self.person.depth),
            own=self.person.teeth,
            painted=self.person.painted,
            blur=self.person.blur,
            grain=self.person.grain,
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
        points = self._points(row) - corner
        hidden = self._plan.choice is not None and self._clip.strength[row] >= EXEMPLAR_ALONE
        closed = hidden or self._filmed.gaps[row] <= SHOWS_INSIDE
        found = opening.Opening.closed() if closed else opening.find(image, points)
        source = self._filmed.source(row, image, points, found)
        return replace(source, plane=source.plane.seen_from(corner))

    def _person(self, model: MouthModel, rest: Rest, known: Person | None) -> Person:
        """The person, with what is not known yet."""
        # A face that talks and never shows a row of its teeth hides it.
        painted = None if known is None or model.talks else known.painted
        if painted is None and not model.talks:
            painted = interior.Dentition.of(np.median(close_lips(rest[:]), axis=0))
        if known is None:
            library = self._library
            return Person(model, self._persons_teeth(), painted, library.depth, library.blur, library.grain)
        teeth = known.teeth
        if teeth is None or not (teeth.upper and teeth.lower):
            own = self._persons_teeth()
            teeth = own if teeth is None else teeth.with_missing(own)
        return replace(known, model=model, teeth=teeth, painted=painted)

    def _persons_teeth(self) -> interior.OwnTeeth | None:
        """The teeth that the track shows; from the references, the first one first, the rows that it never shows."""
        rows = self._library.best_teeth(own_teeth.FRAMES)
        scale = float(np.median(self._plan.head.scale[rows])) if len(rows) else 0.0
        library, filmed = self._library, self._filmed
        found = own_teeth.collect(
            ((_decoded(library, filmed, row), library.light(row)) for row in rows.tolist()), scale
        )
        usual = float(np.median(self._plan.head.scale))
        for number, pictures in enumerate(self._clip.references):
            lent = references.teeth(pictures, usual, self._library.blur)
            if lent is None:
                raise InputError(NO_TEETH, field=f"references[{number}]")
            found = lent if found is None else found.with_missing(lent)
        return found


def _model(person: Person | None, shapes: Float32Array, angles: Float64Array, usable: BoolArray) -> MouthModel:
    """How the mouth moves: as before, unless this part of the video is the first in which it talks."""
    if person is not None and person.model.talks:
        return person.model
    model = MouthModel.fit(shapes, angles, usable)
    return model if person is None or model.talks else person.model


def _decoded(library: Library, filmed: MeasuredMouths, row: int) -> Source:
    """A frame of the library as a source."""
    return library.source(row, float(filmed.gaps[row]), float(filmed.jaws[row]), filmed.plane(row))


def _lending(clip: FaceClip) -> BoolArray:
    """(N,) the rows that may lend their mouths: each frame of the source once, and none with occluded lips."""
    points = clip.track.landmarks[..., :2].astype(np.float64)
    usable = clip.usable & np.isin(np.arange(len(clip.shown)), _once(clip.shown))
    unoccluded = usable & ~clip.closeups.overlays.occlude_lips(clip.shown, points)
    return unoccluded if unoccluded.any() else usable


def _once(shown: IntArray) -> IntArray:
    """The first row that shows each frame, in the order of the frames."""
    return np.asarray(np.unique(shown, return_index=True)[1], np.int64)


def _fill(library: Library, rows: IntArray, progress: Progress) -> None:
    """Add rows to the library."""
    for done, _ in enumerate(library.add(rows), 1):
        progress("choosing mouth shapes", done / len(rows))


def _choose(plan: MouthPlan, shown: IntArray, library: Library) -> exemplars.Choice:
    """Choose exemplars from a filled library for every row that changes. shown: (N,) frames of the source."""
    filmed = exemplars.Looks(
        frames=shown,
        gap=lip_gaps(plan.shapes),
        width=lip_widths(plan.shapes),
        angles=plan.head.degrees[:, :2],
        scale=plan.head.scale,
        skin=library.skin,
        mouth=library.mouth,
        inside=library.inside,
        bared=library.bared,
    )
    wanted = replace(filmed.at(plan.changed), gap=lip_gaps(plan.targets), width=lip_widths(plan.targets))
    once = _once(shown)
    choice = exemplars.choose(wanted, filmed.at(once), library.kept[once])
    return exemplars.Choice(once[choice.first], once[choice.second], choice.share)


def _moves(plan: MouthPlan) -> Float32Array:
    """(M, 478, 2) from the filmed points to the wanted ones, in pixels."""
    found = np.empty((*plan.targets.shape[:2], 2), np.float32)
    for block in blocks(len(found)):
        rows = plan.changed[block]
        head = plan.head.at(rows)
        turn = replace(head, translation=np.zeros_like(head.translation))  # which then maps displacements
        found[block] = pose.from_canonical((plan.targets[block] - plan.shapes[rows]).astype(np.float32), turn)[..., :2]
    return found


def _frame_rate(times_ms: Iterable[int]) -> float:
    steps = np.diff(np.asarray(list(times_ms)))
    return 1000 / float(np.median(steps)) if len(steps) else 25.0
