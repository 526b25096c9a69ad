"""The inside of a mouth that the clip never shows: teeth, tongue and the dark behind them.

It is painted in canonical coordinates. The upper teeth stay with the skull, the lower teeth and the tongue move with
the jaw. Both rows stand on an arch, so a turned head shows more of one side. Colours are relative to the skin of the
cheeks, and the dark is as deep as in the nostrils: measured on ten people who talk, teeth have the skin's colour,
slightly less red, and the darkest parts of a mouth are about as dark as the nostrils. Sizes are those of an adult's
teeth (mean crown widths and lengths: Wheeler's Dental Anatomy) for a mean distance of 92 mm between the outer eye
corners.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property

import cv2
import numpy as np

from duikou.arrays import BoolArray, Float64Array, FloatArray, Image, IntArray, median, smoothstep
from duikou.render import mesh
from duikou.render.warp import pick

MM = 1 / 92
"""One millimetre in eye distances."""

INCISOR_PER_JAW = 0.80
"""Share of the chin's motion by which the lower incisors move down: they are closer to the hinge."""

LUMA = np.array([0.114, 0.587, 0.299])
"""Weights of blue, green and red in brightness."""

TOOTH, TOOTH_CHROMA = 1.05, np.array([0.97, 1.0, 1.16])
TONGUE, TONGUE_CHROMA = 0.76, np.array([0.98, 1.0, 1.66])
DARK, DARK_CHROMA = 0.80, np.array([1.16, 1.0, 2.4])
USUAL_CHROMA = np.array([0.91, 1.0, 1.29])
"""Green of teeth and tongue in full light relative to the skin, and of the dark relative to the depth of shadows; their
colours over green, BGR; and those of usual skin. A tongue is as pink on pale as on dark skin: half of what skins differ
is taken for the colour of the light."""

CHEEKS, CHEEKS_APART = ((50, 205, 187), (280, 425, 411)), 0.5
"""Landmarks of the left and the right cheek, and how far apart they are, in eye distances."""

NOSTRILS = (48, 64, 98, 97, 2, 326, 327, 294, 278, 4)
"""Outline of the lower side of the nose."""

DEPTHS, USUAL_DEPTH = (0.10, 0.42), 0.24
"""Range of the depth of shadows (brightness of the dark in a mouth relative to the cheeks), and its usual value where
neither nostrils nor an open mouth are seen."""

PARTED, DARKEST = 0.04, 3
"""Lip gap, in eye distances, from which a mouth shows its own dark; percentile of its brightness that counts."""

NOSTRIL_PERCENTILE, NOSTRIL_SHARE = 1, 0.9
"""Percentile of brightness that counts as the nostrils' dark, and the ratio of a mouth's dark to it."""

NO_SHADOW, MIN_SHADOW_PIXELS = 0.5, 40
"""Brightness relative to the cheeks from which nothing is a shadow; and the least size of a nose or of an opening, in
pixels, whose shadows can be measured."""

LIT_PER_SPREAD, SPREAD_LIT = 3.0, (0.6, 1.15)
"""How much more light falls into a mouth whose lips are spread, by their spread in eye distances, and its range. At the
same gap a mouth is brighter the wider it is: in six of ten people r is 0.6 to 0.8, and its median brightness changes by
1.3 to 4 times the cheeks' for each eye distance."""

LIGHT_TINT = np.array([[1.12], [1.14], [0.87]], np.float32)
"""Exponents, BGR planes, of the light that falls into a mouth."""

FURTHER_BACK = np.array([1, 0.95, 0.90, 0.86, 0.80, 0.74, 0.70])
"""Brightness of the upper teeth from the middle outwards, relative to the first."""

GUM = np.array([[-0.12], [-0.06], [0.0]], np.float32)
"""How much teeth change their colour, BGR planes, towards the gum."""

EYES = (33, 246, 161, 160, 159, 158, 157, 173, 133, 362, 398, 384, 385, 386, 387, 388, 466, 263)
"""Landmarks of the upper lids: lashes, whites and irises are the hardest edges of a face."""

