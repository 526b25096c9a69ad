"""The detector's geometry; that it finds faces is shown in the integration tests."""

from itertools import pairwise

import pytest

from duikou.faces.closer import FINE
from duikou.faces.detector import TILING, Detection, _distinct, overlap


def test_overlap_is_intersection_over_union():
    assert overlap((0, 0, 2, 2), (0, 0, 2, 2)) == 1
    assert overlap((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 2, 2), (2, 0, 3, 2)) == 0
    assert overlap((0, 0, 2, 2), (5, 5, 6, 6)) == 0


def test_of_boxes_on_one_face_the_best_stays():
    found = [Detection((x, 0, x + 10, 10), score, None) for x, score in ((0, 0.6), (1, 0.9), (50, 0.7))]
    assert [one.score for one in _distinct(found)] == [0.9, 0.7]


@pytest.mark.parametrize("side", [1, 720, 1280, 1281, 1920, 2160, 3840, 8192])
@pytest.mark.parametrize("tiling", [TILING, FINE])
def test_tiles_cover_a_side_and_overlap(side, tiling):
    starts = tiling.starts(side)
    assert starts[0] == 0
    assert max(starts) + tiling.side_px >= side
    assert all(start + tiling.side_px - after >= tiling.overlap_px for start, after in pairwise(starts))
    assert max(starts) + tiling.side_px == side or side <= tiling.side_px
