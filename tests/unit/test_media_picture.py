from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from media_maker import numbered, to_yuv

from duikou.media.picture import Converter, Orientation, Picture

PLAIN = Picture(192, 128, Orientation(), "yuv420p", 1, 1, 1, False, Fraction(1))


def test_the_eight_orientations_are_numpys() -> None:
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    assert np.array_equal(Orientation().upright(image), image)
    assert np.array_equal(Orientation(True, True, False).upright(image), np.rot90(image, -1))
    assert np.array_equal(Orientation(False, True, True).upright(image), np.rot90(image, 2))
    assert np.array_equal(Orientation(True, False, True).upright(image), np.rot90(image, 1))
    assert np.array_equal(Orientation(False, True, False).upright(image), image[:, ::-1])
    assert np.array_equal(Orientation(True).upright(image), image.transpose(1, 0, 2))
    assert [Orientation(True, True).degrees, Orientation(False, True, True).degrees] == [90, 180]
    assert [Orientation(True, False, True).degrees, Orientation().degrees] == [270, 0]


@pytest.mark.parametrize("matrix", [1, 5, 9])
@pytest.mark.parametrize("full_range", [False, True])
def test_conversion_there_and_back_shifts_no_colour(matrix: int, full_range: bool) -> None:
    picture = replace(PLAIN, matrix=matrix, full_range=full_range)
    converter = Converter(picture)
    start = converter.bgr(to_yuv(numbered(90, 192, 128), "yuv420p", matrix=matrix, full_range=full_range))
    image = start
    for _ in range(10):
        image = converter.bgr(converter.yuv(image))
    difference = image.astype(int) - start
    assert np.abs(difference.mean(axis=(0, 1))).max() < 0.25
    assert np.abs(difference).mean(axis=(0, 1)).max() < 0.75


@pytest.mark.parametrize(
    ("matrix", "red", "blue"),
    # ITU-R BT.709, BT.601 and BT.2020: weights of red and blue in luma.
    [(1, 0.2126, 0.0722), (5, 0.299, 0.114), (9, 0.2627, 0.0593)],
)
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("bgr", [(40, 90, 200), (200, 60, 60), (128, 128, 128), (255, 255, 255), (0, 0, 0)])
def test_values_are_those_of_the_standard(
    matrix: int, red: float, blue: float, full_range: bool, bgr: tuple[int, int, int]
) -> None:
    image = np.full((32, 32, 3), bgr, np.uint8)
    planes = (
        Converter(replace(PLAIN, width=32, height=32, matrix=matrix, full_range=full_range)).yuv(image).to_ndarray()
    )
    b, g, r = (level / 255 for level in bgr)
    luma = red * r + (1 - red - blue) * g + blue * b
    cb, cr = (b - luma) / (2 * (1 - blue)), (r - luma) / (2 * (1 - red))
    if full_range:
        wanted = [255 * luma, 128 + 255 * cb, 128 + 255 * cr]
    else:
        wanted = [16 + 219 * luma, 128 + 224 * cb, 128 + 224 * cr]
    found = [planes[:32].mean(), planes[32:40].mean(), planes[40:].mean()]
    np.testing.assert_allclose(found, np.clip(wanted, 0, 255), atol=1.0)


def test_untagged_pictures_are_taken_for_what_players_take_them() -> None:
    def luma(matrix: int, width: int, height: int) -> float:
        picture = replace(PLAIN, width=width, height=height, matrix=matrix)
        image = np.full((height, width, 3), (40, 90, 200), np.uint8)
        return float(Converter(picture).yuv(image).to_ndarray()[:height].mean())

    assert luma(2, 640, 480) == luma(5, 640, 480)
    assert luma(2, 1280, 720) == luma(1, 1280, 720)
    assert luma(2, 720, 1280) == luma(1, 720, 1280)


def test_the_encoded_picture_stands_upright_and_has_square_chroma_only_where_it_must() -> None:
    turned = replace(
        PLAIN, orientation=Orientation(True, True), sample_aspect_ratio=Fraction(4, 3), pixel_format="yuv422p"
    )
    assert turned.encoded() == replace(PLAIN, width=128, height=192, sample_aspect_ratio=Fraction(3, 4))
    assert replace(PLAIN, width=191).encoded().pixel_format == "yuv444p"
    rgb = replace(PLAIN, pixel_format="gbrp", matrix=0, full_range=True).encoded()
    assert (rgb.matrix, rgb.full_range, rgb.pixel_format) == (1, False, "yuv420p")
