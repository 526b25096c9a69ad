"""Photos: what is read, upright and in its colours, and what is refused."""

from __future__ import annotations

import zlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from media_maker import make_video

from duikou.arrays import Image
from duikou.errors import MediaError
from duikou.media import limits, photo, sniff
from duikou.media.photo import probe_clip_or_photo

ORIENTATION = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
"""A minimal Exif segment (JEITA CP-3451) that says "turn by 90 degrees"."""


def picture(width: int = 160, height: int = 90) -> Image:
    """Soft colours, different in every corner."""
    seeds = np.random.default_rng(0).integers(30, 225, (3, 4, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(seeds, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


@pytest.mark.parametrize(("suffix", "kind", "off"), [(".jpg", "jpeg", 2), (".png", "png", 0), (".webp", "webp", 2)])
@pytest.mark.parametrize("size", [(160, 90), (161, 91), (1400, 90)])
def test_photos_keep_their_colours(tmp_path: Path, suffix: str, kind: str, off: float, size: tuple[int, int]) -> None:
    path = tmp_path / f"x{suffix}"
    cv2.imwrite(str(path), picture(*size))
    renamed = path.rename(tmp_path / "named.mp4")
    assert sniff.photo(renamed) == kind
    assert np.abs(photo.read(renamed, field="x").astype(int) - picture(*size)).mean() <= off
    assert probe_clip_or_photo(renamed, field="x") is None


@pytest.mark.parametrize("form", ["grey", "alpha", "deep"])
def test_other_pixel_formats_are_read(tmp_path: Path, form: str) -> None:
    plain = picture()
    made: dict[str, npt.NDArray[np.uint8] | npt.NDArray[np.uint16]] = {
        "grey": plain[..., 0],
        "alpha": np.dstack([plain, plain[..., :1]]),
        "deep": plain.astype(np.uint16) * np.uint16(257),
    }
    cv2.imwrite(str(tmp_path / "x.png"), made[form])
    wanted = np.repeat(plain[..., :1], 3, 2) if form == "grey" else plain
    assert np.abs(photo.read(tmp_path / "x.png", field="x").astype(int) - wanted).mean() <= 1


def test_a_phones_photo_is_turned_upright(tmp_path: Path) -> None:
    packed = cv2.imencode(".jpg", picture())[1].tobytes()
    segment = b"\xff\xe1" + (len(ORIENTATION) + 2).to_bytes(2, "big") + ORIENTATION
    (tmp_path / "x.jpg").write_bytes(packed[:2] + segment + packed[2:])
    upright = photo.read(tmp_path / "x.jpg", field="x")
    assert np.abs(upright.astype(int) - cv2.rotate(picture(), cv2.ROTATE_90_CLOCKWISE)).mean() <= 2


def test_a_clip_is_described(tmp_path: Path) -> None:
    info = probe_clip_or_photo(make_video(tmp_path / "x.mp4", frames=5), field="x")
    assert info is not None
    assert info.frames == 5


@pytest.mark.parametrize("content", [b"", b"GIF89a" + bytes(100), b"#EXTM3U", b"RIFF\0\0\0\0WAVE"])
def test_other_content_is_no_photo(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(MediaError) as caught:
        photo.read(tmp_path / "x.jpg", field="references[0]")
    reason = "the content is not a jpeg, png or webp photo."
    assert (caught.value.field, caught.value.reason) == ("references[0]", reason)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("kept", [12, 40, 200])
def test_a_photo_that_breaks_off_is_refused_or_has_its_full_size(tmp_path: Path, suffix: str, kept: int) -> None:
    packed = cv2.imencode(suffix, picture())[1].tobytes()
    (tmp_path / "x").write_bytes(packed[:kept])
    try:
        assert photo.read(tmp_path / "x", field="x").shape == (90, 160, 3)
    except MediaError as error:
        assert error.field == "x"


def test_a_photo_that_declares_too_many_pixels_is_refused(tmp_path: Path) -> None:
    """The header of a png (W3C PNG, 11.2.1) says 20,000 x 20,000; the data are those of a small picture."""
    packed = bytearray(cv2.imencode(".png", picture())[1].tobytes())
    packed[16:24] = (20_000).to_bytes(4, "big") * 2
    packed[29:33] = zlib.crc32(packed[12:29]).to_bytes(4, "big")
    (tmp_path / "x.png").write_bytes(packed)
    assert limits.MAX_PIXELS < 20_000**2
    with pytest.raises(MediaError, match=f"^x: the photo is damaged or has more than {limits.MAX_PIXELS} pixels"):
        photo.read(tmp_path / "x.png", field="x")


def test_a_missing_photo_is_named(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"^x: the file cannot be read \(No such file or directory\)\.$"):
        photo.read(tmp_path / "x.png", field="x")
