"""What was painted changes the planes of a frame by as much as it changed the image, and nothing else."""

from __future__ import annotations

import itertools
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from media_maker import Image, numbered, to_yuv

from duikou.media import repaint
from duikou.media.decode import Frame, Patch
from duikou.media.picture import Converter, Orientation, Picture, view
from duikou.media.repaint import Repainter

PLAIN = Picture(192, 128, Orientation(), "yuv420p", 1, 1, 1, False, Fraction(1))
ORIENTATIONS = [Orientation(*flags) for flags in itertools.product([False, True], repeat=3)]
BOX = (101, 60, 131, 81)
STEPS = {"yuv420p": (1, 2, 2), "yuv444p": (1, 1, 1)}


def coded(frame: VideoFrame) -> VideoFrame:
    """The frame after lossless H.264, whose decoder tells where chroma lies."""
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, frame.format.name
    encoder.time_base, encoder.options = Fraction(1, 25), {"qp": "0", "bf": "0"}
    encoder.color_range = frame.color_range
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(decoder, VideoCodecContext)
    frame.pts = 0
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    (found,) = [one for packet in [*packets, None] for one in decoder.decode(packet)]
    return found


def noise(picture: Picture, seed: int = 0) -> VideoFrame:
    """A smooth picture with noise in all planes, as decoded."""
    rng = np.random.default_rng(seed)
    frame = VideoFrame(picture.width, picture.height, picture.pixel_format)
    for plane in frame.planes:
        y, x = np.indices(view(plane).shape)
        waves = 120 + 40 * np.sin(x / 15 + seed) * np.cos(y / 9)
        view(plane)[:] = waves + rng.integers(-3, 4, waves.shape)
    return coded(frame)


def planes_of(frame: VideoFrame) -> list[Image]:
    return [view(plane).copy() for plane in frame.planes]


def square(seed: int = 1) -> Image:
    """Soft new pixels for `BOX`."""
    return np.random.default_rng(seed).integers([60, 100, 150], [64, 104, 154], (21, 30, 3)).astype(np.uint8)


