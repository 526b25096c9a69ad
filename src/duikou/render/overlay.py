"""Overlays: captions, logos and clocks that lie over the picture and occlude the face. They must not move with it.

An overlay is fixed to the picture to a hundredth of a pixel; nothing in front of a camera is. While the head moves by a
pixel or more, only the edges of overlays stay. A window of frames is therefore as long as the head needs to move, and
an edge in the window's mean belongs to an overlay where the temporal variance leaves no room for motion.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

import cv2
import numpy as np

from duikou.arrays import BoolArray, Float32Array, Float64Array, Image, IntArray, smoothstep
from duikou.faces.smooth import contiguous_segments
from duikou.faces.track import FaceTrack
from duikou.media.video import Video
from duikou.progress import Progress, silent
from duikou.render import mesh
from duikou.render.warp import Region

FACE_PIXELS = 100
"""Eye distance, in pixels, to which large faces are shrunk for detection: strokes are still two pixels wide."""

BLOCK_MS, MAX_BLOCKS = 200, 20
"""Frames are summed in blocks. A window has at least two blocks and, where the head hardly moves, up to 4 s."""

MOVED = 1.0
"""Motion of the lower face in a window, and across an edge, that detection needs: pixels, root mean square. The edges
of a still head are fixed as well."""

FIXED, FIXED_SHARE = 0.1, 1 / 15
"""How far a fixed edge may seem to move because of coding noise, in pixels, and its maximum as a share of the face's
motion. Captions measure 0.02 to 0.06 pixels; edges of a face measure most of the face's motion."""

SHARP = 12.0
"""Least gradient of a fixed edge, in grey levels per pixel: captions measure 20 to 100."""

LEAST_EDGE = 24
"""Least number of fixed edge pixels of an overlay on the face; clips without overlays had at most 20 by chance."""

CLOSING = 0.08
"""Eye distances across which fixed edges are joined: strokes, and the letters of a word."""

STILL, TONE, COMMON, UNLIKE_SKIN, REACH = 1.5, 8, 0.1, 30.0, 0.25
"""Flat parts of an overlay: the box under a caption, a broad letter, a logo. A pixel belongs to one if its
variance is at most `STILL`, it lies within `REACH` eye distances of fixed edges, and its colour, to within `TONE` grey
levels, fills at least the share `COMMON` of the space between the edges and differs from the skin's by more than
`UNLIKE_SKIN`."""

NOSE_TIP, NECK, EDGE = 4, 0.2, 0.08
"""The neck belongs to the face's surroundings down to the share `NECK` of the way from nose bridge to chin. The share
`EDGE` of the jaw's rim is left out, because the background shows beside it."""

GROWTH, SOFTNESS = 0.008, 0.01
"""How far a mask reaches beyond its overlay, whose rim is blurred by coding, and the width of the mask's soft edge, in
eye distances. Larger values show as a halo of skin that does not move with the chin."""

RIM = 0.016
"""Width of the rim around a mask that may still show the overlay and is inpainted too, in eye distances."""

MARGIN = 0.08
"""Width of the surroundings from which a mask is inpainted, in eye distances."""

SHOWN = 0.25
"""Share of an overlay's contrast from which it counts as visible, so that its fade in and fade out are included."""

SAME = 0.6
"""Share of one overlay's contrast found in another from which both are the same overlay."""


@dataclass(frozen=True)
class Overlay:
    """One overlay, in pixels of the shrunk picture.

    place: its bounding box. mask: (rows, columns) its pixels. gradients: (rows, columns, 6) the picture's gradients at
    its fixed edges, 0 elsewhere. first, last: the frames between which it was seen.
    """

    place: Region
    mask: BoolArray
    gradients: Float32Array
    first: int
    last: int

    def visibility(self, gradients: Float32Array) -> float:
        """How much of the overlay the gradients of its bounding box show, by least squares: 0 absent, 1 visible."""
        return float(np.vdot(gradients, self.gradients)) / max(float(np.vdot(self.gradients, self.gradients)), 1e-6)

    def padded_to(self, place: Region) -> Overlay:
        """The same overlay in a larger bounding box."""
        at = self.place.inside(place)
        mask, gradients = np.zeros(place.shape, bool), np.zeros((*place.shape, 6), np.float32)
        mask[at], gradients[at] = self.mask, self.gradients
        return replace(self, place=place, mask=mask, gradients=gradients)


