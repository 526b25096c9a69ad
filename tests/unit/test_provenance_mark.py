"""The visible mark: in its corner only, as high as the standard asks, legible on anything."""

from __future__ import annotations

import numpy as np
import pytest

from duikou.media.decode import Frame
from duikou.provenance.mark import Mark

SIZES = [(1920, 1080), (1280, 720), (720, 1280), (360, 640), (192, 128)]
MIN_HEIGHT = 0.05  # of the shorter side, GB 45438-2025
MIN_CONTRAST = 60  # levels between the letters and what is right beside them


def drawn(mark: Mark, image: np.ndarray) -> np.ndarray:
    """A picture with the mark."""
    return mark.drawn(Frame(0, 0, 0, image)).image


def ink(image: np.ndarray, plain: int) -> np.ndarray:
    """Where the letters themselves are: brighter than the grey below them."""
    return np.asarray(image[..., 0] > plain + 20)


@pytest.mark.parametrize("size", SIZES)
def test_only_the_lower_right_corner_changes(size: tuple[int, int]) -> None:
    width, height = size
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    before, mark = image.copy(), Mark(width, height)
    marked = drawn(mark, image)
    assert np.array_equal(image, before), "the image itself must stay as it was"
    left, top, right, bottom = mark.box
    assert left > width / 2
    assert top > height * 0.8
    assert (right, bottom) <= (width, height)
    outside = np.ones((height, width), np.bool_)
    outside[top:bottom, left:right] = False
    assert np.array_equal(marked[outside], image[outside])
    assert not np.array_equal(marked[~outside], image[~outside])


@pytest.mark.parametrize("size", SIZES)
def test_the_lowest_letter_is_high_enough(size: tuple[int, int]) -> None:
    width, height = size
    marked = drawn(Mark(width, height), np.zeros((height, width, 3), np.uint8))
    letters = ink(marked, 0)
    columns = np.flatnonzero(letters.any(0))
    first = letters[:, columns[0] : columns[0] + (columns[-1] - columns[0]) // 5]  # "A", of "AI合成"
    rows = np.flatnonzero(first.any(1))
    assert rows[-1] - rows[0] + 1 >= MIN_HEIGHT * min(size)


@pytest.mark.parametrize("grey", [0, 60, 128, 200, 255])
def test_the_letters_stand_out_on_any_grey(grey: int) -> None:
    width, height = 1280, 720
    mark = Mark(width, height)
    left, top, right, bottom = mark.box
    black, image = np.zeros((height, width, 3), np.uint8), np.full((height, width, 3), grey, np.uint8)
    corner = drawn(mark, image)[top:bottom, left:right, 0].astype(int)
    letters = drawn(mark, black)[top:bottom, left:right, 0] > 195
    beside = np.zeros_like(letters)
    beside[2:-2, 2:-2] = letters[:-4, 2:-2] | letters[4:, 2:-2] | letters[2:-2, :-4] | letters[2:-2, 4:]
    beside &= drawn(mark, black)[top:bottom, left:right, 0] == 0
    assert beside.sum() > 200
    assert np.median(corner[letters]) - np.median(corner[beside]) >= MIN_CONTRAST


def test_the_picture_shows_through_the_letters() -> None:
    mark = Mark(1280, 720)
    dark, light = (drawn(mark, np.full((720, 1280, 3), grey, np.uint8)).astype(int) for grey in (0, 255))
    left, top, right, bottom = mark.box
    assert ((light - dark)[top:bottom, left:right] > 10).all()
