"""What is laid over the picture and is no part of the face: captions, logos, clocks. It stays where it is.

Such a thing is fixed to the picture to a hundredth of a pixel, which nothing in front of a camera is: while the head
moves by a pixel or more, its edges stay, and theirs alone. So a window of frames is as long as the head needs to move,
and an edge in the window's mean counts as laid over where the temporal variance leaves it no room to have moved.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from duikou.arrays import BoolArray, Float32Array, Float64Array, Image, IntArray, smoothstep
from duikou.faces.smooth import contiguous_segments
from duikou.faces.track import FaceTrack
from duikou.media import decode
from duikou.progress import Progress, silent
from duikou.render import mesh
from duikou.render.warp import Region

FACE_PIXELS = 100
"""Eye distance, in pixels, down to which large faces are shrunk for the search: strokes are still two pixels wide."""

BLOCK_MS, MAX_BLOCKS = 200, 20
"""Frames are summed in blocks; a window is two of them at least and, where the head hardly moves, up to 4 s."""

MOVED = 1.0
"""Pixels, root mean square, that the lower face must move in a window, across an edge too: a still head's edges are
fixed as well."""

FIXED, FIXED_SHARE = 0.1, 1 / 15
"""Pixels that a fixed edge may seem to move by the noise of coding, and the most as a share of the face's own motion:
captions measure 0.02 to 0.06 pixels, edges of a face most of its motion."""

SHARP = 12.0
"""Grey levels per pixel at such an edge: captions measure 20 to 100."""

LEAST_EDGE = 24
"""Pixels of fixed edge on the face that make a thing; chance gave 20 at most in clips without any."""

CLOSING = 0.08
"""Eye distances across which fixed edges are joined: strokes, and the letters of a word."""

STILL, TONE, COMMON, UNLIKE_SKIN, REACH = 1.5, 8, 0.1, 30.0, 0.25
"""A box under a caption, a broad letter or a logo is flat: what lies up to this far (eye distances) from fixed edges
belongs to them where its variance is this low and its colour, to this many grey levels, fills this share of the space
between the edges and is this far from the skin's."""

NOSE_TIP, NECK, EDGE = 4, 0.2, 0.08
"""The neck belongs to the face's surroundings down to this share of the way from nose bridge to chin; a share of its
own edge is left out, beside which the background shows."""

GROWTH, SOFTNESS = 0.008, 0.01
"""By how much a cover reaches beyond its thing, whose rim coding blurs, and the width of its soft edge; eye distances.
More of it shows as a halo of skin that does not move with the chin."""

RIM = 0.016
"""Eye distances around a cover that are not trusted to be free of it when what is under it is filled in."""

MARGIN = 0.08
"""Eye distances around a cover from which what is under it is filled in."""

SHOWN = 0.25
"""Share of a thing's contrast from which it counts as there: fading in and out are part of it."""

SAME = 0.6
"""Share of one thing's contrast found in another from which they are one."""


@dataclass(frozen=True)
class Thing:
    """Something laid over the picture, in pixels of the picture shrunk by the search's factor.

    place: its rectangle. mask: (rows, columns) what belongs to it. slopes: (rows, columns, 6) the picture's slopes at
    its fixed edges, 0 elsewhere. first, last: the frames between which it was seen.
    """

    place: Region
    mask: BoolArray
    slopes: Float32Array
    first: int
    last: int

    def share(self, slopes: Float32Array) -> float:
        """How much of it slopes of its rectangle show, by least squares: 0 where it is not there, 1 where it is."""
        return float(np.vdot(slopes, self.slopes)) / max(float(np.vdot(self.slopes, self.slopes)), 1e-6)

    def on(self, place: Region) -> Thing:
        """The same thing in a larger rectangle."""
        at = self.place.inside(place)
        mask, slopes = np.zeros(place.shape, bool), np.zeros((*place.shape, 6), np.float32)
        mask[at], slopes[at] = self.mask, self.slopes
        return replace(self, place=place, mask=mask, slopes=slopes)


