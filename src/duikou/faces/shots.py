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
from av.video.reformatter import Interpolation, VideoReformatter

from duikou.arrays import Image
from duikou.media.decode import Frame

WIDTH, HEIGHT = 64, 36  # pixels of the thumbnails
MIN_DIFFERENCE = 4.0  # mean grey levels; jump cuts measure 5 to 10, hard cuts over 50, a fast gesture up to 4
MIN_RATIO = 4.0  # to the largest of the neighbours' differences; cuts measure 4.9 and more, motion up to 2.8
NEIGHBOURS = 2  # frames on each side: a flash is not a cut
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
        """(36, 64) grey thumbnail of a frame."""
        stored: VideoFrame | None = frame.stored
        if stored is not None:
            small = self._reformatter.reformat(
                stored, width=WIDTH, height=HEIGHT, format="gray", interpolation=Interpolation.AREA, threads=1
            )
            return np.asarray(small.to_ndarray(), np.uint8)
        grey = cv2.cvtColor(frame.image, cv2.COLOR_BGR2GRAY)
        return np.asarray(cv2.resize(grey, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)


def _difference(one: Image, other: Image) -> float:
    return float(cv2.absdiff(one, other).mean())


def _is_cut(differences: list[float], at: int) -> bool:
    around = differences[max(at - NEIGHBOURS, 0) : at] + differences[at + 1 : at + 1 + NEIGHBOURS]
    return differences[at] >= max(MIN_DIFFERENCE, MIN_RATIO * max([FLOOR, *around]))
