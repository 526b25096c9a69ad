"""The measures of single mouths on real ones alone: what never changed must be measured as unchanged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sessions import session_of

from benchmarks.quality import edge, mouths, teeth
from benchmarks.quality.lips import tracked
from benchmarks.quality.mouths import Filmed, Mouth

VIDEO = Path(__file__).parents[2].parent / "shared" / "media" / "video" / "talking_glasses.mp4"

pytestmark = [
    pytest.mark.media,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not VIDEO.is_file(), reason="../shared/media is not there"),
]


@pytest.fixture(scope="module")
def real() -> list[Mouth]:
    """Every mouth of a man who talks; each second one is said to be painted."""
    (face,) = session_of(VIDEO).faces
    lips = tracked(VIDEO, face, 121)
    found = mouths.cut(Filmed("glasses", "glasses", VIDEO, lips, ours=False), lips.frames)
    return [replace(mouth, ours=number % 2 == 1) for number, mouth in enumerate(found)]


def test_real_teeth_keep_their_size_and_place(real: list[Mouth]) -> None:
    upper = teeth.compare("glasses", real)[0]
    assert upper.row == "upper" and not upper.painted
    for kind in (upper.real, upper.ours):
        assert kind is not None
        assert kind.rows >= 10
        assert 0.94 < kind.across[0] < kind.across[-1] < 1.08
        assert 0.98 < kind.across[1] < 1.02
        assert kind.away < 0.012


def test_a_real_edge_is_as_rough_as_a_real_edge(real: list[Mouth]) -> None:
    found = edge.compare("glasses", real)
    assert found is not None and found.ratio is not None
    assert 0.9 < found.ratio < 1.1
    assert found.left < 0.05 and found.left_real < 0.05


def test_stretched_mouths_have_larger_teeth(real: list[Mouth]) -> None:
    wide = [replace(mouth, image=_wider(mouth.image)) if mouth.ours else mouth for mouth in real]
    upper = teeth.compare("glasses", wide)[0]
    assert upper.ours is not None
    assert upper.ours.across[1] == pytest.approx(1.08, abs=0.025)


def _wider(image: np.ndarray) -> np.ndarray:
    """The picture stretched across by 1.08 about its middle."""
    columns = np.arange(image.shape[1])
    from_x = (columns - columns.mean()) / 1.08 + columns.mean()
    low = np.floor(from_x).astype(int)
    share = (from_x - low)[None, :, None]
    return ((1 - share) * image[:, low] + share * image[:, np.minimum(low + 1, len(columns) - 1)]).astype(np.uint8)
