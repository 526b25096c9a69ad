"""Small pictures from stored planes are those from the whole frame in BGR."""

from __future__ import annotations

import itertools
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from av.video.frame import VideoFrame
from media_maker import to_yuv

from duikou.media.decode import Frame
from duikou.media.picture import Converter, Orientation, Picture
from duikou.media.pixels import Pixels

WIDTH, HEIGHT = 192, 128  # stored
PLAIN = Picture(WIDTH, HEIGHT, Orientation(), "yuv420p", 1, 1, 1, False, Fraction(1))
TURN = np.array([[0.6, -0.3, 40.3], [0.3, 0.6, 20.1]])  # magnifies
SHRINK = np.array([[2.6, 0.4, -20.0], [-0.4, 2.6, 5.5]])  # by 2, beyond the frame's edges
EVERY = 100  # samples: none is left out
ORIENTATIONS = [Orientation(*flags) for flags in itertools.product([False, True], repeat=3)]


def waves(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """A BGR picture whose brightness and colours swing differently along both sides."""
    y, x = np.mgrid[0:height, 0:width]
    phases = [x / 6 + y / 40, y / 7 - x / 50, (x + y) / 9]
    return np.stack([128 + 70 * np.sin(phase) for phase in phases], -1).astype(np.uint8)


def both(picture: Picture, pixel_format: str) -> tuple[Pixels, Pixels]:
    """Of the stored frame, and of its upright BGR image."""
    frame = to_yuv(waves(), pixel_format, matrix=picture.matrix, full_range=picture.full_range)
    converter = Converter(picture)
    return Pixels.stored(frame, converter), Pixels.of(converter.bgr(frame))


def assert_same(picture: Picture, pixel_format: str = "yuv420p", *, shift: float = 0.25, mean: float = 0.9) -> None:
    stored, whole = both(picture, pixel_format)
    assert stored.size == whole.size == picture.size
    for to_frame in (TURN, SHRINK):
        assert_near(stored.square(to_frame, 64), whole.square(to_frame, 64), shift, mean)
    for box, size in (((0, 0, *picture.size), (32, 21)), ((30, 10, 110, 90), (30, 30))):
        small = stored.reduced(box, size, EVERY)
        assert small.shape == (size[1], size[0], 3)
        assert_near(small, whole.reduced(box, size, EVERY), shift, mean)
        assert np.abs(stored.reduced(box, size, 2).astype(int) - small).mean() < 12


def assert_near(one: np.ndarray, other: np.ndarray, shift: float, mean: float) -> None:
    difference = one.astype(int) - other
    assert np.abs(difference.mean((0, 1))).max() < shift
    assert np.abs(difference).mean() < mean


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_every_orientation(orientation: Orientation) -> None:
    assert_same(replace(PLAIN, orientation=orientation))


@pytest.mark.parametrize(("matrix", "full_range"), [(1, True), (5, False), (9, False)])
def test_every_matrix_and_range(matrix: int, full_range: bool) -> None:
    assert_same(replace(PLAIN, matrix=matrix, full_range=full_range))


@pytest.mark.parametrize("pixel_format", ["yuv444p", "yuv422p10le", "yuv420p10le"])
def test_other_planes_are_brought_to_8_bit_420(pixel_format: str) -> None:
    assert_same(replace(PLAIN, pixel_format=pixel_format), pixel_format)


@pytest.mark.parametrize("full_range", [False, True])
def test_stored_rgb(full_range: bool) -> None:
    picture = replace(PLAIN, pixel_format="bgr24", matrix=0, full_range=full_range)
    frame, converter = VideoFrame.from_ndarray(waves(), format="bgr24"), Converter(picture)
    stored, whole = Pixels.stored(frame, converter), Pixels.of(waves())
    assert_near(stored.square(TURN, 64), whole.square(TURN, 64), 1.5, 1.5)  # swscale rounds full-range chroma down


def test_odd_sizes_and_a_size_that_changes_midway() -> None:
    frame = to_yuv(waves(WIDTH - 1, HEIGHT - 1), "yuv420p")
    for size in ((WIDTH - 1, HEIGHT - 1), (WIDTH + 7, HEIGHT + 2)):
        converter = Converter(replace(PLAIN, width=size[0], height=size[1]))
        luma, blue, red = converter.planes(frame)
        assert luma.shape == size[::-1]
        assert blue.shape == red.shape == ((size[1] + 1) // 2, (size[0] + 1) // 2)
        stored, whole = Pixels.stored(frame, converter), Pixels.of(converter.bgr(frame))
        assert_near(stored.square(TURN, 64), whole.square(TURN, 64), 0.5, 2.0)


def test_nothing_is_copied_of_a_usual_frame() -> None:
    for pixel_format, full_range in (("yuv420p", False), ("yuvj420p", True)):
        frame = to_yuv(waves(), pixel_format, full_range=full_range)
        converter = Converter(replace(PLAIN, pixel_format=pixel_format, full_range=full_range))
        for plane, again in zip(converter.planes(frame), converter.planes(frame), strict=True):
            assert np.shares_memory(plane, again)


def test_outside_the_frame_is_black() -> None:
    far = np.array([[1.0, 0, 5_000], [0, 1, 5_000]])
    for pixels in both(PLAIN, "yuv420p"):
        assert not pixels.square(far, 16).any()
        edge = pixels.square(np.array([[1.0, 0, -8], [0, 1, 0]]), 16)
        assert not edge[:, :6].any()
        assert edge[:, 8:].all()


def test_a_large_square_is_averaged() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3)).astype(np.uint8)
    small = Pixels.of(noise).square(np.array([[4.0, 0, 1.5], [0, 4, 1.5]]), 128)
    means = noise[..., ::-1].reshape(128, 4, 128, 4, 3).mean((1, 3))
    assert np.abs(small - means).max() <= 1


def test_a_frame_without_stored_planes_has_pixels_as_well() -> None:
    image = waves()
    whole = Frame(0, 0, 0, image).pixels.square(np.array([[1.0, 0, 10], [0, 1, 20]]), 64)
    assert np.array_equal(whole, image[20:84, 10:74, ::-1])
