"""Mouth motion against measured mouths of real speakers, which are for scoring only."""

import numpy as np
import pytest

from training import score

pytestmark = [
    pytest.mark.media,
    pytest.mark.skipif(not score.TRACKS.is_dir(), reason="the folder of measured mouths ../shared/tracks is not there"),
]

# Mean r at the lag of the set's own recordings (their sound and picture are up to 80 ms apart), less 0.01.
LEAST = {"grid": 0.61, "mead_lrs3": 0.41, "talkvid": 0.296, "arabic_news": 0.25}
LEAST_AT_ONE_LAG = {"grid": 0.60, "mead_lrs3": 0.32, "talkvid": 0.27, "arabic_news": 0.23}


@pytest.fixture(scope="module")
def clips() -> list[score.Clip]:
    return score.read(score.TRACKS)


@pytest.mark.parametrize("group", score.SETS)
def test_gap_follows_real_lips(clips: list[score.Clip], group: str) -> None:
    assert max(score.mean_r(clips, group, "gap", float(lag)) for lag in score.LAGS_S) > LEAST[group]
    assert score.mean_r(clips, group, "gap") > LEAST_AT_ONE_LAG[group]
    assert score.mean_r(clips, group, "gap") > score.mean_r(clips, group, "loudness")


def test_the_lead_applied_is_the_best_of_all_sets(clips: list[score.Clip]) -> None:
    means = [np.mean([score.mean_r(clips, group, "gap", float(lag)) for group in score.SETS]) for lag in score.LAGS_S]
    assert abs(score.LAGS_S[int(np.argmax(means))]) < 0.03
