"""The output of every synthesizer: audio and its timed phones."""

from __future__ import annotations

import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from duikou.arrays import Float32Array


@dataclass(frozen=True)
class Event:
    """One spoken event: IPA (empty for silence) from `start_s` to `end_s` of the audio."""

    start_s: float
    end_s: float
    ipa: str


@dataclass(frozen=True)
class Spoken:
    """Audio (n,) float32 in -1 to 1 at `rate`, and its events."""

    samples: Float32Array
    rate: int
    events: list[Event]


def write_wave(path: Path, samples: Float32Array, rate: int) -> Path:
    """Write samples (n,) in -1 to 1 as a mono 16-bit WAV file and return `path`."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", "not compressed"))
        file.writeframes(np.clip(np.round(samples * 32_767), -32_768, 32_767).astype("<i2").tobytes())
    return path


def read_wave(path: Path) -> tuple[Float32Array, int]:
    """Samples (n,) in -1 to 1 and rate of a mono 16-bit WAV file."""
    with wave.open(str(path), "rb") as file:
        rate, content = file.getframerate(), file.readframes(file.getnframes())
    return np.frombuffer(content, np.int16).astype(np.float32) / 32768.0, rate
