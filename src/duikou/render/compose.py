"""Compose the lower face of one frame: the warped frame, the exemplars' lips over it, the inside of the mouth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from duikou.arrays import BoolArray, Float32Array, Float64Array, Image, smoothstep
from duikou.render import inside, interior, mesh
from duikou.render.inside import SHOWS_INSIDE
from duikou.render.mouth import Mouth, Source
from duikou.render.outline import head_mask
from duikou.render.warp import (
    Motion,
    Region,
    Warp,
    along_mouth,
    for_channels,
    lip_edge,
    mouth_frame,
    planes_of,
    sample_bytes,
    sample_planes,
)

LIP_MARGIN, LIP_FEATHER = 0.05, 0.16
"""Distance from the lips, in eye distances, within which the exemplar is opaque, and over which it then fades out."""

COVER_PX = 90
"""Eye distance, in pixels, at which coverages are computed."""

SKIN_FROM, LEAST_SKIN = 0.03, 1e-3
"""Distance from the lips, in eye distances, from which skin shows the light; and the least share of it that counts."""

LIGHT_SIGMA = 0.12
"""Scale, in eye distances, from which brightness counts as light and is matched instead of copied."""

BLEND_SIGMA = 0.05
"""Scale, in eye distances, from which two exemplars are mixed while one takes over from the other."""

NARROW = (0.008, 0.02)
"""Lip gaps, in eye distances, at which painted lips show only their shadow, and all of the inside."""

FURTHER = 0.012
"""How much further open than they were, in eye distances, narrow lips of an exemplar show what is painted behind
them."""

SEALED = 0.012
"""Lip gap, in eye distances, at which lips are sealed; the crease fades out up to twice that gap."""

NARROW_DIM = 0.15
"""How much darker teeth become behind lips that nearly close."""

LIP_TINT = np.array([1.35, 1.1, 0.75], np.float32)
"""Exponents, BGR, of a shadow inside the mouth: it is warm."""

OUTLINE_DOUBT, OUTLINE_FEATHER = 0.03, 0.06
"""How far, in eye distances, the landmarks of a turned head's outline may lie outside the head, and the width inside it
over which an exemplar fades out."""

LIP_EDGE = 0.02
"""Width, in eye distances, over which lips near the outline fade into the rest of the cheek."""

DETAIL_SIGMA, DETAIL_SIZE, DETAIL_GAIN = 0.7, (5, 5), (0.5, 1.6)
"""Scale, in pixels, up to which a structure is fine detail; pixels of the blur that removes it; and bounds of its
gain."""

MIN_SKIN_PIXELS = 100
"""Least number of moved skin pixels from which sharpness can be measured."""

THINNEST_PIXELS = 2.0
"""Lip gap, in pixels, below which the opening fades: a filled polygon is never thinner than a pixel."""

EXEMPLAR_ALONE = 0.5
"""Strength from which the exemplar's lips hide the frame's lips; below it the two are blended."""

CREASE, CREASE_SHADE, CREASE_SHARPNESS = 0.015, 0.6, 0.55
"""Half the height, in eye distances, of the crease drawn where lips meet; the brightness of its middle relative to the
lips; and the sharpness of that middle."""

CREASE_REACH, CREASE_ENDS = 1.3, 0.08
"""Distance, in half heights, from which the crease takes its colours; and the length, in eye distances, over which it
tapers at the corners of the mouth."""

SLACK = 0.01
"""How far, in eye distances, the teeth of an exemplar may be off skull or jaw: poses of other frames are not known more
exactly."""

CORNER_REACH, CORNER_HEIGHT, CORNER_SOFT, CORNER_DETAIL = 0.17, 0.045, 0.03, 0.003
"""Reach of the shadows of old corners beside an opening, half their height, the softness of the area that is changed,
and the scale below which detail is kept; in eye distances."""

CORNER_MARGIN = 0.05
"""Width, in eye distances, around that area in which its skin is looked for."""

CORNER_SHARE, CORNER_GAP, CORNER_NARROWER = 0.85, 0.06, 0.10
"""Largest share of those shadows that is removed; and how much further open the lips, in eye distances, or how much
narrower the mouth, must be for it."""

FINE_SHARE = 0.70
"""Strength of the finest detail of grain that is made as the finest detail of white noise, relative to that noise."""

FRINGE_GAP, FRINGE_BLURS = 0.03, 1.7
"""How much further open lips or jaw, in eye distances, at which an opening covers the edge of the lower lip; and the
width of that edge, in blurs of the picture or pixels if these are more."""

OPENING_BLUR = 0.006
"""Least softness of the edge of an opening, in eye distances."""

BLUR_REACH = 4.0
"""Distance, in standard deviations, up to which a Gaussian blur reaches."""

SUBPIXEL_BITS = 4


@dataclass(frozen=True)
class Exemplar:
    """A frame of the same face that lends its lips. share: its weight among the exemplars."""

    source: Source
    share: float


@dataclass(frozen=True)
class _Opening:
    """The opening between the lips. part: of the frame that it lies in. coverage: (rows, columns) of it, 0 to 1."""

    part: Region
    coverage: Float32Array


@dataclass(frozen=True)
class _Cover:
    """How a part of the frame around the lips is changed, (rows, columns) each, 0 to 1. exemplar: coverage of an
    exemplar's lips and of the skin around them. skin: of the skin beside the lips."""

    part: Region
    exemplar: Float32Array
    skin: Float32Array


