"""Mouth motion: all that an engine gets of the speech."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from duikou.arrays import Float32Array, Float64Array

CURVES = ("gap", "jaw", "width", "round", "closure", "dental", "tongue", "voice")
"""The named curves, in the order of `MouthMotion.values`' columns. Rest is all zeros.

gap      0 to 1   opening between the inner lips, closures and f v included; 1 is the open vowel of a loud voice
jaw      0 to 1   lowering of the jaw; 1 goes with gap 1
width    -1 to 1  mouth corners: 1 spread as for i, -1 drawn in
round    0 to 1   rounding and protrusion, 1 as for u
closure  0 to 1   lips pressed together, 1 as in the middle of p b m
dental   0 to 1   lower lip to the upper teeth, 1 as for f v
tongue   0 to 1   tongue tip at the upper teeth, 1 as for l n t d th
voice    0 to 1   whether there is speech; 0 is rest, where the face's own motion shows
"""


@dataclass(frozen=True)
class MouthMotion:
    """Mouth motion over time.

    values: (N, len(CURVES)) float32, row n holds at `start_s + n / rate` seconds.
    rate: rows per second.
    start_s: time of row 0 in seconds on the time line of the audio or of the video.
    """

    values: Float32Array
    rate: float
    start_s: float = 0.0

    def __getitem__(self, curve: str) -> Float32Array:
        return self.values[:, CURVES.index(curve)]

    @property
    def end_s(self) -> float:
        """Time just after the last row."""
        return self.start_s + len(self.values) / self.rate

    def at(self, times_s: Float64Array) -> Float32Array:
        """Curves at `times_s` (M,), linear between rows and at rest (zeros) outside: (M, len(CURVES))."""
        rows = (np.asarray(times_s, np.float64) - self.start_s) * self.rate
        grid = np.arange(len(self.values))
        inside = (rows >= -0.5) & (rows <= len(self.values) - 0.5)
        columns = [np.where(inside, np.interp(rows, grid, column), 0.0) for column in self.values.T]
        return np.stack(columns, 1).astype(np.float32)

    def shifted(self, seconds: float) -> MouthMotion:
        """The same motion, `seconds` later."""
        return MouthMotion(self.values, self.rate, self.start_s + seconds)
