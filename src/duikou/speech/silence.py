"""Voice activity: Silero's voice detector and the network's voice curve must agree that there is speech."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice, pairwise

import numpy as np
import onnxruntime
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from duikou.arrays import BoolArray, Float32Array
from duikou.model_files import VOICE_DETECTOR
from duikou.speech.features import FRAME_RATE, HOP, RATE

STEP = 512  # samples per detector step, at 16 kHz
MEMORY = 64  # samples of the previous step that it needs again
REACH_MS = 120  # the detector starts late and stops early: its output is extended this far to either side
ON, OFF = 0.40, 0.20  # combined probability at which speech begins, and below which it ends
PAUSE_MS = 200  # a shorter pause is the closure of a stop or a breath within a phrase: the mouth does not rest
BLIP_MS = 60  # shorter speech is a click
PREPARE_MS = 100  # the mouth opens this long before the first sound
SETTLE_MS = 80  # and is back at rest this long after the last


def voice_probability(pieces: Iterable[Float32Array]) -> Float32Array:
    """Probability of a voice (N,) at 100 rows per second in consecutive pieces of mono audio, n samples at 16 kHz in
    all; N = 1 + n // 160.

    Raises `ModelError` if the detector's file is missing or altered.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # steps are tiny: more threads would only wait
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(VOICE_DETECTOR.read(), options, providers=["CPUExecutionProvider"])
    state, rate, memory = np.zeros((2, 1, 128), np.float32), np.array(RATE, np.int64), np.zeros(MEMORY, np.float32)
    found: list[float] = []
    total = 0
    steps = _steps(pieces)
    # The first steps are processed twice, so that the detector is warm if the audio begins in the middle of speech.
    first = list(islice(steps, RATE // 2 // STEP))
    backwards = np.concatenate([one for one, _ in first])[::-1].reshape(-1, STEP)
    for heard, count in chain(((one, 0) for one in backwards), first, steps):
        answer, state = session.run(None, {"input": np.concatenate([memory, heard])[None], "state": state, "sr": rate})
        found.append(float(answer[0, 0]))
        memory, total = heard[-MEMORY:], total + count
    probability = np.array(found[len(first) :], np.float32)
    centres = (np.arange(len(probability)) + 0.5) * STEP / HOP
    return np.interp(np.arange(1 + total // HOP), centres, probability).astype(np.float32)


def _steps(pieces: Iterable[Float32Array]) -> Iterator[tuple[Float32Array, int]]:
    """Consecutive pieces in steps of `STEP` samples, at least one, the last one filled with silence; and how many
    samples of each are heard."""
    left, first = np.zeros(0, np.float32), True
    for piece in pieces:
        left = np.concatenate([left, piece])
        whole = len(left) // STEP * STEP
        for step in left[:whole].reshape(-1, STEP):
            yield step, STEP
            first = False
        left = left[whole:]
    if len(left) or first:
        yield np.pad(left, (0, STEP - len(left))), len(left)


def voice_curve(detected: Float32Array, believed: Float32Array) -> Float32Array:
    """The `voice` curve (N,), 0 to 1 with soft edges, from the probabilities (N,) of the detector and the network.

    The detector distinguishes speech from noise and music; the network locates it to 10 ms.
    """
    near = maximum_filter1d(detected, 2 * _rows(REACH_MS) + 1)
    speech = _hysteresis(near * believed)
    speech = _without_runs(speech, value=False, shorter_than=_rows(PAUSE_MS))
    speech = _without_runs(speech, value=True, shorter_than=_rows(BLIP_MS))
    # Widened by half the length of the soft edge on each side, then blurred by it.
    edges = np.flatnonzero(np.diff(np.concatenate([[False], speech, [False]]).astype(int)))
    wide = np.zeros(len(speech), np.float32)
    for start, end in edges.reshape(-1, 2):
        wide[max(start - _rows(PREPARE_MS) // 2, 0) : end + _rows(SETTLE_MS) // 2] = 1.0
    return np.asarray(gaussian_filter1d(wide, _rows(PREPARE_MS) / 4, mode="nearest", truncate=2.0), np.float32)


def _hysteresis(values: Float32Array) -> BoolArray:
    """True where `values` stay at or above `OFF` in a segment that reaches `ON`."""
    above = values >= OFF
    starts = np.flatnonzero(above & ~np.concatenate([[False], above[:-1]]))
    run = np.cumsum(np.isin(np.arange(len(values)), starts)) - 1
    strong = np.zeros(len(starts), bool)
    strong[run[values >= ON]] = True
    return above & strong[run] if len(starts) else above


def _without_runs(mask: BoolArray, *, value: bool, shorter_than: int) -> BoolArray:
    """The mask with inner runs of `value` inverted if they are shorter than so many rows."""
    out = mask.copy()
    edges = np.flatnonzero(np.diff(mask.astype(int))) + 1
    for start, end in pairwise(edges):
        if mask[start] == value and end - start < shorter_than:
            out[start:end] = not value
    return out


def _rows(milliseconds: int) -> int:
    return milliseconds * FRAME_RATE // 1000
