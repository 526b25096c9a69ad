"""Measures of the picture before encoding: changes outside the face, sharpness, light, flicker, sliding, seams."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from duikou.arrays import BoolArray, Float64Array, Image, IntArray
from duikou.render import mesh
from duikou.render.warp import Region

MOUTH_MARGIN = 0.12
"""Margin around the lips, in eye distances, of the region whose sharpness is measured."""

FACE_SLACK = 0.15
"""Margin around the lower face and neck, in eye distances: under a beard the chin is painted up to 0.09 lower than it
is measured afterwards."""

INSIDE_MARGIN = 0.03
"""Margin around the opening, in eye distances, that is left out when only lips and skin are measured."""

LIGHT_SIGMA = 0.08
"""Blur, in eye distances, that keeps light and colour and removes pores and lines of the lips."""

LIGHT_PIXELS = 40.0
"""Eye distance, in pixels, of the small copy on which light is measured."""

RAYS, RAY_STEP, RAY_STEPS = 48, 0.02, 14
"""Rays outwards from the outer edge of the lips, on which seams are searched: across the whole edge of the mask, which
lies within a quarter of the eye distance."""

SLIDE_PIXELS, SLIDE_WINDOW = 120.0, 21
"""Eye distance, in pixels, at which skin and lips are followed, and the side of the square that is matched."""

SKIN = (*mesh.CHIN, *mesh.LOWER_CHEEKS, *mesh.UNDER_NOSE, *mesh.OUTER_RING)
"""Points of the lower face at which light is measured."""

SLIDING = (*SKIN, *mesh.UPPER_MIDDLE, *mesh.LOWER_MIDDLE)
"""Points at which the skin is followed from frame to frame."""


@dataclass(frozen=True)
class Looks:
    """One frame of source or result.

    sharp: variance of the Laplacian over the mouth's region. sharp_lips: the same over its lips and skin alone.
    edge: root mean square slope of brightness across the mask's edge, in grey levels per eye distance.
    light: (K, 3) blurred colour of the skin at `SKIN`. mouth: (3,) mean colour within the lips' outer edge.
    """

    sharp: float
    sharp_lips: float
    edge: float
    light: Float64Array
    mouth: Float64Array


@dataclass(frozen=True)
class Compared:
    """One changed frame: the looks of its source, its own looks, and how many pixels changed outside the face.

    slide: how far the skin slid against the landmarks since the frame before, in the source and as it is now, in eye
    distances; `None` for the first of a run.
    """

    own: Looks
    new: Looks
    outside: int
    slide: tuple[float, float] | None = None


@dataclass(frozen=True)
class Picture:
    """One clip. outside: changed pixels outside the face, of all frames. The others are ratios to the source.

    sharpness: of the mouth's region against the same region of the source. sharpness_alike: against that of the
    source's most similar mouths, which show as much of teeth and lips. sharpness_lips: of lips and skin alone.
    light: how far the skin's light is from the source's, as a share of it. seam: slope across the mask's edge.
    slide: how far skin and lips slide against the landmarks from frame to frame.
    flicker: of skin's light, of the mouth's colour, of the lower face's landmarks; none for a source whose mouth is
    still.
    """

    frames: int
    outside: int
    sharpness: float
    sharpness_alike: float
    sharpness_lips: float
    light: float
    seam: float
    slide: float
    flicker: dict[str, float]


def measure(own: Image, new: Image, before: Float64Array, after: Float64Array) -> Compared:
    """Measures of one frame, without its sliding.

    own, new: (H, W, 3) the source's picture and the result. before, after: (478, 2) their landmarks.
    """
    unit = float(mesh.eye_distance(before))
    box = _mouth_box(before, after, unit, own.shape[:2])
    skin = ~(_opening(before, box, unit) | _opening(after, box, unit))
    return Compared(
        _looks(own, before, box, skin, unit),
        _looks(new, after, box, skin, unit),
        _outside(own, new, (before, after), unit),
    )


def summary(frames: list[Compared], own: Float64Array, new: Float64Array) -> Picture:
    """Ratios over a clip; own, new: (N, 2) gap and width of the mouths of source and result. Without flicker."""
    alike = np.linalg.norm(new[:, None] - own[None], axis=-1).argmin(1)
    source, result = (np.array([[one.sharp, one.sharp_lips, one.edge**2] for one in looks])
                      for looks in ([one.own for one in frames], [one.new for one in frames]))  # fmt: skip
    sharp, lips, edges = result.mean(0) / np.maximum(source.mean(0), 1e-9)
    own_slide, new_slide = np.mean([one.slide for one in frames if one.slide is not None] or [(0.0, 0.0)], axis=0)
    return Picture(
        frames=len(frames),
        outside=sum(one.outside for one in frames),
        sharpness=float(sharp),
        sharpness_alike=float(result[:, 0].mean() / max(source[alike, 0].mean(), 1e-9)),
        sharpness_lips=float(lips),
        light=float(np.mean([np.abs(one.new.light - one.own.light).mean() / one.own.light.mean() for one in frames])),
        seam=float(np.sqrt(edges)),
        slide=float(new_slide / max(own_slide, 1e-9)),
        flicker={},
    )


def flickers(frames: list[Compared], numbers: IntArray) -> dict[str, float]:
    """Flicker relative to the source's, for frames of rising numbers (N,)."""
    own, new = [one.own for one in frames], [one.new for one in frames]
    light, mouth = (
        tuple(flicker(np.array([getattr(one, name) for one in looks]), numbers) for looks in (own, new))
        for name in ("light", "mouth")
    )
    return {"light": light[1] / max(light[0], 1e-9), "mouth": mouth[1] / max(mouth[0], 1e-9)}


