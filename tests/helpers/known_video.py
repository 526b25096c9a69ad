"""A `Video` that is known without a file, for tests of what only asks it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from duikou.media.clock import Clock
from duikou.media.demux import FrameTimes
from duikou.media.picture import Orientation, Picture
from duikou.media.probe import VideoInfo
from duikou.media.video import Video


def known_video(path: Path, info: VideoInfo) -> Video:
    """A video of that description whose frames show at its mean rate."""
    base = 1 / info.rate
    times = FrameTimes(np.arange(info.frames), np.zeros(1, np.int64), base, 1)
    picture = Picture(info.width, info.height, Orientation(), "yuv420p", 1, 1, 1, False, base * info.rate)
    return Video(path, info, times, picture, Clock())
