"""Where there is speech: Silero's voice detector and the network's own voice curve must agree."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import onnxruntime
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from duikou.arrays import BoolArray, Float32Array
from duikou.model_files import VOICE_DETECTOR
from duikou.speech.features import FRAME_RATE, HOP, RATE

STEP = 512  # samples that the detector takes at a time, at 16 kHz
MEMORY = 64  # samples of the step before that it wants again
REACH_MS = 120  # the detector wakes late and sleeps early: its answer holds this far to either side
ON, OFF = 0.40, 0.20  # agreed voice at which speech begins and below which it ends
PAUSE_MS = 200  # a shorter pause is a stop's closure or a breath inside a phrase: the mouth does not rest
BLIP_MS = 60  # shorter speech is a click
PREPARE_MS = 100  # mouths open this long before the first sound
SETTLE_MS = 80  # and are back at rest this long after the last


def voice_probability(samples: Float32Array) -> Float32Array:
    """Probability of a voice (N,) at 100 rows per second in mono sound (n,) at 16 kHz, N = 1 + n // 160.

    Raises `ModelError` where the detector's file is missing or altered.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # steps are tiny; threads only wait
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(VOICE_DETECTOR.read(), options, providers=["CPUExecutionProvider"])
    steps = max(-(-len(samples) // STEP), 1)
    # The first steps are heard twice, so that the detector is awake when the sound begins in mid-speech.
    warm_up = min(steps, RATE // 2 // STEP)
    padded = np.pad(samples, (0, steps * STEP - len(samples))).astype(np.float32)
    heard = np.concatenate([np.zeros(MEMORY, np.float32), padded[: warm_up * STEP][::-1], padded])
    state, rate = np.zeros((2, 1, 128), np.float32), np.array(RATE, np.int64)
    found = np.empty(warm_up + steps, np.float32)
    for step in range(warm_up + steps):
        window = heard[None, step * STEP : (step + 1) * STEP + MEMORY]
        answer, state = session.run(None, {"input": window, "state": state, "sr": rate})
        found[step] = answer[0, 0]
    centres = (np.arange(steps) + 0.5) * STEP / HOP
    return np.interp(np.arange(1 + len(samples) // HOP), centres, found[warm_up:]).astype(np.float32)


def voice_curve(detected: Float32Array, believed: Float32Array) -> Float32Array:
    """The `voice` curve (N,), 0 to 1 with soft edges, from the detector's and the network's opinions (N,) each.

    The detector knows noise and music from speech; the network knows where, to 10 ms.
    """
    near = maximum_filter1d(detected, 2 * _rows(REACH_MS) + 1)
    speech = _hysteresis(near * believed)
    speech = _without_runs(speech, value=False, shorter_than=_rows(PAUSE_MS))
    speech = _without_runs(speech, value=True, shorter_than=_rows(BLIP_MS))
    # Dilated by half of what the soft edge takes on each side, then blurred by it.
    edges = np.flatnonzero(np.diff(np.concatenate([[False], speech, [False]]).astype(int)))
    wide = np.zeros(len(speech), np.float32)
    for start, end in edges.reshape(-1, 2):
        wide[max(start - _rows(PREPARE_MS) // 2, 0) : end + _rows(SETTLE_MS) // 2] = 1.0
    return np.asarray(gaussian_filter1d(wide, _rows(PREPARE_MS) / 4, mode="nearest", truncate=2.0), np.float32)


def _hysteresis(values: Float32Array) -> BoolArray:
    """True from where `values` reach `ON` (and back to where they left `OFF`) until they fall below `OFF`."""
    above = values >= OFF
    starts = np.flatnonzero(above & ~np.concatenate([[False], above[:-1]]))
    run = np.cumsum(np.isin(np.arange(len(values)), starts)) - 1
    strong = np.zeros(len(starts), bool)
    strong[run[values >= ON]] = True
    return above & strong[run] if len(starts) else above


def _without_runs(mask: BoolArray, *, value: bool, shorter_than: int) -> BoolArray:
    """The mask with inner runs of `value` that are shorter than so many rows turned over."""
    out = mask.copy()
    edges = np.flatnonzero(np.diff(mask.astype(int))) + 1
    for start, end in pairwise(edges):
        if mask[start] == value and end - start < shorter_than:
            out[start:end] = not value
    return out


def _rows(milliseconds: int) -> int:
    return milliseconds * FRAME_RATE // 1000
