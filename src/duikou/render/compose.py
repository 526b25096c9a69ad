"""Compose the lower face of one frame: the warped frame, the exemplars' lips over it, the inside of the mouth."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from duikou.arrays import Float32Array, Float64Array, Image, smoothstep
from duikou.faces.pose import MESH_POINTS, triangles
from duikou.render import inside, interior, mesh
from duikou.render.inside import SHOWS_INSIDE
from duikou.render.mouth import Mouth, Source
from duikou.render.warp import Map, Region, Warp, along_mouth, lip_edge, mouth_frame, sample

LIP_MARGIN, LIP_FEATHER = 0.05, 0.16
"""Distance from the lips, in eye distances, within which the exemplar is opaque, and over which it then fades out."""

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

DETAIL_SIGMA, DETAIL_GAIN = 0.7, (0.5, 1.6)
"""Scale, in pixels, up to which a structure is fine detail, and bounds of its gain."""

MOVED_PIXELS, MIN_SKIN_PIXELS = 0.3, 100
"""Displacement, in pixels, from which a pixel counts as moved, and the least number of moved skin pixels from which
sharpness can be measured."""

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

SUBPIXEL_BITS = 4


@dataclass(frozen=True)
class Exemplar:
    """A frame of the same face that lends its lips. share: its weight among the exemplars."""

    source: Source
    share: float


@dataclass(frozen=True)
class _Canvas:
    """The part of a frame around the lips, where mouths are painted.

    warp: of all sources. part: its region. unit: eye distance of the frame's own face in pixels.
    """

    warp: Warp
    mouth: Mouth
    part: Region
    unit: float

    def opening(self, source: Source) -> Float32Array:
        """Coverage (rows, columns), 0 to 1, of the opening between the lips of a source, brought to the target."""
        upper, lower = source.opening.lip_edges(self.mouth.target)
        blur = max(OPENING_BLUR, self.mouth.blur) * self.unit
        if source.gap > SHOWS_INSIDE:
            # Pixels at the lower lip's edge hold light of the teeth that stood behind it.
            gone = np.clip(max(self.mouth.gap - source.gap, self.mouth.jaw - source.jaw) / FRINGE_GAP, 0, 1)
            lower[1:-1] += gone * FRINGE_BLURS * max(blur, 1.0) * mouth_frame(self.mouth.target)[2]
        coverage = _polygon(np.vstack([upper, lower[-2:0:-1]]), self.part, blur=blur)
        return coverage * np.float32(np.clip(mesh.lip_gap(self.mouth.target) / THINNEST_PIXELS, 0, 1))


def compose(own: Source, mouth: Mouth, exemplars: list[Exemplar]) -> tuple[Region, Image] | None:
    """The changed region of a frame and its new pixels; `None` if the face lies outside the picture."""
    height, width = own.image.shape[:2]
    region = Region.of(mouth.target, width, height)
    if region is None:
        return None
    unit = float(mesh.eye_distance(own.points))
    sources = [own, *(exemplar.source for exemplar in exemplars)]
    warp = Warp([source.points for source in sources], mouth.target, region)
    part = Region.around_lips(mouth.target, (LIP_MARGIN + LIP_FEATHER) * unit, region)
    canvas, opening = _Canvas(warp, mouth, part, unit), np.zeros(part.shape, np.float32)
    places = warp.lips(0, region)
    pixels = sample(own.image, places).astype(np.float32)
    near, changed = pixels[part.inside(region)], _moved(places, region)
    away = _away_from_lips(mouth.target, part, unit)
    face = _on_the_face(mouth.target, part, unit)
    skin = _beside_lips(away) * face
    if not exemplars or mouth.strength < EXEMPLAR_ALONE:
        opening = canvas.opening(own)
        _smooth_corners(canvas, near, own)
        near += opening[..., None] * (_inside(canvas, own, opening, near) - near)
        _seal(canvas, near, own)
    if exemplars:
        lent, openings = _lent(canvas, exemplars, near, skin)
        opening = np.maximum(opening, openings)
        coverage = _around_lips(away) * np.maximum(face, _on_the_lips(away))
        changed[part.inside(region)] = np.maximum(changed[part.inside(region)], coverage)
        near += coverage[..., None] * (_taking_over(near, lent, mouth.strength / EXEMPLAR_ALONE, unit) - near)
    pixels = _match_detail(
        pixels, region.cut(own.image), changed, _placed(skin, part, region), _placed(opening, part, region)
    )
    return region, np.clip(pixels + 0.5, 0, 255).astype(np.uint8)


def _lent(
    canvas: _Canvas, exemplars: list[Exemplar], near: Float32Array, skin: Float32Array
) -> tuple[Float32Array, Float32Array]:
    """The exemplars' mouths, blended by weight, under the light of the frame's own pixels `near` on its `skin`; and the
    coverage (rows, columns) of their openings."""
    patches, openings = [], []
    for number, exemplar in enumerate(exemplars, 1):
        source = exemplar.source
        patch = sample(source.image, canvas.warp.lips(number, canvas.part)).astype(np.float32)
        opening = canvas.opening(source)
        openings.append(opening)
        patch += opening[..., None] * (_inside(canvas, source, opening, patch, SLACK) - patch)
        _seal(canvas, patch, source)
        patches.append(_match_light(patch, near, skin, canvas.unit))
    lent = patches[0]
    for patch, exemplar in zip(patches[1:], exemplars[1:], strict=True):
        # Colours cross-fade, detail does not: two half-visible rows of teeth are a blur.
        lent += exemplar.share * _blur(patch - patches[0], BLEND_SIGMA * canvas.unit)
    return lent, np.max(openings, axis=0)


def _inside(
    canvas: _Canvas, source: Source, opening: Float32Array, lips: Float32Array, slack: float = 0.0
) -> Float32Array:
    """What lies between the lips of the target when a source lends its mouth: pixels of the canvas.

    Layers, from the back: the dark, the tongue, the person's rows of teeth, and what the source itself shows. lips: the
    warped lips around the opening. slack: see `inside.lent`.
    """
    mouth, part = canvas.mouth, canvas.part
    if not opening.any():
        return lips
    if source.gap <= SHOWS_INSIDE:
        return _behind(canvas, source, opening, lips, lends=slack > 0)
    where = opening > 0
    shown, coverage = inside.lent(source, mouth, part, where, slack=slack)
    # Less light falls on them through a narrower opening, and most of it is reflected by the lips.
    shown *= np.float32(1 - NARROW_DIM * np.clip(1 - mouth.gap / source.gap, 0, 1)) ** LIP_TINT
    if coverage[where].min() < 1:
        behind = _behind(canvas, source, opening, lips, lends=slack > 0)
        shown = behind + coverage * (shown - behind)
    return shown


def _behind(canvas: _Canvas, source: Source, opening: Float32Array, lips: Float32Array, *, lends: bool) -> Float32Array:
    """What lies behind that which a source itself shows between its lips. lends: whether the source is an exemplar."""
    mouth, part = canvas.mouth, canvas.part
    behind = _painted(mouth, part, opening)
    if mouth.gap < NARROW[1]:
        # Lips that are hardly open show no throat, only their shadow.
        crease, _ = _crease(lips, mouth.target, part, float(mesh.eye_distance(mouth.target)))
        wide = smoothstep(np.asarray((mouth.gap - NARROW[0]) / (NARROW[1] - NARROW[0])))
        behind = crease + np.float32(wide) * (behind - crease)
    if lends:
        # Narrow lips of an exemplar that open no further than they were have their own shadow.
        wide = np.asarray(mouth.gap / SHOWS_INSIDE - 1)
        further = np.maximum(smoothstep(wide), smoothstep(np.asarray((mouth.gap - source.gap) / FURTHER)))
        behind = lips + np.float32(further) * (behind - lips)
    return behind


def _smooth_corners(canvas: _Canvas, layer: Float32Array, source: Source) -> None:
    """Remove, in place, the shadows that the corners of a closed or wider mouth leave beside the opening.

    Column by column, light beside the corners becomes that of the skin above and below; finer detail stays.
    """
    mouth, unit = canvas.mouth, canvas.unit
    narrower = 1 - float(mesh.lip_width(mouth.target) / mesh.lip_width(source.points))
    amount = CORNER_SHARE * float(np.clip(max((mouth.gap - source.gap) / CORNER_GAP, narrower / CORNER_NARROWER), 0, 1))
    if amount <= 0:
        return
    u, v = along_mouth(mouth.target, *canvas.part.grid())
    ends, levels = along_mouth(mouth.target, *mouth.target[[mesh.UPPER_INNER[0], mesh.UPPER_INNER[-1]]].T)
    level = np.where(u < ends.mean(), *levels)
    beyond = np.maximum(ends[0] - u, u - ends[1]) / unit
    place = (v - level) / (CORNER_HEIGHT * unit)
    skin = _bridged(layer, mouth.target, canvas.part, place, CORNER_HEIGHT * unit)
    window = smoothstep(beyond / CORNER_SOFT) * smoothstep((CORNER_REACH - beyond) / CORNER_SOFT)
    window *= smoothstep((1 - np.abs(place)) / 0.5)
    lighter = cv2.GaussianBlur(np.maximum(skin - layer, 0).astype(np.float32), (0, 0), CORNER_DETAIL * unit)
    layer += (amount * window)[..., None].astype(np.float32) * lighter


def _seal(canvas: _Canvas, layer: Float32Array, source: Source) -> None:
    """Where a source's parted lips are closed, draw the crease at which they meet, in place. It hides remains of the
    teeth beside landmarks that lie a little off the edge of the lips.
    """
    closing = np.clip(2 - canvas.mouth.gap / SEALED, 0, 1) * np.clip(2 * source.gap / SHOWS_INSIDE - 1, 0, 1)
    if closing > 0:
        crease, coverage = _crease(layer, canvas.mouth.target, canvas.part, canvas.unit)
        layer += np.float32(closing) * coverage[..., None] * (crease - layer)


def _crease(layer: Float32Array, target: Float64Array, part: Region, unit: float) -> tuple[Float32Array, Float32Array]:
    """The lips of a layer extended to the line where they meet, with a dark crease, and its coverage (0 to 1).

    Column by column, the colours come from just above and just below the opening: a crease has no colour of its own.
    """
    u, v = along_mouth(target, *part.grid())
    upper, lower = lip_edge(target, mesh.UPPER_INNER, u), lip_edge(target, mesh.LOWER_INNER, u)
    ends = along_mouth(target, *target[[mesh.UPPER_INNER[0], mesh.UPPER_INNER[-1]]].T)[0]
    taper = smoothstep(np.minimum(u - ends[0], ends[1] - u) / (CREASE_ENDS * unit))
    half = (lower - upper) / 2 + max(CREASE * unit, 1.0) * (0.3 + 0.7 * taper)
    place = (v - (lower + upper) / 2) / half
    lips = _bridged(layer, target, part, place, half, CREASE_REACH)
    shade = 1 - (1 - CREASE_SHADE) * np.exp(-((place / CREASE_SHARPNESS) ** 2)) * taper
    coverage = smoothstep((1 - np.abs(place)) / 0.4) * (taper > 0)
    return (lips * shade[..., None] ** LIP_TINT).astype(np.float32), coverage.astype(np.float32)


def _bridged(
    layer: Float32Array,
    target: Float64Array,
    part: Region,
    place: Float64Array,
    half: Float64Array | float,
    reach: float = 1.0,
) -> Float32Array:
    """A layer with a band across it left out: column by column, its colours lead from those above the band to those
    below.

    place: (rows, columns) from -1 at the upper edge of the band to 1 at the lower one. half: its height in pixels,
    halved. reach: how far from its middle, in halves, the colours are taken.
    """
    across = mouth_frame(target)[2]
    beside = []
    for side in (-reach, reach):
        way = (side - place) * half
        x, y = (grid + way * across[axis] for axis, grid in enumerate(part.grid()))
        places = (x - part.x0).astype(np.float32), (y - part.y0).astype(np.float32)
        beside.append(cv2.remap(layer, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
    share = np.clip(0.5 + place / 2, 0, 1)[..., None]
    return np.asarray(beside[0] + share * (beside[1] - beside[0]), np.float32)


def _painted(mouth: Mouth, region: Region, opening: Float32Array) -> Float32Array:
    """The painted inside of the mouth over the opening, zeros elsewhere: (rows, columns, 3)."""
    out = np.zeros((*region.shape, 3), np.float32)
    where = opening > 0
    x, y = region.grid()
    pixel = 1 / float(np.sqrt(abs(np.linalg.det(mouth.plane.linear))))
    u, v = mouth.plane.canonical(x[where], y[where])
    along, across = along_mouth(mouth.target, x[where], y[where])
    upper, lower = (lip_edge(mouth.target, row, along) for row in (mesh.UPPER_INNER, mesh.LOWER_INNER))
    size = max(pixel, mouth.blur)
    pixels = interior.InteriorPixels(u, v, (across - upper) * pixel, (lower - upper) * pixel, size)
    shape = interior.InteriorShape(
        mouth.gap, mouth.spread, max(mouth.jaw, 0.0), mouth.tongue, mouth.plane.lean, mouth.own, mouth.painted
    )
    out[where] = interior.paint(pixels, shape, mouth.light)
    noise = np.random.default_rng(mouth.frame).standard_normal(region.shape, np.float32)
    out[where] += (mouth.grain / FINE_SHARE * interior.fine(noise))[where][:, None]
    return out


def _polygon(points: Float64Array, region: Region, *, blur: float) -> Float32Array:
    """Coverage, 0 to 1, of a polygon (K, 2) over the region, its edge softened by a Gaussian of `blur` pixels."""
    fixed = np.round((points - [region.x0, region.y0]) * (1 << SUBPIXEL_BITS)).astype(np.int32)
    mask = np.zeros(region.shape, np.uint8)
    cv2.fillPoly(mask, [fixed], 255, lineType=cv2.LINE_AA, shift=SUBPIXEL_BITS)
    coverage = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), blur)
    return np.asarray(coverage, np.float32)


def _placed(field: Float32Array, part: Region, region: Region) -> Float32Array:
    """The field of a part, padded with 0 to the whole region."""
    whole = np.zeros(region.shape, np.float32)
    whole[part.inside(region)] = field
    return whole


def _away_from_lips(target: Float64Array, region: Region, unit: float) -> Float32Array:
    """Distance of the pixels of a region from the lips, in eye distances: 0 on the lips."""
    fixed = np.round(target[list(mesh.OUTER_RING)] - [region.x0, region.y0]).astype(np.int32)
    mask = np.full(region.shape, 255, np.uint8)
    cv2.fillPoly(mask, [fixed], 0)
    return np.asarray(cv2.distanceTransform(mask, cv2.DIST_L2, 5) / unit, np.float32)


def _beside_lips(away: Float32Array) -> Float32Array:
    """Mask of the skin around the lips that the exemplar covers."""
    return ((away > 0.03) & (away < LIP_MARGIN + LIP_FEATHER)).astype(np.float32)


def _around_lips(away: Float32Array) -> Float32Array:
    """Coverage of the exemplar: 1 on the lips and close to them, fading to 0."""
    return np.asarray(1 - smoothstep((away.astype(np.float64) - LIP_MARGIN) / LIP_FEATHER), np.float32)


def _on_the_lips(away: Float32Array) -> Float32Array:
    """Coverage of the lips, fading to 0 beside them: they are shown up to the outline of a turned head."""
    return np.asarray(1 - smoothstep(away.astype(np.float64) / LIP_EDGE), np.float32)


def _on_the_face(target: Float64Array, region: Region, unit: float) -> Float32Array:
    """Coverage of the face, 1 well inside its outline: the background begins beside the far cheek of a turned head."""
    reach = int(np.ceil((OUTLINE_DOUBT + OUTLINE_FEATHER) * unit)) + 1  # an outline this close to the region counts too
    low = np.array([region.x0, region.y0]) - reach
    corners = np.round((target[:MESH_POINTS] - low) * (1 << SUBPIXEL_BITS)).astype(np.int32)
    mask = np.zeros((region.shape[0] + 2 * reach, region.shape[1] + 2 * reach), np.uint8)
    for patch in (*corners[triangles()], corners[list(mesh.INNER_RING)]):
        cv2.fillConvexPoly(mask, patch, 255, shift=SUBPIXEL_BITS)
    if mask.all():
        return np.ones(region.shape, np.float32)
    inside = cv2.distanceTransform(mask, cv2.DIST_L2, 5)[reach:-reach, reach:-reach] / unit
    return np.asarray(smoothstep((inside.astype(np.float64) - OUTLINE_DOUBT) / OUTLINE_FEATHER), np.float32)


def _taking_over(own: Float32Array, lent: Float32Array, share: float, unit: float) -> Float32Array:
    """Blend from the frame's lips to the exemplar's: as between exemplars, colours cross-fade and detail does not."""
    if share >= 1:
        return lent
    colours = _blur(lent - own, BLEND_SIGMA * unit)
    return own + np.float32(share) * colours if share < 0.5 else lent - np.float32(1 - share) * colours


def _match_light(patch: Float32Array, base: Float32Array, skin: Float32Array, unit: float) -> Float32Array:
    """The patch under the light of the frame: adds their low-frequency difference on the `skin` (mask)."""
    skin = skin[..., None]
    sigma = LIGHT_SIGMA * unit
    difference = _blur((base - patch) * skin, sigma)
    weight = _blur(np.repeat(skin, 3, 2), sigma)
    return np.asarray(patch + difference / np.maximum(weight, 1e-3), np.float32)


def _moved(places: Map, region: Region) -> Float32Array:
    """How far (0 to 1) the pixels of a region were moved."""
    x, y = region.grid()
    away = np.maximum(np.abs(places[0] - x), np.abs(places[1] - y))
    return np.asarray(np.clip(away / MOVED_PIXELS, 0, 1), np.float32)


def _match_detail(
    new: Float32Array, own: Image, changed: Float32Array, skin: Float32Array, inside: Float32Array
) -> Float32Array:
    """The new pixels, as sharp where they changed as the frame is there.

    Sampling between pixels softens, and an exemplar may be sharper or softer than the frame, for example when the head
    moves. The finest detail therefore gets the strength that it has on the frame's skin around the lips. Skin shows how
    much grain was lost; the edges of teeth lose less, so `inside` the mouth (0 to 1) nothing is sharpened.
    """
    there = (skin > 0.5) & (changed > 0.5)
    if there.sum() < MIN_SKIN_PIXELS:
        return new
    fine = new - cv2.GaussianBlur(new, (0, 0), DETAIL_SIGMA)
    before = own.astype(np.float32)
    before -= cv2.GaussianBlur(before, (0, 0), DETAIL_SIGMA)
    wanted, found = (float(np.sqrt(np.square(band[there]).mean())) for band in (before, fine))
    gain = np.clip(wanted / max(found, 1e-3), *DETAIL_GAIN)
    where = changed if gain < 1 else changed * (1 - inside)
    return new + np.float32(gain - 1) * where[..., None] * fine


def _blur(image: Float32Array, sigma: float) -> Float32Array:
    """A wide Gaussian blur, computed on a smaller copy because light has no detail."""
    shrink = max(int(sigma / 4), 1)
    rows, columns = image.shape[:2]
    small = cv2.resize(image, (max(columns // shrink, 2), max(rows // shrink, 2)), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / shrink)
    return np.asarray(cv2.resize(small, (columns, rows), interpolation=cv2.INTER_LINEAR), np.float32)
