"""Overlays: captions, logos and clocks that lie over the picture and occlude the face. They must not move with it.

An overlay is fixed to the picture to a hundredth of a pixel; nothing in front of a camera is. While the head moves by a
pixel or more, only the edges of overlays stay. A window of frames is therefore as long as the head needs to move, and
an edge in the window's mean belongs to an overlay where the temporal variance leaves no room for motion.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

import cv2
import numpy as np
import numpy.typing as npt

from duikou.arrays import BoolArray, Float32Array, Float64Array, Image, IntArray, smoothstep
from duikou.faces.track import FaceTrack
from duikou.media.decode import Frame
from duikou.render import mesh
from duikou.render.warp import Region

FACE_PIXELS = 100
"""Eye distance, in pixels, to which large faces are shrunk for detection: strokes are still two pixels wide."""

SAMPLE_MS = 66
"""Time between two frames that are looked at: means and variances over a window need no more."""

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

MOVING = [*mesh.JAW_LINE, *mesh.CHIN, *mesh.LOWER_CHEEKS, *mesh.LIPS]
"""The landmarks of the lower face, whose motion counts."""

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

    def within(self, place: Region) -> Overlay | None:
        """What lies in a region; `None` for nothing."""
        both = self.place.overlap(place)
        if both is None:
            return None
        at = both.inside(self.place)
        return replace(self, place=both, mask=self.mask[at], gradients=self.gradients[at])

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

    def inpaint(self, image: Image, at: Region | None = None) -> Image:
        """The picture without its overlays: masked pixels are filled in from their surroundings.

        at: the region that `image` shows, by default the whole picture.
        """
        out = image.copy()
        part = out[self.place.inside(at or Region.whole(image))]
        hidden = cv2.dilate((self.alpha > 0).astype(np.uint8), _disc(self.rim))
        part[:] = np.round(_inpaint(part.astype(np.float32), 1 - hidden.astype(np.float32))).astype(np.uint8)
        return out

    def composite(self, image: Image, pixels: Image, at: Region) -> Image:
        """New `pixels` of a region with the overlays of `image`, its pixels as filmed, composited over them."""
        both = self.place.overlap(at)
        if both is None:
            return pixels
        out, here = pixels.copy(), both.inside(at)
        new, alpha = out[here].astype(np.float32), self.alpha[both.inside(self.place)][..., None]
        out[here] = np.round(new + alpha * (image[here] - new)).astype(np.uint8)
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

    def mask_at(self, frame: int, image: Image, at: Region | None = None) -> OverlayMask | None:
        """The mask of the overlays that frame number `frame` shows; `None` if it shows none.

        at: the region that `image` shows, by default the whole picture. The mask ends where it does.
        """
        at = at or Region.whole(image)
        visible = [
            overlay
            for overlay in self.items
            if overlay.first - self.reach <= frame <= overlay.last + self.reach
            and self._shows(overlay, frame, image, at)
        ]
        return self._mask(visible, at) if visible else None

    def inpaint(self, frame: int, image: Image, at: Region | None = None) -> Image:
        """Frame number `frame` without its overlays; the same array if it shows none. at: as in `mask_at`."""
        mask = self.mask_at(frame, image, at)
        return image if mask is None else mask.inpaint(image, at)

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

    def _shows(self, overlay: Overlay, frame: int, image: Image, at: Region) -> bool:
        """Whether a region of a frame shows an overlay. Where it holds no edges of it, the frame's number decides."""
        part = overlay.within(at.shrunk(self.shrink))
        if part is None:
            return False
        if np.count_nonzero(part.gradients.any(-1)) < LEAST_EDGE:
            return overlay.first <= frame <= overlay.last
        seen = part.place.grown(self.shrink).inside(at)
        return part.visibility(_gradients(_shrunk(image[seen], self.shrink))) > SHOWN

    def _mask(self, overlays: list[Overlay], at: Region) -> OverlayMask:
        """The masks of several overlays as one, grown and softened, in frame pixels."""
        growth, softness = GROWTH * self.unit, max(SOFTNESS * self.unit, 1.0)
        reach = int(np.ceil(growth + softness + MARGIN * self.unit))
        corners = np.array([(one.place.x0, one.place.y0, one.place.x1, one.place.y1) for one in overlays]) * self.shrink
        x0, y0 = np.maximum(corners[:, :2].min(0) - reach, (at.x0, at.y0))
        x1, y1 = np.minimum(corners[:, 2:].max(0) + reach, (at.x1, at.y1))
        place = Region(int(x0), int(y0), int(max(x1, x0)), int(max(y1, y0)))
        # Overlays beyond the region count too: their soft edge may reach into it.
        around = Region(place.x0 - reach, place.y0 - reach, place.x1 + reach, place.y1 + reach)
        clear = np.ones(around.shape, np.uint8)
        for overlay in overlays:
            mask = np.repeat(np.repeat(overlay.mask, self.shrink, 0), self.shrink, 1)
            whole = overlay.place.grown(self.shrink)
            both = whole.overlap(around)
            if both is not None:
                clear[both.inside(around)] &= ~mask[both.inside(whole)]
        away = cv2.distanceTransform(clear, cv2.DIST_L2, 5)[place.inside(around)].astype(np.float64)
        alpha = smoothstep((growth + softness - away) / softness)
        return OverlayMask(place, alpha.astype(np.float32), RIM * self.unit)