PROBE_BLUR, HARD_EDGE, BLURS = 1.5, 97, (0.5, 4.0)
"""Blur in pixels that is added to measure that of a picture; percentile of the gradients that counts as a hard edge;
and the range of the result."""

GRAIN_SIDE, GRAIN_SIGMA, CALM_CHEEK = 0.06, 0.8, 25
"""Half the side, in eye distances, of the squares of cheek on which grain is measured; scale of the finest detail in
pixels; and the percentile of the squares that counts: some have hairs and pores."""

UNSEEN_SKIN = np.array([120.0, 140.0, 180.0])
"""Skin colour, BGR, if no cheek is in the picture."""


@dataclass(frozen=True)
class Light:
    """The light on a face. skin: (2, 3) BGR, 0 to 255, of the left and the right cheek. depth: brightness of the
    darkest shadows relative to the skin.
    """

    skin: Float64Array
    depth: float = USUAL_DEPTH

    @classmethod
    def on(cls, image: Image, points: Float64Array, depth: float = USUAL_DEPTH) -> Light:
        """Measure the cheeks of a picture with landmarks (478, 2)."""
        tones = [_skin(image, points, places) for places in CHEEKS]
        seen = [tone for tone in tones if tone is not None] or [UNSEEN_SKIN]
        return cls(np.clip(np.stack([seen[0], seen[-1]]), 10, 245), depth)

    @classmethod
    def of_colours(cls, colours: Image, depth: float = USUAL_DEPTH) -> Light:
        """The same from colours at the landmarks (478, 3), as in `FaceTrack`."""
        tones = np.stack([np.median(colours[list(places)], axis=0) for places in CHEEKS]) - [0, 128, 128]
        lab = np.asarray(tones * [100 / 255, 1, 1], np.float32)[None]
        return cls(np.clip(255 * cv2.cvtColor(lab, cv2.COLOR_LAB2BGR)[0].astype(np.float64), 10, 245), depth)

    @property
    def tooth(self) -> Float64Array:
        """Colour (3,) of a tooth in full light, relative to the skin."""
        return TOOTH * self._tinted(TOOTH_CHROMA)

    @property
    def tongue(self) -> Float64Array:
        """Colour (3,) of the tongue in full light, relative to the skin."""
        return TONGUE * self._tinted(TONGUE_CHROMA)

    @property
    def dark(self) -> Float64Array:
        """Colour (3,) of the dark in the mouth, relative to the skin."""
        return DARK * self.depth * self._tinted(DARK_CHROMA)

    def _tinted(self, usual: Float64Array) -> Float64Array:
        """What has the colours `usual` (3,) over green next to usual skin, relative to this skin."""
        mean = self.skin.mean(0)
        chroma = mean / mean[1]
        return np.asarray(usual * np.sqrt(chroma / USUAL_CHROMA) / chroma, np.float64)

    def at(self, x: FloatArray) -> FloatArray:
        """Colour (3, M) of skin inside the mouth at canonical x (M,): its sides are lit like the cheeks."""
        left, right = _colours(self.skin)
        return np.asarray(left + smoothstep(0.5 + x / (2 * CHEEKS_APART)) * (right - left), np.float32)


def shadow_depth(image: Image, points: Float64Array) -> float | None:
    """Brightness of the darkest shadows of a picture with landmarks (478, 2) relative to the cheeks; `None` if it shows
    none that can be measured.

    It tells how dark a mouth is inside: the nostrils are about as dark, and an open mouth shows it.
    """
    skin = float(Light.on(image, points).skin.mean(0) @ LUMA)
    seen = ((_nostrils(image, points), NOSTRIL_SHARE), (_parted(image, points), 1.0))
    found = [share * dark / skin for dark, share in seen if dark is not None and dark < NO_SHADOW * skin]
    return float(np.clip(min(found), *DEPTHS)) if found else None


