"""What one pass over a clip keeps of a face for rendering: its lips, what lies over them, and how the picture looks.

Frames come while the face is followed, before anything is known of what it is to say. The crop of a mouth takes 10 to
60 kB a frame at 1080p, so a minute of crops fits into memory; a minute of frames would not.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np

from duikou.arrays import Float32Array, Float64Array, Image
from duikou.faces.track import FaceTrack
from duikou.media.decode import Frame
from duikou.media.video import Video
from duikou.render import interior, mesh
from duikou.render.compose import LIP_FEATHER, LIP_MARGIN
from duikou.render.overlay import Detector, Overlays
from duikou.render.warp import Region
from duikou.units import MIB

BUDGET_BYTES = 64 * MIB
"""Memory for the crops of one face."""

REMEMBERED = 600
"""Frames whose crops stay when another part of a long speech is planned: about half a minute. Planning measures them
again, and takes 63 kB for each."""

JPEG_QUALITY = 98
"""Quality of the compressed crops; their loss is below that of the video."""

CROP_MARGIN = 2.2 * (LIP_MARGIN + LIP_FEATHER)
"""Margin around the lips, in eye distances: an exemplar of narrow lips also serves where wide lips are wanted."""

EACH = 8
"""Depth of shadows, blur and grain are measured in every eighth frame: they hardly change."""

STRETCH = 24
"""Consecutive frames that are kept or dropped together: only a run of frames moves like a mouth."""

GAP_STEP, GAP_FLOOR, WIDTH_STEP, POSE_STEP, LIGHT_STEP = 0.25, 0.03, 0.07, 0.08, 14.0
"""Differences from which two mouths count as different: in the logarithm of the gap plus a floor, in width and in the
place of the nose tip between the eyes (0.08 for a turn by 9 degrees), all in eye distances, and in levels of light."""

NOSE_TIP = 4

Look = tuple[int, ...]
"""Shape of a mouth, pose and light, in steps."""


@dataclass(frozen=True)
class Crop:
    """A part of a frame as a JPEG. region: where it lies in the picture. look: of the mouth in it."""

    region: Region
    packed: Image
    look: Look

    @property
    def image(self) -> Image:
        """(rows, columns, 3) BGR."""
        return np.asarray(cv2.imdecode(self.packed, cv2.IMREAD_COLOR), np.uint8)


@dataclass(frozen=True)
class Texture:
    """How a picture looks around a face; what cannot be measured is `None`.

    depth: of its shadows, see `interior.shadow_depth`. blur: of its hardest edges in eye distances, see
    `interior.edge_blur`. grain: in levels, see `interior.grain`.
    """

    depth: float | None
    blur: float | None
    grain: float | None


class Closeups:
    """The crops of the lips of one face, by number of the frame, the texture of some of these frames, and overlays.

    The crops take at most `budget` bytes. Beyond it, the stretches go whose mouths, poses and lights others show too.
    """

    def __init__(self, detector: Detector, budget: int = BUDGET_BYTES) -> None:
        self._detector, self._budget = detector, budget
        self.crops: dict[int, Crop] = {}
        self.textures: dict[int, Texture] = {}
        self._bytes = self._added = 0
        self._looks: Counter[Look] = Counter()

    @classmethod
    def of(cls, video: Video, track: FaceTrack) -> Self:
        """For a face of a video. track: rows of it in every shot, a few in each second at least."""
        steps = np.diff(video.frame_times.starts_ms)
        return cls(Detector(track, video.picture.size, float(np.median(steps)) if len(steps) else 1.0))

    def expect(self, track: FaceTrack) -> None:
        """Expect the next frames where these rows of the face's track have it, a few in each second at least."""
        self._detector.expect(track)

    def forget(self, start: int) -> None:
        """Keep about `REMEMBERED` crops, and the overlays that they or frames from number `start` on show."""
        while len(self.crops) > REMEMBERED and self._drop_one():
            pass
        self._detector.forget(start, list(self.crops))

    @property
    def overlays(self) -> Overlays:
        """The overlays around the lower face."""
        return self._detector.overlays

    def add(self, frame: Frame, landmarks: Float32Array, shot: int) -> None:
        """Take the next frame, in which the face has the landmarks (478, 3)."""
        points = landmarks[:, :2].astype(np.float64)
        self._detector.add(frame, points, shot)
        face = Region.of(points, *frame.size)
        if face is None:
            return
        unit = float(mesh.eye_distance(points))
        region = Region.around_lips(points, CROP_MARGIN * unit, face)
        if self._added % EACH == 0:
            self.textures[frame.index] = _texture(frame.part(face.box), points - [face.x0, face.y0], unit)
        self._added += 1
        image = frame.part(region.box)
        options = [
            *(cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY),
            *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
        ]
        done, packed = cv2.imencode(".jpg", image, options)
        if done:
            crop = self.crops[frame.index] = Crop(region, packed, _look(image, points, unit))
            self._looks[crop.look] += 1
            self._bytes += packed.nbytes
            while self._bytes > self._budget and self._drop_one():
                pass

    def _drop_one(self) -> bool:
        """Drop the stretch that is missed least; `False` if there is only one."""
        worth: dict[int, list[float]] = {}
        for frame, crop in self.crops.items():
            worth.setdefault(frame // STRETCH, []).append(1 / self._looks[crop.look])
        if len(worth) < 2:
            return False
        least = min(list(worth)[:-1], key=lambda stretch: sum(worth[stretch]) / len(worth[stretch]))
        for frame in range(least * STRETCH, (least + 1) * STRETCH):
            self.textures.pop(frame, None)
            if frame in self.crops:
                crop = self.crops.pop(frame)
                self._bytes -= crop.packed.nbytes
                self._looks[crop.look] -= 1
        return True


def _texture(image: Image, points: Float64Array, unit: float) -> Texture:
    """The texture of the picture of a face with landmarks (478, 2)."""
    blur = interior.edge_blur(image, points)
    return Texture(
        interior.shadow_depth(image, points), None if blur is None else blur / unit, interior.grain(image, points)
    )


def _look(image: Image, points: Float64Array, unit: float) -> Look:
    """The look of a crop `image` of a face with landmarks (478, 2) in the whole picture."""
    left, right = points[list(mesh.EYES)]
    along = (right - left) / unit
    nose = (points[NOSE_TIP] - (left + right) / 2) / unit
    figures = (
        np.log(mesh.lip_gap(points) / unit + GAP_FLOOR) / GAP_STEP,
        mesh.lip_width(points) / unit / WIDTH_STEP,
        (nose @ along) / POSE_STEP,
        (nose @ [-along[1], along[0]]) / POSE_STEP,
        sum(cv2.sumElems(image)) / image.size / LIGHT_STEP,
    )
    return tuple(round(float(figure)) for figure in figures)
