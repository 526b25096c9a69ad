"""Videos whose frames change their format midway: each frame is fitted into the format of the first one."""

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from media_maker import Image, Part, make_joined, numbered, read_number

from duikou.errors import MediaError
from duikou.media import decode, limits
from duikou.media.encode import VideoWriter
from duikou.media.fit import placed
from duikou.media.picture import Orientation, Picture
from duikou.media.video import Video

WIDE = Part()
HIGH = Part(size=(128, 192))
CHANGES: dict[str, tuple[Part, ...]] = {
    "portrait": (WIDE, HIGH),
    "landscape": (HIGH, WIDE),
    "there_and_back": (WIDE, HIGH, WIDE, HIGH),
    "every_frame": (Part(frames=1), Part(size=(128, 192), frames=1)) * 5,
    "smaller": (WIDE, Part(size=(96, 64))),
    "larger": (Part(size=(96, 64)), Part(size=(480, 320))),
    "narrow_pixels": (WIDE, Part(aspect=Fraction(1, 2))),
    "wide_pixels": (Part(aspect=Fraction(2)), WIDE, Part(aspect=Fraction(2))),
    "more_bits": (WIDE, Part(pixel_format="yuv420p10le")),
    "fewer_bits": (Part(pixel_format="yuv420p10le"), WIDE),
    "more_colour": (WIDE, Part(pixel_format="yuv444p")),
    "full_range": (WIDE, Part(full_range=True)),
    "limited_range": (Part(full_range=True), WIDE),
    "limited_range_422": (Part(pixel_format="yuv422p", full_range=True), Part(pixel_format="yuv422p")),
    "odd": (Part(size=(193, 129), pixel_format="yuv444p"), Part(size=(129, 193), pixel_format="yuv444p")),
    "turned": (WIDE, Part(turn=90)),
    "upside_down": (WIDE, Part(turn=180)),
}


def expected(number: int, first: Part, part: Part) -> tuple[Image, tuple[int, int]]:
    """The upright picture of a frame as it is to be seen in frames of `first`, and its left and top there."""
    image = np.rot90(numbered(number, *part.size), part.turn // 90)
    shape = image.shape[1] / image.shape[0] * float(1 / part.aspect if part.turn == 90 else part.aspect)
    full_width, full_height = first.size
    across = shape / float(first.aspect)
    width = min(full_width, round(full_height * across))
    height = min(full_height, round(full_width / across))
    resized = cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, np.uint8), ((full_width - width) // 2, (full_height - height) // 2)


@pytest.mark.parametrize("name", CHANGES)
def test_every_frame_has_the_format_of_the_first_and_its_own_shape(name: str, tmp_path: Path) -> None:
    parts = CHANGES[name]
    video = Video.open(make_joined(tmp_path / "v.mp4", *parts))
    owners = [part for part in parts for _ in range(part.frames)]
    found = list(video.frames())
    assert (len(found), video.info.width, video.info.height) == (len(owners), *parts[0].size)
    first = found[0].stored
    assert first is not None
    for frame, part in zip(found, owners, strict=True):
        assert frame.stored is not None
        assert (frame.stored.width, frame.stored.height) == (first.width, first.height)
        assert frame.stored.format.name == first.format.name
        picture, (left, top) = expected(frame.index, parts[0], part)
        height, width = picture.shape[:2]
        seen = frame.image[top : top + height, left : left + width].astype(int)
        error = np.abs(seen - picture)[4:-4, 4:-4]
        assert np.median(error) <= 3, (frame.index, np.median(error))
        bars = frame.image.astype(int).copy()
        bars[max(top - 2, 0) : top + height + 2, max(left - 2, 0) : left + width + 2] = 0
        assert bars.max() <= 4
        assert frame.pixels.size == parts[0].size


@pytest.mark.parametrize("name", ["there_and_back", "every_frame", "wide_pixels", "fewer_bits", "turned"])
def test_frames_are_the_same_from_anywhere(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "BLOCK_BYTES", 0)
    video = Video.open(make_joined(tmp_path / "v.mp4", *CHANGES[name]))
    found = [frame.image for frame in video.frames()]
    for start in (5, 9, len(found) - 1):
        assert np.array_equal(next(video.frames(start)).image, found[start])
        assert np.array_equal(next(decode.frames(video.path, start=start)).image, found[start])
    for back, there in zip(video.backwards(0, len(found)), found[::-1], strict=True):
        assert np.array_equal(back.image, there)
    # Ends before the format changes, where the decoder has read on.
    for back, there in zip(video.backwards(0, 7), found[6::-1], strict=True):
        assert np.array_equal(back.image, there)


def test_a_copy_shows_bars_and_every_frame(tmp_path: Path) -> None:
    video = Video.open(make_joined(tmp_path / "v.mp4", WIDE, HIGH, Part(pixel_format="yuv420p10le")))
    with VideoWriter(tmp_path / "copy.mp4", video) as writer:
        for frame in video.frames():
            writer.copy(frame)
    copied = list(Video.open(tmp_path / "copy.mp4").frames())
    for old, new in zip(video.frames(), copied, strict=True):
        assert np.abs(old.image.astype(int) - new.image).mean() < 2.5
    assert [read_number(frame.image) for frame in copied[:8]] == list(range(8))


def test_frames_that_grow_are_bound_by_the_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_joined(tmp_path / "v.mp4", Part(size=(96, 64)), Part(size=(480, 320)))
    monkeypatch.setattr(limits, "MAX_PIXELS", 480 * 320 - 1)
    with pytest.raises(MediaError, match=r"video: the picture is 480 x 320 pixels; at most 153599 in total"):
        list(Video.open(path).frames())
    monkeypatch.setattr(limits, "MAX_PIXELS", 480 * 320)
    monkeypatch.setattr(limits, "MAX_TOTAL_PIXELS", 8 * (96 * 64 + 480 * 320) - 1)
    with pytest.raises(MediaError, match=r"video: the frames of the video have more than \d+ pixels in total\.$"):
        list(Video.open(path).frames())


def picture(width: int, height: int, *, aspect: Fraction = Fraction(1), turned: bool = False) -> Picture:
    return Picture(width, height, Orientation(transpose=turned), "yuv420p", 1, 1, 1, False, aspect)


@pytest.mark.parametrize(
    ("given", "place"),
    [
        (picture(1280, 720), (1280, 720, 0, 0)),
        (picture(640, 360), (1280, 720, 0, 0)),
        (picture(720, 1280), (404, 720, 438, 0)),
        (picture(720, 1280, turned=True), (1280, 720, 0, 0)),
        (picture(640, 358), (1280, 720, 0, 0)),  # rounded by an encoder: no bars of a few pixels
        (picture(640, 352), (1280, 704, 0, 8)),
        (picture(960, 720, aspect=Fraction(4, 3)), (1280, 720, 0, 0)),
        (picture(16384, 2), (1280, 2, 0, 358)),
    ],
)
def test_where_a_picture_goes(given: Picture, place: tuple[int, int, int, int]) -> None:
    assert placed(given, picture(1280, 720)) == place