@dataclass(frozen=True)
class _Lips:
    """The new part of a frame around the lips: its pixels (rows, columns, 3), and how far (rows, columns) each changed,
    0 to 1."""

    part: Region
    pixels: Float32Array
    changed: Float32Array


@dataclass(frozen=True)
class _Canvas:
    """The part of a frame around the lips, where mouths are painted.

    warp: of all sources. part: its region. unit: eye distance of the frame's own face in pixels.
    """

    warp: Warp
    mouth: Mouth
    part: Region
    unit: float

    def opening(self, source: Source) -> _Opening:
        """The opening between the lips of a source, brought to the target."""
        upper, lower = source.opening.lip_edges(self.mouth.target)
        blur = max(OPENING_BLUR, self.mouth.blur) * self.unit
        if source.gap > SHOWS_INSIDE:
            # Pixels at the lower lip's edge hold light of the teeth that stood behind it.
            opened = max(self.mouth.gap - source.gap, self.mouth.jaw - source.jaw)
            gone = min(max(opened / FRINGE_GAP, 0.0), 1.0)
            lower[1:-1] += gone * FRINGE_BLURS * max(blur, 1.0) * mouth_frame(self.mouth.target)[2]
        outline = np.vstack([upper, lower[-2:0:-1]])
        part = Region.around(outline, BLUR_REACH * blur + 1, self.part)
        wide = np.float32(min(float(mesh.lip_gap(self.mouth.target)) / THINNEST_PIXELS, 1.0))
        return _Opening(part, _polygon(outline, part, blur=blur) * wide)