@dataclass(frozen=True)
class Cover:
    """What stays of one frame.

    place: a rectangle in its pixels. alpha: (rows, columns) 1 where pixels stay. rim: width, in pixels, of what is
    around it and may still show some of it.
    """

    place: Region
    alpha: Float32Array
    rim: float

    def without(self, image: Image) -> Image:
        """The picture as if nothing lay over it: what is hidden is filled in from around."""
        out = image.copy()
        part = self.place.cut(out)
        hidden = cv2.dilate((self.alpha > 0).astype(np.uint8), _disc(self.rim))
        part[:] = np.round(_filled(part.astype(np.float32), 1 - hidden.astype(np.float32))).astype(np.uint8)
        return out

    def keep(self, image: Image, region: Region, pixels: Image) -> Image:
        """The new pixels of a region of `image`, with the covered ones of `image` before them."""
        x0, y0 = max(self.place.x0, region.x0), max(self.place.y0, region.y0)
        x1, y1 = min(self.place.x1, region.x1), min(self.place.y1, region.y1)
        if x1 <= x0 or y1 <= y0:
            return pixels
        both, out = Region(x0, y0, x1, y1), pixels.copy()
        new, alpha = out[both.inside(region)].astype(np.float32), self.alpha[both.inside(self.place)][..., None]
        out[both.inside(region)] = np.round(new + alpha * (both.cut(image) - new)).astype(np.uint8)
        return out


@dataclass(frozen=True)
class Covers:
    """All that lies over a face's surroundings. shrink: frame pixels in a pixel of the search. unit: eye distance in
    frame pixels. reach: frames before and after those in which a thing was found, in which it may be there."""

    things: tuple[Thing, ...]
    shrink: int
    unit: float
    reach: int

    def on(self, frame: int, image: Image) -> Cover | None:
        """What covers frame number `frame`; `None` where nothing does."""
        there = [
            thing
            for thing in self.things
            if thing.first - self.reach <= frame <= thing.last + self.reach
            and thing.share(_slopes(_shrunk(image, thing.place, self.shrink))) > SHOWN
        ]
        return self._cover(there, image.shape[1], image.shape[0]) if there else None

    def bare(self, frame: int, image: Image) -> Image:
        """Frame number `frame` without what covers it; the same array where nothing does."""
        cover = self.on(frame, image)
        return image if cover is None else cover.without(image)

    def over_lips(self, frames: IntArray, points: Float64Array) -> BoolArray:
        """(N,) whether something lies on the lips in frames of which `points` (N, 478, 2) are the landmarks."""
        lips = np.floor(points[:, list(mesh.LIPS)] / self.shrink).astype(int)
        over = np.zeros(len(frames), bool)
        for thing in self.things:
            x, y = lips[..., 0] - thing.place.x0, lips[..., 1] - thing.place.y0
            rows, columns = thing.mask.shape
            inside = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
            on = inside & thing.mask[np.clip(y, 0, rows - 1), np.clip(x, 0, columns - 1)]
            over |= on.any(1) & (frames >= thing.first - self.reach) & (frames <= thing.last + self.reach)
        return over

    def _cover(self, things: list[Thing], width: int, height: int) -> Cover:
        """Masks of things as one, grown and softened, in frame pixels."""
        growth, softness = GROWTH * self.unit, max(SOFTNESS * self.unit, 1.0)
        reach = int(np.ceil(growth + softness + MARGIN * self.unit))
        corners = np.array([(one.place.x0, one.place.y0, one.place.x1, one.place.y1) for one in things]) * self.shrink
        x0, y0 = np.maximum(corners[:, :2].min(0) - reach, 0)
        x1, y1 = np.minimum(corners[:, 2:].max(0) + reach, (width, height))
        place = Region(int(x0), int(y0), int(x1), int(y1))
        hard = np.zeros(place.shape, np.uint8)
        for thing, (left, top, *_) in zip(things, corners - [x0, y0, x0, y0], strict=True):
            mask = np.repeat(np.repeat(thing.mask, self.shrink, 0), self.shrink, 1)
            hard[top : top + mask.shape[0], left : left + mask.shape[1]] |= mask
        away = cv2.distanceTransform(1 - hard, cv2.DIST_L2, 5).astype(np.float64)
        alpha = smoothstep((growth + softness - away) / softness)
        return Cover(place, alpha.astype(np.float32), RIM * self.unit)


