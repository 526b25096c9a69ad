"""Finds out whether the frames of a video are interlaced, and makes them progressive.

An interlaced frame holds two fields: its even and its odd lines show different moments. FFmpeg's filters do the work:
idet compares neighbouring fields, bwdif keeps the first field of a frame and fills in the lines of the other one from
the frames before and after. Frames keep their number and their times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
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


class Place:
    """What idet says of the frames from one place of a video on.

    These are `count` frames, or up to `PATIENCE` times as many where nothing moves.
    """

    def __init__(self, count: int) -> None:
        self._count, self._left = count, PATIENCE * count
        self._idet = _Filtering(lambda _: [("idet", "")])
        self._found: list[str] = []
        self.flagged = False  # whether the file says of any frame that it is interlaced

    @property
    def done(self) -> bool:
        """Whether no more frames are needed."""
        determined = sum(kind != _UNDETERMINED for kind in self._found)
        return self._left == 0 or (len(self._found) >= self._count and determined >= min(self._count, 2 * RUN))

    def see(self, frame: VideoFrame) -> None:
        """Examine the next frame."""
        self._left -= 1
        self.flagged = self.flagged or frame.interlaced_frame
        self._tell(self._idet.passed(frame))
        if self._left == 0:
            self.end()

    def end(self) -> None:
        """Take note that there are no more frames."""
        self._tell(self._idet.passed(None))

    def _tell(self, frames: Iterable[VideoFrame]) -> None:
        self._found += [str(frame.metadata.get(_KIND, _UNDETERMINED)) for frame in frames]

    @property
    def kinds(self) -> list[str]:
        """What idet says of each frame so far without the first and the last, see `judge`."""
        return self._found[1:-1]


class Examination:
    """Decides how to read a video while its frames pass by, so that it need not be decoded for this alone.

    The verdict is the same as that of `duikou.media.decode.examine`, which decodes only the frames that it needs.
    """

    def __init__(self, keyframes: IntArray, count: int) -> None:
        """Take the frames as in `places`."""
        starts = places(keyframes, count)
        self._places = {int(start): Place(EXAMINED // len(starts)) for start in starts}
        self._open: list[Place] = []
        self._seen: list[Place] = []

    def interlaced(self, number: int, frame: VideoFrame) -> bool:
        """Examine frame `number` where it is at one of the places. Returns whether those so far are interlaced."""
        begun = self._places.pop(number, None)
        if begun is not None:
            self._open.append(begun)
            self._seen.append(begun)
        for place in self._open:
            place.see(frame)
        still_open = [place for place in self._open if not place.done]
        changed, self._open = len(still_open) < len(self._open), still_open
        return changed and self._judged()

    def interlaced_in_the_end(self) -> bool:
        """Whether they are, once all frames have passed by."""
        for place in self._open:
            place.end()
        return self._judged()

    def _judged(self) -> bool:
        flagged = any(place.flagged for place in self._seen)
        return judge([place.kinds for place in self._seen], flagged) is not None


def deinterlaced(frames: Iterable[VideoFrame], fields: Fields) -> Iterator[VideoFrame]:
    """The same frames, progressive, a few in memory at a time. Those without a pts are left out."""
    filtering = _Filtering(fields.filters)
    for frame in frames:
        yield from filtering.passed(frame)
    yield from filtering.passed(None)


class _Filtering:
    """FFmpeg's filters for each pixel format. Where size or format change, filtering starts anew."""

    def __init__(self, filters: Callable[[str], Filters]) -> None:
        self._filters = filters
        self._graph: _Graph | None = None
        self._kind: tuple[int, int, str] | None = None

    def passed(self, frame: VideoFrame | None) -> Iterator[VideoFrame]:
        """Take a frame, or `None` at the end, and return those that are complete. Frames without a pts are left out."""
        if frame is None:
            if self._graph is not None:
                yield from self._graph.passed(None)
            return
        if frame.pts is None:
            return
        kind = frame.width, frame.height, frame.format.name
        if self._graph is None or kind != self._kind:
            if self._graph is not None:
                yield from self._graph.passed(None)
            self._graph, self._kind = _Graph(frame, self._filters(frame.format.name)), kind
        yield from self._graph.passed(frame)


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