@dataclass(frozen=True)
class _Block:
    """The sums of a few frames.

    colours: (rows, columns, 3) of the picture. points: (478, 2) of the landmarks. squares: (2, 2) of the products of
    the moving landmarks' coordinates.
    """

    colours: npt.NDArray[np.uint16]
    points: Float64Array
    squares: Float64Array

    @classmethod
    def of(cls, images: Sequence[Image], points: Sequence[Float64Array]) -> _Block:
        """Sum the pictures of some frames and their landmarks (478, 2)."""
        colours = images[0].astype(np.uint16)
        for image in images[1:]:
            cv2.add(colours, image, colours, dtype=cv2.CV_16U)
        moving = np.concatenate([one[MOVING] for one in points])
        return cls(colours, np.sum(points, axis=0), moving.T @ moving)


@dataclass(frozen=True)
class _Stretch:
    """Consecutive frames of one shot. place: the region that holds the face's surroundings in all of them."""

    shot: int
    first: int
    place: Region


class Detector:
    """Detects the overlays around the lower face of one track, in frames that it takes in order."""

    def __init__(self, track: FaceTrack, size: tuple[int, int], frame_ms: float) -> None:
        """track: rows of the face in every shot, a few in each second at least. size: width and height of the picture.

        frame_ms: usual duration of a frame.
        """
        points = track.landmarks[..., :2].astype(np.float64)
        self._unit = float(np.median(mesh.eye_distance(points)))
        self._shrink = max(int(self._unit // FACE_PIXELS), 1)
        self._every = max(round(SAMPLE_MS / frame_ms), 1)
        self._block = max(round(BLOCK_MS / (self._every * frame_ms)), 2)
        self._size = size
        self._found: list[Overlay] = []
        self._stretch: _Stretch | None = None
        self._last = -1
        self._images: deque[Image] = deque(maxlen=MAX_BLOCKS * self._block)
        self._points: deque[Float64Array] = deque(maxlen=self._block)
        self._numbers: deque[int] = deque(maxlen=MAX_BLOCKS * self._block)
        self._blocks: deque[_Block] = deque(maxlen=MAX_BLOCKS)
        self.expect(track)

    def expect(self, track: FaceTrack) -> None:
        """Expect the face where these rows of its track have it, a few in each second at least."""
        width, height = (side // self._shrink for side in self._size)
        self._places: dict[int, Region] = {}
        for shot, at in zip(track.shots.tolist(), track.landmarks[..., :2].astype(np.float64), strict=True):
            place = Region.of(self._shrunk(at), width, height)
            if place is not None:
                self._places[shot] = place.joined(self._places.get(shot, place))
        self._last = -1  # what is added next is looked for in the new place

    def forget(self, start: int, frames: Sequence[int]) -> None:
        """Forget the overlays that none of these frames shows, and none from `start` on: a long video has many."""
        shown, reach = np.sort(frames), self._longest  # more than that of `Overlays`; a later one may be the same
        self._found = [
            one
            for one in self._found
            if one.last + reach >= start
            or np.searchsorted(shown, one.first - reach) < np.searchsorted(shown, one.last + reach, side="right")
        ]

    @property
    def overlays(self) -> Overlays:
        """The overlays that were detected until now, but for those that were forgotten."""
        return Overlays(tuple(self._found), self._shrink, self._unit, 2 * self._block * self._every)

    @property
    def _longest(self) -> int:
        """Frames in the longest window."""
        return MAX_BLOCKS * self._block * self._every

    def add(self, frame: Frame, points: Float64Array, shot: int) -> None:
        """Take a frame with landmarks (478, 2) in pixels. Frames that are left out, and a new shot, end a window."""
        if self._stretch is None or self._stretch.shot != shot or frame.index != self._last + 1:
            self._begin(frame.index, shot)
        self._last, stretch = frame.index, self._stretch
        if stretch is None or (frame.index - stretch.first) % self._every:
            return
        place = stretch.place.grown(self._shrink)
        self._images.append(_shrunk(frame.part(place.box), self._shrink))
        self._points.append(self._shrunk(points))
        self._numbers.append(frame.index)
        if ((frame.index - stretch.first) // self._every + 1) % self._block == 0:
            images = list(islice(reversed(self._images), self._block))
            self._blocks.append(_Block.of(images, self._points))
            self._look()

    def _shrunk(self, points: Float64Array) -> Float64Array:
        return (points - (self._shrink - 1) / 2) / self._shrink

    def _begin(self, first: int, shot: int) -> None:
        """Begin a stretch of consecutive frames."""
        place = self._places.get(shot)
        self._stretch = None if place is None else _Stretch(shot, first, place)
        for held in (self._images, self._points, self._numbers, self._blocks):
            held.clear()

    def _look(self) -> None:
        """Search the shortest window up to the last frame in which the head moves enough."""
        blocks = list(reversed(self._blocks))
        points, squares = blocks[0].points, blocks[0].squares
        for count, block in enumerate(blocks[1:], 2):
            points, squares = points + block.points, squares + block.squares
            frames = count * self._block
            middle = points[MOVING] / frames
            motion = (squares / frames - middle.T @ middle) / len(MOVING)
            if np.trace(motion) >= MOVED**2:
                self._collect(blocks[:count], points / frames, motion)
                return

    def _collect(self, blocks: Sequence[_Block], points: Float64Array, motion: Float64Array) -> None:
        """Keep the overlays of a window. points: (478, 2) their mean. motion: (2, 2) of the face."""
        assert self._stretch is not None
        place, frames = self._stretch.place, len(blocks) * self._block
        images, points = list(islice(reversed(self._images), frames)), points - [place.x0, place.y0]
        face = _face(points, place.shape)
        if not _may_show(blocks, face, images, motion):
            return
        mean = np.asarray(_total(blocks) / np.float32(frames), np.float32)
        squares = np.zeros_like(mean)
        for image in images:
            cv2.accumulateSquare(image, squares)
        variance = np.asarray(squares / np.float32(frames) - mean**2, np.float32)
        gradients = _gradients(mean)
        fixed = _fixed(gradients, variance, motion)
        mask = _overlay_mask(mean, fixed, variance, face, float(mesh.eye_distance(points)))
        first, last = self._numbers[-frames], self._numbers[-1]
        _, labels, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
        for label, (x, y, width, height, _) in enumerate(boxes.tolist()[1:], 1):
            part = np.s_[y : y + height, x : x + width]
            left, top = x + place.x0, y + place.y0
            own = labels[part] == label
            box = Region(left, top, left + width, top + height)
            self._keep(Overlay(box, own, gradients[part] * (fixed[part] & own)[..., None], first, last))

    def _keep(self, overlay: Overlay) -> None:
        """Add an overlay, or extend the known one that it is a part of."""
        for number, known in enumerate(self._found):
            if overlay.first - known.last > self._longest:
                continue
            place = known.place.joined(overlay.place)
            old, new = known.padded_to(place), overlay.padded_to(place)
            if max(old.visibility(new.gradients), new.visibility(old.gradients)) >= SAME:
                gradients = np.where(old.gradients != 0, old.gradients, new.gradients)
                self._found[number] = Overlay(place, old.mask | new.mask, gradients, known.first, overlay.last)
                return
        self._found.append(overlay)


def _total(blocks: Sequence[_Block], part: tuple[slice, slice] = np.s_[:, :]) -> npt.NDArray[np.uint16]:
    """The sum of the pictures of some blocks, or of a part of them. No window has so many frames that it overflows."""
    total = blocks[0].colours[part].copy()
    for block in blocks[1:]:
        cv2.add(total, block.colours[part], total)
    return total


def _may_show(blocks: Sequence[_Block], face: BoolArray, images: Sequence[Image], motion: Float64Array) -> bool:
    """Whether a window can show an overlay: whether enough pixels of the face (rows, columns) are fixed edges.

    images: of the window. motion: (2, 2) of the face. Looks closely at a few pixels only, because most windows of most
    clips show none.
    """
    left, top, width, height = cv2.boundingRect(face.astype(np.uint8))
    part = np.s_[top : top + height, left : left + width]
    total, scale = _total(blocks, part), 1 / (8 * len(images))
    x, y = (cv2.Sobel(total, cv2.CV_32F, *way, ksize=3, scale=scale) for way in ((1, 0), (0, 1)))
    steep = x * x + y * y >= SHARP**2
    rows, columns = np.nonzero((steep[..., 0] | steep[..., 1] | steep[..., 2]) & face[part])
    gradients = np.concatenate([x[rows, columns], y[rows, columns]], -1)
    moved = _fixed(gradients, np.zeros((len(rows), 3), np.float32), motion)
    if np.count_nonzero(moved) < LEAST_EDGE:
        return False
    rows, columns = rows[moved] + top, columns[moved] + left
    seen = np.stack([image[rows, columns] for image in images]).astype(np.float32)
    return bool(np.count_nonzero(_fixed(gradients[moved], seen.var(0), motion)) >= LEAST_EDGE)


def _overlay_mask(
    mean: Float32Array, fixed: BoolArray, variance: Float32Array, face: BoolArray, unit: float
) -> BoolArray:
    """The mask (rows, columns) of overlays with these fixed edges: those on the `face`, those in line with them, and
    the flat areas that they enclose or border on. unit: eye distance.
    """
    rows = np.asarray(_closed(fixed & face, unit).any(axis=1))
    if not rows.any():
        return np.zeros(fixed.shape, bool)
    mask = _closed(fixed & (face | rows[:, None]), unit)
    skin = np.median(mean[face], axis=0)
    alike = (variance.max(-1) <= STILL) & _flat(mean, mask & ~fixed, skin)
    near = cv2.distanceTransform(1 - mask.astype(np.uint8), cv2.DIST_L2, 5) <= REACH * unit
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
    tones = (mean[part].astype(np.int64) // TONE) @ [1 << 16, 1 << 8, 1]
    _, place, counts = np.unique(tones, return_inverse=True, return_counts=True)
    found = np.zeros(part.shape, bool)
    for number in np.flatnonzero(counts >= COMMON * max(len(place), 1)):
        colour = mean[part][place == number].mean(0)
        if np.abs(colour - skin).max() > UNLIKE_SKIN:
            found |= cv2.inRange(mean, colour - TONE, colour + TONE) > 0
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

    gradients: (..., 6) of a window's mean at some pixels. variance: (..., 3) in the window. motion: (2, 2) of the face.
    """
    x, y = gradients[..., :3], gradients[..., 3:]
    steepness = x * x + y * y
    channel = steepness.argmax(-1)[..., None]
    x, y, steepest, wavering = (np.take_along_axis(one, channel, -1)[..., 0] for one in (x, y, steepness, variance))
    across = x * x * motion[0, 0] + 2 * x * y * motion[0, 1] + y * y * motion[1, 1]
    doubt = np.minimum(FIXED**2 * steepest, FIXED_SHARE**2 * across)
    return np.asarray((steepest >= SHARP**2) & (across >= MOVED**2 * steepest) & (wavering <= doubt), np.bool_)


def _gradients(image: Image | Float32Array) -> Float32Array:
    """Gradients of three channels along x, then along y, in grey levels per pixel: (rows, columns, 6)."""
    sides = [cv2.Sobel(image, cv2.CV_32F, *way, ksize=3, scale=1 / 8) for way in ((1, 0), (0, 1))]
    return np.asarray(np.concatenate(sides, -1), np.float32)


def _shrunk(image: Image, shrink: int) -> Image:
    """A picture shrunk by a whole factor."""
    size = image.shape[1] // shrink, image.shape[0] // shrink
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _disc(radius: float) -> Image:
    size = 2 * max(round(radius), 1) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), np.uint8)