def sharpness(part: Image, where: BoolArray | None = None) -> float:
    """Variance of the Laplacian of a picture's brightness, over all of it or over the pixels `where` (H, W)."""
    laplacian = cv2.Laplacian(cv2.cvtColor(part, cv2.COLOR_BGR2GRAY), cv2.CV_64F)
    return float(laplacian.var() if where is None else laplacian[where].var())


def flicker(values: Float64Array, numbers: IntArray) -> float:
    """Root mean square second difference over frames of values (N, ...), where three frames follow each other."""
    second = np.diff(values, 2, axis=0)
    follow = (np.diff(numbers)[1:] == 1) & (np.diff(numbers)[:-1] == 1)
    return float(np.sqrt((second[follow] ** 2).mean())) if follow.any() else 0.0


def light(image: Image, places: Float64Array, unit: float) -> Float64Array:
    """(K, 3) colour of an image, blurred to its light, at places (K, 2) in pixels. unit: eye distance in pixels."""
    shrink = min(LIGHT_PIXELS / unit, 1.0)
    margin = 4 * LIGHT_SIGMA * unit
    low = np.maximum(np.floor(places.min(0) - margin), 0).astype(int)
    high = np.ceil(places.max(0) + margin + 1).astype(int)
    part = image[low[1] : high[1], low[0] : high[0]].astype(np.float32)
    size = (max(round(part.shape[1] * shrink), 1), max(round(part.shape[0] * shrink), 1))
    small = cv2.GaussianBlur(cv2.resize(part, size, interpolation=cv2.INTER_AREA), (0, 0), LIGHT_SIGMA * unit * shrink)
    scale = np.array(size) / part.shape[1::-1]
    at = ((places - low + 0.5) * scale - 0.5).astype(np.float32)
    read = cv2.remap(small, at[None, :, 0], at[None, :, 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(read[0], np.float64)


def slide(images: tuple[Image, Image], points: tuple[Float64Array, Float64Array]) -> float:
    """Mean motion, in eye distances, of skin and lips between two images relative to their landmarks (478, 2).

    The skin at a landmark is found again with optical flow (Lucas and Kanade, pyramidal after Bouguet 2000).
    """
    unit = float(mesh.eye_distance(points[0]))
    scale = min(SLIDE_PIXELS / unit, 1.0)
    places = [one[list(SLIDING)] for one in points]
    low = np.maximum(np.floor(np.min([one.min(0) for one in places], 0) - unit / 4), 0).astype(int)
    high = np.ceil(np.max([one.max(0) for one in places], 0) + unit / 4).astype(int)
    small = [
        cv2.resize(
            cv2.cvtColor(image[low[1] : high[1], low[0] : high[0]], cv2.COLOR_BGR2GRAY),
            None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA,
        )
        for image in images
    ]  # fmt: skip
    before, after = (((one - low + 0.5) * scale - 0.5).astype(np.float32) for one in places)
    window = (SLIDE_WINDOW, SLIDE_WINDOW)
    found, seen, _ = cv2.calcOpticalFlowPyrLK(
        small[0], small[1], before, after.copy(), winSize=window, maxLevel=2, flags=cv2.OPTFLOW_USE_INITIAL_FLOW
    )
    away = np.linalg.norm(found - after, axis=1)[seen[:, 0] > 0]
    return float(away.mean() / (unit * scale)) if len(away) else 0.0


def edge(image: Image, points: Float64Array) -> float:
    """Root mean square slope of brightness on rays that leave the lips of landmarks (478, 2): grey levels per eye
    distance. A patch of different light around the mouth adds to it wherever its edge lies.
    """
    unit = float(mesh.eye_distance(points))
    rays = _rays(points) * unit
    places = _resampled(points[list(mesh.OUTER_RING)], RAYS)[:, None] + rays
    read = brightness(image, places.reshape(-1, 2), unit).reshape(RAYS, RAY_STEPS)
    slope = np.diff(read, axis=1) / RAY_STEP
    return float(np.sqrt((slope**2).mean()))


def brightness(image: Image, places: Float64Array, unit: float) -> Float64Array:
    """(K,) brightness at positions (K, 2), with pores and stubble blurred away."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    low = np.maximum(np.floor(places.min(0) - unit / 4), 0).astype(int)
    high = np.ceil(places.max(0) + unit / 4 + 1).astype(int)
    part = grey[low[1] : high[1], low[0] : high[0]].astype(np.float32)
    calm = cv2.GaussianBlur(part, (0, 0), max(RAY_STEP * unit, 0.5))
    at = (places - low).astype(np.float32)
    read = cv2.remap(calm, at[None, :, 0], at[None, :, 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(read[0], np.float64)


def _rays(points: Float64Array) -> Float64Array:
    """Displacements (RAYS, RAY_STEPS, 2) away from the lips, in eye distances."""
    ring = _resampled(points[list(mesh.OUTER_RING)], RAYS)
    along = np.roll(ring, -1, 0) - np.roll(ring, 1, 0)
    normal = np.stack([along[:, 1], -along[:, 0]], 1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    outwards = np.sign(((ring - ring.mean(0)) * normal).sum(1).mean())
    steps = RAY_STEP * (1 + np.arange(RAY_STEPS))
    return np.asarray(outwards * normal[:, None] * steps[None, :, None], np.float64)


def _resampled(ring: Float64Array, count: int) -> Float64Array:
    """`count` points evenly along a closed line (K, 2)."""
    closed = np.vstack([ring, ring[:1]])
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    at = np.linspace(0, length[-1], count, endpoint=False)
    return np.stack([np.interp(at, length, closed[:, axis]) for axis in (0, 1)], 1)


def _mouth_box(before: Float64Array, after: Float64Array, unit: float, shape: tuple[int, ...]) -> tuple[slice, slice]:
    lips = np.vstack([before[list(mesh.LIPS)], after[list(mesh.LIPS)]])
    low = np.maximum(np.floor(lips.min(0) - MOUTH_MARGIN * unit), 0).astype(int)
    high = np.minimum(np.ceil(lips.max(0) + MOUTH_MARGIN * unit) + 1, shape[::-1]).astype(int)
    return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))


def _looks(image: Image, points: Float64Array, box: tuple[slice, slice], skin: BoolArray, unit: float) -> Looks:
    return Looks(
        sharp=sharpness(image[box]),
        sharp_lips=sharpness(image[box], skin),
        edge=edge(image, points),
        light=light(image, points[list(SKIN)], unit),
        mouth=image[box][_filled(points[list(mesh.OUTER_RING)], box)].mean(0),
    )


def _opening(points: Float64Array, box: tuple[slice, slice], unit: float) -> BoolArray:
    """The pixels of a box that show the inside of the mouth, with a margin."""
    inside = _filled(points[list(mesh.INNER_RING)], box).astype(np.uint8)
    reach = round(INSIDE_MARGIN * unit)
    return np.asarray(cv2.dilate(inside, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > 0, np.bool_)


def _filled(ring: Float64Array, box: tuple[slice, slice]) -> BoolArray:
    """Pixels of a box within a closed line (K, 2)."""
    rows, columns = box
    mask = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
    cv2.fillPoly(mask, [np.round(ring - [columns.start, rows.start]).astype(np.int32)], 1)
    return mask > 0


def _outside(own: Image, new: Image, faces: tuple[Float64Array, Float64Array], unit: float) -> int:
    """Changed pixels outside the rectangle of the lower face and neck."""
    differs = (own != new).any(axis=2)
    height, width = differs.shape
    slack = int(np.ceil(FACE_SLACK * unit))
    for points in faces:
        region = Region.of(points, width, height)
        if region is not None:
            top, left = max(region.y0 - slack, 0), max(region.x0 - slack, 0)
            differs[top : region.y1 + slack, left : region.x1 + slack] = False
    return int(differs.sum())
