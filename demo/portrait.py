"""A moving clip from one photograph: NASA's portrait of Eileen Collins (public domain), which scikit-image contains.

The head sways, nods and turns slightly against its background, the eyes blink and the camera drifts, so that faces
are detected, tracked and changed as in a filmed clip. Every run makes the same frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import skimage.data

from duikou.arrays import Float32Array, Image

WIDTH, HEIGHT = 720, 1280
"""Pixels of the clip: the contract's 720p class, portrait format."""
RATE = Fraction(25)
DURATION_MS = 7_000

ZOOM = 3.5  # clip pixels per photograph pixel: head and shoulders fill the frame, the face is about 300 px wide
LEFT, TOP = 119.0, -6.0  # photograph coordinates of the clip's upper left corner
MARGIN = 48  # clip pixels around the frame, so that motion never shows an edge
SHARPEN_SIGMA, SHARPEN_GAIN = 3.0, 0.8  # restores the sharpness lost by enlarging
GRAIN = 1.5  # standard deviation of the film grain, in grey levels: without it skin looks like plastic
GRAIN_SEED = 7
GRAIN_SHIFTS = 64  # pixels by which the grain moves at random between frames
CRF = "17"  # x264 quality: nearly transparent, like a phone's recording

# In photograph pixels, measured once.
NECK = (222.0, 186.0)
HEAD_CENTRE, HEAD_RADII = (226.0, 108.0), (82.0, 104.0)
FACE_CENTRE, FACE_RADII = (225.0, 122.0), (50.0, 66.0)


@dataclass(frozen=True)
class _Eye:
    """An eye of the photograph: corners, highest and lowest point of the opening."""

    left: float
    right: float
    upper: float
    lower: float

    @property
    def fold(self) -> float:
        """Height of the skin above the opening that a closing lid stretches: up to the brow, not into it."""
        return 0.5 * (self.lower - self.upper)


EYES = (_Eye(190.5, 213.5, 95.8, 104.6), _Eye(235.5, 260.5, 98.2, 107.2))
CORNER_HEIGHT = 0.4  # how far above the lowest point the corners lie, in openings
LID_ARCH = 0.7  # exponent of the lid's arch: 0.5 is an ellipse, 1 a parabola
BLINKS_MS = (700, 3_250, 5_900)
BLINK_CLOSE_MS, BLINK_OPEN_MS = 90, 170  # closing is faster than opening, as in people


def _at_ms(frame: int) -> float:
    return float(frame * 1000 / RATE)


def _wave(ms: float, period_ms: float, phase: float) -> float:
    return float(np.sin(2 * np.pi * (ms / period_ms + phase)))


def _blink(ms: float) -> float:
    """How far the lids are closed at `ms`, from 0 to 1."""
    closed = 0.0
    for peak in BLINKS_MS:
        slope = BLINK_CLOSE_MS if ms < peak else BLINK_OPEN_MS
        closed = max(closed, 1.0 - abs(ms - peak) / slope)
    return float(np.sin(closed * np.pi / 2) ** 2)