def _nostrils(image: Image, points: Float64Array) -> float | None:
    """Brightness of the nostrils; `None` if they lie outside the picture or are tiny."""
    outline = points[list(NOSTRILS)]
    (x0, y0), (x1, y1) = np.floor(outline.min(0)).astype(int), np.ceil(outline.max(0)).astype(int)
    height, width = image.shape[:2]
    nose = image[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)].reshape(-1, 3)
    if x0 < 0 or y0 < 0 or x1 > width or y1 > height or len(nose) < MIN_SHADOW_PIXELS:
        return None
    return float(np.percentile(nose @ LUMA, NOSTRIL_PERCENTILE))


def _parted(image: Image, points: Float64Array) -> float | None:
    """Brightness of the dark between parted lips; `None` if they are closed."""
    if mesh.lip_gap(points) < PARTED * mesh.eye_distance(points):
        return None
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(points[list(mesh.INNER_RING)]).astype(np.int32)], 1)
    shown = image[mask > 0]
    return float(np.percentile(shown @ LUMA, DARKEST)) if len(shown) >= MIN_SHADOW_PIXELS else None


def edge_blur(image: Image, points: Float64Array) -> float | None:
    """Blur of the hardest edges around the eyes of landmarks (478, 2), as the standard deviation of a Gaussian in
    pixels; `None` if the eyes lie outside the picture.

    An edge of blur s keeps s / sqrt(s^2 + a^2) of its slope if blurred by a once more (Zhuo and Sim, "Defocus map
    estimation from a single image", 2011).
    """
    margin = 0.1 * mesh.eye_distance(points)
    low, high = points[list(EYES)].min(0) - margin, points[list(EYES)].max(0) + margin
    (x0, y0), (x1, y1) = np.floor(low).astype(int), np.ceil(high).astype(int)
    height, width = image.shape[:2]
    if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
        return None
    grey = np.asarray(image[y0:y1, x0:x1] @ LUMA, np.float32)
    slopes = [
        float(np.percentile(np.hypot(cv2.Sobel(one, cv2.CV_32F, 1, 0), cv2.Sobel(one, cv2.CV_32F, 0, 1)), HARD_EDGE))
        for one in (grey, cv2.GaussianBlur(grey, (0, 0), PROBE_BLUR))
    ]
    ratio = slopes[0] / max(slopes[1], 1e-3)
    return float(np.clip(PROBE_BLUR / np.sqrt(max(ratio**2 - 1, 1e-3)), *BLURS))


def grain(image: Image, points: Float64Array) -> float | None:
    """Strength of the finest detail on the cheeks of landmarks (478, 2), in levels (standard deviation); `None` if they
    lie outside the picture. On smooth skin it is the grain of the picture.
    """
    height, width = image.shape[:2]
    side = max(int(GRAIN_SIDE * mesh.eye_distance(points)), 4)
    found = []
    for x, y in np.round(points[[place for cheek in CHEEKS for place in cheek]]).astype(int):
        if side <= x < width - side and side <= y < height - side:
            grey = np.asarray(image[y - side : y + side, x - side : x + side] @ LUMA, np.float32)
            found.append(float(fine(grey)[1:-1, 1:-1].std()))
    return float(np.percentile(found, CALM_CHEEK)) if found else None


def fine(grey: FloatArray) -> FloatArray:
    """The finest detail of a picture (rows, columns)."""
    return np.asarray(grey - cv2.GaussianBlur(grey, (0, 0), GRAIN_SIGMA), np.float32)


def _skin(image: Image, points: Float64Array, places: tuple[int, ...]) -> Float64Array | None:
    """Median colour (3,) around some landmarks; `None` if they lie outside the picture."""
    height, width = image.shape[:2]
    side = max(int(mesh.eye_distance(points) / 16), 1)
    tones = [
        _median(image[y - side : y + side + 1, x - side : x + side + 1])
        for x, y in np.round(points[list(places)]).astype(int)
        if side <= x < width - side and side <= y < height - side
    ]
    return median(tones) if tones else None