def find(video: Path, track: FaceTrack, rows: IntArray | None = None, *, progress: Progress = silent) -> Covers:
    """What is laid over the picture around the lower face of a dense track, by one pass over its frames: from the first
    to the last of `rows`, by default all.
    """
    if rows is not None:
        track = track.part(slice(int(rows.min()), int(rows.max()) + 1) if len(rows) else slice(0, 0))
    if not len(track):
        return Covers((), 1, 1.0, 0)
    unit = float(np.median(mesh.eye_distance(track.landmarks[..., :2].astype(np.float64))))
    shrink = max(int(unit // FACE_PIXELS), 1)
    frame_ms = float(np.median(np.diff(track.times_ms))) if len(track) > 1 else BLOCK_MS
    block = max(round(BLOCK_MS / frame_ms), 2)
    search = _Search(track, shrink, block)
    row_of = {int(frame): row for row, frame in enumerate(track.frames)}
    first, last = int(track.frames[0]), int(track.frames[-1])
    for frame in decode.frames(video, start=first, stop=last + 1):
        progress("looking for captions", (frame.index - first + 1) / (last - first + 1))
        if frame.index in row_of:
            search.add(row_of[frame.index], frame.image)
    return Covers(tuple(search.things), shrink, unit, 2 * block)


class _Search:
    """Takes in the frames of a track, in order."""

    def __init__(self, track: FaceTrack, shrink: int, block: int) -> None:
        self.things: list[Thing] = []
        self._frames, self._shrink, self._block = track.frames, shrink, block
        self._points = (track.landmarks[..., :2].astype(np.float64) - (shrink - 1) / 2) / shrink
        self._segments = {segment.start: segment for segment in contiguous_segments(track)}
        self._blocks: deque[tuple[Float32Array, Float32Array]] = deque(maxlen=MAX_BLOCKS)
        self._place, self._start = Region(0, 0, 0, 0), 0

    def add(self, row: int, image: Image) -> None:
        """The next frame of the track."""
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
        """A segment: all its surroundings fit into one place."""
        height, width = (side // self._shrink for side in image.shape[:2])
        self._blocks.clear()
        self._start = segment.start
        regions = [Region.of(points, width, height) for points in self._points[segment]]
        corners = np.array([(one.x0, one.y0, one.x1, one.y1) for one in regions if one] or [(0, 0, 1, 1)])
        self._place = Region(*(int(side) for side in (*corners[:, :2].min(0), *corners[:, 2:].max(0))))

    def _look(self, stop: int) -> None:
        """Look at the shortest window up to row `stop` in which the head moves enough."""
        for count in range(2, len(self._blocks) + 1):
            rows = slice(stop - count * self._block, stop)
            motion = _motion(self._points[rows])
            if np.trace(motion) >= MOVED**2:
                sums, squares = (np.sum(one, axis=0) for one in zip(*list(self._blocks)[-count:], strict=True))
                mean = sums / (count * self._block)
                self._found(mean, squares / (count * self._block) - mean**2, rows, motion)
                return

    def _found(self, mean: Float32Array, variance: Float32Array, rows: slice, motion: Float64Array) -> None:
        """Keep the things that a window's mean and variance (rows, columns, 3) show; motion: (2, 2) the face's."""
        slopes = _slopes(mean)
        fixed = _fixed(slopes, variance, motion)
        points = self._points[rows].mean(0) - [self._place.x0, self._place.y0]
        mask = _things(mean, fixed, variance, points)
        frames = int(self._frames[rows][0]), int(self._frames[rows][-1])
        _, labels, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
        for label, (x, y, width, height, _) in enumerate(boxes.tolist()[1:], 1):
            part = np.s_[y : y + height, x : x + width]
            left, top = x + self._place.x0, y + self._place.y0
            own = labels[part] == label
            place = Region(left, top, left + width, top + height)
            self._keep(Thing(place, own, slopes[part] * (fixed[part] & own)[..., None], *frames))

    def _keep(self, thing: Thing) -> None:
        """Add a thing, or widen the one that it is."""
        for number, known in enumerate(self.things):
            if thing.first - known.last > MAX_BLOCKS * self._block:
                continue
            place = _around(known.place, thing.place)
            old, new = known.on(place), thing.on(place)
            if max(old.share(new.slopes), new.share(old.slopes)) >= SAME:
                slopes = np.where(old.slopes != 0, old.slopes, new.slopes)
                self.things[number] = Thing(place, old.mask | new.mask, slopes, known.first, thing.last)
                return
        self.things.append(thing)


def _things(mean: Float32Array, fixed: BoolArray, variance: Float32Array, points: Float64Array) -> BoolArray:
    """The mask (rows, columns) of things with such fixed edges: those on the face of landmarks (478, 2), what is on one
    line with them, and the flat areas they enclose or border on.
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
    """The mask with its holes, of which no point is farther than `radius` from it: a frame around a face is no disc."""
    outside = np.pad(~mask, 1, constant_values=True).astype(np.uint8)
    count, labels = cv2.connectedComponents(outside, connectivity=4)
    depth = np.zeros(count, np.float32)
    np.maximum.at(depth, labels.ravel().astype(np.intp), cv2.distanceTransform(outside, cv2.DIST_L2, 5).ravel())
    hole = depth <= radius
    hole[labels[0, 0]] = False
    return np.asarray(mask | hole[labels][1:-1, 1:-1], np.bool_)


def _flat(mean: Float32Array, part: BoolArray, skin: Float32Array) -> BoolArray:
    """Where the picture (rows, columns, 3) has one of the colours that a part of it shows most, skin's aside."""
    _, place, counts = np.unique(mean[part].astype(int) // TONE, axis=0, return_inverse=True, return_counts=True)
    found = np.zeros(part.shape, bool)
    for number in np.flatnonzero(counts >= COMMON * max(len(place), 1)):
        colour = mean[part][place.ravel() == number].mean(0)
        if np.abs(colour - skin).max() > UNLIKE_SKIN:
            found |= np.abs(mean - colour).max(-1) <= TONE
    return found


def _closed(edges: BoolArray, unit: float) -> BoolArray:
    """Edges joined across gaps, without the joined stretches that hold too few."""
    closed = cv2.morphologyEx(edges.astype(np.uint8), cv2.MORPH_CLOSE, _disc(CLOSING * unit / 2))
    count, labels = cv2.connectedComponents(closed, connectivity=8)
    enough = np.bincount(labels[edges], minlength=count) >= LEAST_EDGE
    enough[0] = False
    return np.asarray(enough[labels], np.bool_)


def _filled(image: Float32Array, known: Float32Array) -> Float32Array:
    """The picture (rows, columns, 3) with what is not known (0, else 1) filled in from around it, smoothly.

    Pull and push over a pyramid: Gortler, Grzeszczuk, Szeliski and Cohen, The Lumigraph, 1996.
    """
    rows, columns = known.shape
    if known.all() or min(rows, columns) < 2:
        return image
    half = (columns + 1) // 2, (rows + 1) // 2
    weight = cv2.resize(known, half, interpolation=cv2.INTER_AREA)
    mean = (
        cv2.resize(image * known[..., None], half, interpolation=cv2.INTER_AREA) / np.maximum(weight, 1e-6)[..., None]
    )
    coarse = _filled(mean.astype(np.float32), (weight > 0).astype(np.float32))
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


def _fixed(slopes: Float32Array, variance: Float32Array, motion: Float64Array) -> BoolArray:
    """Sharp edges that stay although the face moves across them: slopes (rows, columns, 6) of a window's mean, its
    variance (rows, columns, 3), and the face's motion (2, 2) in it. Motion along an edge would not show.
    """
    x, y = slopes[..., :3], slopes[..., 3:]
    steepness = x * x + y * y
    channel = steepness.argmax(-1)[..., None]
    x, y, steepest, wavering = (np.take_along_axis(one, channel, -1)[..., 0] for one in (x, y, steepness, variance))
    across = x * x * motion[0, 0] + 2 * x * y * motion[0, 1] + y * y * motion[1, 1]
    doubt = np.minimum(FIXED**2 * steepest, FIXED_SHARE**2 * across)
    return np.asarray((steepest >= SHARP**2) & (across >= MOVED**2 * steepest) & (wavering <= doubt), np.bool_)


def _motion(points: Float64Array) -> Float64Array:
    """Covariance (2, 2), in square pixels, of how the lower face moves in a window: points (frames, 478, 2)."""
    lower = points[:, [*mesh.JAW_LINE, *mesh.CHIN, *mesh.LOWER_CHEEKS, *mesh.LIPS]]
    moves = (lower - lower.mean(0)).reshape(-1, 2)
    return np.asarray(moves.T @ moves / len(moves), np.float64)


def _slopes(image: Image | Float32Array) -> Float32Array:
    """Grey levels per pixel along x and along y, of three channels each: (rows, columns, 6)."""
    sides = [cv2.Sobel(image, cv2.CV_32F, *way, ksize=3, scale=1 / 8) for way in ((1, 0), (0, 1))]
    return np.asarray(np.concatenate(sides, -1), np.float32)


def _shrunk(image: Image, place: Region, shrink: int) -> Image:
    """A rectangle of the picture shrunk by a whole factor."""
    part = Region(*(side * shrink for side in (place.x0, place.y0, place.x1, place.y1))).cut(image)
    return np.asarray(cv2.resize(part, place.shape[::-1], interpolation=cv2.INTER_AREA), np.uint8)


def _around(one: Region, other: Region) -> Region:
    """The smallest rectangle around two."""
    low = min(one.x0, other.x0), min(one.y0, other.y0)
    return Region(*low, max(one.x1, other.x1), max(one.y1, other.y1))


def _disc(radius: float) -> Image:
    size = 2 * max(round(radius), 1) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), np.uint8)
