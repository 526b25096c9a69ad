"""The map from high dynamic range to ordinary screens and back, and paint that returns to 10-bit planes."""

from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from av.video.frame import VideoFrame

from duikou.media import hdr
from duikou.media.decode import Frame, Patch
from duikou.media.hdr import HLG, MAX_CODE, PQ, LightLevels
from duikou.media.losses import losses
from duikou.media.picture import Converter, Orientation, Picture, view16
from duikou.media.pixels import Pixels
from duikou.media.repaint import Repainter

WIDE = Picture(64, 48, Orientation(), "yuv420p10le", 9, 9, PQ, False, Fraction(1))
PLAIN = replace(WIDE, pixel_format="yuv420p", matrix=1, primaries=1, transfer=1)


def grey(code: int) -> Any:
    return np.full((1, 1, 3), code, np.uint16)


@pytest.mark.parametrize(
    ("transfer", "coded", "light"),
    # ITU-R BT.2408, table 1: code of a signal in percent and light of the screen.
    [(PQ, 0.38, 26), (PQ, 0.58, 203), (PQ, 0.7518, 1_000), (HLG, 0.38, 26), (HLG, 0.75, 203), (HLG, 1.0, 1_000)],
)
def test_light_is_that_of_the_standards(transfer: int, coded: float, light: float) -> None:
    found = hdr._linear(np.array([coded]), transfer)[0] * hdr._UNIT
    assert found == pytest.approx(light, rel=0.02)
    assert hdr._coded(np.array([found / hdr._UNIT]), transfer)[0] == pytest.approx(coded, abs=1e-4)


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_a_grey_card_and_white_look_as_on_ordinary_screens(transfer: int) -> None:
    tone = hdr.tone(transfer, 9)
    card = tone.sdr(grey(round(0.38 * MAX_CODE)))[0, 0]
    white = tone.sdr(grey(round((0.58 if transfer == PQ else 0.75) * MAX_CODE)))[0, 0]
    assert np.ptp(card) == np.ptp(white) == 0  # grey stays grey
    assert card[0] / 255 == pytest.approx(0.18 ** (1 / 2.4), abs=0.02)
    assert 200 <= white[0] <= 225
    assert tone.sdr(grey(0)).max() == 0
    assert tone.sdr(grey(MAX_CODE)).min() == 255


@pytest.mark.parametrize("transfer", [PQ, HLG])
@pytest.mark.parametrize("primaries", [1, 2, 9, 12])
def test_there_and_back_is_the_same_picture(transfer: int, primaries: int) -> None:
    random = np.random.default_rng(5)
    colours = np.clip(random.integers(20, 256, (40, 40, 1)) * random.uniform(0.6, 1, (40, 40, 3)), 0, 255)
    image = np.concatenate([colours, [[[0, 0, 0], [255, 255, 255]] * 20]]).astype(np.uint8)
    tone = hdr.tone(transfer, primaries)
    codes = np.rint(tone.coded(image) * MAX_CODE).astype(np.uint16)
    difference = np.abs(tone.sdr(codes).astype(int) - image)
    assert difference.max() <= 3  # from steps of 10 bits
    assert difference.mean() < 0.3


def frame_of(picture: Picture, seed: int) -> VideoFrame:
    """Smooth random planes with few bits of noise."""
    random = np.random.default_rng(seed)
    frame = VideoFrame(picture.width, picture.height, picture.pixel_format)
    for plane, level in zip(frame.planes, (420, 500, 540), strict=True):
        pixels = view16(plane)
        y, x = np.indices(pixels.shape)
        pixels[:] = level + 60 * np.sin(x / 7 + seed) * np.cos(y / 9) + random.integers(-2, 3, pixels.shape)
    return frame


def planes_of(frame: VideoFrame) -> list[Any]:
    return [view16(plane).astype(int) for plane in frame.planes]