def _median(patch: Image) -> Float64Array:
    """Median colour (3,) of an odd number of pixels. NumPy sorts bytes faster than it finds a median, and fastest by
    counting them: stably."""
    colours = np.sort(np.ascontiguousarray(patch.reshape(-1, 3).T), axis=1, kind="stable")
    return np.asarray(colours[:, colours.shape[1] // 2], np.float64)


@dataclass(frozen=True)
class Dentition:
    """What differs between people.

    size: of the teeth, 1 on average. fullness, low: how far the biting edges of the upper and of the lower teeth lie
    below the line of the closed lips while the jaw is closed, in eye distances. brightness: of the teeth, 1 on average.
    yellow: how much less blue they are, as a share. midline: how far the middle of the upper row lies beside that of
    the lips, in eye distances. cant: slope of the row. uneven, tones: (2, 7) offsets of the biting edges to the left
    and right, in eye distances, and brightness of each tooth relative to its neighbours. phase: of the surface's
    pattern.
    """

    size: float = 1.0
    fullness: float = 2.0 * MM
    low: float = 2.0 * MM
    brightness: float = 1.0
    yellow: float = 0.0
    midline: float = 0.0
    cant: float = 0.0
    uneven: Float64Array = field(default_factory=lambda: np.zeros((2, 7)))
    tones: Float64Array = field(default_factory=lambda: np.ones((2, 7)))
    phase: float = 0.0

    @classmethod
    def of(cls, rest: Float64Array) -> Dentition:
        """The teeth of a face with the canonical shape `rest` (478, 3): the same for the same face.

        A face tells little about its teeth. They follow its proportions, so that they differ between people and stay
        with one person in every clip. Whoever shows less of the upper teeth shows more of the lower ones (Vig and
        Brundo, "The kinetics of anterior tooth display", 1978).
        """
        width = float(mesh.lip_width(rest)) - 0.55
        nose = float(rest[mesh.UPPER_MID, 1] - rest[mesh.NOSE_BRIDGE, 1]) - 0.80
        jaw = float(rest[mesh.CHIN_TIP, 1] - rest[mesh.LOWER_MID, 1]) - 0.45
        number, side = np.arange(1, 8)[None], np.array([[0.0], [2.1]])
        phase = 60 * (width + nose) + 25 * jaw
        shown = float(np.sin(25 * nose + 12 * jaw))
        return cls(
            size=float(np.clip(1 + 0.8 * width, 0.92, 1.08)),
            fullness=(1.8 + 1.1 * shown) * MM,
            low=(0.3 + 1.1 * shown + 0.4 * float(np.sin(35 * nose - 30 * width + 1.0))) * MM,
            brightness=float(1 + 0.07 * np.sin(30 * jaw - 20 * width)),
            yellow=float(0.04 + 0.04 * np.sin(phase + 0.5)),
            midline=float(0.7 * np.sin(1.7 * phase)) * MM,
            cant=float(0.02 * np.sin(2.3 * phase + 1.0)),
            uneven=0.2 * MM * APART * np.sin(phase * number + 1.9 * number**2 + side),
            tones=1 + 0.06 * APART * np.sin(phase * number + 2.7 * number**2 + 1.3 * side + 0.5),
            phase=phase,
        )


@dataclass(frozen=True)
class InteriorPixels:
    """The M pixels to paint, in eye distances.

    x, y: (M,) canonical position, y from the line of the closed lips. ceiling: (M,) distance below the edge of the
    upper lip, which casts a shadow. height: (M,) height of the opening at that x, which lets the light in. size: of a
    pixel.
    """

    x: FloatArray
    y: FloatArray
    ceiling: FloatArray
    height: FloatArray
    size: float


@dataclass(frozen=True)
class RowPicture:
    """A picture of one row of a person's teeth, as seen from the front.

    colours: (rows, columns, 3) BGR relative to the skin, in full light. coverage: (rows, columns) 0 to 1, where teeth
    are. corner: (2,) canonical x and y of the first pixel. scale: pixels per eye distance.
    """

    colours: FloatArray
    coverage: FloatArray
    corner: Float64Array
    scale: float

    def at(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Colours (3, M) and coverage (M,) at canonical positions (M,)."""
        at = (x - self.corner[0]) * self.scale, (y - self.corner[1]) * self.scale
        colours = pick(self.colours, *at, cv2.INTER_CUBIC)
        return np.ascontiguousarray(colours.T), pick(self.coverage, *at, cv2.INTER_LINEAR)


@dataclass(frozen=True)
class OwnTeeth:
    """The rows of teeth that a clip shows of a person; `None` for a row that it never shows."""

    upper: RowPicture | None
    lower: RowPicture | None

    def with_missing(self, other: OwnTeeth | None) -> OwnTeeth:
        """These rows, and from `other` those that are missing."""
        return self if other is None else OwnTeeth(self.upper or other.upper, self.lower or other.lower)

    @cached_property
    def tooth(self) -> Float64Array | None:
        """Colour (3,) of a tooth in full light, relative to the skin; `None` if no row is known."""
        row = self.upper or self.lower
        return None if row is None else np.median(row.colours[row.coverage > 0.5], axis=0).astype(np.float64)


@dataclass(frozen=True)
class InteriorShape:
    """How the mouth is open.

    gap: of the lips, in eye distances. spread: how much wider they are than usual at this gap, in eye distances. jaw:
    lowering of the chin, in eye distances. tongue: -1 is drawn back, 0 lies
    low, 1 touches the upper teeth. lean: (2,) how far, in x and y, a point appears moved for each unit that it lies
    deeper in the head. own: the person's teeth, as far as they are known. painted: those to paint for rows that are
    not; `None` where rows that were never seen stay hidden.
    """

    gap: float
    spread: float
    jaw: float
    tongue: float
    lean: Float64Array
    own: OwnTeeth | None
    painted: Dentition | None


@dataclass(frozen=True)
class Arch:
    """A row of teeth on an ellipse. half: half its width. deep: its depth. edges: (8,) borders of the teeth along the
    ellipse from the middle. bites: (7,) y of each tooth's biting edge relative to that of the first; positive is lower.
    """

    half: float
    deep: float
    edges: Float64Array
    bites: Float64Array

    def depth(self, x: Float64Array) -> Float64Array:
        """Depth behind the front teeth at positions x to the side."""
        return np.asarray(self.deep * (1 - np.sqrt(1 - np.clip(np.abs(x) / self.half, 0, 0.99) ** 2)), np.float64)

    def angles(self, seen: FloatArray, lean: float) -> tuple[FloatArray, BoolArray]:
        """Places (M,) in radians from the middle that appear at x `seen` (M,) of a turned head, and whether (M,) the
        row reaches so far to the side."""
        places = self.half * np.sin(ANGLES) + lean * self.deep * (1 - np.cos(ANGLES))
        middle = len(ANGLES) // 2
        # Beyond the outline of the arch its inner side would be seen; lips hide it.
        left, right = int(np.argmin(places[: middle + 1])), middle + int(np.argmax(places[middle:]))
        inside = (seen >= places[left]) & (seen <= places[right])
        found = np.interp(seen, places[left : right + 1], ANGLES[left : right + 1])
        return found.astype(np.float32), inside


UPPER = Arch(
    29 * MM,
    36 * MM,
    np.cumsum([0, 8.5, 6.6, 7.6, 7.0, 6.8, 10.0, 9.5]) * MM,
    np.array([0, -0.6, -0.15, -0.7, -1.1, -1.5, -1.8]) * MM,
)
LOWER = Arch(
    26 * MM,
    33 * MM,
    np.cumsum([0, 5.3, 5.8, 6.8, 7.0, 7.0, 11.0, 10.5]) * MM,
    np.array([0, 0.1, -0.2, 0.3, 0.7, 1.0, 1.2]) * MM,
)

APART = np.array([0.35, 0.8, 0.8, 1, 1, 1, 1])
"""How much each tooth from the middle differs from its neighbours: the two in the middle are much alike."""

ANGLES = np.linspace(-0.48 * np.pi, 0.48 * np.pi, 161)
"""Places on an arch, in radians from its middle, at which its shape is tabulated."""


@dataclass(frozen=True)
class _OnArch:
    """Where pixels (M,) meet a row of teeth.

    along: distance from the middle along the row. tooth: number from the middle. within: -1 to 1 across the tooth.
    width: of the tooth as it appears. facing: 0 to 1, how far its surface faces the camera. deep: depth behind the
    front teeth. side: 0 left, 1 right.
    """

    along: FloatArray
    tooth: IntArray
    within: FloatArray
    width: FloatArray
    facing: FloatArray
    deep: FloatArray
    side: IntArray


def paint(pixels: InteriorPixels, shape: InteriorShape, light: Light) -> FloatArray:
    """Colours (3, M), BGR, of the inside of a mouth."""
    (dark,) = _colours(light.dark)
    colour = dark * (0.85 + 0.6 * np.clip(pixels.ceiling / np.maximum(pixels.height, MM), 0, 1) ** 2)
    colour = _tongue(colour, pixels, shape, light.tongue)
    own, painted = shape.own or OwnTeeth(None, None), shape.painted
    if own.lower is not None:
        colour = _own_row(colour, pixels, shape.lean, own.lower, LOWER, INCISOR_PER_JAW * shape.jaw)
    elif painted is not None:
        if own.tooth is None:
            colour = _lower_row(colour, pixels, shape, painted, light.tooth)
        else:
            colour = _lower_row(colour, pixels, shape, replace(painted, brightness=1.0, yellow=0.0), own.tooth)
    if own.upper is not None:
        colour = _own_row(colour, pixels, shape.lean, own.upper, UPPER, 0.0)
    elif painted is not None:
        colour = _upper_row(colour, pixels, shape, painted, light.tooth)
    spread = np.float32(np.clip(1 + LIT_PER_SPREAD * shape.spread, *SPREAD_LIT))
    lit = light_inside(pixels, shape.gap) * spread
    return np.asarray(np.clip((dark + (colour - dark) * lit) * light.at(pixels.x), 0, 255), np.float32)


def _colours(colours: Float64Array) -> FloatArray:
    """Colours (3,) or (K, 3) as planes: (K, 3, 1)."""
    return np.asarray(colours, np.float32).reshape(-1, 3, 1)


def light_inside(pixels: InteriorPixels, gap: float) -> FloatArray:
    """Share (3, M) of the light, BGR, that falls through an opening: less behind the lips, at the corners, and if it is
    narrow. gap: of the lips, in eye distances."""
    wide = 0.42 + 0.58 * float(smoothstep(np.asarray(gap / (8 * MM))))
    here = 0.50 + 0.50 * smoothstep(pixels.height / (0.75 * max(gap, MM)))
    lit = wide * here * under_lips(pixels.ceiling, pixels.height - pixels.ceiling)
    return np.asarray(np.exp(LIGHT_TINT * np.log(lit)), np.float32)


def under_lips(below: FloatArray, above: FloatArray) -> FloatArray:
    """Share of the light that the lips let fall on what lies `below` the upper lip's edge and `above` the lower lip's,
    in eye distances.
    """
    upper = 0.60 + 0.40 * smoothstep(below / (3.0 * MM))
    return upper * (0.78 + 0.22 * smoothstep(above / (2.6 * MM)))


def _tongue(colour: FloatArray, pixels: InteriorPixels, shape: InteriorShape, tongue: Float64Array) -> FloatArray:
    """The tongue over the dark: it fills most of what is open below the upper teeth, and glints where it is wet."""
    x, y, drop = pixels.x - 12 * MM * float(shape.lean[0]), pixels.y, INCISOR_PER_JAW * shape.jaw
    raised = max(shape.tongue, 0.0)
    top = (0.2 * MM + 0.22 * drop) * (1 - 0.9 * raised) - 2.0 * MM * raised + 3.0 * MM * max(-shape.tongue, 0.0)
    mound = top + x**2
    coverage = _edge(y - mound, 3.6 * MM)
    risen = np.clip((y - mound) / (7 * MM), 0, 1)
    tone = (0.52 + 0.34 * smoothstep(risen)) * (1 - 0.10 * np.exp(-((x / (2.2 * MM)) ** 2)))
    tone *= 1 - 0.45 * np.clip(np.abs(x) / 0.28, 0, 1) ** 2
    tone *= 1 - 0.35 * max(-shape.tongue, 0)  # drawn back, it lies in the dark
    pattern = _pattern(x, y - drop, 1.5 * MM, 1.0)
    tone *= 1 + 0.035 * pattern
    wet = 0.10 * np.exp(-(((y - mound - 3 * MM) / (1.6 * MM)) ** 2)) * np.exp(-(((x - MM) / (9 * MM)) ** 2))
    wet *= 1 + 0.7 * pattern
    return np.asarray(colour + coverage * (_colours(tongue)[0] * tone + wet - colour), np.float32)


def _own_row(
    colour: FloatArray, pixels: InteriorPixels, lean: Float64Array, row: RowPicture, arch: Arch, drop: float
) -> FloatArray:
    """A row of the person's own teeth, moved down by `drop`, in eye distances."""
    angle, inside = arch.angles(pixels.x, lean[0])
    deep = float(lean[1]) * arch.deep * (1 - np.cos(angle))
    own, coverage = row.at(arch.half * np.sin(angle), pixels.y - drop - deep)
    return colour + coverage * inside * (own - colour)


def _lower_row(
    colour: FloatArray, pixels: InteriorPixels, shape: InteriorShape, person: Dentition, tooth: Float64Array
) -> FloatArray:
    """The lower teeth: behind the lip, as far as it uncovers them, and lit from above."""
    at = _on_arch(pixels, shape, person, LOWER)
    bite = person.low + INCISOR_PER_JAW * shape.jaw + 0.25 * MM * np.abs(at.within) ** 3
    bite += (LOWER.bites + 1.2 * person.uneven[::-1]).astype(np.float32)[at.side, at.tooth]
    bite += at.deep * (0.02 + float(shape.lean[1]))
    below = pixels.y - bite
    # Teeth that show over the lip by less than 1 mm are left out: they would be a thin grey line.
    peeps = smoothstep((pixels.y + pixels.height - pixels.ceiling - bite) / (1.5 * MM) - 0.2)
    coverage = 0.96 * _edge(below, max(0.7 * MM, 1.2 * pixels.size)) * smoothstep(at.facing / 0.3) * peeps
    pattern = _pattern(at.along, below, 0.8 * MM, person.phase + 2)
    tone = at.facing * (1 - 0.07 * _seam(at, pixels.size, 0.22) * (1 + 0.8 * pattern)) * (1 - 0.06 * at.within**2)
    tone *= (0.74 + 0.18 * smoothstep(below / (2.5 * MM))) * (1 + 0.04 * pattern)
    tone *= (1 + 1.2 * (person.tones[::-1] - 1)).astype(np.float32)[at.side, at.tooth]
    return np.asarray(colour + coverage * (_enamel(person, _colours(tooth)[0]) * tone - colour), np.float32)


def _upper_row(
    colour: FloatArray, pixels: InteriorPixels, shape: InteriorShape, person: Dentition, tooth: Float64Array
) -> FloatArray:
    """The upper teeth: one band with faint seams, brightest in the middle, that shows as soon as the lips part."""
    at = _on_arch(pixels, shape, person, UPPER, person.midline)
    bite = person.fullness + person.cant * pixels.x - 0.5 * MM * np.abs(at.within) ** 4
    bite += (UPPER.bites * person.size + person.uneven).astype(np.float32)[at.side, at.tooth]
    bite += at.deep * (float(shape.lean[1]) - 0.06)
    above = bite - pixels.y
    pattern = _pattern(at.along, above, 1.1 * MM, person.phase)
    coverage = _edge(above + 0.12 * MM * pattern, max(0.55 * MM, 1.1 * pixels.size)) * smoothstep(at.facing / 0.3)
    tone = at.facing**0.8 * (1 - 0.10 * _seam(at, pixels.size, 0.13) * (1 + 0.8 * pattern)) * (1 - 0.06 * at.within**2)
    tone *= 1 - 0.13 * np.exp(-((above / MM) ** 2))  # the biting edge lets the dark through
    tone *= (FURTHER_BACK * person.tones).astype(np.float32)[at.side, at.tooth]
    tone *= 1 + 0.04 * pattern
    glint = np.exp(-(((at.within + 0.15) / 0.35) ** 2)) * np.exp(-(((above - 4.2 * MM) / (1.6 * MM)) ** 2))
    glint *= 1 + pattern
    shown = _colours(tooth)[0] + np.clip((above - 5 * MM) / (5 * MM), 0, 1) * GUM
    shown = _enamel(person, shown) * tone + 0.10 * glint * at.facing
    out = colour + coverage * (shown - colour)
    # The row's shadow on what lies below it.
    near = np.clip(1 + above / (2.2 * MM), 0, 1) * (above < 0)
    return np.asarray(out * (1 - 0.35 * (1 - coverage) * near), np.float32)


def _enamel(person: Dentition, tooth: FloatArray) -> FloatArray:
    """Colours (3, ...) of a person's teeth that are usually of the colours `tooth` (3, ...)."""
    (own,) = _colours(person.brightness * np.array([1 - person.yellow, 1.0, 1 + 0.2 * person.yellow]))
    return np.asarray(own * tooth, np.float32)


def _pattern(x: FloatArray, y: FloatArray, scale: float, phase: float) -> FloatArray:
    """An irregular pattern (M,), about -1 to 1, of blots as large as `scale` on a wet surface with coordinates (M,)."""
    waves = (
        np.sin(x * (math.cos(turn) * pace / scale) + y * (math.sin(turn) * pace / scale) + (phase * pace + 3 * turn))
        for turn, pace in ((0.4, 1.0), (1.5, 0.77), (2.4, 1.31), (2.9, 0.53), (0.9, 1.63))
    )
    return np.asarray(sum(waves) / 3, np.float32)


def _on_arch(
    pixels: InteriorPixels, shape: InteriorShape, dentition: Dentition, arch: Arch, midline: float = 0.0
) -> _OnArch:
    """Where the pixels meet a row, as the camera sees it: a turned head shows more of one side."""
    x, z = arch.half * np.sin(ANGLES), arch.deep * (1 - np.cos(ANGLES))
    seen, middle = x + shape.lean[0] * z, len(ANGLES) // 2
    angle, inside = arch.angles(pixels.x - midline, shape.lean[0])
    steps = np.hypot(np.diff(x), np.diff(z))
    along = np.concatenate([[0], np.cumsum(steps)])
    # Along the arch x grows by the cosine of its direction: the steeper it leads away, the narrower a tooth appears.
    arc, slope = (
        np.interp(angle, ANGLES, one).astype(np.float32) for one in (along - along[middle], np.gradient(seen, along))
    )
    out = np.abs(arc) / dentition.size
    tooth = np.clip(np.searchsorted(arch.edges, out, side="right") - 1, 0, len(arch.bites) - 1)
    begins, width = arch.edges.astype(np.float32)[tooth], np.diff(arch.edges).astype(np.float32)[tooth]
    facing = np.clip(slope, 0, 1) * inside
    return _OnArch(
        arc,
        tooth,
        np.clip((out - begins) / width * 2 - 1, -1, 1),
        np.maximum(width * facing, 0.1 * MM),
        facing,
        arch.deep * (1 - np.cos(angle)),
        (arc > 0).astype(np.int64),
    )


def _seam(at: _OnArch, pixel: float, softness: float) -> FloatArray:
    """1 at the border between two teeth, falling to 0 over a share of the tooth, or over a pixel if that is more."""
    reach = np.maximum(softness, 1.2 * pixel / at.width)
    return np.asarray(np.exp(-(((1 - np.abs(at.within)) / reach) ** 2)), np.float32)


def _edge(distance: FloatArray, softness: float) -> FloatArray:
    """A soft step from 0 outside to 1 inside an edge, over `softness` on both sides."""
    return smoothstep(0.5 + distance / (2 * softness))
