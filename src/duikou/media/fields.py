"""Finds out whether the frames of a video are interlaced, and makes them progressive.

An interlaced frame holds two fields: its even and its odd lines show different moments. FFmpeg's filters do the work:
idet compares neighbouring fields, bwdif keeps the first field of a frame and fills in the lines of the other one from
the frames before and after. Frames keep their number and their times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Final

import av
import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame

from duikou.arrays import IntArray

PLACES: Final = 5
"""Places of a video at which its frames are examined. Decoding there begins at a key frame, so each costs the same."""
EXAMINED: Final = 50
"""Frames to examine, at all places together: a second or two, in which almost every picture moves."""
PATIENCE: Final = 5
"""How many times more frames to examine at a place where nothing moves."""
RUN: Final = 10
"""Frames judged together: two turns of the pattern in which films become interlaced video (3:2 pulldown)."""
_MIXED: Final = 0.15  # share of progressive frames from which a video counts as mixed; 3:2 pulldown leaves one of five
_CLEAR: Final = 2  # how many times more frames must have one order of fields than the other
_FIELDMATCH_FORMATS: Final = frozenset({"yuv420p", "yuv422p", "yuv444p"})
_KIND: Final = "lavfi.idet.single.current_frame"
_UNDETERMINED: Final = "undetermined"

Filters = Sequence[tuple[str, str]]
"""Names and arguments of FFmpeg's filters, in their order."""


@dataclass(frozen=True)
class Fields:
    """How the frames of an interlaced video hold their fields.

    order: which field shows first: `tff` (the top one), `bff`, or `auto` for what each frame's flag says.
    mixed: whether many frames are progressive, or become so with a field of a neighbour, as in films made interlaced.
        Only frames that stay combed are filtered then.
    """

    order: str
    mixed: bool = False

    @property
    def reach(self) -> int:
        """How many frames before a frame must be decoded: those it depends on, and one that a damaged one repeats."""
        return 4 if self.mixed else 2

    def filters(self, pixel_format: str) -> Filters:
        """Names and arguments of the filters for frames of a pixel format."""
        if self.mixed and pixel_format in _FIELDMATCH_FORMATS:
            deint, chain = "interlaced", [("fieldmatch", f"order={self.order}:combmatch=full")]
        else:
            deint, chain = "all", []
        # Formats that a filter does not know are converted on the way; the last one undoes that.
        return [*chain, ("bwdif", f"mode=send_frame:parity={self.order}:deint={deint}"), ("format", pixel_format)]


def judge(kinds: Sequence[Sequence[str]], flagged: bool) -> Fields | None:
    """Decide how to read a video; `None` for progressive.

    kinds: for each place, what idet says of consecutive frames: `tff`, `bff`, `progressive` or `undetermined`.
    flagged: whether the file says that its frames are interlaced. What the frames show counts for more.
    """
    runs = [place[at : at + RUN] for place in kinds for at in range(max(len(place) - RUN, 0) + 1)]
    found = Counter(kind for place in kinds for kind in place)
    order = _order(found, flagged)
    interlaced = found["tff"] + found["bff"]
    if any(2 * sum(kind in ("tff", "bff") for kind in run) > len(run) >= RUN // 2 for run in runs):
        return Fields(order, mixed=found["progressive"] >= _MIXED * (interlaced + found["progressive"]))
    # Where nothing moves, the flag decides: filling in lines that stand still leaves them as they are.
    return Fields(order) if flagged and not found["progressive"] else None


def _order(found: Counter[str], flagged: bool) -> str:
    """The order that most frames show; without a clear majority that of the flags, and `tff` without these."""
    top, bottom = found["tff"], found["bff"]
    if max(top, bottom) >= max(_CLEAR * min(top, bottom), 1):
        return "tff" if top > bottom else "bff"
    return "auto" if flagged else "tff"


def places(keyframes: IntArray, count: int) -> IntArray:
    """Numbers of frames at which to begin examining a video of `count` frames. keyframes: (K,) their numbers."""
    usable = keyframes[keyframes <= max(count - RUN, 0)]
    if not len(usable):
        return np.zeros(1, np.int64)
    return np.unique(usable[np.linspace(0, len(usable) - 1, PLACES).round().astype(int)])


def kinds(frames: Iterable[VideoFrame], count: int) -> tuple[list[str], bool]:
    """What idet says of consecutive frames without the first and last, and whether any is flagged.

    These are `count` frames, or up to `PATIENCE` times as many where nothing moves.
    """
    flagged = False
    found: list[str] = []

    def seen() -> Iterator[VideoFrame]:
        nonlocal flagged
        for frame in islice(frames, PATIENCE * count):
            flagged = flagged or frame.interlaced_frame
            yield frame

    for frame in _filtered(seen(), lambda _: [("idet", "")]):
        found.append(str(frame.metadata.get(_KIND, _UNDETERMINED)))
        if len(found) >= count and sum(kind != _UNDETERMINED for kind in found) >= min(count, 2 * RUN):
            break
    return found[1:-1], flagged


def deinterlaced(frames: Iterable[VideoFrame], fields: Fields) -> Iterator[VideoFrame]:
    """The same frames, progressive, a few in memory at a time. Those without a pts are left out."""
    return _filtered(frames, fields.filters)


def _filtered(frames: Iterable[VideoFrame], filters: Callable[[str], Filters]) -> Iterator[VideoFrame]:
    """Frames after the filters for their pixel format. Where size or format change, filtering starts anew."""
    graph, last = None, None
    for frame in frames:
        if frame.pts is None:
            continue
        kind = frame.width, frame.height, frame.format.name
        if graph is None or kind != last:
            if graph is not None:
                yield from graph.passed(None)
            graph, last = _Graph(frame, filters(frame.format.name)), kind
        yield from graph.passed(frame)
    if graph is not None:
        yield from graph.passed(None)


class _Graph:
    """A chain of FFmpeg's filters for frames like a given one."""

    def __init__(self, frame: VideoFrame, filters: Filters) -> None:
        assert frame.time_base is not None
        self._base = frame.time_base
        self._graph = Graph()
        self._graph.threads = 1  # a frame of 1080p takes 7 ms
        first = self._graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=self._base
        )
        chain = [first, *(self._graph.add(name, options or None) for name, options in filters)]
        chain.append(self._graph.add("buffersink"))
        for one, following in pairwise(chain):
            one.link_to(following)
        self._graph.configure()

    def passed(self, frame: VideoFrame | None) -> Iterator[VideoFrame]:
        """Take a frame, or `None` at the end, and return those that are complete, at their own times."""
        self._graph.vpush(frame)
        while True:
            try:
                found = self._graph.vpull()
            except (BlockingIOError, av.EOFError):
                return
            assert found.pts is not None
            assert found.time_base is not None
            found.pts = round(found.pts * found.time_base / self._base)  # bwdif halves the time base
            found.time_base = self._base
            yield found
