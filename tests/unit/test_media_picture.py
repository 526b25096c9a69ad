from dataclasses import replace
from fractions import Fraction

import numpy as np

from duikou.media.picture import Orientation, Picture

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


def test_the_encoded_picture_stands_upright_and_has_square_chroma_only_where_it_must() -> None:
    turned = replace(
        PLAIN, orientation=Orientation(True, True), sample_aspect_ratio=Fraction(4, 3), pixel_format="yuv422p"
    )
    assert turned.encoded() == replace(PLAIN, width=128, height=192, sample_aspect_ratio=Fraction(3, 4))
    assert replace(PLAIN, width=191).encoded().pixel_format == "yuv444p"
    rgb = replace(PLAIN, pixel_format="gbrp", matrix=0, full_range=True).encoded()
    assert (rgb.matrix, rgb.full_range, rgb.pixel_format) == (1, False, "yuv420p")
