"""Shots: what is a cut and what is not."""

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from media_maker import make_video

from duikou.faces.shots import HEIGHT, WIDTH, Thumbnails, number
from duikou.media.decode import frames


def picture(level: float, x: int = 0) -> np.ndarray:
    """A thumbnail: a bright square at `x` on a ground of `level`."""
    image = np.full((HEIGHT, WIDTH), level, np.uint8)
    image[8:28, x : x + 20] = 220
    return image


def cuts(pictures: list[np.ndarray]) -> list[int]:
    shots = [(shot, index) for shot, index in number(range(len(pictures)), lambda index: pictures[index])]
    assert [index for _, index in shots] == list(range(len(pictures)))
    return [index for (before, _), (shot, index) in pairwise(shots) if shot != before]


def test_one_still_picture_is_one_shot():
    assert cuts([picture(50)] * 20) == []


def test_a_hard_cut_is_found_at_its_first_frame():
    assert cuts([picture(50)] * 10 + [picture(140)] * 10) == [10]


def test_cuts_near_both_ends_are_found():
    assert cuts([picture(50)] + [picture(140)] * 10 + [picture(50)]) == [1, 11]


def test_a_jump_cut_against_the_same_ground_is_found():
    assert cuts([picture(50, 2)] * 10 + [picture(50, 8)] * 10) == [10]


def test_steady_motion_is_no_cut():
    assert cuts([picture(50, 2 * step) for step in range(20)]) == []


def test_a_flash_is_no_cut():
    assert cuts([picture(50)] * 8 + [picture(250)] + [picture(50)] * 8) == []


def test_coding_noise_is_no_cut():
    generator = np.random.default_rng(0)
    assert cuts([np.clip(picture(50) + generator.normal(0, 3, (HEIGHT, WIDTH)), 0, 255) for _ in range(20)]) == []


def test_no_frames_and_one_frame():
    assert cuts([]) == []
    assert cuts([picture(50)]) == []


def ramp(_number: int, width: int, height: int) -> np.ndarray:
    """Grey that rises from left to right, and a dark corner."""
    grey = np.tile(np.linspace(20, 235, width), (height, 1))
    grey[: height // 3, : width // 3] = 40
    return np.repeat(grey[..., None], 3, 2).astype(np.uint8)


# libx265 reads memory that is not its own for a single frame, and for pictures smaller than its blocks of 64.
@pytest.mark.parametrize("size", [(1920, 1080), (722, 1280), (130, 66)])
@pytest.mark.parametrize("full_range", [False, True])
def test_a_thumbnail_shows_the_grey_of_the_picture(tmp_path: Path, size: tuple[int, int], full_range: bool) -> None:
    # FFmpeg's H.264 decoder names another pixel format for a full range, that of HEVC does not.
    codec = "libx265" if full_range else "libx264"
    video = make_video(tmp_path / "one.mp4", size=size, frames=3, paint=ramp, codec=codec, full_range=full_range)
    frame = next(iter(frames(video)))
    small = Thumbnails()(frame)
    assert small.shape == (HEIGHT, WIDTH)
    wanted = cv2.resize(ramp(0, *size)[..., 0], (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).astype(int)
    off = np.abs(small.astype(int) - wanted)
    assert np.median(off) <= 4, "a wrong range is off by 8"
