"""Score `articulate` on measured mouths: `python -m training.score [FOLDER]`.

The folder holds tracked lips of real speakers with their audio, for scoring only. Nothing is trained or chosen on it;
only the lead of the lips over the audio is taken from it. Each figure is the mean over the clips of a set of Pearson's
r between a curve, sampled at the video's times, and the measured lip distance.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from duikou.arrays import Float32Array, Float64Array
from duikou.speech.articulation import articulate
from duikou.speech.features import FRAME_RATE, loudness, mel_power
from duikou.speech.motion import MouthMotion

TRACKS = Path(__file__).parents[2] / "shared" / "tracks"
SETS = ("grid", "mead_lrs3", "talkvid", "arabic_news")
UPPER_LIP, LOWER_LIP, LEFT_CORNER, RIGHT_CORNER = 13, 14, 61, 291
LAGS_S = np.arange(-0.12, 0.121, 0.02)


@dataclass(frozen=True)
class Clip:
    """One speaker's lips and audio: times of the video frames in s, lip gap, mouth width, mono audio, and motions."""

    group: str
    times: Float64Array
    gap: Float64Array
    width: Float64Array
    samples: Float32Array
    rate: int
    motion: MouthMotion
    loudness: MouthMotion


def read(folder: Path, sets: Sequence[str] = SETS) -> list[Clip]:
    """All clips of these sets in the folder, articulated."""
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    points = {number: place for place, number in enumerate(index["points"])}
    clips = []
    with np.load(folder / "mouth_tracks.npz") as tracks:
        for entry in index["clips"]:
            if entry["set"] not in sets:
                continue
            name = entry["name"]
            sound, rate = _sound(folder / "speech" / f"{name}.flac")
            shape, times = tracks[f"{name}/shape"].astype(np.float64), tracks[f"{name}/t"].astype(np.float64)
            gap = np.linalg.norm(shape[:, points[UPPER_LIP]] - shape[:, points[LOWER_LIP]], axis=1)
            width = np.linalg.norm(shape[:, points[LEFT_CORNER]] - shape[:, points[RIGHT_CORNER]], axis=1)
            seen = np.isfinite(gap)
            level = gaussian_filter1d(loudness(mel_power(sound).mean(-1)), 4.0)[:, None].repeat(8, 1)
            clips.append(
                Clip(entry["set"], times[seen], gap[seen], width[seen], sound, rate,
                     articulate(sound, rate), MouthMotion(level, FRAME_RATE))
            )  # fmt: skip
    return clips


def mean_r(clips: Sequence[Clip], group: str, curve: str, lag_s: float = 0.0) -> float:
    """Mean over a set's clips of r; `curve` is `gap`, `width` or `loudness`. A clip without motion has r 0."""
    found = []
    for clip in clips:
        if clip.group != group:
            continue
        times = clip.times + lag_s
        if curve == "loudness":
            ours, real = clip.loudness.at(times)[:, 0], clip.gap
        elif curve == "width":
            values = clip.motion.at(times)
            ours, real = values[:, 2] - values[:, 3], clip.width
        else:
            ours, real = clip.motion.at(times)[:, 0], clip.gap
        found.append(correlation(ours, real))
    return float(np.mean(found))


def correlation(one: npt.NDArray[np.floating], other: npt.NDArray[np.floating]) -> float:
    """Pearson's r; 0 if one of the curves is constant."""
    still = min(one.std(), other.std()) < 1e-9
    return 0.0 if still else float(np.corrcoef(one, other)[0, 1])


def main() -> None:
    """Print the table, and how the figures change with the lag."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=TRACKS)
    clips = read(parser.parse_args().folder)
    print("mean r       " + "".join(f"{name:>13}" for name in SETS))
    for curve in ("gap", "loudness", "width"):
        print(f"{curve:<13}" + "".join(f"{mean_r(clips, name, curve):13.3f}" for name in SETS))
    print("gap by lag in ms on top of the lead applied")
    for lag in LAGS_S:
        print(f"{lag * 1000:>+8.0f}     " + "".join(f"{mean_r(clips, name, 'gap', float(lag)):13.3f}" for name in SETS))


def _sound(path: Path) -> tuple[Float32Array, int]:
    with av.open(str(path)) as file:
        stream = file.streams.audio[0]
        frames = [frame.to_ndarray() for frame in file.decode(stream)]
        whole = np.concatenate([frame.reshape(-1) for frame in frames])
        scale = float(np.iinfo(whole.dtype).max) if whole.dtype.kind == "i" else 1.0
        return (whole / scale).astype(np.float32), stream.rate


if __name__ == "__main__":
    main()
