"""The inside of a mouth that the clip never shows: teeth, tongue and the dark behind them.

It is painted in canonical coordinates and lit like the face: the upper teeth stay with the skull, the lower teeth and
the tongue move with the jaw. Sizes are those of an adult's teeth (mean crown widths and lengths: Wheeler's Dental
Anatomy) for a mean distance of 92 mm between the outer eye corners.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from duikou.arrays import Float64Array, Image, smoothstep
from duikou.render import mesh

MM = 1 / 92
"""One millimetre in eye distances."""

UPPER_EDGES = np.cumsum([0, 8.4, 6.4, 6.6, 5.0, 3.8]) * MM
"""Borders of the upper teeth from the middle outwards, seen from the front (the arch curves back at the sides)."""

UPPER_LENGTHS = np.array([0.0, -0.9, -0.3, -1.6, -2.2]) * MM
"""Offset of each tooth's edge from that of the central incisors; negative is higher."""

LOWER_EDGES = np.cumsum([0, 5.2, 5.6, 6.2, 5.0, 4.0]) * MM
EDGE_BELOW_REST = 1.2 * MM
"""Distance of the upper incisors' edge below the line where closed lips meet."""

LOWER_EDGE_BELOW_REST = 0.9 * MM
"""Distance of the lower incisors' edge below that line when the jaw is closed."""

INCISOR_PER_JAW = 0.80
"""Share of the chin's motion by which the lower incisors move down: they are closer to the hinge."""

UPPER_TOOTH = np.array([0.76, 0.82, 0.90])
LOWER_TOOTH = np.array([0.53, 0.58, 0.67])
TONGUE = np.array([0.44, 0.42, 0.74])
CAVITY = np.array([0.08, 0.08, 0.17])
"""Colours as BGR shares of the face's light."""

ROUNDING = 0.9 * MM
"""How much shorter a crown is at its sides."""

CORNER_SHADE = 0.45
"""Light at the ends of the opening, relative to its middle."""

SHADOW_TINT = np.array([1.15, 1.12, 0.9])
"""Exponents, BGR, of the shadow: light in a mouth is reflected by lips and gums and therefore warm."""


CHEEKS, CHEEKS_APART = ((50, 205, 187), (280, 425, 411)), 0.5
"""Landmarks of the left and the right cheek, and how far apart they are, in eye distances."""

UNSEEN_SKIN = np.array([120.0, 140.0, 180.0])
SKIN_SHARES = np.array([0.50, 0.58, 0.78])
"""Skin colour, BGR, if no cheek is in the picture, and the share of light that skin reflects."""


@dataclass(frozen=True)
class Light:
    """The light on a face: (2, 3) BGR, 0 to 255, of a white surface at the left and at the right of the mouth."""

    white: Float64Array

    @classmethod
    def on(cls, image: Image, points: Float64Array) -> Light:
        """Measure the light on the cheeks: skin reflects about 0.45, 0.55 and 0.8 of blue, green and red light."""
        tones = [_skin(image, points, places) for places in CHEEKS]
        seen = [tone for tone in tones if tone is not None] or [UNSEEN_SKIN]
        skin = np.stack([seen[0], seen[-1]])
        # Half grey: the tone of the skin mixes the colour of the light with that of the skin itself.
        tinted, grey = skin / SKIN_SHARES, (skin @ [0.114, 0.587, 0.299] / 0.62)[:, None]
        return cls(np.clip(0.5 * tinted + 0.5 * grey, 20, 245))

    def at(self, x: Float64Array) -> Float64Array:
        """Light (M, 3) on a white surface inside the mouth at canonical x (M,): its sides are lit like the cheeks."""
        share = smoothstep(0.5 + x / (2 * CHEEKS_APART))[:, None]
        return np.asarray(self.white[0] + share * (self.white[1] - self.white[0]), np.float64)


def _skin(image: Image, points: Float64Array, places: tuple[int, ...]) -> Float64Array | None:
    """Median colour (3,) around some landmarks; `None` if they lie outside the picture."""
    height, width = image.shape[:2]
    side = max(int(mesh.eye_distance(points) / 16), 1)
    tones = [
        np.median(image[y - side : y + side + 1, x - side : x + side + 1].reshape(-1, 3), axis=0)
        for x, y in np.round(points[list(places)]).astype(int)
        if side <= x < width - side and side <= y < height - side
    ]
    return np.median(tones, axis=0) if tones else None


@dataclass(frozen=True)
class InteriorPixels:
    """The M pixels to paint, in eye distances.

    x, y: (M,) canonical position, y from the line of the closed lips. ceiling: (M,) distance below the edge of the
    upper lip, which casts a shadow. height: (M,) height of the opening at that x, which lets the light in. size: of a
    pixel.
    """

    x: Float64Array
    y: Float64Array
    ceiling: Float64Array
    height: Float64Array
    size: float


