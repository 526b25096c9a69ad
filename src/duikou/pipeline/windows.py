"""Plans a long speech in windows, each when it is about to be painted, so that memory does not grow with its length.

A window ends in a pause of the speech, where closed lips hide that exemplars and measures change. Around its end both
windows paint, and their pictures pass into each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from duikou.arrays import BoolArray, Float64Array, IntArray
from duikou.engines.base import Renderer
from duikou.media.decode import Frame, Patch
from duikou.progress import Progress, silent

WINDOW_MS = 30_000
"""Usual length of a window, at most. Longer ones take more memory, which is needed while an encoder has its own."""

LONGEST_MS = 75_000
"""A speech up to this length is planned as one."""

SEARCH_MS = 8_000
"""How far from its usual place a window may end in search of a pause: speakers breathe every few seconds."""

GAP_MS = 20_000
"""Most that a silence between two pieces of a speech counts. The face is not followed through a longer one."""

USUAL_STEP_MS = 1000 / 30
"""Duration of a frame at which these lengths hold. What is shorter makes windows shorter: memory counts frames."""

VOICED = 0.1
"""Value of the `voice` curve from which there is no pause."""

LAG = 32
"""Frames by which painting may lag behind: more than wait in its queue."""

BLENDED = 3
"""Frames before the end of a window, and after it, that both windows paint."""


def seams(times_ms: IntArray, voice: Float64Array) -> IntArray:
    """Places (W,) in a speech at which windows end and others begin, none for a short one. Windows are about even,
    because the longest one decides how much memory is needed.

    times_ms: (N,) of the frames of the speech. voice: (N,) the curve of that name at these times.
    """
    steps_ms = np.diff(times_ms, prepend=times_ms[:1])
    share = min(float(np.median(steps_ms)) / USUAL_STEP_MS, 1.0) if len(times_ms) > 1 else 1.0
    counted_ms = np.cumsum(np.minimum(steps_ms, GAP_MS))
    total_ms = float(counted_ms[-1]) if len(times_ms) else 0.0
    count = math.ceil(total_ms / (share * WINDOW_MS)) if total_ms > share * LONGEST_MS else 1
    wanted_ms = total_ms * np.arange(1, count) / count
    firsts, stops = (np.searchsorted(counted_ms, wanted_ms + way_ms * share) for way_ms in (-SEARCH_MS, SEARCH_MS))
    # In a long silence, a window ends before the speech goes on.
    return np.unique(
        [
            first + (_calmest(voice[first:stop]) if first < stop else 0)
            for first, stop in zip(firsts.tolist(), stops.tolist(), strict=True)
        ]
    ).astype(np.int64)


def _calmest(voice: Float64Array) -> int:
    """The middle of the longest pause; without one, where the voice is lowest."""
    quiet = np.concatenate([[False], voice < VOICED, [False]])
    edges = np.flatnonzero(np.diff(quiet.astype(np.int8))).reshape(-1, 2)
    if not len(edges):
        return int(voice.argmin())
    start, stop = edges[int(np.diff(edges, axis=1).argmax())]
    return int(start + stop) // 2


@dataclass
class WindowedRenderer:
    """Paints a speech window by window, in the order of its frames.

    starts: (W,) frame at which each window begins, the first 0. may_change: (N,) which frames of the result may change.
    plan: makes the renderer of a window that paints frames from the first to the second number; `None` for nothing.
    """

    starts: IntArray
    may_change: BoolArray
    plan: Callable[[int, int, Progress], Renderer | None]
    _ready: dict[int, Renderer | None] = field(default_factory=dict)

    @property
    def planned_at(self) -> list[int]:
        """The frames at which `reach` plans a window, but for the first one."""
        return [self._frames(number)[0] for number in range(1, len(self.starts))]

    def changes(self, frame: int) -> bool:
        """Whether frame number `frame` may change."""
        return bool(self.may_change[frame])

    def reach(self, frame: int, progress: Progress = silent) -> None:
        """Plan the windows that paint a frame, and drop those that are done. Call it with rising numbers."""
        for number in [one for one in self._ready if self._frames(one)[1] <= frame - LAG]:
            del self._ready[number]
        for number in self._windows(frame):
            if number not in self._ready:
                self._ready[number] = self.plan(*self._frames(number), progress)

    def render(self, frame: Frame) -> Patch | None:
        """See `Renderer.render`. `reach` was called with this frame, and with none later by more than `LAG`."""
        numbers = list(self._windows(frame.index))
        patches = [self._painted(number, frame) for number in numbers]
        if len(patches) == 1:
            return patches[0]
        share = (frame.index - int(self.starts[numbers[1]]) + BLENDED + 0.5) / (2 * BLENDED)
        return _mixed(frame, patches[0], patches[1], share)

    def _painted(self, number: int, frame: Frame) -> Patch | None:
        renderer = self._ready[number]
        return None if renderer is None else renderer.render(frame)

    def _windows(self, frame: int) -> Iterator[int]:
        """The numbers of the one or two windows that paint a frame."""
        first, last = np.searchsorted(self.starts, [frame - BLENDED, frame + BLENDED], side="right") - 1
        return iter(range(max(int(first), 0), max(int(last), 0) + 1))

    def _frames(self, number: int) -> tuple[int, int]:
        """The first frame that a window paints, and the one after the last."""
        last = number + 1 == len(self.starts)
        stop = len(self.may_change) if last else int(self.starts[number + 1]) + BLENDED
        return max(int(self.starts[number]) - BLENDED, 0) if number else 0, stop


def _mixed(frame: Frame, before: Patch | None, after: Patch | None, share: float) -> Patch | None:
    """Two paintings of a frame in one. share: of `after`."""
    boxes = [patch.box for patch in (before, after) if patch is not None]
    if not boxes:
        return None
    left, top = (min(box[side] for box in boxes) for side in (0, 1))
    right, bottom = (max(box[side] for box in boxes) for side in (2, 3))
    one, other = (
        (frame if patch is None else frame.painted(patch)).part((left, top, right, bottom)).astype(np.float32)
        for patch in (before, after)
    )
    return Patch(left, top, np.round(one + np.float32(share) * (other - one)).astype(np.uint8))