def _enlarged() -> Image:
    """The photograph at clip scale, with `MARGIN` around the clip's part, BGR."""
    photograph = np.ascontiguousarray(skimage.data.astronaut()[:, :, ::-1])  # type: ignore[no-untyped-call]
    to_photograph = np.array([[1 / ZOOM, 0, LEFT - MARGIN / ZOOM], [0, 1 / ZOOM, TOP - MARGIN / ZOOM]], np.float32)
    size = (WIDTH + 2 * MARGIN, HEIGHT + 2 * MARGIN)
    flags = cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP
    large = cv2.warpAffine(photograph, to_photograph, size, flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    soft = cv2.GaussianBlur(large, (0, 0), SHARPEN_SIGMA)
    return cv2.addWeighted(large, 1 + SHARPEN_GAIN, soft, -SHARPEN_GAIN, 0).astype(np.uint8)


def _bump(x: Float32Array, y: Float32Array, centre: tuple[float, float], radii: tuple[float, float]) -> Float32Array:
    """1 at the centre of an ellipse, falling smoothly to 0 at its rim and 0 outside."""
    distance = ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2
    inside: Float32Array = np.clip(1 - distance, 0, 1, dtype=np.float32)
    return inside * inside


class _Warp:
    """Maps each pixel of the clip to a place in the photograph, at any time."""

    def __init__(self) -> None:
        rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
        self.x = columns / ZOOM + LEFT
        self.y = rows / ZOOM + TOP
        inside = _bump(self.x, self.y, HEAD_CENTRE, HEAD_RADII)
        self.head = np.minimum(1, 2.2 * inside)  # rigid over the head, softer at the hair's rim and the collar
        self.relief = np.sqrt(_bump(self.x, self.y, FACE_CENTRE, FACE_RADII))  # depth: the nose moves more than the rim

    def at(self, ms: float) -> tuple[Float32Array, Float32Array]:
        """Photograph coordinates x, y of every clip pixel, each (HEIGHT, WIDTH).

        The periods of the waves have no common multiple within a clip, so that no motion visibly repeats. Amplitudes
        are in photograph pixels, for the tilt in degrees: those of a person who sits still and listens.
        """
        tilt = np.float32(np.radians(2.2 * _wave(ms, 5_300, 0.1) + 0.9 * _wave(ms, 2_300, 0.4)))
        sway = 2.0 * _wave(ms, 4_900, 0.3) + 0.7 * _wave(ms, 1_900, 0.0)
        nod = 1.3 * _wave(ms, 3_100, 0.2) + 0.6 * _wave(ms, 1_300, 0.7)
        turn = 2.6 * _wave(ms, 3_700, 0.6) + 0.8 * _wave(ms, 1_700, 0.3)
        lift = 1.1 * _wave(ms, 2_900, 0.5)
        drift_x, drift_y = 0.6 * _wave(ms, 8_900, 0.0), 0.5 * _wave(ms, 4_100, 0.25)

        x, y = self.x - np.float32(drift_x), self.y - np.float32(drift_y)
        back_x = -sway + tilt * (y - NECK[1])
        back_y = -nod - tilt * (x - NECK[0])
        x = x + self.head * back_x - self.relief * np.float32(turn)
        y = y + self.head * back_y - self.relief * np.float32(lift)
        return x, _under_lids(x, y, _blink(ms))


def _under_lids(x: Float32Array, y: Float32Array, closed: float) -> Float32Array:
    """The rows to sample when the upper lids are closed by the share `closed`, which stretches their skin."""
    if closed <= 0:
        return y
    for eye in EYES:
        middle, half = (eye.left + eye.right) / 2, (eye.right - eye.left) / 2
        arch = np.clip(1 - ((x - middle) / half) ** 2, 0, 1) ** LID_ARCH
        opening = eye.lower - eye.upper
        corner = eye.lower - CORNER_HEIGHT * opening
        rim = corner - (corner - eye.upper) * arch
        travel = closed * opening * arch
        top = rim - eye.fold
        stretched = top + (y - top) * eye.fold / (eye.fold + travel)
        y = np.where((y > top) & (y < rim + travel) & (arch > 0), stretched, y).astype(np.float32)
    return y


def _grain() -> npt.NDArray[np.int16]:
    size = (HEIGHT + GRAIN_SHIFTS, WIDTH + GRAIN_SHIFTS, 1)
    grain = np.random.default_rng(GRAIN_SEED).normal(0, GRAIN, size)
    return np.repeat(grain.round().astype(np.int16), 3, axis=2)


def frames(duration_ms: int = DURATION_MS) -> Iterator[Image]:
    """The clip's frames, (HEIGHT, WIDTH, 3) uint8 BGR, at `RATE` frames per second."""
    picture, warp, grain = _enlarged(), _Warp(), _grain()
    random = np.random.default_rng(GRAIN_SEED)
    for frame in range(int(duration_ms * RATE / 1000)):
        x, y = warp.at(_at_ms(frame))
        map_x = (x - LEFT) * ZOOM + MARGIN
        map_y = (y - TOP) * ZOOM + MARGIN
        image = cv2.remap(picture, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        down, right = random.integers(GRAIN_SHIFTS, size=2)
        yield cv2.add(image, grain[down : down + HEIGHT, right : right + WIDTH], dtype=cv2.CV_8U).astype(np.uint8)


def write(
    path: Path, duration_ms: int = DURATION_MS, *, progress: Callable[[float], None] = lambda share: None
) -> Path:
    """Write the clip as a silent H.264 mp4 and return `path`; `progress` gets the completed share."""
    with av.open(str(path), "w", format="mp4") as file:
        stream = file.add_stream("libx264", rate=RATE, options={"crf": CRF, "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        count = int(duration_ms * RATE / 1000)
        for done, image in enumerate(frames(duration_ms), 1):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
            progress(done / count)
        file.mux(stream.encode())
    return path
