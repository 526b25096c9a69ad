"""A part of a frame in BGR is the same part of the whole frame, bit for bit."""

from __future__ import annotations

import itertools
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from av.video.frame import VideoFrame

from duikou.media.crop import around, cropped
from duikou.media.decode import Frame, Patch
from duikou.media.hdr import HLG, PQ
from duikou.media.picture import Converter, Orientation, Picture

PLAIN = Picture(192, 128, Orientation(), "yuv420p", 1, 1, 1, False, Fraction(1))
ORIENTATIONS = [Orientation(*flags) for flags in itertools.product([False, True], repeat=3)]
PLANAR = ["yuv420p", "yuvj420p", "yuv422p", "yuv444p", "yuv440p", "yuv411p", "yuv410p", "yuva420p", "nv12"]
DEEP = ["yuv420p10le", "yuv422p10le", "yuv444p12le", "gbrp10le"]
PACKED = ["yuyv422", "uyvy422", "bgr24", "rgba", "gbrp", "pal8", "gray", "monob"]
SIZES = [(192, 128), (190, 126), (191, 127)]


def noise(pixel_format: str, size: tuple[int, int]) -> VideoFrame:
    """A frame in which every value of every plane is random."""
    rng = np.random.default_rng(1)
    frame = VideoFrame(*size, pixel_format)
    for plane in frame.planes:
        memory = np.frombuffer(plane, np.uint8)  # type: ignore[call-overload]
        if pixel_format in DEEP:
            memory.view(np.uint16)[:] = rng.integers(0, 1 << frame.format.components[0].bits, memory.size // 2)
        else:
            memory[:] = rng.integers(0, 256, memory.size)
    return frame


def boxes(size: tuple[int, int], count: int = 25) -> list[tuple[int, int, int, int]]:
    """Random boxes of a picture, those in its corners, one pixel and all of it."""
    rng = np.random.default_rng(2)
    width, height = size
    corners = [(0, 0, 1, 1), (width - 1, height - 1, width, height), (0, height - 9, 7, height), (0, 0, width, height)]
    found = []
    for _ in range(count):
        left, top = int(rng.integers(width)), int(rng.integers(height))
        found.append((left, top, int(rng.integers(left, width)) + 1, int(rng.integers(top, height)) + 1))
    return [*corners, *found]


def assert_parts(picture: Picture, frame: VideoFrame) -> None:
    converter = Converter(picture)
    whole = converter.bgr(frame)
    for left, top, right, bottom in boxes(picture.size):
        part = Frame(0, 0, 0, stored=frame, converter=converter).part((left, top, right, bottom))
        assert np.array_equal(part, whole[top:bottom, left:right])


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("pixel_format", [*PLANAR, *DEEP, *PACKED])
def test_every_format_and_size(pixel_format: str, size: tuple[int, int]) -> None:
    frame = noise(pixel_format, size)
    matrix = 0 if frame.format.is_rgb else 1
    assert_parts(replace(PLAIN, width=size[0], height=size[1], pixel_format=pixel_format, matrix=matrix), frame)


@pytest.mark.parametrize("size", SIZES[1:], ids=str)
@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_every_orientation(orientation: Orientation, size: tuple[int, int]) -> None:
    picture = replace(PLAIN, width=size[0], height=size[1], orientation=orientation)
    assert_parts(picture, noise("yuv420p", size))
    for box in boxes(picture.size):
        stored = orientation.stored_box(box, *picture.size)
        assert orientation.upright_box(stored, *picture.size) == box


@pytest.mark.parametrize("transfer", [PQ, HLG])
@pytest.mark.parametrize("orientation", ORIENTATIONS[::3], ids=str)
def test_high_dynamic_range(transfer: int, orientation: Orientation) -> None:
    picture = replace(PLAIN, pixel_format="yuv420p10le", transfer=transfer, orientation=orientation)
    assert_parts(picture, noise("yuv420p10le", (192, 128)))


@pytest.mark.parametrize(("matrix", "full_range"), [(1, True), (5, False), (9, True)])
def test_every_matrix_and_range(matrix: int, full_range: bool) -> None:
    assert_parts(replace(PLAIN, matrix=matrix, full_range=full_range), noise("yuv420p", (192, 128)))


def test_a_frame_of_another_size_than_the_picture() -> None:
    assert_parts(replace(PLAIN, width=200, height=100), noise("yuv420p", (192, 128)))


def test_the_part_that_is_converted_is_small_and_shares_the_memory_of_the_frame() -> None:
    frame = noise("yuv420p", (192, 128))
    assert around(frame, (50, 61, 70, 75)) == (40, 48, 80, 88)
    assert around(noise("yuv420p", (191, 128)), (50, 61, 70, 75)) == (0, 48, 191, 88)
    part = cropped(frame, (40, 48, 80, 88))
    assert (part.width, part.height, part.format.name) == (40, 40, "yuv420p")
    memory = np.frombuffer(frame.planes[0], np.uint8).reshape(128, -1)  # type: ignore[call-overload]
    rows = np.frombuffer(part.planes[0], np.uint8)  # type: ignore[call-overload]
    assert np.shares_memory(memory, rows)
    assert rows[0] == memory[48, 40]


def test_a_converted_frame_is_not_converted_again() -> None:
    converter = Converter(PLAIN)
    frame = Frame(0, 0, 0, stored=noise("yuv420p", (192, 128)), converter=converter)
    assert np.shares_memory(frame.image, frame.part((3, 4, 50, 60)))
    image = np.zeros((20, 30, 3), np.uint8)
    assert Frame(0, 0, 0, image).size == (30, 20)
    assert np.shares_memory(Frame(0, 0, 0, image).part((3, 4, 5, 6)), image)


@pytest.mark.parametrize("box", [(-1, 0, 5, 5), (0, 0, 193, 5), (0, 0, 5, 129), (5, 5, 5, 9), (0, 9, 5, 9)])
def test_a_box_that_is_not_in_the_frame_is_refused(box: tuple[int, int, int, int]) -> None:
    frame = Frame(0, 0, 0, stored=noise("yuv420p", (192, 128)), converter=Converter(PLAIN))
    with pytest.raises(ValueError, match="no part of a frame of 192x128"):
        frame.part(box)


def test_a_part_of_a_painted_frame_leaves_the_frame_as_it_was() -> None:
    """Parts share the memory of what was converted before."""
    bare = Frame(0, 0, 0, stored=noise("yuv420p", (192, 128)), converter=Converter(PLAIN))
    before = bare.image.copy()
    painted = bare.painted(Patch(50, 40, 255 - before[40:70, 50:90]))
    seen = painted.part((40, 30, 80, 60))
    assert np.array_equal(seen[10:, 10:], 255 - before[40:60, 50:80])
    assert np.array_equal(seen[:10], before[30:40, 40:80])
    assert np.array_equal(bare.image, before)
    assert np.array_equal(painted.bare.part((40, 30, 80, 60)), before[30:60, 40:80])
