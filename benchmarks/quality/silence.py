"""Whether a mouth is as calm in pauses as the real one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.quality.lips import Lips
from duikou.arrays import BoolArray, Float64Array
from duikou.render import mesh
from duikou.speech.motion import MouthMotion

SILENT, SPEAKING = 0.05, 0.5
"""Values of the voice curve below which there is a pause, and above which there is speech."""

SETTLE_S = 0.15
"""Part of a pause at each end that is ignored: there the lips still move to or from rest, in real mouths too."""

LEAST_S = 0.2
"""Least total length of the pauses."""


@dataclass(frozen=True)
class Calm:
    """Motion of the lips: root mean square speed in eye distances per second. pause_s: total length of the pauses."""

    pause_s: float
    pauses: float
    speech: float

    @property
    def share(self) -> float:
        """Motion in pauses relative to that in speech."""
        return self.pauses / max(self.speech, 1e-9)


def calm(lips: Lips, asked: MouthMotion) -> Calm | None:
    """Motion in pauses and in speech; `None` if there is hardly any pause, or no speech."""
    times = lips.track.times_ms / 1000
    speed, middle, step = _speed(lips)
    quiet = in_pause(asked, middle)
    voiced = asked.at(middle)[:, -1] > SPEAKING
    pause_s = float(step[quiet].sum())
    if pause_s < LEAST_S or not voiced.any() or not len(times):
        return None
    return Calm(pause_s, _rms(speed[quiet]), _rms(speed[voiced]))


def in_pause(asked: MouthMotion, times_s: Float64Array) -> BoolArray:
    """Whether the audio pauses from `SETTLE_S` before to `SETTLE_S` after each time."""
    around = np.arange(-SETTLE_S, SETTLE_S + 1e-9, 1 / asked.rate)
    voice = asked.at((times_s[:, None] + around).ravel())[:, -1].reshape(len(times_s), -1)
    return np.asarray(voice.max(1) < SILENT, np.bool_)


def _speed(lips: Lips) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Speed of the lips between consecutive frames, the middle of their times, and their distance in s."""
    follows = (np.diff(lips.frames) == 1) & (np.diff(lips.track.shots) == 0)
    times = lips.track.times_ms / 1000
    step = np.diff(times)[follows]
    move = np.diff(lips.shapes[:, list(mesh.LIPS), :2], axis=0)[follows]
    speed = np.sqrt((move**2).sum(-1).mean(1)) / step
    return speed, (times[1:] + times[:-1])[follows] / 2, step


def _rms(values: Float64Array) -> float:
    return float(np.sqrt((values**2).mean()))