def outside(plane: Image, step: int, box: tuple[int, int, int, int] = BOX) -> np.ndarray:
    """Where a plane lies outside a box."""
    left, top, right, bottom = box
    found = np.ones(plane.shape, bool)
    found[top // step : -(-bottom // step), left // step : -(-right // step)] = False
    return found


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
@pytest.mark.parametrize(("size", "pixel_format"), [((192, 128), "yuv420p"), ((193, 129), "yuv444p")])
def test_only_the_patch_changes(orientation: Orientation, size: tuple[int, int], pixel_format: str) -> None:
    stored = replace(PLAIN, width=size[0], height=size[1], pixel_format=pixel_format, orientation=orientation)
    encoded, frame, box = stored.encoded(), noise(stored), (51, 60, 81, 81)
    source = Frame(0, 0, 0, stored=frame, converter=Converter(stored))
    given, before = planes_of(frame), source.image.copy()
    repainter = Repainter(stored, encoded)
    made, bare = repainter.made(source.painted(Patch(51, 60, square()))), planes_of(repainter.made(source))
    assert np.array_equal(bare[0], orientation.upright(given[0]))
    for was, new, step in zip(bare, planes_of(made), STEPS[made.format.name], strict=True):
        away = outside(new, step, box)
        assert np.array_equal(was[away], new[away])
        assert (was[~away] != new[~away]).mean() > 0.9
    shown = Converter(encoded).bgr(coded(made)).astype(int)
    assert np.abs(shown[64:77, 56:76] - square()[4:17, 5:25]).max() <= 6
    assert np.array_equal(source.image, before)
    assert all(np.array_equal(one, other) for one, other in zip(given, planes_of(frame), strict=True))


def test_an_unpainted_frame_is_passed_on_as_it_is() -> None:
    source = Frame(0, 0, 0, stored=noise(PLAIN), converter=Converter(PLAIN))
    repainter = Repainter(PLAIN, PLAIN.encoded())
    assert repainter.made(source) is source.stored
    assert repainter.made(source.painted(Patch(0, 0, square())).bare) is source.stored


def test_painting_what_is_there_changes_nothing() -> None:
    source = Frame(0, 0, 0, stored=noise(PLAIN), converter=Converter(PLAIN))
    made = Repainter(PLAIN, PLAIN.encoded()).made(source.painted(Patch(3, 5, source.part((3, 5, 90, 70)))))
    assert made is not source.stored
    assert source.stored is not None
    assert all(np.array_equal(*pair) for pair in zip(planes_of(source.stored), planes_of(made), strict=True))


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p"])
def test_a_large_patch_is_the_same_in_one_band_or_in_many(pixel_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = replace(PLAIN, pixel_format=pixel_format)
    source = Frame(0, 0, 0, stored=noise(picture), converter=Converter(picture))
    new = np.random.default_rng(4).integers(0, 256, (91, 133, 3)).astype(np.uint8)
    painted, repainter = source.painted(Patch(21, 13, new)), Repainter(picture, picture.encoded())
    whole = planes_of(repainter.made(painted))
    monkeypatch.setattr(repaint, "_BAND", 500)  # pixels: three or four lines
    assert all(np.array_equal(*pair) for pair in zip(whole, planes_of(repainter.made(painted)), strict=True))
    assert source.stored is not None
    assert not np.array_equal(whole[0], planes_of(source.stored)[0])


def test_the_memory_of_a_frame_that_is_taken_back_is_used_again() -> None:
    source = Frame(0, 0, 0, stored=noise(PLAIN), converter=Converter(PLAIN))
    repainter, other = Repainter(PLAIN, PLAIN.encoded()), source.painted(Patch(20, 31, square(2)))
    wanted = planes_of(repainter.made(other))
    assert source.stored is not None
    repainter.take_back(source.stored)  # the decoder's
    first = repainter.made(source.painted(Patch(101, 60, square())))
    place = first.planes[0].buffer_ptr
    assert place != source.stored.planes[0].buffer_ptr
    repainter.take_back(first)
    second = repainter.made(other)
    assert second.planes[0].buffer_ptr == place
    assert all(np.array_equal(*pair) for pair in zip(wanted, planes_of(second), strict=True))
    repainter.take_back(second)
    repainter.drop_spare()
    third = repainter.made(other)  # `second` still has its memory
    assert third.planes[0].buffer_ptr != place
    assert all(np.array_equal(*pair) for pair in zip(wanted, planes_of(third), strict=True))


def test_patches_that_overlap_lie_over_each_other() -> None:
    """What an image with both would give."""
    source = Frame(0, 0, 0, stored=noise(PLAIN), converter=Converter(PLAIN))
    repainter = Repainter(PLAIN, PLAIN.encoded())
    first, second = Patch(100, 60, square(1)), Patch(111, 71, square(2) + np.uint8(50))
    both = source.painted(first).painted(second)
    assert np.array_equal(both.part((111, 71, 141, 92)), second.pixels)
    assert np.array_equal(both.part((100, 60, 130, 71)), first.pixels[:11])
    image = source.image.copy()
    image[60:81, 100:130], image[71:92, 111:141] = first.pixels, second.pixels
    assert np.array_equal(both.image, image)
    one, other = repainter.made(both), repainter.made(source.painted(Patch(0, 0, image)))
    luma, *chroma = zip(planes_of(one), planes_of(other), strict=True)
    assert np.abs(luma[0].astype(int) - luma[1]).max() <= 2
    for plane, wanted in chroma:  # chroma right beside a hard edge would take a quarter of its colour
        assert (plane == wanted).mean() > 0.98


def test_a_change_of_colour_stays_where_it_is_in_the_image() -> None:
    """Chroma lies on even columns: half a pixel beside that, a painted mouth would have a coloured rim."""
    source = Frame(0, 0, 0, stored=coded(to_yuv(numbered(90, 192, 128), "yuv420p")), converter=Converter(PLAIN))
    pixels = source.part((96, 40, 176, 120)).astype(np.float64)
    x = np.arange(80)
    pixels[..., 2] += 40 * np.exp(-(((x - 40) / 4) ** 2))  # a red line
    patch = Patch(96, 40, pixels.clip(0, 255).astype(np.uint8))
    made = coded(Repainter(PLAIN, PLAIN.encoded()).made(source.painted(patch)))
    red = Converter(PLAIN).bgr(made)[60:100, 96:176, 2].astype(float) - source.part((96, 60, 176, 100))[..., 2]
    assert abs((red.sum(0) * x).sum() / red.sum() - 40) < 0.1


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_colours_stay_where_they_are_when_a_picture_is_turned(orientation: Orientation) -> None:
    stored = replace(PLAIN, orientation=orientation)
    width, height = stored.size
    y, x = np.mgrid[0:height, 0:width]
    image = np.full((height, width, 3), 90, np.uint8)
    image[..., 2] = 90 + 80 * np.exp(-(((x - 50) ** 2 + (y - 60) ** 2) / 50))  # a red spot
    flipped = image[:, ::-1] if orientation.mirror_x else image
    flipped = flipped[::-1] if orientation.mirror_y else flipped
    given = np.ascontiguousarray(flipped.swapaxes(0, 1) if orientation.transpose else flipped)
    frame = coded(Repainter(PLAIN, PLAIN).whole(given))
    made = coded(Repainter(stored, stored.encoded()).made(Frame(0, 0, 0, stored=frame, converter=Converter(stored))))
    red = Converter(stored.encoded()).bgr(made)[..., 2].astype(float) - 90
    assert (red * x).sum() / red.sum() == pytest.approx(50, abs=0.05)
    assert (red * y).sum() / red.sum() == pytest.approx(60, abs=0.05)


def test_light_beyond_the_image_fades_where_much_changes() -> None:
    """Limited range holds brighter light than white. A highlight must not shine through a painted mouth."""
    frame = VideoFrame(192, 128, "yuv420p")
    for plane, level in zip(frame.planes, (252, 128, 128), strict=True):
        view(plane)[:] = level
    source = Frame(0, 0, 0, stored=frame, converter=Converter(PLAIN))
    assert (source.image == 255).all()
    dark = Patch(20, 20, np.full((40, 40, 3), 60, np.uint8))
    luma = planes_of(Repainter(PLAIN, PLAIN.encoded()).made(source.painted(dark)))[0]
    assert np.abs(luma[20:60, 20:60] - (16 + 60 * 219 / 255)).max() < 1.5  # the grain stays
    slight = Patch(20, 20, np.full((40, 40, 3), 253, np.uint8))
    luma = planes_of(Repainter(PLAIN, PLAIN.encoded()).made(source.painted(slight)))[0]
    assert (luma[20:60, 20:60] > 245).all()


@pytest.mark.parametrize("pixel_format", ["yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le"])
def test_other_planes_are_converted_without_bgr(pixel_format: str) -> None:
    stored = replace(PLAIN, pixel_format=pixel_format)
    frame = to_yuv(numbered(90, 192, 128), pixel_format)
    source = Frame(0, 0, 0, stored=frame, converter=Converter(stored))
    made = Repainter(stored, stored.encoded()).made(source.painted(Patch(101, 60, square())))
    assert made.format.name == "yuv420p"
    shown = Converter(PLAIN).bgr(made).astype(int)
    image = source.image.copy()
    image[60:81, 101:131] = square()
    assert np.abs(shown - image).mean() < 0.9
    assert np.abs(shown[64:77, 106:126] - square()[4:17, 5:25]).max() <= 6


@pytest.mark.parametrize("pixel_format", ["bgr24", "gbrp"])
def test_stored_rgb_becomes_yuv_of_limited_range(pixel_format: str) -> None:
    stored = replace(PLAIN, pixel_format=pixel_format, matrix=0, full_range=True)
    frame = VideoFrame.from_ndarray(numbered(90, 192, 128), format="bgr24").reformat(format=pixel_format)
    source = Frame(0, 0, 0, stored=frame, converter=Converter(stored))
    made = Repainter(stored, stored.encoded()).made(source.painted(Patch(101, 60, square())))
    shown = Converter(stored.encoded()).bgr(made).astype(int)
    image = numbered(90, 192, 128)
    image[60:81, 101:131] = square()
    assert np.abs((shown - image).mean((0, 1))).max() < 0.3
    assert np.abs(shown - image).mean() < 0.8


@pytest.mark.parametrize("matrix", [1, 5, 9])
@pytest.mark.parametrize("full_range", [False, True])
def test_conversion_there_and_back_shifts_no_colour(matrix: int, full_range: bool) -> None:
    picture = replace(PLAIN, matrix=matrix, full_range=full_range)
    converter, repainter = Converter(picture), Repainter(picture, picture)
    start = converter.bgr(coded(to_yuv(numbered(90, 192, 128), "yuv420p", matrix=matrix, full_range=full_range)))
    image = start
    for _ in range(10):
        image = converter.bgr(coded(repainter.whole(image)))
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
    picture = replace(PLAIN, width=32, height=32, matrix=matrix, full_range=full_range)
    planes = Repainter(picture, picture).whole(image).to_ndarray()
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
        return float(Repainter(picture, picture).whole(image).to_ndarray()[:height].mean())

    assert luma(2, 640, 480) == luma(5, 640, 480)
    assert luma(2, 1280, 720) == luma(1, 1280, 720)
    assert luma(2, 720, 1280) == luma(1, 720, 1280)