def compose(own: Source, mouth: Mouth, exemplars: list[Exemplar]) -> tuple[Region, Image] | None:
    """The changed part of a frame and its new pixels; `None` if the face lies outside the picture."""
    height, width = own.image.shape[:2]
    region = Region.of(mouth.target, width, height)
    if region is None:
        return None
    unit = own.unit
    warp = Warp([own.points, *(exemplar.source.points for exemplar in exemplars)], mouth.target, region)
    part = Region.around_lips(mouth.target, (LIP_MARGIN + LIP_FEATHER) * unit, region)
    face = warp.face(part)
    shows = not exemplars or mouth.strength < EXEMPLAR_ALONE
    layer = sample_bytes(own.image, warp.lips(0, part) if shows else face.map(part))
    changed = face.changed(part)
    canvas, cover, openings = _Canvas(warp, mouth, part, unit), _cover(mouth.target, part, unit), []
    if shows:
        openings = [canvas.opening(own)]
        _smooth_corners(canvas, layer, own)
        _open(canvas, layer, own, openings[0])
        _seal(canvas, layer, own)
    if exemplars:
        lent, more = _lent(canvas, exemplars, layer, cover.skin)
        openings += more
        np.maximum(changed, cover.exemplar, out=changed)
        _mix(layer, _taking_over(layer, lent, mouth.strength / EXEMPLAR_ALONE, unit), cover.exemplar)
    gain = _detail_gain(_green(layer), _green(part.cut(own.image)), changed, cover.skin)
    for opening in openings if gain > 1 else ():
        changed[opening.part.inside(part)] *= 1 - opening.coverage
    return face.part, _with_face(own.image, face, _Lips(part, layer, changed), gain)