@pytest.mark.parametrize("transfer", [PQ, HLG])
@pytest.mark.parametrize("size", [(64, 48), (63, 47)])
def test_paint_changes_its_own_pixels_alone(transfer: int, size: tuple[int, int]) -> None:
    stored = replace(WIDE, transfer=transfer, width=size[0], height=size[1])
    stored = replace(stored, pixel_format=stored.encoded().pixel_format)
    frame, converter, repainter = frame_of(stored, 1), Converter(stored), Repainter(stored, stored.encoded())
    before = converter.bgr(frame)
    after = before.copy()
    patch = Patch(21, 11, np.full((19, 19, 3), (60, 80, 150), np.uint8))
    after[11:30, 21:40] = patch.pixels
    painted = repainter.made(Frame(0, 0, 0, stored=frame, converter=converter).painted(patch))
    step = 2 if painted.format.name == "yuv420p10le" else 1
    for was, new, scale in zip(planes_of(frame), planes_of(painted), (1, step, step), strict=True):
        changed = np.zeros(was.shape, bool)
        changed[11 // scale : -(-30 // scale), 21 // scale : -(-40 // scale)] = True
        assert np.array_equal(was[~changed], new[~changed])
        assert not np.array_equal(was[changed], new[changed])
    shown = converter.bgr(painted).astype(int)
    assert np.abs(shown[13:28, 23:38] - after[13:28, 23:38]).max() <= 6
    same = repainter.made(Frame(0, 0, 0, stored=frame, converter=converter).painted(Patch(0, 0, before)))
    assert np.array_equal(planes_of(same)[0], planes_of(frame)[0])


def test_a_slight_change_keeps_the_grain_below_eight_bits() -> None:
    frame, converter, repainter = frame_of(WIDE, 2), Converter(WIDE), Repainter(WIDE, WIDE.encoded())
    before = converter.bgr(frame)
    patch = Patch(0, 0, np.clip(before.astype(int) + 10, 0, 255).astype(np.uint8))
    painted = repainter.made(Frame(0, 0, 0, stored=frame, converter=converter).painted(patch))
    was, new = planes_of(frame)[0], planes_of(painted)[0]
    assert np.corrcoef(was.ravel(), new.ravel())[0, 1] > 0.99
    assert len(np.unique(new)) > 0.8 * len(np.unique(was))


@pytest.mark.parametrize("degrees", [Orientation(True, True, False), Orientation(False, True, True)])
def test_turned_planes_stand_upright(degrees: Orientation) -> None:
    stored = replace(WIDE, orientation=degrees)
    frame = Frame(0, 0, 0, stored=frame_of(WIDE, 3), converter=Converter(stored))
    copied = Repainter(stored, stored.encoded()).made(frame)
    luma, *chroma = zip(planes_of(frame_of(WIDE, 3)), planes_of(copied), strict=True)
    assert np.array_equal(degrees.upright(luma[0].astype(np.uint16)), luma[1])
    for was, new in chroma:
        assert np.array_equal(degrees.upright_chroma(was.astype(np.uint16)), new)
    difference = Converter(stored.encoded()).bgr(copied).astype(int) - Converter(stored).bgr(frame_of(WIDE, 3))
    assert np.abs(difference).mean() < 3  # these frames do not say where their chroma lies


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_small_parts_have_the_colours_of_the_image(transfer: int) -> None:
    stored = replace(WIDE, transfer=transfer)
    converter, frame = Converter(stored), frame_of(stored, 4)
    part = Pixels.stored(frame, converter).reduced((0, 0, 64, 48), (32, 24), 2)
    image = converter.bgr(frame).reshape(24, 2, 32, 2, 3).mean((1, 3))[..., ::-1]
    assert np.abs(part - image).mean() < 2.5  # from 8 bits


def test_what_is_known_of_the_light_is_read_and_written() -> None:
    mastering = [35400, 14600, 8500, 39850, 6550, 2300, 15635, 16450]
    data = np.array([*(number for one in mastering for number in (one, 50_000)), 1, 10_000, 10_000_000, 10_000, 1, 1])

    def light(data: Any, content: Any) -> LightLevels:
        kinds = {"MASTERING_DISPLAY_METADATA": data.astype(np.int32), "CONTENT_LIGHT_LEVEL": content}
        return LightLevels.of(cast(VideoFrame, SimpleNamespace(side_data=kinds)))

    found = light(data, np.array([1000, 400], np.uint32))
    assert found == LightLevels((*mastering, 10_000_000, 1), (1000, 400))
    assert found.x265 == (
        "master-display=G(8500,39850)B(6550,2300)R(35400,14600)WP(15635,16450)L(10000000,1):max-cll=1000,400"
    )
    for place, value in [(20, 0), (21, 0), (3, 0), (0, -5), (0, 90_000), (16, -1)]:  # unknown, or impossible
        wrong = data.copy()
        wrong[place] = value
        assert light(wrong, np.array([70_000, 400], np.uint32)) == LightLevels()
    assert LightLevels().x265 == ""


def test_what_a_result_lacks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    dynamic = replace(WIDE, transfer=HLG, light=LightLevels(dynamic=("Dolby Vision", "HDR10+")))
    assert [losses(one) for one in (WIDE, PLAIN)] == [(), ()]
    assert [(loss.code, loss.message) for loss in losses(dynamic)] == [
        ("dynamic_metadata", "the result keeps the video's HLG picture without the data of Dolby Vision and HDR10+")
    ]
    assert [(loss.code, loss.message) for loss in losses(replace(PLAIN, pixel_format="yuv422p10le"))] == [
        ("fewer_bits", "the video has 10 bits in each channel; the result has 8")
    ]
    assert [loss.code for loss in losses(replace(WIDE, pixel_format="yuv444p12le"))] == ["fewer_bits"]
    monkeypatch.setattr(hdr, "encodable", lambda: False)
    assert [(loss.code, loss.message) for loss in losses(dynamic)] == [
        ("tone_mapped", "the video is HLG; the result is tone-mapped to BT.709, as nothing here encodes HEVC")
    ]
