"""The detector's geometry; that it finds faces is shown in the integration tests."""

from itertools import pairwise

import pytest

from duikou.faces.detector import TILE_OVERLAP_PX, TILE_PX, Detection, _distinct, _tile_starts, overlap


def test_overlap_is_intersection_over_union():
    assert overlap((0, 0, 2, 2), (0, 0, 2, 2)) == 1
    assert overlap((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 2, 2), (2, 0, 3, 2)) == 0
    assert overlap((0, 0, 2, 2), (5, 5, 6, 6)) == 0


def test_of_boxes_on_one_face_the_best_stays():
    found = [Detection((x, 0, x + 10, 10), score, None) for x, score in ((0, 0.6), (1, 0.9), (50, 0.7))]
    assert [one.score for one in _distinct(found)] == [0.9, 0.7]


@pytest.mark.parametrize("side", [1, 720, 1280, 1281, 1920, 2160, 3840, 8192])
def test_tiles_cover_a_side_and_overlap(side):
    starts = _tile_starts(side)
    assert starts[0] == 0
    assert max(starts) + TILE_PX >= side
    assert all(start + TILE_PX - after >= TILE_OVERLAP_PX for start, after in pairwise(starts))
    assert max(starts) + TILE_PX == side or side <= TILE_PX