@dataclass(frozen=True)
class OverlayMask:
    """The overlays of one frame as an alpha mask.

    place: bounding box in frame pixels. alpha: (rows, columns) 1 where the frame's pixels stay. rim: width, in pixels,
    of the surroundings that may still show an overlay.
    """

    place: Region
    alpha: Float32Array
    rim: float

    def inpaint(self, image: Image) -> Image:
        """The picture without its overlays: masked pixels are filled in from their surroundings."""
        out = image.copy()
        part = self.place.cut(out)
        hidden = cv2.dilate((self.alpha > 0).astype(np.uint8), _disc(self.rim))
        part[:] = np.round(_inpaint(part.astype(np.float32), 1 - hidden.astype(np.float32))).astype(np.uint8)
        return out

    def composite(self, image: Image, region: Region, pixels: Image) -> Image:
        """New `pixels` of a region of `image` with the overlays of `image` composited over them."""
        x0, y0 = max(self.place.x0, region.x0), max(self.place.y0, region.y0)
        x1, y1 = min(self.place.x1, region.x1), min(self.place.y1, region.y1)
        if x1 <= x0 or y1 <= y0:
            return pixels
        both, out = Region(x0, y0, x1, y1), pixels.copy()
        new, alpha = out[both.inside(region)].astype(np.float32), self.alpha[both.inside(self.place)][..., None]
        out[both.inside(region)] = np.round(new + alpha * (both.cut(image) - new)).astype(np.uint8)
        return out


@dataclass(frozen=True)
class Overlays:
    """All overlays around a face.

    shrink: frame pixels per pixel of the shrunk picture. unit: eye distance in frame pixels. reach: number of frames
    before the first and after the last sighting of an overlay in which it may be visible.
    """

    items: tuple[Overlay, ...]
    shrink: int
    unit: float
    reach: int

    def mask_at(self, frame: int, image: Image) -> OverlayMask | None:
        """The mask of the overlays that frame number `frame` shows; `None` if it shows none."""
        visible = [
            overlay
            for overlay in self.items
            if overlay.first - self.reach <= frame <= overlay.last + self.reach
            and overlay.visibility(_gradients(_shrunk(image, overlay.place, self.shrink))) > SHOWN
        ]
        return self._mask(visible, image.shape[1], image.shape[0]) if visible else None

    def inpaint(self, frame: int, image: Image) -> Image:
        """Frame number `frame` without its overlays; the same array if it shows none."""
        mask = self.mask_at(frame, image)
        return image if mask is None else mask.inpaint(image)

    def occlude_lips(self, frames: IntArray, points: Float64Array) -> BoolArray:
        """(N,) whether an overlay occludes the lips in frames with the landmarks `points` (N, 478, 2)."""
        lips = np.floor(points[:, list(mesh.LIPS)] / self.shrink).astype(int)
        occluded = np.zeros(len(frames), bool)
        for overlay in self.items:
            x, y = lips[..., 0] - overlay.place.x0, lips[..., 1] - overlay.place.y0
            rows, columns = overlay.mask.shape
            inside = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
            on = inside & overlay.mask[np.clip(y, 0, rows - 1), np.clip(x, 0, columns - 1)]
            occluded |= on.any(1) & (frames >= overlay.first - self.reach) & (frames <= overlay.last + self.reach)
        return occluded

    def _mask(self, overlays: list[Overlay], width: int, height: int) -> OverlayMask:
        """The masks of several overlays as one, grown and softened, in frame pixels."""
        growth, softness = GROWTH * self.unit, max(SOFTNESS * self.unit, 1.0)
        reach = int(np.ceil(growth + softness + MARGIN * self.unit))
        corners = np.array([(one.place.x0, one.place.y0, one.place.x1, one.place.y1) for one in overlays]) * self.shrink
        x0, y0 = np.maximum(corners[:, :2].min(0) - reach, 0)
        x1, y1 = np.minimum(corners[:, 2:].max(0) + reach, (width, height))
        place = Region(int(x0), int(y0), int(x1), int(y1))
        hard = np.zeros(place.shape, np.uint8)
        for overlay, (left, top, *_) in zip(overlays, corners - [x0, y0, x0, y0], strict=True):
            mask = np.repeat(np.repeat(overlay.mask, self.shrink, 0), self.shrink, 1)
            hard[top : top + mask.shape[0], left : left + mask.shape[1]] |= mask
        away = cv2.distanceTransform(1 - hard, cv2.DIST_L2, 5).astype(np.float64)
        alpha = smoothstep((growth + softness - away) / softness)
        return OverlayMask(place, alpha.astype(np.float32), RIM * self.unit)