def _with_face(image: Image, face: Motion, lips: _Lips, gain: float) -> Image:
    """The part of a picture in which a face moves, with the moved face, new lips, and its finest detail, where it
    changed, `gain` times as strong."""
    out, read = face.part.cut(image).copy(), face.read(*image.shape[1::-1])
    filmed, new = planes_of(read.cut(image)), planes_of(lips.pixels)
    for strip in face.strips():
        wide = strip.widened(DETAIL_SIZE[0] // 2, face.part)
        (x, y), here = face.map(wide, read.x0, read.y0), wide.overlap(lips.part)
        planes = np.empty((3, *wide.shape), np.float32)
        for side in [wide] if here is None else wide.without(here):
            at = side.inside(wide)
            sample_planes(filmed, (x[at], y[at]), [plane[at] for plane in planes])
        if here is not None:
            for plane, one in zip(planes, new, strict=True):
                plane[here.inside(wide)] = one[here.inside(lips.part)]
        if gain != 1:
            weight = face.changed(wide, gain - 1)
            if here is not None:
                weight[here.inside(wide)] = np.float32(gain - 1) * lips.changed[here.inside(lips.part)]
            weight *= _detail(planes[0])
            planes[0] += weight
        green, *less = (plane[strip.inside(wide)] for plane in planes)
        blue, red = (cv2.add(green, one, dtype=cv2.CV_8U) for one in less)
        rounded = cv2.convertScaleAbs(cv2.threshold(green, 0, 0, cv2.THRESH_TOZERO)[1])
        out[strip.inside(face.part)] = cv2.merge([blue, rounded, red])
    return out


def _mix(layer: Float32Array, over: Float32Array, coverage: Float32Array) -> None:
    """Put pixels (rows, columns, 3) over others, in place, with a coverage (rows, columns)."""
    change = over - layer
    change *= for_channels(coverage)
    layer += change


def _lent(
    canvas: _Canvas, exemplars: list[Exemplar], own: Float32Array, skin: Float32Array
) -> tuple[Float32Array, list[_Opening]]:
    """The exemplars' mouths, blended by weight, under the light of the frame's `own` pixels on its `skin`; and their
    openings."""
    patches, openings = [], []
    for number, exemplar in enumerate(exemplars, 1):
        source = exemplar.source
        patch = sample_bytes(source.image, canvas.warp.lips(number, canvas.part))
        opening = canvas.opening(source)
        openings.append(opening)
        _open(canvas, patch, source, opening, SLACK)
        _seal(canvas, patch, source)
        patches.append(patch)
    _match_light(patches, own, skin, canvas.unit)
    lent = patches[0]
    for patch, exemplar in zip(patches[1:], exemplars[1:], strict=True):
        # Colours cross-fade, detail does not: two half-visible rows of teeth are a blur.
        colours = _small_blur(patch - lent, BLEND_SIGMA * canvas.unit)
        lent += _enlarged(np.float32(exemplar.share) * colours, lent)
    return lent, openings


def _open(canvas: _Canvas, layer: Float32Array, source: Source, opening: _Opening, slack: float = 0.0) -> None:
    """Put into a layer, in place, what lies between the lips of the target when a source lends its mouth.

    From the back: the dark, the tongue, the person's rows of teeth, and what the source itself shows. slack: see
    `inside.lent`.
    """
    mouth, part, where, lends = canvas.mouth, opening.part, opening.coverage > 0, slack > 0
    if not where.any():
        return
    if source.gap <= SHOWS_INSIDE:
        shown = _behind(canvas, layer, source, part, where, lends=lends)
    else:
        shown, coverage = inside.lent(source, mouth, part, slack=slack)
        # Less light falls on them through a narrower opening, and most of it is reflected by the lips.
        shown *= np.float32(1 - NARROW_DIM * min(max(1 - mouth.gap / source.gap, 0.0), 1.0)) ** LIP_TINT
        where &= coverage < 1
        if where.any():
            behind = _behind(canvas, layer, source, part, where, lends=lends)
            _mix(behind, shown, coverage)
            shown = behind
    _mix(layer[part.inside(canvas.part)], shown, opening.coverage)


def _behind(
    canvas: _Canvas, layer: Float32Array, source: Source, part: Region, where: BoolArray, *, lends: bool
) -> Float32Array:
    """What lies behind that which a source itself shows between its lips: pixels of a part, those of the warped lips
    except `where` (rows, columns) others are needed.

    layer: the warped lips. lends: whether the source is an exemplar.
    """
    mouth, lips = canvas.mouth, layer[part.inside(canvas.part)]
    # Narrow lips of an exemplar that open no further than they were have their own shadow.
    opens = max(_step(mouth.gap / SHOWS_INSIDE - 1), _step((mouth.gap - source.gap) / FURTHER)) if lends else 1.0
    behind = lips.copy()
    if opens == 0:
        return behind
    # Lips that are hardly open show no throat, only their shadow.
    wide = _step((mouth.gap - NARROW[0]) / (NARROW[1] - NARROW[0]))
    if wide > 0:
        behind[where] = _painted(mouth, part, where)
    if wide < 1:
        crease, _ = _crease(canvas, layer, part)
        behind = crease + np.float32(wide) * (behind - crease)
    return behind if opens == 1 else lips + np.float32(opens) * (behind - lips)


def _step(x: float) -> float:
    """`smoothstep` of one number."""
    x = min(max(x, 0.0), 1.0)
    return x * x * (3 - 2 * x)


def _smooth_corners(canvas: _Canvas, layer: Float32Array, source: Source) -> None:
    """Remove, in place, the shadows that the corners of a closed or wider mouth leave beside the opening.

    Column by column, light beside the corners becomes that of the skin above and below; finer detail stays.
    """
    mouth, unit = canvas.mouth, canvas.unit
    narrower = 1 - float(mesh.lip_width(mouth.target) / mesh.lip_width(source.points))
    amount = CORNER_SHARE * min(max((mouth.gap - source.gap) / CORNER_GAP, narrower / CORNER_NARROWER), 1.0)
    if amount <= 0:
        return
    corners = mouth.target[[mesh.UPPER_INNER[0], mesh.UPPER_INNER[-1]]]
    _, along, across = mouth_frame(mouth.target)
    beside, height = CORNER_REACH * unit * np.array([[-1], [1]]) * along, CORNER_HEIGHT * unit
    part = Region.around(
        np.vstack([corners + beside, corners - beside]), abs(across[1]) * height + CORNER_MARGIN * unit, canvas.part
    )
    u, v = along_mouth(mouth.target, *part.axes())
    ends, levels = along_mouth(mouth.target, *corners.T)
    level = np.where(u < ends.mean(), *levels)
    beyond = np.maximum(ends[0] - u, u - ends[1]) / unit
    place = (v - level) / height
    under = layer[part.inside(canvas.part)]
    skin = _bridged(canvas, layer, part, place, height)
    window = smoothstep(beyond / CORNER_SOFT) * smoothstep((CORNER_REACH - beyond) / CORNER_SOFT)
    window *= amount * smoothstep((1 - np.abs(place)) / 0.5)
    lighter = cv2.GaussianBlur(np.maximum(skin - under, 0), (0, 0), CORNER_DETAIL * unit)
    under += for_channels(window.astype(np.float32)) * lighter


def _seal(canvas: _Canvas, layer: Float32Array, source: Source) -> None:
    """Where a source's parted lips are closed, draw the crease at which they meet, in place. It hides remains of the
    teeth beside landmarks that lie a little off the edge of the lips.
    """
    gaps = 2 - canvas.mouth.gap / SEALED, 2 * source.gap / SHOWS_INSIDE - 1
    if min(gaps) > 0:
        closing = min(gaps[0], 1.0) * min(gaps[1], 1.0)
        edges = canvas.mouth.target[list(mesh.INNER_RING)]
        part = Region.around(edges, max(CREASE * canvas.unit, 1.0) + 1, canvas.part)
        crease, coverage = _crease(canvas, layer, part)
        _mix(layer[part.inside(canvas.part)], crease, np.float32(closing) * coverage)


def _crease(canvas: _Canvas, layer: Float32Array, part: Region) -> tuple[Float32Array, Float32Array]:
    """The lips of a layer extended to the line where they meet, with a dark crease, and its coverage (0 to 1): of a
    part.

    Column by column, the colours come from just above and just below the opening: a crease has no colour of its own.
    """
    target, unit = canvas.mouth.target, canvas.unit
    u, v = along_mouth(target, *part.axes())
    upper, lower = lip_edge(target, mesh.UPPER_INNER, u), lip_edge(target, mesh.LOWER_INNER, u)
    ends = along_mouth(target, *target[[mesh.UPPER_INNER[0], mesh.UPPER_INNER[-1]]].T)[0]
    taper = smoothstep(np.minimum(u - ends[0], ends[1] - u) / (CREASE_ENDS * unit))
    half = (lower - upper) / 2 + max(CREASE * unit, 1.0) * (0.3 + 0.7 * taper)
    place = (v - (lower + upper) / 2) / half
    lips = _bridged(canvas, layer, part, place, half, CREASE_REACH)
    shade = 1 - (1 - CREASE_SHADE) * np.exp(-((place / CREASE_SHARPNESS) ** 2)) * taper
    coverage = smoothstep((1 - np.abs(place)) / 0.4) * (taper > 0)
    dark = np.log(shade).astype(np.float32)
    return lips * cv2.merge([np.exp(dark * tint) for tint in LIP_TINT]), coverage.astype(np.float32)


def _bridged(
    canvas: _Canvas,
    layer: Float32Array,
    part: Region,
    place: Float64Array,
    half: Float64Array | float,
    reach: float = 1.0,
) -> Float32Array:
    """A part of a layer with a band across it left out: column by column, its colours lead from those above the band to
    those below.

    place: (rows, columns) from -1 at the upper edge of the band to 1 at the lower one. half: its height in pixels,
    halved. reach: how far from its middle, in halves, the colours are taken.
    """
    across = mouth_frame(canvas.mouth.target)[2]
    x, y = part.axes()
    beside = []
    for side in (-reach, reach):
        way = (side - place) * half
        at_x, at_y = x - canvas.part.x0 + way * across[0], y - canvas.part.y0 + way * across[1]
        places = at_x.astype(np.float32), at_y.astype(np.float32)
        found = cv2.remap(layer, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        beside.append(np.asarray(found, np.float32))
    _mix(beside[0], beside[1], np.clip(0.5 + place / 2, 0, 1).astype(np.float32))
    return beside[0]


def _painted(mouth: Mouth, part: Region, where: BoolArray) -> Float32Array:
    """The painted inside of the mouth: the pixels (M, 3) of a part that are needed, `where` (rows, columns)."""
    rows, columns = np.nonzero(where)
    x, y = (columns + part.x0).astype(np.float32), (rows + part.y0).astype(np.float32)
    pixel = 1 / float(np.sqrt(abs(np.linalg.det(mouth.plane.linear))))
    along, across = along_mouth(mouth.target, x, y)
    upper, lower = (lip_edge(mouth.target, row, along) for row in (mesh.UPPER_INNER, mesh.LOWER_INNER))
    u, v = mouth.plane.canonical(x, y)
    size = max(pixel, mouth.blur)
    pixels = interior.InteriorPixels(u, v, (across - upper) * pixel, (lower - upper) * pixel, size)
    shape = interior.InteriorShape(
        mouth.gap, mouth.spread, max(mouth.jaw, 0.0), mouth.tongue, mouth.plane.lean, mouth.own, mouth.painted
    )
    noise = np.random.default_rng(mouth.frame).standard_normal(part.shape, np.float32)
    grain = mouth.grain / FINE_SHARE * interior.fine(noise)[where]
    return (interior.paint(pixels, shape, mouth.light) + grain).T


def _polygon(points: Float64Array, region: Region, *, blur: float) -> Float32Array:
    """Coverage, 0 to 1, of a polygon (K, 2) over the region, its edge softened by a Gaussian of `blur` pixels."""
    fixed = np.round((points - [region.x0, region.y0]) * (1 << SUBPIXEL_BITS)).astype(np.int32)
    mask = np.zeros(region.shape, np.uint8)
    cv2.fillPoly(mask, [fixed], 255, lineType=cv2.LINE_AA, shift=SUBPIXEL_BITS)
    coverage = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), blur)
    return np.asarray(coverage, np.float32)


