"""The visible mark: the words "AI合成" (synthesized by AI) in the lower right corner, on every frame.

GB 45438-2025 requires of explicit labels: words for both artificial intelligence and synthesis, legible, at an edge or
in a corner, at least 5 % of the shorter side high, for 2 s or longer. The letters are a picture: no font is needed.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Final

import cv2
import numpy as np

from duikou.arrays import Float32Array, Image
from duikou.media.crop import Box
from duikou.media.decode import Frame, Patch

HEIGHT: Final = 0.065
"""Height of the Chinese letters relative to the frame's shorter side; the lower letters "AI" have 0.05."""

_MARGIN: Final = 0.03  # distance to the edges relative to the shorter side
_MIN_PX: Final = 12  # below this, strokes merge
_WHITE: Final = 0.8  # opacity of the letters
_SHADE: Final = 0.6  # opacity of the black around them, which keeps them legible on white


class Mark:
    """The mark for frames of one size."""

    def __init__(self, width: int, height: int) -> None:
        letters = _letters()
        side = min(width, height)
        high = max(round(HEIGHT * side), _MIN_PX)
        wide = round(high * letters.shape[1] / letters.shape[0])
        halo = max(high // 6, 1)
        pad = 2 * halo  # the shade ends this far from the letters
        margin = max(round(_MARGIN * side), pad)
        self.left, self.top = max(width - margin - wide - pad, 0), max(height - margin - high - pad, 0)
        scaled = cv2.resize(letters, (wide, high), interpolation=cv2.INTER_AREA)
        white = cv2.copyMakeBorder(scaled, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=0)
        white = white[: height - self.top, : width - self.left].astype(np.float32)[..., None] / 255
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * halo + 1, 2 * halo + 1))
        shade = cv2.GaussianBlur(cv2.dilate(white, kernel), (0, 0), halo / 3)[..., None]
        self._kept: Float32Array = ((1 - _SHADE * shade) * (1 - _WHITE * white)).astype(np.float32)
        self._added: Float32Array = (255 * _WHITE * white).astype(np.float32)

    @property
    def box(self) -> Box:
        """Left, top, right and bottom of what changes, in pixels."""
        height, width = self._kept.shape[:2]
        return self.left, self.top, self.left + width, self.top + height

    def drawn(self, frame: Frame) -> Frame:
        """A frame with the mark on it."""
        pixels = np.rint(frame.part(self.box) * self._kept + self._added).astype(np.uint8)
        return frame.painted(Patch(self.left, self.top, pixels))


@cache
def _letters() -> Image:
    """The letters, (H, W) uint8, 255 where there is ink."""
    content = resources.files(__package__).joinpath("mark.png").read_bytes()
    return np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE), np.uint8)