@dataclass(frozen=True)
class InteriorShape:
    """How the mouth is open. gap: of the lips, in eye distances. jaw: lowering of the chin, in eye distances. tongue: 0
    lies low, 1 touches the upper teeth. teeth: whether to paint teeth.
    """

    gap: float
    jaw: float
    tongue: float
    teeth: bool


@dataclass(frozen=True)
class _Row:
    """One row of teeth. edges: borders of the teeth from the middle outwards. bites: (5,) y of each tooth's biting
    edge. tone: (3,) BGR share of the light. upper: whether it is the upper row.
    """

    edges: Float64Array
    bites: Float64Array
    tone: Float64Array
    upper: bool


def paint(pixels: InteriorPixels, shape: InteriorShape, light: Light) -> Float64Array:
    """Colours (M, 3), BGR float, of the inside of a mouth."""
    x, y, gap, tongue = pixels.x, pixels.y, shape.gap, shape.tongue
    drop = INCISOR_PER_JAW * shape.jaw
    colour = np.broadcast_to(CAVITY, (len(x), 3)).copy()
    # The tongue is a soft mound behind the lower teeth, brighter where it rises into the light.
    top = LOWER_EDGE_BELOW_REST + 0.45 * drop * (1 - 0.8 * tongue)
    mound = top + 1.2 * x**2
    lit = _edge(y - mound, 4.5 * MM) * (0.62 + 0.38 * smoothstep((y - mound) / (8 * MM)))
    groove = 1 - 0.12 * np.exp(-((x / (3 * MM)) ** 2))
    colour += lit[:, None] * (TONGUE * groove[:, None] - colour)
    colour *= (1 - 0.6 * np.clip(np.abs(x) / 0.27, 0, 1) ** 2)[:, None]
    if shape.teeth:
        for row in (
            _Row(LOWER_EDGES, LOWER_EDGE_BELOW_REST + drop + 0 * UPPER_LENGTHS, LOWER_TOOTH, upper=False),
            _Row(UPPER_EDGES, EDGE_BELOW_REST + UPPER_LENGTHS, UPPER_TOOTH, upper=True),
        ):
            coverage, shade = _teeth(pixels, row)
            colour += coverage[:, None] * (row.tone * shade[:, None] - colour)
    # Little light falls through a narrow opening and towards its corners, and none directly behind the upper lip.
    wide = 0.4 + 0.6 * smoothstep(np.asarray(gap / (7 * MM)))
    here = CORNER_SHADE + (1 - CORNER_SHADE) * smoothstep(pixels.height / (0.8 * max(gap, MM)))
    shadow = (0.6 + 0.4 * smoothstep(pixels.ceiling / (4 * MM))) * wide * here
    return np.asarray(np.clip(colour * shadow[:, None] ** SHADOW_TINT * light.at(x), 0, 255), np.float64)


def _teeth(pixels: InteriorPixels, row: _Row) -> tuple[Float64Array, Float64Array]:
    """Coverage and brightness (M,) of one row of teeth."""
    edges, y, pixel = row.edges, pixels.y, pixels.size
    out = np.abs(pixels.x)
    tooth = np.clip(np.searchsorted(edges, out, side="right") - 1, 0, len(row.bites) - 1)
    width = edges[tooth + 1] - edges[tooth]
    within = (out - edges[tooth]) / width * 2 - 1
    rounded = ROUNDING * np.abs(within) ** 4
    softness = max(1.5 * pixel, 0.9 * MM)
    bite = row.bites[tooth] - rounded if row.upper else row.bites[tooth] + rounded
    coverage = _edge(bite - y, softness) if row.upper else _edge(y - bite, softness)
    coverage = coverage * _edge(edges[-1] - out, 2 * MM)
    seam = 1 - 0.10 * np.exp(-(((1 - np.abs(within)) * width / 2 / max(0.35 * MM, 0.8 * pixel)) ** 2))
    turned = 1 - 0.6 * np.clip(out / edges[-1], 0, 1) ** 1.5
    # A crown is brightest in the middle, and its biting edge is translucent.
    belly = 1 - 0.14 * within**2
    edge = 1 - 0.10 * np.exp(-((np.abs(bite - y) / (1.2 * MM)) ** 2))
    return coverage, seam * turned * belly * edge


def _edge(distance: Float64Array, softness: float) -> Float64Array:
    """A soft step from 0 outside to 1 inside an edge, over `softness` on both sides."""
    return smoothstep(0.5 + distance / (2 * softness))
