"""The articulation network in numpy: dilated convolutions from log-mel to curves.

Each row of the result depends on 0.46 s of audio to either side, which covers coarticulation and look-ahead. Training:
`training/`. Quality and limits: `docs/models/articulation.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

import numpy as np

from duikou.arrays import Float32Array
from duikou.errors import ModelError
from duikou.speech.features import BANDS
from duikou.speech.motion import CURVES

WEIGHTS = (
    "articulation-1.npz",
    "articulation-2.npz",
)  # trained separately; their mean has a smaller error than either (Breiman 1996)
CHANNELS = 128
GROUPS = 4  # of channels that a dilated convolution keeps separate
TAPS = 5
DILATIONS = (1, 2, 4, 8, 1, 2, 4)
REACH = TAPS // 2 * (1 + sum(DILATIONS))  # rows of context to either side
EPSILON = 1e-5  # of the normalisation
_CHUNK = 4096  # rows at a time, to limit memory


@dataclass(frozen=True)
class Network:
    """The weights: arrays by name, as `training/network.py` exports them."""

    weights: dict[str, Float32Array]

    @classmethod
    def load(cls, name: str = WEIGHTS[0]) -> Network:
        """Read weights that come with the package. Raises `ModelError` if they are missing or have the wrong shape."""
        file = resources.files("duikou.speech") / "weights" / name
        try:
            with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                weights = {name: arrays[name].astype(np.float32) for name in arrays.files}
        except (OSError, ValueError) as error:
            raise ModelError(f"the weights {name} cannot be read ({error}); install duikou again") from error
        wanted = {"input": (CHANNELS, BANDS, TAPS), "output": (len(CURVES), CHANNELS)}
        for array, shape in wanted.items():
            if (found := weights.get(array, np.zeros(0)).shape) != shape:
                raise ModelError(f"the weights {name} have {array} of shape {found}, not {shape}")
        return cls(weights)

    def run(self, features: Float32Array) -> Float32Array:
        """Raw curves (N, len(CURVES)) of normalised log-mel (N, 80): `gap` to `round` unbounded, the rest in 0 to 1.

        Long audio is processed in parts that overlap by `REACH` rows; the result is the same as without parts.
        """
        rows = len(features)
        parts = []
        for start in range(0, rows, _CHUNK):
            first, last = max(start - REACH, 0), min(start + _CHUNK + REACH, rows)
            out = self._part(features[first:last])
            parts.append(out[start - first : min(start + _CHUNK, rows) - first])
        return np.concatenate(parts) if parts else np.zeros((0, len(CURVES)), np.float32)

    def _part(self, features: Float32Array) -> Float32Array:
        w = self.weights
        hidden = _convolve(features, w["input"][None], 1) + w["input_bias"]
        for block, dilation in enumerate(DILATIONS):
            mixed = _norm(hidden, w[f"norm{block}_scale"], w[f"norm{block}_shift"])
            mixed = _convolve(mixed, w[f"wide{block}"], dilation) + w[f"wide{block}_bias"]
            hidden = hidden + _silu(mixed) @ w[f"narrow{block}"].T + w[f"narrow{block}_bias"]
        hidden = _norm(hidden, w["norm_scale"], w["norm_shift"])
        out = hidden @ w["output"].T + w["output_bias"]
        out[:, 4:] = 1.0 / (1.0 + np.exp(-out[:, 4:]))
        return np.asarray(out, np.float32)


def raw_curves(features: Float32Array) -> Float32Array:
    """Mean of the curves of all networks in the package for normalised log-mel (N, 80): (N, len(CURVES))."""
    outs = [Network.load(name).run(features) for name in WEIGHTS]
    return np.asarray(np.mean(outs, axis=0), np.float32)


def _silu(values: Float32Array) -> Float32Array:
    with np.errstate(over="ignore"):  # exp of a large number is infinite; its inverse, 0, is correct
        return np.asarray(values / (1.0 + np.exp(-values)), np.float32)


def _norm(values: Float32Array, scale: Float32Array, shift: Float32Array) -> Float32Array:
    """Layer normalisation of each row (N, C)."""
    centred = values - values.mean(1, keepdims=True)
    return np.asarray(centred / np.sqrt((centred**2).mean(1, keepdims=True) + EPSILON) * scale + shift, np.float32)


def _convolve(values: Float32Array, kernel: Float32Array, dilation: int) -> Float32Array:
    """Grouped dilated convolution along the rows of (N, C) with (groups, out, in, taps), zeros beyond the ends."""
    groups, outs, ins, taps = kernel.shape
    rows, reach = len(values), taps // 2 * dilation
    padded = np.pad(values.reshape(rows, groups, ins), ((reach, reach), (0, 0), (0, 0))).transpose(1, 0, 2)
    total = np.zeros((groups, rows, outs), np.float32)
    for tap in range(taps):
        total += padded[:, tap * dilation : tap * dilation + rows] @ kernel[..., tap].transpose(0, 2, 1)
    return total.transpose(1, 0, 2).reshape(rows, groups * outs)
