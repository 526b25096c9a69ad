"""The timeline of a result: that of the source, or a longer one that repeats frames of the source.

Callers use a `Timeline` without knowing which of the two it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice

import numpy as np

from duikou.arrays import IntArray
from duikou.media.decode import Frame
from duikou.media.demux import FrameTimes
from duikou.media.mix import repeated
from duikou.media.sound import Sound
from duikou.media.sync_mode import SyncMode, extended_duration_ms
from duikou.media.video import Video
from duikou.timebase import Interval


@dataclass(frozen=True)
class Showing:
    """When an interval of the source shows in a result, and what is shown.

    result: from the first to the last such moment, on the result's timeline.
    source: the frames that show then, on the source's timeline.
    """

    result: Interval
    source: Interval


@dataclass(frozen=True)
class Timeline:
    """Which frame of the source a result shows at which time. Here each frame shows once, at its own time.

    source: frame times of the source. times: frame times of the result, in the same time base.
    """

    source: FrameTimes
    times: FrameTimes

    @staticmethod
    def of(source: FrameTimes, mode: SyncMode | None, speech_end_ms: int) -> Timeline:
        """The timeline of a result with `mode` and speech that ends at `speech_end_ms`.

        Raises `InputError` that names `sync_mode` where the result would last longer than `sync_mode.MAX_MS`.
        """
        length_ms = extended_duration_ms(mode, source.duration_ms, speech_end_ms)
        if mode is None or length_ms == source.duration_ms:
            return Timeline(source, source)
        return LengthenedTimeline.lasting(source, mode, length_ms)

    def __len__(self) -> int:
        return len(self.times)

    @property
    def duration_ms(self) -> int:
        """Length of the result in ms."""
        return self.times.duration_ms

    @property
    def added(self) -> tuple[Interval, SyncMode] | None:
        """The part that the source lacks and the mode that made it, or `None`."""
        return None

    def showing(self, interval: Interval, speech: Interval) -> Showing | None:
        """When the source's `interval` shows during `speech`, which is on the result's timeline; `None` for never."""
        shared = speech.overlap(interval)
        return None if shared is None else Showing(shared, shared)

    def frames(self, video: Video, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """Stream frames of the source `video` on this timeline, a few in memory at a time. Raises `MediaError`.

        start, stop: numbers of the first one and of the one behind the last, on this timeline; `None` is the end.
        """
        return video.frames(start, stop)

    def audio(self, original: Sound) -> Sound:
        """The source's audio on this timeline."""
        return original


@dataclass(frozen=True)
class LengthenedTimeline(Timeline):
    """A timeline that continues after the end of the source by repeating frames of it.

    order: (K,) number of the source's frame that each frame shows. It begins with all frames of the source in order.
    passes: (K,) how many times the video has restarted, changed direction or stopped before each frame.
    """

    mode: SyncMode
    order: IntArray
    passes: IntArray

    @classmethod
    def lasting(cls, source: FrameTimes, mode: SyncMode, length_ms: int) -> LengthenedTimeline:
        """A timeline of at least `length_ms`, which is longer than the source. It ends with a whole frame.

        Added frames keep the durations of the source, in reverse where it is played backwards.
        """
        count, steps = len(source), np.diff([*source.pts, source.end])
        order, added, pass_frames = _cycle(mode, count, steps)
        missing = round(Fraction(length_ms, 1000) / source.time_base) - source.end
        cycles = 2 + missing // int(added.sum())
        durations = np.concatenate([steps, np.tile(added, cycles)])
        edges = int(source.pts[0]) + np.concatenate([[0], np.cumsum(durations)])
        # The last frame is the one that ends at the first edge that is late enough.
        stop = count + int(np.searchsorted([source.ms(int(edge)) for edge in edges[count:]], length_ms))
        number = np.arange(stop)
        return cls(
            source=source,
            times=FrameTimes(edges[:stop], np.zeros(0, np.int64), source.time_base, int(durations[stop - 1])),
            mode=mode,
            order=np.concatenate([np.arange(count), np.tile(order, cycles)])[:stop],
            passes=np.where(number < count, 0, 1 + (number - count) // pass_frames),
        )

    @property
    def added(self) -> tuple[Interval, SyncMode]:
        """The part that the source lacks and the mode that made it."""
        return Interval(self.source.duration_ms, self.duration_ms), self.mode

    def showing(self, interval: Interval, speech: Interval) -> Showing | None:
        """See `Timeline.showing`; the interval may show several times."""
        source, edges = self.source.starts_ms[self.order], self.times.edges_ms
        during = (edges[1:] > speech.start_ms) & (edges[:-1] < speech.end_ms)
        shown = np.flatnonzero(during & (source >= interval.start_ms) & (source < interval.end_ms))
        if not len(shown):
            return None
        span = Interval(int(edges[shown[0]]), int(edges[shown[-1] + 1])).overlap(speech)
        assert span is not None  # every frame of `shown` overlaps the speech
        return Showing(span, Interval(int(source[shown].min()), int(source[shown].max()) + 1))

    def frames(self, video: Video, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """See `Timeline.frames`. All frames before `start` are decoded too."""
        for index, frame in islice(enumerate(self._played(video)), start, stop):
            pts = int(self.times.pts[index])
            yield frame.moved(index, pts, self.times.ms(pts))

    def audio(self, original: Sound) -> Sound:
        """The source's audio on this timeline: it repeats with `loop`, and ends with the source otherwise. It is held
        in memory: a lengthened video is at most `sync_mode.MAX_MS` long."""
        part = Interval(self.source.ms(int(self.source.pts[0])), self.source.duration_ms)
        restarts = self.times.pts[1:][np.diff(self.passes) > 0] if self.mode is SyncMode.LOOP else ()
        return repeated(original.held(), part, [self.times.ms(int(pts)) for pts in restarts])

    def _played(self, video: Video) -> Iterator[Frame]:
        """The source's frames in this order, with the source's numbers and times."""
        for number in range(int(self.passes[-1]) + 1):
            shown = self.order[self.passes == number]
            first, last = int(shown[0]), int(shown[-1])
            if first == last:
                for still in video.frames(first, first + 1):
                    yield from [still] * len(shown)
            elif first < last:
                yield from video.frames(first, last + 1)
            else:
                yield from video.backwards(last, first + 1)


def _cycle(mode: SyncMode, count: int, steps: IntArray) -> tuple[IntArray, IntArray, int]:
    """What repeats after the `count` frames of the source: frame numbers, their durations, and frames in a pass.

    steps: (count,) durations of the source's frames, in its time base.
    """
    forwards = np.arange(count)
    if mode is SyncMode.LOOP:
        return forwards, steps, count
    if mode is SyncMode.BOUNCE and count > 1:
        # A step backwards takes as long as the same step forwards.
        back, forth = forwards[-2::-1], forwards[1:]
        return (
            np.concatenate([back, forth]),
            np.concatenate([steps[np.maximum(back - 1, 0)], steps[forth]]),
            count - 1,
        )
    return np.full(count, count - 1), steps, np.iinfo(np.int64).max
