"""Score the mouth motion alone against measured mouths, without pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from duikou.speech.articulation import LIP_LEAD_S
from training import score

FOLDER = score.TRACKS
"""Measured mouths with their audio, kept outside the repository."""


@dataclass(frozen=True)
class SetScore:
    """One set: mean r of the lip gap, and of loudness, at the applied lead."""

    group: str
    clips: int
    r_gap: float
    r_loudness: float
    r_width: float
    best_lag_ms: int


def scores() -> list[SetScore]:
    """All sets of `../shared/tracks`; empty if the folder is absent."""
    if not FOLDER.is_dir():
        return []
    clips = score.read(FOLDER)
    found = []
    for group in score.SETS:
        by_lag = [score.mean_r(clips, group, "gap", float(lag)) for lag in score.LAGS_S]
        found.append(
            SetScore(
                group=group,
                clips=sum(clip.group == group for clip in clips),
                r_gap=score.mean_r(clips, group, "gap"),
                r_loudness=score.mean_r(clips, group, "loudness", LIP_LEAD_S),
                r_width=score.mean_r(clips, group, "width"),
                best_lag_ms=round(1000 * float(score.LAGS_S[int(np.argmax(by_lag))])),
            )
        )
    return found
