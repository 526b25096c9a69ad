"""Shot detection: a cut is a frame that differs far more from the previous one than its neighbours do.

Uses the adaptive rule of PySceneDetect (https://www.scenedetect.com/docs/latest/api/detectors.html) on small grey
thumbnails. It also finds jump cuts, at which a face jumps while the background stays.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from duikou.arrays import Image
from duikou.media.decode import Frame
from duikou.media.picture import view

WIDTH, HEIGHT = 64, 36  # pixels of the thumbnails
MIN_DIFFERENCE = 4.0  # mean grey levels; jump cuts measure 5 to 10, hard cuts over 50, a fast gesture up to 4
MIN_RATIO = 4.0  # to the largest of the neighbours' differences; cuts measure 4.9 and more, motion up to 2.8
NEIGHBOURS = 2  # frames on each side: a flash is not a cut
LINES = 10  # of a picture that are averaged for each line of a thumbnail
LIMITED_LUMA = frozenset({"yuv420p", "yuv422p", "yuv444p"})  # formats whose first plane is luma of 16 to 235
FULL_RANGE = np.clip(np.rint((np.arange(256) - 16) * 255 / 219), 0, 255).astype(np.uint8)  # grey by luma
FLOOR = 0.5  # grey levels: changes of a still picture by coding noise alone

T = TypeVar("T")


def numbered(frames: Iterable[Frame]) -> Iterator[tuple[int, Frame]]:
    """Each frame with the number of its shot, from 0. Runs `NEIGHBOURS` frames behind its input."""
    return number(frames, Thumbnails())


def number(items: Iterable[T], thumbnail: Callable[[T], Image]) -> Iterator[tuple[int, T]]:
    """`numbered` for any items that have thumbnails."""
    waiting: deque[T] = deque()
    differences: list[float] = []  # of the items waiting, and of NEIGHBOURS before them
    before: Image | None = None
    shot = 0
    for item in items:
        picture = thumbnail(item)
        differences.append(0.0 if before is None else _difference(before, picture))
        before = picture
        waiting.append(item)
        if len(waiting) <= NEIGHBOURS:
            continue
        shot += _is_cut(differences, len(differences) - 1 - NEIGHBOURS)
        yield shot, waiting.popleft()
        del differences[: -2 * NEIGHBOURS]
    while waiting:
        shot += _is_cut(differences, len(differences) - len(waiting))
        yield shot, waiting.popleft()


class Thumbnails:
    """Makes grey thumbnails, from the stored pixels of a frame if it has them."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def __call__(self, frame: Frame) -> Image:
        """(36, 64) grey thumbnail of a frame, 0 to 255."""
        stored: VideoFrame | None = frame.stored
        if stored is None:
            return _averaged(np.asarray(cv2.cvtColor(frame.image, cv2.COLOR_BGR2GRAY), np.uint8))
        if stored.format.name in LIMITED_LUMA and stored.color_range != ColorRange.JPEG:
            return np.asarray(FULL_RANGE[_averaged(view(stored.planes[0]))], np.uint8)
        small = self._reformatter.reformat(
            stored, width=WIDTH, height=HEIGHT, format="gray", interpolation=Interpolation.AREA, threads=1
        )
        return np.asarray(small.to_ndarray(), np.uint8)


def _averaged(grey: Image) -> Image:
    """(36, 64) means of a picture, of about `LINES` lines each."""
    height, width = grey.shape
    across, down = width // WIDTH, height // HEIGHT
    if min(across, down) > 0:  # OpenCV averages whole numbers of pixels several times as fast as fractions
        step = max(down // LINES, 1)
        left = (width - across * WIDTH) // 2
        grey = grey[step // 2 :: step][: down // step * HEIGHT, left : left + across * WIDTH]
    return np.asarray(cv2.resize(grey, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)


def _difference(one: Image, other: Image) -> float:
    return float(cv2.absdiff(one, other).mean())


def _is_cut(differences: list[float], at: int) -> bool:
    around = differences[max(at - NEIGHBOURS, 0) : at] + differences[at + 1 : at + 1 + NEIGHBOURS]
    return differences[at] >= max(MIN_DIFFERENCE, MIN_RATIO * max([FLOOR, *around]))
