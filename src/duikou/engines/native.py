"""duikou's own engine: the person's own mouth, at full resolution, on a CPU.

Exemplars lend their lips where the track has them; elsewhere the frame's own lips are moved and the mouth's inside is
painted. Both go through the same warp, so that the lips end exactly where they are wanted.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from duikou.engines.base import FaceClip, Image
from duikou.faces import pose
from duikou.faces.pose import Pose
from duikou.media import decode
from duikou.progress import Progress, scaled
from duikou.render import cover, exemplars, interior, mesh
from duikou.render.compose import Exemplar, Mouth, Plane, Source, compose
from duikou.render.shape import MouthModel, close_lips, rest_shapes
from duikou.render.warp import Region

FloatArray = npt.NDArray[np.float64]

TEETH_BEHIND_LIPS = 0.04
"""Depth of the teeth behind the closed lips' line, in eye distances."""

JPEG_QUALITY = 98
"""Exemplars wait compressed: a minute of 1080p would otherwise fill the memory."""


class NativeEngine:
    """The default engine."""

    name = "native"

    def prepare(self, clip: FaceClip, curves: dict[str, FloatArray], *, progress: Progress) -> NativeRenderer:
        """Plan all frames and fetch the exemplars they need (one partial decoding of the video)."""
        head = pose.fit(clip.track.landmarks)
        shapes = pose.to_canonical(clip.track.landmarks, head).astype(np.float64)
        angles = head.degrees[:, :2]
        rate = _frame_rate(clip.track.times_ms)
        model = MouthModel.fit(shapes, angles, clip.usable)
        wanted = model.wanted(curves, rate)
        targets = model.targets(shapes, angles, rate, wanted)
        changed = np.flatnonzero(clip.strength > 0)
        seen = np.flatnonzero(clip.usable) if model.talks else changed  # all that may lend lips, else what changes
        covers = cover.find(clip.video, clip.track, seen, progress=scaled(progress, 0, 0.5))
        bare = clip.usable & ~covers.over_lips(clip.track.frames, clip.track.landmarks[..., :2].astype(np.float64))
        choice = None
        if model.talks and len(changed):
            library = exemplars.Looks(mesh.lip_gap(shapes), mesh.lip_width(shapes), angles, head.scale)
            asked = exemplars.Looks(
                mesh.lip_gap(targets[changed]), mesh.lip_width(targets[changed]), angles[changed], head.scale[changed]
            )
            choice = exemplars.choose(asked, library, bare if bare.any() else clip.usable)
        needed = [] if choice is None else np.unique(np.concatenate([choice.first, choice.second])).tolist()
        frames = {int(clip.track.frames[row]): int(row) for row in needed}
        crops = _Crops(clip.track.landmarks, covers)
        crops.fetch(clip.video, frames, scaled(progress, 0.5, 1))
        tongue = wanted.tongue * wanted.voice
        return NativeRenderer(clip, head, shapes, targets, tongue, choice, changed, crops, covers, rate)


class NativeRenderer:
    """Paints the frames of one prepared clip."""

    def __init__(
        self,
        clip: FaceClip,
        head: Pose,
        shapes: FloatArray,
        targets: FloatArray,
        tongue: FloatArray,
        choice: exemplars.Choice | None,
        changed: npt.NDArray[np.int64],
        crops: _Crops,
        covers: cover.Covers,
        rate: float,
    ) -> None:
        self._clip, self._head, self._tongue = clip, head, tongue
        self._choice, self._crops, self._covers = choice, crops, covers
        self._row_of = {int(clip.track.frames[row]): int(row) for row in changed}
        self._place_of = {int(row): place for place, row in enumerate(changed)}
        self._gaps, self._target_gaps = mesh.lip_gap(shapes), mesh.lip_gap(targets)
        neutral = close_lips(rest_shapes(shapes, self._gaps, rate))
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
        covered = self._covers.on(frame, image)
        bare = image if covered is None else covered.without(image)
        own = Source(bare, self._points[row], float(self._gaps[row]))
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
        painted = compose(own, mouth, self._exemplars(row))
        if painted is None:
            return image
        region, pixels = painted
        out = image.copy()
        region.cut(out)[:] = pixels if covered is None else covered.keep(image, region, pixels)
        return out

    def _exemplars(self, row: int) -> list[Exemplar]:
        if self._choice is None:
            return []
        place = self._place_of[row]
        share = float(self._choice.share[place])
        chosen = [(int(self._choice.first[place]), 1 - share), (int(self._choice.second[place]), share)]
        return [
            Exemplar(self._crops.source(other, float(self._gaps[other])), weight)
            for other, weight in chosen
            if weight > 0
        ]

    def _plane(self, row: int) -> Plane:
        turn, scale = self._head.rotation[row], self._head.scale[row]
        place = scale * turn @ self._closed_line[row] + self._head.translation[row]
        return Plane(scale * turn[:2, :2], place[:2])


class _Crops:
    """The lower faces of the exemplars, compressed."""

    def __init__(self, landmarks: npt.NDArray[np.float32], covers: cover.Covers) -> None:
        self._landmarks, self._covers = landmarks, covers
        self._crops: dict[int, tuple[Region, npt.NDArray[np.uint8]]] = {}

    def fetch(self, video: Path, rows: dict[int, int], progress: Progress) -> None:
        """Cut the faces of track rows `rows` (by frame number) out of the video."""
        if not rows:
            return
        first, last = min(rows), max(rows)
        for frame in decode.frames(video, start=first, stop=last + 1):
            progress("choosing", (frame.index - first + 1) / (last - first + 1))
            if frame.index in rows:
                self._keep(rows[frame.index], self._covers.bare(frame.index, frame.image))

    def _keep(self, row: int, image: Image) -> None:
        region = Region.of(self._landmarks[row].astype(np.float64), image.shape[1], image.shape[0])
        if region is None:
            return
        options = [
            *(cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY),
            *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
        ]
        done, packed = cv2.imencode(".jpg", region.cut(image), options)
        if done:
            self._crops[row] = (region, packed)

    def source(self, row: int, gap: float) -> Source:
        """The exemplar of a track row, in its crop's own pixels."""
        region, packed = self._crops[row]
        image = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
        return Source(image, self._landmarks[row, :, :2].astype(np.float64) - [region.x0, region.y0], gap)


def _linear_part(head: Pose) -> Pose:
    """The pose without its place: what moves displacements."""
    return Pose(head.scale, head.rotation, np.zeros_like(head.translation))


def _frame_rate(times_ms: Iterable[int]) -> float:
    steps = np.diff(np.asarray(list(times_ms)))
    return 1000 / float(np.median(steps)) if len(steps) else 25.0