def _cover(target: Float64Array, part: Region, unit: float) -> _Cover:
    """Coverages of a part around the lips, computed on a smaller copy because they have no detail."""
    shrink = max(round(unit / COVER_PX), 1)
    rows, columns = (-(-size // shrink) for size in part.shape)
    points = (target - [part.x0, part.y0] + 0.5) / shrink - 0.5
    away, unit = _away_from_lips(points, (rows, columns)) / (unit / shrink), unit / shrink
    face = _on_the_face(points, (rows, columns), unit)
    # On the lips an exemplar is shown up to the outline of a turned head.
    exemplar = (1 - smoothstep((away - LIP_MARGIN) / LIP_FEATHER)) * np.maximum(face, 1 - smoothstep(away / LIP_EDGE))
    skin = face * ((away > SKIN_FROM) & (away < LIP_MARGIN + LIP_FEATHER))
    wide = (
        cv2.resize(one, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_LINEAR)[: part.shape[0], : part.shape[1]]
        for one in (exemplar, skin)
    )
    return _Cover(part, *(np.asarray(one, np.float32) for one in wide))


def _away_from_lips(points: Float64Array, shape: tuple[int, int]) -> Float32Array:
    """Distance of the pixels of a picture from the lips of landmarks (478, 2), in pixels: 0 on the lips."""
    fixed = np.round(points[list(mesh.OUTER_RING)] * (1 << SUBPIXEL_BITS)).astype(np.int32)
    mask = np.full(shape, 255, np.uint8)
    cv2.fillPoly(mask, [fixed], 0, shift=SUBPIXEL_BITS)
    return np.asarray(cv2.distanceTransform(mask, cv2.DIST_L2, 5), np.float32)


def _on_the_face(points: Float64Array, shape: tuple[int, int], unit: float) -> Float32Array:
    """Coverage of the face of landmarks (478, 2) in a picture, 1 well inside its outline: the background begins beside
    the far cheek of a turned head."""
    reach = (
        int(np.ceil((OUTLINE_DOUBT + OUTLINE_FEATHER) * unit)) + 1
    )  # an outline this close to the picture counts too
    mask = head_mask(points + reach, (shape[0] + 2 * reach, shape[1] + 2 * reach))
    if mask.all():
        return np.ones(shape, np.float32)
    deep = cv2.distanceTransform(mask, cv2.DIST_L2, 5)[reach:-reach, reach:-reach]
    return smoothstep((np.asarray(deep, np.float32) / unit - OUTLINE_DOUBT) / OUTLINE_FEATHER)


def _taking_over(own: Float32Array, lent: Float32Array, share: float, unit: float) -> Float32Array:
    """Blend from the frame's lips to the exemplar's: as between exemplars, colours cross-fade and detail does not."""
    if share >= 1:
        return lent
    colours = _blur(lent - own, BLEND_SIGMA * unit)
    return own + np.float32(share) * colours if share < 0.5 else lent - np.float32(1 - share) * colours


def _match_light(patches: Sequence[Float32Array], own: Float32Array, skin: Float32Array, unit: float) -> None:
    """Put patches under the light of the frame's `own` pixels, in place: adds their low-frequency difference on the
    `skin` (mask)."""
    sigma, weight = LIGHT_SIGMA * unit, for_channels(skin)
    around = for_channels(np.maximum(_small_blur(skin, sigma), LEAST_SKIN))
    for patch in patches:
        difference = own - patch
        difference *= weight
        np.add(patch, _enlarged(_small_blur(difference, sigma) / around, patch), out=patch)


def _green(pixels: Image | Float32Array) -> Float32Array:
    """The green of pixels (rows, columns, 3), which shows their detail."""
    return np.asarray(cv2.extractChannel(pixels, 1), np.float32)


def _detail_gain(new: Float32Array, own: Float32Array, changed: Float32Array, skin: Float32Array) -> float:
    """How much stronger the finest detail of a new plane (rows, columns) must become to be as sharp as the frame's
    `own` one; 1 where too little `skin` (0 to 1) around the lips `changed` (0 to 1).

    Sampling between pixels softens, and an exemplar may be sharper or softer than the frame, for example when the head
    moves. The finest detail therefore gets the strength that it has on the frame's skin around the lips. Skin shows how
    much grain was lost; the edges of teeth lose less, so inside the mouth nothing is sharpened.
    """
    there = ((skin > 0.5) & (changed > 0.5)).astype(np.uint8)
    # Where the picture ends, its detail is not known: a nostril that it cuts would count twice.
    edge = DETAIL_SIZE[0] // 2
    there[:edge] = there[-edge:] = there[:, :edge] = there[:, -edge:] = 0
    if cv2.countNonZero(there) < MIN_SKIN_PIXELS:
        return 1.0
    wanted, found = (cv2.norm(_detail(one), cv2.NORM_L2, there) for one in (own, new))
    return float(min(max(wanted / max(found, 1e-3), DETAIL_GAIN[0]), DETAIL_GAIN[1]))


def _detail(image: Float32Array) -> Float32Array:
    """The finest detail of a plane."""
    return np.asarray(image - cv2.GaussianBlur(image, DETAIL_SIZE, DETAIL_SIGMA), np.float32)


def _blur(image: Float32Array, sigma: float) -> Float32Array:
    """A wide Gaussian blur, computed on a smaller copy because light has no detail."""
    return _enlarged(_small_blur(image, sigma), image)


def _small_blur(image: Float32Array, sigma: float) -> Float32Array:
    """A wide Gaussian blur of a picture, as a smaller copy."""
    shrink = max(int(sigma / 4), 1)
    rows, columns = image.shape[:2]
    small = cv2.resize(image, (max(columns // shrink, 2), max(rows // shrink, 2)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(small, (0, 0), sigma / shrink), np.float32)


def _enlarged(small: Float32Array, like: Float32Array) -> Float32Array:
    """A smaller copy of a picture, as large as another one."""
    return np.asarray(cv2.resize(small, like.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.float32)