def detect(video: Video, track: FaceTrack, rows: IntArray | None = None, *, progress: Progress = silent) -> Overlays:
    """Detect the overlays around the lower face of a dense track in one pass over its frames.

    rows: only from the first to the last of these rows of the track, by default all.
    """
    if rows is not None:
        track = track.part(slice(int(rows.min()), int(rows.max()) + 1) if len(rows) else slice(0, 0))
    if not len(track):
        return Overlays((), 1, 1.0, 0)
    unit = float(np.median(mesh.eye_distance(track.landmarks[..., :2].astype(np.float64))))
    shrink = max(int(unit // FACE_PIXELS), 1)
    frame_ms = float(np.median(np.diff(track.times_ms))) if len(track) > 1 else BLOCK_MS
    block = max(round(BLOCK_MS / frame_ms), 2)
    detector = _Detector(track, shrink, block)
    row_of = {int(frame): row for row, frame in enumerate(track.frames)}
    first, last = int(track.frames[0]), int(track.frames[-1])
    for frame in video.frames(first, last + 1):
        progress("looking for captions", (frame.index - first + 1) / (last - first + 1))
        if frame.index in row_of:
            detector.add(row_of[frame.index], frame.image)
    return Overlays(tuple(detector.found), shrink, unit, 2 * block)


class _Detector:
    """Detects overlays in the frames of a track, which it takes in order."""

    def __init__(self, track: FaceTrack, shrink: int, block: int) -> None:
        self.found: list[Overlay] = []
        self._frames, self._shrink, self._block = track.frames, shrink, block
        self._points = (track.landmarks[..., :2].astype(np.float64) - (shrink - 1) / 2) / shrink
        self._segments = {segment.start: segment for segment in contiguous_segments(track)}
        self._blocks: deque[tuple[Float32Array, Float32Array]] = deque(maxlen=MAX_BLOCKS)
        self._place, self._start = Region(0, 0, 0, 0), 0

    def add(self, row: int, image: Image) -> None:
        """Take the next frame of the track."""
        if row in self._segments:
            self._begin(self._segments[row], image)
        part = _shrunk(image, self._place, self._shrink).astype(np.float32)
        if (row - self._start) % self._block == 0:
            self._blocks.append((part, part * part))
        else:
            cv2.accumulate(part, self._blocks[-1][0])
            cv2.accumulateSquare(part, self._blocks[-1][1])
        if (row - self._start + 1) % self._block == 0:
            self._look(row + 1)

    def _begin(self, segment: slice, image: Image) -> None:
        """Start a segment of consecutive frames with one region that holds the face's surroundings in all of them."""
        height, width = (side // self._shrink for side in image.shape[:2])
        self._blocks.clear()
        self._start = segment.start
        regions = [Region.of(points, width, height) for points in self._points[segment]]
        corners = np.array([(one.x0, one.y0, one.x1, one.y1) for one in regions if one] or [(0, 0, 1, 1)])
        self._place = Region(*(int(side) for side in (*corners[:, :2].min(0), *corners[:, 2:].max(0))))

    def _look(self, stop: int) -> None:
        """Search the shortest window up to row `stop` in which the head moves enough."""
        for count in range(2, len(self._blocks) + 1):
            rows = slice(stop - count * self._block, stop)
            motion = _motion(self._points[rows])
            if np.trace(motion) >= MOVED**2:
                sums, squares = (np.sum(one, axis=0) for one in zip(*list(self._blocks)[-count:], strict=True))
                mean = sums / (count * self._block)
                self._collect(mean, squares / (count * self._block) - mean**2, rows, motion)
                return

    def _collect(self, mean: Float32Array, variance: Float32Array, rows: slice, motion: Float64Array) -> None:
        """Keep the overlays in a window's mean and variance (rows, columns, 3). motion: (2, 2) of the face."""
        gradients = _gradients(mean)
        fixed = _fixed(gradients, variance, motion)
        points = self._points[rows].mean(0) - [self._place.x0, self._place.y0]
        mask = _overlay_mask(mean, fixed, variance, points)
        frames = int(self._frames[rows][0]), int(self._frames[rows][-1])
        _, labels, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
        for label, (x, y, width, height, _) in enumerate(boxes.tolist()[1:], 1):
            part = np.s_[y : y + height, x : x + width]
            left, top = x + self._place.x0, y + self._place.y0
            own = labels[part] == label
            place = Region(left, top, left + width, top + height)
            self._keep(Overlay(place, own, gradients[part] * (fixed[part] & own)[..., None], *frames))

    def _keep(self, overlay: Overlay) -> None:
        """Add an overlay, or extend the known one that it is a part of."""
        for number, known in enumerate(self.found):
            if overlay.first - known.last > MAX_BLOCKS * self._block:
                continue
            place = _around(known.place, overlay.place)
            old, new = known.padded_to(place), overlay.padded_to(place)
            if max(old.visibility(new.gradients), new.visibility(old.gradients)) >= SAME:
                gradients = np.where(old.gradients != 0, old.gradients, new.gradients)
                self.found[number] = Overlay(place, old.mask | new.mask, gradients, known.first, overlay.last)
                return
        self.found.append(overlay)


def _overlay_mask(mean: Float32Array, fixed: BoolArray, variance: Float32Array, points: Float64Array) -> BoolArray:
    """The mask (rows, columns) of overlays with these fixed edges: those on the face of landmarks (478, 2), those in
    line with them, and the flat areas that they enclose or border on.
    """
    unit = float(mesh.eye_distance(points))
    face = _face(points, fixed.shape)
    rows = np.asarray(_closed(fixed & face, unit).any(axis=1))
    if not rows.any():
        return np.zeros(fixed.shape, bool)
    mask = _closed(fixed & (face | rows[:, None]), unit)
    skin = np.median(mean[face], axis=0)
    alike = (variance.max(-1) <= STILL) & _flat(mean, mask & ~fixed, skin)
    near = cv2.dilate(mask.astype(np.uint8), _disc(REACH * unit)) > 0
    count, labels = cv2.connectedComponents((mask | (alike & near)).astype(np.uint8), connectivity=4)
    kept = np.zeros(count, bool)
    kept[labels[mask]] = True
    return _without_holes(np.asarray(kept[labels], np.bool_), REACH * unit)


def _without_holes(mask: BoolArray, radius: float) -> BoolArray:
    """The mask with its holes filled, except holes deeper than `radius`: a frame around a face is not a disc."""
    outside = np.pad(~mask, 1, constant_values=True).astype(np.uint8)
    count, labels = cv2.connectedComponents(outside, connectivity=4)
    depth = np.zeros(count, np.float32)
    np.maximum.at(depth, labels.ravel().astype(np.intp), cv2.distanceTransform(outside, cv2.DIST_L2, 5).ravel())
    hole = depth <= radius
    hole[labels[0, 0]] = False
    return np.asarray(mask | hole[labels][1:-1, 1:-1], np.bool_)


def _flat(mean: Float32Array, part: BoolArray, skin: Float32Array) -> BoolArray:
    """Where the picture (rows, columns, 3) has one of the most common colours of a part of it, skin excepted."""
    _, place, counts = np.unique(mean[part].astype(int) // TONE, axis=0, return_inverse=True, return_counts=True)
    found = np.zeros(part.shape, bool)
    for number in np.flatnonzero(counts >= COMMON * max(len(place), 1)):
        colour = mean[part][place.ravel() == number].mean(0)
        if np.abs(colour - skin).max() > UNLIKE_SKIN:
            found |= np.abs(mean - colour).max(-1) <= TONE
    return found


def _closed(edges: BoolArray, unit: float) -> BoolArray:
    """Edges joined across gaps, without the components that hold too few edge pixels."""
    closed = cv2.morphologyEx(edges.astype(np.uint8), cv2.MORPH_CLOSE, _disc(CLOSING * unit / 2))
    count, labels = cv2.connectedComponents(closed, connectivity=8)
    enough = np.bincount(labels[edges], minlength=count) >= LEAST_EDGE
    enough[0] = False
    return np.asarray(enough[labels], np.bool_)


def _inpaint(image: Float32Array, known: Float32Array) -> Float32Array:
    """The picture (rows, columns, 3) with unknown pixels (`known` is 0 there, else 1) filled in smoothly.

    Pull-push over a pyramid: Gortler, Grzeszczuk, Szeliski and Cohen, The Lumigraph, 1996.
    """
    rows, columns = known.shape
    if known.all() or min(rows, columns) < 2:
        return image
    half = (columns + 1) // 2, (rows + 1) // 2
    weight = cv2.resize(known, half, interpolation=cv2.INTER_AREA)
    mean = (
        cv2.resize(image * known[..., None], half, interpolation=cv2.INTER_AREA) / np.maximum(weight, 1e-6)[..., None]
    )
    coarse = _inpaint(mean.astype(np.float32), (weight > 0).astype(np.float32))
    fine = cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_LINEAR)
    return np.asarray(fine + known[..., None] * (image - fine), np.float32)


def _face(points: Float64Array, shape: tuple[int, ...]) -> BoolArray:
    """Where the lower face of landmarks (478, 2) and the top of the neck are: (rows, columns)."""
    down = NECK * (points[mesh.CHIN_TIP] - points[mesh.NOSE_BRIDGE])
    jaw = points[list(mesh.JAW_LINE)]
    jaw = jaw + EDGE * (points[NOSE_TIP] - jaw)
    outline = np.round(np.vstack([jaw, jaw[5:-5] + down])).astype(np.int32)
    mask = np.zeros(shape, np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(outline), 1)
    return mask > 0


def _fixed(gradients: Float32Array, variance: Float32Array, motion: Float64Array) -> BoolArray:
    """Sharp edges that stay although the face moves across them; motion along an edge would not show.

    gradients: (rows, columns, 6) of a window's mean. variance: (rows, columns, 3) in the window. motion: (2, 2) of the
    face.
    """
    x, y = gradients[..., :3], gradients[..., 3:]
    steepness = x * x + y * y
    channel = steepness.argmax(-1)[..., None]
    x, y, steepest, wavering = (np.take_along_axis(one, channel, -1)[..., 0] for one in (x, y, steepness, variance))
    across = x * x * motion[0, 0] + 2 * x * y * motion[0, 1] + y * y * motion[1, 1]
    doubt = np.minimum(FIXED**2 * steepest, FIXED_SHARE**2 * across)
    return np.asarray((steepest >= SHARP**2) & (across >= MOVED**2 * steepest) & (wavering <= doubt), np.bool_)


def _motion(points: Float64Array) -> Float64Array:
    """Covariance (2, 2), in square pixels, of the lower face's motion in a window: points (frames, 478, 2)."""
    lower = points[:, [*mesh.JAW_LINE, *mesh.CHIN, *mesh.LOWER_CHEEKS, *mesh.LIPS]]
    moves = (lower - lower.mean(0)).reshape(-1, 2)
    return np.asarray(moves.T @ moves / len(moves), np.float64)


def _gradients(image: Image | Float32Array) -> Float32Array:
    """Gradients of three channels along x, then along y, in grey levels per pixel: (rows, columns, 6)."""
    sides = [cv2.Sobel(image, cv2.CV_32F, *way, ksize=3, scale=1 / 8) for way in ((1, 0), (0, 1))]
    return np.asarray(np.concatenate(sides, -1), np.float32)


def _shrunk(image: Image, place: Region, shrink: int) -> Image:
    """A region of the picture, given in shrunk pixels, shrunk by a whole factor."""
    part = Region(*(side * shrink for side in (place.x0, place.y0, place.x1, place.y1))).cut(image)
    return np.asarray(cv2.resize(part, place.shape[::-1], interpolation=cv2.INTER_AREA), np.uint8)


def _around(one: Region, other: Region) -> Region:
    """The smallest rectangle that holds both."""
    low = min(one.x0, other.x0), min(one.y0, other.y0)
    return Region(*low, max(one.x1, other.x1), max(one.y1, other.y1))


def _disc(radius: float) -> Image:
    size = 2 * max(round(radius), 1) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), np.uint8)
